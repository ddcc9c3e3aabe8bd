"""The last phase: train with every value rounded to 8 bits, and leave a network of integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.graph.graph import Weight
from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.inputs.checks import check_loss
from compressor.inputs.evaluation import evaluating
from compressor.inputs.finite import is_finite, not_finite, on
from compressor.inputs.labels import all_ignored
from compressor.inputs.losses import Distill, Loss, check_distill
from compressor.inputs.settings import check_number, check_whole
from compressor.network import Network, to_network
from compressor.network.integer import Layer
from compressor.phases.train import FineTune
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, grids, prepare, set_grids
from compressor.quantization.presets import ORT, Preset
from compressor.quantization.rounded import rounded_weights
from compressor.quantization.stand_ins import stand_in
from compressor.run.later import EntryBits
from compressor.run.lesson import Judged, Lesson
from compressor.run.phase import Phase, Teaching
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

SETTLED = "it trains for int8, which must be the last phase"


@dataclass(frozen=True)
class Int8(Teaching):
    """Quantisation-aware training, then conversion to integers; nothing can follow.

    The model becomes a `compressor.network.Network`. First quantisers are put into it and their
    scales chosen from data (`compressor.quantization.preparation`), then it is trained with rounded
    weights and activations, gradients passing straight through, and at last its weights become int8
    and its biases int32, with normalisation in the scales. What is returned is this integer
    reference: what it computes is what its file and its ONNX export compute.

    What is rounded: convolutions in one, two and three dimensions, transposed ones, and matrix
    products (`nn.Linear`) of any number of dimensions, as long as their weight is a parameter that
    nothing else reads (`compressor.quantization.rounded`); recurrent layers, attention's own
    products and computed weights stay in floating point, in the file and in what a cap on bytes
    counts. So does a front end in the model: Fourier transforms, products with a mel matrix,
    logarithms, and layers that read the waveform and are not trained
    (`compressor.quantization.tables`). The first values that are rounded are those that the first
    trained layer reads. What is rounded is stored as integers. Runtimes have no integer kernel for
    transposed convolutions, nor for sums that 32 bits may not hold (some 66,000 inputs at their
    maximum): these run in floating point there, on the stored integers, with the same result.

    Source: the 2021 report, section 2.3 (symmetric quantisation of what pruning left), and the 2022
    one, section 2.4 (8 bits for weights and activations after pruning). Zeros of earlier pruning
    stay zeros. 8 bits save bytes; whether they save time is a matter of the runtime.

    The file and the reference agree to the bit on every machine. The ONNX export computes the same
    in ONNX Runtime at its default settings, on x86 CPUs with VNNI and without (the kernels of the
    latter cut off sums of signed weights, see `presets`): equal to the last step with `presets.ORT`
    and `VNNI` where all layers, sums and pools are integers; to a step where parts stay in floating
    point (SiLU, and what `TENSORRT` leaves to a CPU), as the last bit of a number may fall on the
    other side of a half; seldom to a few steps where such numbers go through a mean over all
    channels (Residual Normalization). `benchmarks/int8/quantization.md` says how often, and on
    which CPU. Seen on x86 alone, one of them emulated; not on ARM.

    With `presets.TFLM` the reference has the arithmetic of TensorFlow Lite Micro
    (`compressor.network.fixed`), and a `.tflite` file computes it bit for bit in that runtime.
    Training has its grids, those of a sigmoid, of every mean and of the parts of Residual
    Normalization among them, and rounds to them once. The second rounding comes with the
    conversion, which every epoch's `val` is judged by: the accuracy in the log, and the best epoch,
    are the file's. A forward pass with both roundings was measured and left out: a step takes four
    times as long, and there is nothing to gain (`benchmarks/microcontroller/forward.md`: in the
    device's arithmetic accuracy is no lower than in that of training).

    Attributes:
        epochs: Passes over the data; none leaves the network as calibration made it.
        lr: Learning rate at the end of the warm-up; it falls along half a cosine.
        weight_decay: Decoupled weight decay, on filters alone.
        warmup: Epochs (or a part of one) over which the rate rises from 0.
        distill: What to learn from the dense network beside the targets.
        preset: The grids of activations and bits of weights: `presets.ORT` for ONNX Runtime and
            phones, `presets.VNNI` for speed on servers, `presets.TENSORRT`, or `presets.TFLM` for
            microcontrollers.
        fold_bands: Normalisation by sub-bands becomes part of the scales of the convolution before
            it; else it is an operation of its own.
        learned: True if scales of activations are learned, as in LSQ (Esser et al. 2020).
        batches: Batches that the scales are chosen from.
        select: Convert the epoch with the best `val`, the calibrated start among them, instead of
            the last one.
    """

    epochs: int = 5
    lr: float = 2e-4
    weight_decay: float = 0.0
    warmup: float = 0.5
    distill: Distill | None = None
    preset: Preset = ORT
    fold_bands: bool = True
    learned: bool = False
    batches: int = 8
    select: bool = False

    lowers = frozenset({"bytes"})
    final = fixed = stores_network = rounds_weights = True
    needs = "Int8 chooses scales"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_whole("Int8", epochs=self.epochs)
        check_whole("Int8", 1, batches=self.batches)
        check_number("Int8", lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup)
        check_distill("Int8", self.distill)
        if not isinstance(self.preset, Preset):
            raise ValueError(
                f"Int8(preset={brief(self.preset)}): must be compressor.quantization.presets.ORT, "
                "VNNI, TENSORRT or TFLM"
            )

    @property
    def trains(self) -> bool:
        """True with epochs."""
        return self.epochs > 0

    @property
    def length(self) -> int:
        """Quantisers put in, the epochs, and the conversion."""
        return self.epochs + 2

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out whether the model can be written as a network and has anything to round.

        Raises:
            TraceError: If it cannot.
            ValueError: If nothing in it can be rounded, it is quantised already, or the loss does
                not work with a network.
        """
        del earlier
        prepared = self._prepared(session)
        for batch in islice(session.data or (), 1):
            _check_shapes(session, _calls(session.model, session.loss, [batch]))
            _check_loss(session, prepared, batch)

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Prepare, train one epoch, or convert."""
        session = training.session
        if part == 0:
            inputs = _inputs(training, self.batches)
            network = self._prepared(session)
            calibrate(network, inputs)
            self._take(session, network)
            session.record({"grids": grids(session.model)})
            training.refresh()
        elif part <= self.epochs:
            yield from self._epoch(training, part - 1)
        else:
            self._convert(session)
            session.record({"large": _large(session.model)})
            training.refresh()

    def redo(self, session: Compression, change: Any) -> None:
        """Put quantisers in, or convert; values are filled in by the checkpoint."""
        if "grids" in change:
            self._take(session, self._prepared(session))
            set_grids(session.model, change["grids"])
        else:
            self._convert(session)
            for name, large in change["large"].items():
                cast("Layer", session.model.get_submodule(name)).large = large

    def network_after(self, network: Network, bits: Mapping[str, int]) -> Network:
        """The integers that a network will become, with any scales."""
        return stand_in(
            network, self.preset, fold_bands=self.fold_bands, bits=bits, learned=self.learned
        )

    def bits_after(self, network: Network) -> EntryBits:
        """A byte for what is rounded, 32 bits for what is not; norms go into the scales."""
        rounded = rounded_weights(network)

        def bits(weight: Weight, before: Fraction) -> Fraction:
            if weight.name in rounded:
                return min(before, Fraction(8))
            return Fraction(32) if weight.trainable else Fraction(0)

        return bits

    def rate(self, over: float) -> float:
        """Factor of the learning rate when the share `over` of the epochs is done."""
        return FineTune(epochs=max(self.epochs, 1), warmup=self.warmup).rate(over)

    def _take(self, session: Compression, network: Network) -> None:
        session.replace(network, settled=SETTLED, unrounded=session.model)

    def _prepared(self, session: Compression) -> Network:
        whole = to_network(session.model, session.example)
        return prepare(
            whole, self.preset, fold_bands=self.fold_bands, learned=self.learned, bits=session.bits
        )

    def _epoch(self, training: Training, number: int) -> Iterator[Lesson]:
        if number == 0:
            training.start(self.lr, self.weight_decay)
            if self.select:
                training.remember_best(start=True, judged=self._judged)
        loss = training.distilled(self.distill)
        yield Lesson("Int8", number, self.epochs, loss, self.rate, judged=self._judged)
        if self.select:
            training.remember_best()
            if number == self.epochs - 1:
                training.recall_best()

    @property
    def _judged(self) -> Judged | None:
        """What is validated after an epoch: the device's arithmetic, where training has another."""
        return _converted if self.preset.fixed_point else None

    def _convert(self, session: Compression) -> None:
        session.replace(_converted(session.model), settled="it is made of integers")


def _converted(model: nn.Module) -> Network:
    """The integer reference of a network that trains for int8."""
    return convert(cast("Network", model))


def _inputs(training: Training, batches: int) -> list[tuple[Tensor, ...]]:
    """The inputs that the loss calls the model with on some batches."""
    session = training.session
    found = _calls(session.model, session.loss, islice(training.batches(whole=True), batches))
    _check_shapes(session, found)
    return found


def _calls(model: nn.Module, loss: Loss, batches: Iterable[Batch]) -> list[tuple[Tensor, ...]]:
    """The inputs that the loss, which must be finite, calls a model with, in eval mode."""
    seen: list[tuple[Tensor, ...]] = []

    def remember(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        if named:
            raise ValueError(
                f"Int8 makes a network of the model, whose inputs have no names, and the loss "
                f"calls it with {', '.join(named)}=...: call it as model(inputs)"
            )
        seen.append(inputs)

    hook = model.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        with evaluating(model), torch.no_grad(), randomness.preserved():
            for number, batch in enumerate(batches, start=1):
                value = loss(model, batch)
                if not is_finite(value) and not all_ignored(batch):
                    at = f"on batch {number} of data, of which Int8 chooses scales"
                    raise not_finite(model, on(loss, batch), "the loss", at, batch)
    finally:
        hook.remove()
    return seen


def _check_loss(session: Compression, prepared: Network, batch: Batch) -> None:
    """Check that the loss works with a network, and so calls none of the model's layers."""
    try:
        check_loss(prepared, batch, session.loss)
    except ValueError as error:
        name = type(session.given).__name__
        raise ValueError(
            f"Int8 makes a network of the {name}, a list of operations on its weights that has "
            f"none of its layers and methods, and {error}. Call the model itself, model(inputs), "
            "in the loss"
        ) from error


def _check_shapes(session: Compression, calls: Sequence[tuple[Tensor, ...]]) -> None:
    """Check that the data are as large as the example: integers are made for one size."""
    for inputs in calls:
        for x, like in zip(inputs, session.example, strict=False):
            if x.shape[1:] != like.shape[1:]:
                raise ValueError(
                    f"Int8 makes integers for inputs of one size, {tuple(like.shape[1:])} of the "
                    f"example, and the data have {tuple(x.shape[1:])}: pass an example of the "
                    "data's size, example=..."
                )


def _large(whole: nn.Module) -> dict[str, bool]:
    """Layers of integers that add up in double precision, which no tensor says."""
    named = whole.named_modules()
    return {name: m.large for name, m in named if isinstance(m, Layer)}
