"""The cost of a network (`Cost`) and caps on it (`Budget`): by hand, or of a year of DCASE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, cast

from compressor.errors import BudgetError
from compressor.inputs.amounts import Caps, Part, Share, as_text, cap_of
from compressor.wording import brief

RESOURCES = ("params", "nonzero", "macs", "bytes", "ram")
"""The fields of `Cost`, each of which a `Budget` can cap."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network.

    Attributes:
        params: Parameters stored, zeros included; every distinct parameter once, buffers never.
        nonzero: Parameters that are not zero.
        macs: Multiply-accumulates of convolutions and matrix products for one input.
        bytes: Bytes of the stored parameters at their present data types.
        ram: Bytes of working memory of the `.tflite` file on a microcontroller: the most that its
            8-bit tensors take while one of its operators runs, each rounded up to 16 bytes. None
            where it was not counted: `measure` does not, `compressor.working_memory` does, and
            `fit` and `Session` under a cap on it.
    """

    params: int
    nonzero: int
    macs: int
    bytes: int
    ram: int | None = None

    def __str__(self) -> str:
        """One line for people."""
        ram = "" if self.ram is None else f", {self.ram:,} bytes of RAM"
        return (
            f"{self.params:,} parameters ({self.nonzero:,} non-zero), "
            f"{self.macs:,} MACs, {self.bytes:,} bytes{ram}"
        )


class File:
    """A file that a cap on bytes can be on: `compressor.Tflite()`, `compressor.Onnx()`.

    Attributes:
        name: What messages call it: its suffix.
        holds: What it has of weights, in messages.
    """

    name: ClassVar[str]
    holds: ClassVar[str]


@dataclass(frozen=True, init=False)
class Budget(Caps):
    """Hard caps on a network's cost: any subset of the five, at least one.

    A cap is a number (``128e3``) or a string (``"128k"``, ``"30M"``; for bytes and RAM also
    ``"128KiB"``, ``"0.5 MB"``, ``"61.0 KB"``). k, M, G and KB, MB, GB are powers of 1000, KiB, MiB,
    GiB powers of 1024. A fractional cap is rounded down: a cost is an integer, so nothing changes.

    ``"50%"`` is a half of what the network has as it is given to `fit`, `Session` or `allocate`,
    counted as the cap counts: for bytes of its own file, as it would be written before anything is
    done (in `allocate` and `resolved` of its stored parameters), or of the one that `file` names,
    for RAM of its `.tflite`, for `nonzero` of what is not zero in it. A network that was pruned
    before counts as it is then. `resolved` makes numbers of shares, which are texts until then.

    Attributes:
        params: Most parameters, or None for no cap; likewise the others.
        nonzero: Most non-zero parameters.
        macs: Most multiply-accumulates for one input.
        bytes: Most bytes: in `fit` and `Session` of the file that `Result.write` makes, in
            `allocate` and `allows` of the stored parameters.
        file: The file that the cap on bytes is on, where it is another than that of `Result.write`:
            ``Tflite()`` is the ``.tflite`` that `Result.export` writes, ``Onnx()`` the ``.onnx``.
            Of these a graph says nothing, so that `allocate` refuses them.
        ram: Most bytes of working memory of the `.tflite` file for TensorFlow Lite Micro; before
            `Int8` those that it will have after ``Int8(preset=presets.TFLM)``.
        rule: The challenge's rule whose caps these are, if they are one's: a report then ends in
            its verdict. Two budgets of the same caps are equal.

    Raises:
        BudgetError: If no cap is given, one is not from 1 to below 2**63, a share is not above 0 %
            and at most 100 %, or `file` is wrong.
    """

    params: int | Share | None
    nonzero: int | Share | None
    macs: int | Share | None
    bytes: int | Share | None
    ram: int | Share | None
    file: File | None
    rule: ClassVar[Limits | None] = None  # given to one budget by `of`: no cap, so no field

    def __init__(
        self,
        *,
        params: float | str | None = None,
        nonzero: float | str | None = None,
        macs: float | str | None = None,
        bytes: float | str | None = None,  # noqa: A002 - named as in Cost
        ram: float | str | None = None,
        file: File | None = None,
    ) -> None:
        """Check and store the caps as integers."""
        given = {"params": params, "nonzero": nonzero, "macs": macs, "bytes": bytes, "ram": ram}
        for name, amount in given.items():
            cap = None if amount is None else cap_of(name, amount)
            object.__setattr__(self, name, cap)
        if all(amount is None for amount in given.values()):
            message = "a budget needs at least one cap and none was given. Write for instance "
            raise BudgetError(message + 'Budget(params=128e3, macs="30M").')
        object.__setattr__(self, "file", _checked(file, self.bytes))

    @staticmethod
    def dcase(year: int) -> Budget:
        """The caps of DCASE Task 1 in `year` (2020 to 2025), as `compressor.rules` states them.

        The caps are the organisers'; what they count differs from `measure` in most years, so
        check a result with the year's `Rule.check` before submitting it.

        Raises:
            BudgetError: If there is no rule for `year`.
        """
        return of_year(year).budget

    @property
    def caps(self) -> dict[str, int]:
        """The caps that were given, by name.

        Raises:
            BudgetError: If one is a share, and it is not known of what.
        """
        if self.unresolved:
            are = "are shares" if len(self.unresolved) > 1 else "is a share"
            what = f"{self}: {' and '.join(self.unresolved)} {are} of what a network has, and it is"
            take = "not known of which: take budget.resolved(compressor.measure(model, example))"
            raise BudgetError(f"{what} {take}")
        return {name: int(cap) for name, cap in self._given.items()}

    @property
    def _given(self) -> dict[str, int | Share]:
        """The fields that were given, by name."""
        values = {name: getattr(self, name) for name in RESOURCES}
        return {name: cap for name, cap in values.items() if cap is not None}

    @property
    def shares(self) -> dict[str, str]:
        """The caps that were given as shares, by name, as texts: ``50%``, ``50% of 31,808``."""
        return {n: cap.text for n, cap in self._given.items() if isinstance(cap, (Share, Part))}

    @property
    def unresolved(self) -> dict[str, Share]:
        """The shares of it is not known what, by name."""
        return {name: cap for name, cap in self._given.items() if isinstance(cap, Share)}

    def resolved(self, cost: Cost) -> Budget:
        """The same, its shares as those of a network that costs `cost`.

        Those of bytes are of the stored parameters, which `cost` holds; `fit` takes the file's.

        Raises:
            BudgetError: If `cost` is none, RAM is capped and was not counted, a share is one of the
                bytes of a ``.tflite`` or ``.onnx``, or there is nothing to have a share of.
        """
        if not isinstance(cast("object", cost), Cost):
            needs = "Budget.resolved needs what a network costs"
            raise BudgetError(f"{needs}, compressor.measure(model, example), not {brief(cost)}")
        if self.file is not None and "bytes" in self.unresolved:
            raise BudgetError(_UNMEASURED.format(self.told("bytes"), self.file.name))
        if cost.ram is None and "ram" in self.unresolved:
            raise BudgetError(_UNCOUNTED.format(self.told("ram")))
        return self.of_wholes({n: getattr(cost, n) for n in self.unresolved}, "the parameters")

    def of_wholes(self, wholes: Mapping[str, int], stored: str = "") -> Budget:
        """The same, some of `unresolved` as shares of what a network has, by name.

        `stored` is what has so many bytes (``the file``, ``the parameters``), unless `file` is.
        """
        said, shares = {"bytes": stored}, self.unresolved
        parts = {name: shares[name].of(n, said.get(name, "")) for name, n in wholes.items()}
        return replace(self, **parts).of(self.rule) if parts else self

    def of(self, rule: Limits | None) -> Budget:
        """The same caps, as those of a challenge's rule."""
        caps = replace(self)
        object.__setattr__(caps, "rule", rule)
        return caps

    def allows(self, cost: Cost) -> bool:
        """True if `cost` is within every cap."""
        return not self.excess(cost)

    def excess(self, cost: Cost) -> dict[str, float]:
        """Compute cost / cap for each exceeded cap; empty when the budget is met.

        ``{"macs": 1.8}`` says that the MACs are 80 % over their cap.

        Raises:
            BudgetError: If RAM is capped and was not counted, or a cap is a share of a network
                that is not known.
        """
        caps = self.caps
        if self.ram is not None and cost.ram is None:
            raise BudgetError(_UNCOUNTED.format(self.told("ram")))
        ratios = {name: (getattr(cost, name), cap) for name, cap in caps.items()}
        return {name: spent / cap for name, (spent, cap) in ratios.items() if spent > cap}

    def __str__(self) -> str:
        """One line for people."""
        return " and ".join(map(self.told, self._given))

    def told(self, name: str) -> str:
        """One cap for people, a share with what it comes to: ``macs <= 100 (50% of 200)``."""
        on = f"the {self.file.name}" if self.file is not None and name == "bytes" else ""
        return f"{name} <= {as_text(self._given[name], on)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """Rule and caps of DCASE Task 1 in one year; `compressor.rules` counts by it.

    Each year counts something else: zeros or not, BatchNorm or not, kilobytes of 1000 or 1024
    bytes. Where the official sources disagree or are silent, `note` says so and what was chosen.

    Attributes:
        year: Year of the challenge.
        source: Place where the rule was read.
        note: Points not established or contradictory, and the reading chosen.
        zeros: True if zero entries count into the bytes.
        biases: True if the biases of convolutions and linear layers count.
        norm_affine: True if the scale and shift of BatchNorm count.
        norm_statistics: True if the running mean and variance of BatchNorm count (Keras lists
            them among the weights, PyTorch does not).
        folded: True if the network is counted with BatchNorm folded into the layer before it.
        index_bits: Bits charged for the position of each non-zero entry.
        weight_bits: Bits of one entry; None for its data type as stored.
        bias_bits: Bits of one entry of a bias of a convolution or linear layer; None likewise.
        type_bits: Bits of a weight where the rule fixes its type; None where any will do.
        torchinfo_macs: True if MACs are counted as torchinfo and NeSsi do (biases once per
            position, BatchNorm parameters once) instead of convolutions and products alone.
        kilobyte: Bytes of the year's kilobyte, for printing.
        params: Cap on the entries that count; None for none. Likewise the others.
        nonzero: Cap on the non-zero entries that count.
        macs: Cap on the multiply-accumulates of one input (one second of sound from 2022 on).
        bytes: Cap on the bytes that count.
    """

    year: int
    source: str
    note: str
    zeros: bool
    biases: bool = True
    norm_affine: bool = True
    norm_statistics: bool = False
    folded: bool = False
    index_bits: int = 0
    weight_bits: int | None = None
    bias_bits: int | None = None
    type_bits: int | None = None
    torchinfo_macs: bool = False
    kilobyte: int = 1000
    params: int | None = None
    nonzero: int | None = None
    macs: int | None = None
    bytes: int | None = None

    @property
    def budget(self) -> Budget:
        """The caps as a `Budget` that knows whose they are; a BudgetError if there is none."""
        caps = Budget(params=self.params, nonzero=self.nonzero, macs=self.macs, bytes=self.bytes)
        return caps.of(self)

    def __eq__(self, other: object) -> bool:
        """True if both count alike under the same caps."""
        return isinstance(other, Limits) and asdict(self) == asdict(other)

    def __hash__(self) -> int:
        """Hash of the year: several ways to count one year are told apart by `==`."""
        return hash(self.year)


def of_year(year: int) -> Limits:
    """The limits of `year`; a BudgetError if there was no such challenge, or it is not known."""
    for rule in YEARS:
        if rule.year == year:
            return rule
    years = f"{YEARS[0].year} to {YEARS[-1].year}"
    raise BudgetError(f"there is no rule for DCASE Task 1 in {year!r}; known are {years}.")


def required(budget: object, caller: str) -> Budget:
    """The budget, if it is one or a rule that has one.

    Raises:
        BudgetError: If it is not; says what `caller` needs.
    """
    if isinstance(budget, Limits):
        return budget.budget
    if not isinstance(budget, Budget):
        raise BudgetError(
            f"{caller} needs a budget and got {brief(budget)}: pass budget=Budget(params='128k', "
            "macs='30M'), or any subset of params, nonzero, macs, bytes and ram"
        )
    return budget


def _checked(file: object, cap: object) -> File | None:
    if file is None or (isinstance(file, File) and type(file) is not File and cap is not None):
        return file
    given = f"{type(file).__name__}()" if isinstance(file, File) else brief(file)
    raise BudgetError(
        f"Budget(file={given}): says which file a cap on bytes is on. Pass bytes too, and "
        "compressor.Tflite() or compressor.Onnx(), as Budget(bytes='32KiB', file=Tflite())"
    )


_UNCOUNTED = (
    "{} is asked of a cost whose RAM was not counted: take "
    "memory = compressor.working_memory(model, example), and "
    "dataclasses.replace(cost, ram=memory.peak.bytes)"
)
_UNMEASURED = (
    "{} is asked of a cost, whose bytes are those of the stored parameters and not of the {}: take "
    "compressor.Session(model, budget=budget, example=example).budget"
)


DCASE2020 = Limits(
    year=2020,
    source="README and model_size_calculation.py of the official 2020 baseline",
    note="Subtask B: 500 KB of non-zero parameters, written as 128000 x 32 / 8 = 512000 bytes. "
    "The official calculator leaves BatchNorm out; some teams counted it nevertheless.",
    zeros=False,
    norm_affine=False,
    kilobyte=1024,
    bytes=512_000,
)
DCASE2021 = Limits(
    year=2021,
    source="Official poster of the results; model_size_calculation.py of the 2021 baseline",
    note="Subtask A: 128 KB of non-zero parameters. The poster writes 32768 x 32 / 8 = 131072 "
    "bytes, the baseline's README 32000 parameters = 128000 bytes; the poster's figure is used, "
    "as the calculator divides by 1024. The calculator counts BatchNorm with its running "
    "statistics because Keras lists them among the weights; the winners did not count the latter.",
    zeros=False,
    norm_statistics=True,
    kilobyte=1024,
    bytes=131_072,
)
DCASE2022 = Limits(
    year=2022,
    source="README of the official 2022 baseline; arXiv 2206.03835; NeSsi",
    note="All parameters count, zeros too, as 8-bit integers; 30 million MACs for one second. "
    "NeSsi counts a PyTorch model as torchinfo does, BatchNorm unfolded: that is used here. The "
    "baseline itself was counted as an int8 TFLite file (`DCASE2022_TFLITE`). A network "
    "of integers with weights left in floating point does not meet it; vectors may be left.",
    zeros=True, weight_bits=8, bias_bits=8, type_bits=8, torchinfo_macs=True,
    params=128_000, macs=30_000_000,
)  # fmt: skip
DCASE2022_TFLITE = replace(
    DCASE2022,
    note="The official baseline's own number, 46512, is bytes of the int8 TFLite file: BatchNorm "
    "folded, weights 8 bits, biases 32. Its MACs also count pooling and half of one dense layer; "
    "that is not imitated.",
    folded=True,
    bias_bits=32,
    torchinfo_macs=False,
)
DCASE2023 = replace(
    DCASE2022,
    year=2023,
    source="arXiv 2503.11363 (abstract)",
    note="No more than 128,000 parameters and 30 million MACs. The official wording of the memory "
    "limit is not established here, nor whether 8 bits were still asked for: bytes are as stored, "
    "and a network of integers with weights left in floating point is held not to meet the rule.",
    weight_bits=None,
    bias_bits=None,
)
DCASE2024 = Limits(
    year=2024,
    source="nessi.py and run_training.py of the official 2024 baseline",
    note="128 kB of parameters at any precision, KB = 1000 unlike 2020 and 2021; zeros count.",
    zeros=True,
    torchinfo_macs=True,
    macs=30_000_000,
    bytes=128_000,
)
DCASE2025 = replace(
    DCASE2024,
    year=2025,
    source="complexity.py of the official 2025 baseline",
    note="As 2024, for each device's model alone: the models of several devices are not added up.",
)
YEARS = (DCASE2020, DCASE2021, DCASE2022, DCASE2023, DCASE2024, DCASE2025)
