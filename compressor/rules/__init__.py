"""The complexity rules of DCASE Challenge Task 1 (low-complexity scenes), 2020 to 2025, as data.

Each year counts something else: zeros or not, BatchNorm or not, kilobytes of 1000 or 1024 bytes.
A `Rule` says what counts and what the caps are; one function, `Rule.count`, reads it. Where the
official sources disagree or are silent, `note` says so and what was chosen.

Caps are the organisers'; a rule may be given to `compressor.fit` as a budget, which counts as
`measure` does: zeros included, BatchNorm included, running statistics not, MACs without biases. The
report then ends in the verdict by the year's own counting, which `Rule.check` gives of any network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the one class of all BatchNorm layers
from torch.nn.modules.conv import _ConvNd  # and of all convolutions, transposed or not
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from compressor.budget import Budget, Cost
from compressor.counting.measuring import (
    check_model,
    described,
    multiply_accumulates,
    nonzero,
    opened,
    run,
    undescribed,
)
from compressor.counting.stored import Compressed, Role
from compressor.errors import BudgetError, CountError
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example, one_input
from compressor.rules.counters import torchinfo_count


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a year counts, and its caps.

    Attributes:
        year: Year of the challenge.
        source: Where the rule was read.
        note: What is not established or contradictory, and the reading chosen.
        zeros: Whether zero entries count into the bytes.
        biases: Whether the biases of convolutions and linear layers count.
        norm_affine: Whether the scale and shift of BatchNorm count.
        norm_statistics: Whether the running mean and variance of BatchNorm count (Keras lists
            them among the weights, PyTorch does not).
        folded: Whether the network is counted with BatchNorm folded into the layer before it.
        index_bits: Bits charged for the position of each non-zero entry.
        weight_bits: Bits of one entry; None for its data type as stored.
        bias_bits: Bits of one entry of a bias of a convolution or linear layer; None likewise.
        torchinfo_macs: Whether MACs are counted as torchinfo and NeSsi do (biases once per
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
    torchinfo_macs: bool = False
    kilobyte: int = 1000
    params: int | None = None
    nonzero: int | None = None
    macs: int | None = None
    bytes: int | None = None

    @property
    def budget(self) -> Budget:
        """The caps as a `Budget` that knows whose they are.

        Raises:
            BudgetError: If there is no cap.
        """
        caps = Budget(params=self.params, nonzero=self.nonzero, macs=self.macs, bytes=self.bytes)
        return caps.of(self)

    def count(self, model: nn.Module | Compressed, example: Example | None = None) -> Cost:
        """What `model` costs by this rule.

        A network of integers (after `Int8`) is counted as the folded network that it is: weights
        and biases, at the bits they are stored with unless the rule says how many. Scales are part
        of how integers are written: they are no parameters, and are charged where bits are those
        of storage, not where the rule says them, as in the official count of an int8 file (2022).

        Args:
            model: Any module, or what `fit` returned.
            example: Input, first item used; by default `model.example_input_array`.

        Returns:
            `params`: the entries that count; `nonzero`: those not zero; `macs`: for one input;
            `bytes`: of all entries that count, or of the non-zero ones where zeros are free.

        Raises:
            CountError: If the MACs cannot be counted, or BatchNorm cannot be folded.
            ValueError: If there is no model or no example.
        """
        model, example = opened(model, example)
        check_model(model)
        counted = folded(model, example) if self.folded else model
        entries = list(self._entries(counted))
        charged = sum((n if self.zeros else alive) * bits for n, alive, bits in entries)
        charged += sum(alive for _, alive, _ in entries) * self.index_bits
        charged += self._scales(counted)
        return Cost(
            params=sum(n for n, _, _ in entries),
            nonzero=sum(alive for _, alive, _ in entries),
            macs=self._macs(counted, example),
            bytes=-(-charged // 8),
        )

    def check(self, model: nn.Module | Compressed, example: Example | None = None) -> Verdict:
        """Whether `model` meets this rule, counted as the rule counts; arguments as in `count`."""
        return Verdict(self, self.count(model, example))

    def _macs(self, model: nn.Module, example: Example | None) -> int:
        if not self.torchinfo_macs:
            return multiply_accumulates(model, example)
        # An active pruning mask saves no operation, though torchinfo would say so.
        return torchinfo_count(model, example, masks=False).macs

    def _entries(self, model: nn.Module) -> Iterator[tuple[int, int, int]]:
        """(entries, non-zero entries, bits of one) of every tensor that counts."""
        for role, tensor, alive in _tensors(model):
            counts = {
                Role.WEIGHT: True,
                Role.BIAS: self.biases,
                Role.NORM: self.norm_affine,
                Role.STATISTICS: self.norm_statistics,
            }
            if counts.get(role, False):
                said = self.bias_bits if role is Role.BIAS else self.weight_bits
                yield tensor.numel(), alive, said or 8 * tensor.itemsize

    def _scales(self, model: nn.Module) -> int:
        """Bits of the scales of integers that are charged."""
        if self.weight_bits is not None:
            return 0
        return sum(8 * s.tensor.nbytes for s in described(model) if s.role is Role.SCALE)


@dataclass(frozen=True)
class Verdict:
    """Whether a network meets a rule; as text, every cap with what is spent of it.

    Attributes:
        rule: The rule.
        cost: What the network costs by it.
    """

    rule: Rule
    cost: Cost

    @property
    def met(self) -> bool:
        """Whether no cap is exceeded."""
        return self.rule.budget.allows(self.cost)

    def data(self) -> dict[str, Any]:
        """As plain data: year, caps, what is spent of them, and whether it is met."""
        caps, cost = self.rule.budget.caps, asdict(self.cost)
        return {"year": self.rule.year, "caps": caps, "cost": cost, "met": self.met}

    def __str__(self) -> str:
        """One line for people."""
        spent = [self._spent(name, cap) for name, cap in self.rule.budget.caps.items()]
        verdict = "meets" if self.met else "exceeds"
        return f"DCASE {self.rule.year} Task 1: {'; '.join(spent)}: {verdict} the rule"

    def _spent(self, name: str, cap: int) -> str:
        used: int = getattr(self.cost, name)
        text = f"{used:,} of {cap:,} {name}"
        if name != "bytes":
            return text
        kilobyte = self.rule.kilobyte
        return text + f" ({used / kilobyte:.2f} of {cap / kilobyte:g} KB of {kilobyte} bytes)"


def of_year(year: int) -> Rule:
    """The rule of `year`.

    Raises:
        BudgetError: If there was no such challenge, or it is not known here.
    """
    for rule in RULES:
        if rule.year == year:
            return rule
    years = f"{RULES[0].year} to {RULES[-1].year}"
    raise BudgetError(f"there is no rule for DCASE Task 1 in {year!r}; known are {years}.")


def folded(model: nn.Module, example: Example | None = None) -> nn.Module:
    """A copy of `model`, in eval mode, with BatchNorm folded into convolutions and linear layers.

    A BatchNorm is folded where its input is the output of such a layer and both run once. In a
    network of integers none is left, and there is nothing to fold.

    Raises:
        CountError: If the copy then computes something else, because a convolution's output is
            also used elsewhere, or if the norms are in a network of data.
    """
    held = list(described(model))
    if any(stored.role is Role.STATISTICS for stored in held):
        raise CountError(
            f"BatchNorm of the {type(model).__name__} cannot be folded for counting: it is a list "
            "of operations and has no layers. Count the module that it was written from"
        )
    scratch = private_copy(model).eval()
    inputs = one_input(model, example)
    with torch.no_grad():
        before, pairs = _run_and_pair(scratch, inputs)
        for norm, layer in pairs.items():
            _replace(scratch, layer, _fused(layer, norm))
            _replace(scratch, norm, _neutral(norm))
        after = run(scratch, inputs)
    try:
        torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-2)
    except AssertionError as error:
        message = f"BatchNorm of {type(model).__name__} cannot be folded: the output changes. "
        raise CountError(message + "Is a convolution read before its BatchNorm?") from error
    return scratch


def _run_and_pair(
    model: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[object, dict[_BatchNorm, _ConvNd | nn.Linear]]:
    """Output of `model`, and for each BatchNorm that can be folded the layer it follows."""
    made: list[
        tuple[Tensor, _ConvNd | nn.Linear]
    ] = []  # holds the tensors, so that none is made anew
    read: list[tuple[Tensor, _BatchNorm]] = []

    def after(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, (_ConvNd, nn.Linear)):
            made.append((output, layer))

    def before(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(norm, _BatchNorm):
            read.append((arguments[0], norm))

    for module in model.modules():
        if isinstance(module, (_ConvNd, nn.Linear)):
            module.register_forward_hook(after)
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(before)
    output = run(model, inputs)
    writers = {id(tensor): layer for tensor, layer in made}
    pairs = {norm: writers[id(tensor)] for tensor, norm in read if id(tensor) in writers}
    calls = [module for _, module in (*made, *read)]
    once = {norm: layer for norm, layer in pairs.items() if calls.count(norm) == 1}
    return output, {norm: layer for norm, layer in once.items() if calls.count(layer) == 1}


def _fused(layer: _ConvNd | nn.Linear, norm: _BatchNorm) -> nn.Module:
    if isinstance(layer, _ConvNd):
        return fuse_conv_bn_eval(layer, norm, transpose=layer.transposed)
    return fuse_linear_bn_eval(layer, norm)


def _neutral(norm: _BatchNorm) -> nn.Module:
    """What stays of a folded norm: nothing, or what its class does beside normalising."""
    if type(norm).forward is _BatchNorm.forward:
        return nn.Identity()
    left = copy.deepcopy(norm)  # of a slim layer, which also spreads its channels
    left.register_parameter("weight", None)
    left.register_parameter("bias", None)
    left.affine = False
    if left.running_mean is not None and left.running_var is not None:
        left.running_mean.zero_()
        left.running_var.fill_(1 - left.eps)
    return left


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `old` is registered in `model`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                parent.add_module(name, new)


def _tensors(model: nn.Module) -> Iterator[tuple[Role, Tensor, int]]:
    """Every tensor that may count, with its role and its entries that are not zero."""
    for module, name, parameter in undescribed(model):
        bias = Role.BIAS if name.removesuffix("_orig") == "bias" else Role.WEIGHT
        role = Role.NORM if isinstance(module, _BatchNorm) else bias
        yield role, parameter, nonzero(module, name, parameter)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.running_mean, module.running_var):
                if tensor is not None:
                    yield Role.STATISTICS, tensor, int(torch.count_nonzero(tensor))
    for stored in described(model):
        yield stored.role, stored.tensor, int(torch.count_nonzero(stored.tensor))


DCASE2020 = Rule(
    year=2020,
    source="README and model_size_calculation.py of the official 2020 baseline",
    note="Subtask B: 500 KB of non-zero parameters, written as 128000 x 32 / 8 = 512000 bytes. "
    "The official calculator leaves BatchNorm out; some teams counted it nevertheless.",
    zeros=False,
    norm_affine=False,
    kilobyte=1024,
    bytes=512_000,
)
DCASE2021 = Rule(
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
DCASE2022 = Rule(
    year=2022,
    source="README of the official 2022 baseline; arXiv 2206.03835; NeSsi",
    note="All parameters count, zeros too, as 8-bit integers; 30 million MACs for one second. "
    "NeSsi counts a PyTorch model as torchinfo does, BatchNorm unfolded: that is used here. The "
    "baseline itself was counted as an int8 TFLite file (`DCASE2022_TFLITE`).",
    zeros=True,
    weight_bits=8,
    bias_bits=8,
    torchinfo_macs=True,
    params=128_000,
    macs=30_000_000,
)
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
    "limit is not established here, nor whether 8 bits were still asked for: bytes are as stored.",
    weight_bits=None,
    bias_bits=None,
)
DCASE2024 = Rule(
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
RULES = (DCASE2020, DCASE2021, DCASE2022, DCASE2023, DCASE2024, DCASE2025)
