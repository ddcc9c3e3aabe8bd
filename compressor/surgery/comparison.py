"""Two ways to compute the same: the masked original and the smaller model on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Inputs
from compressor.inputs.lines import told
from compressor.inputs.tensors import named_tensors
from compressor.surgery import masking
from compressor.surgery.draws import steady
from compressor.surgery.scales import as_rounded
from compressor.wording import line

Reference = Callable[[Graph, Structure, Mapping[str, Tensor]], masking.Masked]
"""Makes the masked original on some weights."""

EXACT = 1e-9
"""Largest difference allowed in float64, relative to how much the output varies."""

SINGLE, HALF = 1e-4, 3e-2
"""The same in float32, and in types of fewer bits."""

_TOLERANCE = {torch.float64: EXACT, torch.float32: SINGLE}

GROSS = 0.2
"""A difference in float32 that float64 need not confirm."""

ROUNDING = {torch.float64: 100, torch.float32: 100}
"""Units in the last place of an output that rounding may cost beside; 4 in types of fewer bits."""

DOUBLE_LIMIT = 100_000_000
"""Models with more parameters are compared in their own precision, to save memory."""

CONSTANT = "its outputs are the same for every input: nothing can be compared"
SIZES = "the sizes of its outputs depend on values of the input: nothing can be compared"
DISCRETE = "its outputs are whole numbers: nothing can be compared"


@dataclass(frozen=True)
class Attempt:
    """Inputs to compare on.

    Attributes:
        items: Two single inputs. How far their outputs lie apart is the scale of differences: a
            constant as large as the -1e9 of a class mask would hide any error.
        joint: Give both to the smaller model as one batch: a reshape with a fixed size can mix
            items, which one alone does not show.
        compared: Numbers of the items that are compared.
    """

    items: tuple[Inputs, Inputs]
    joint: bool
    compared: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """Outcome of one comparison.

    Attributes:
        difference: The largest, relative to how much outputs vary; meaningless after a failure.
        failure: Reason that the two do not agree, or could not be compared; empty where they agree.
        sure: True if the same in another precision could not say otherwise: the smaller model does
            not run in its own, or it differs in float64.
    """

    difference: float = 0.0
    failure: str = ""
    sure: bool = False


def compare_twice(once: Callable[..., Outcome], shrunk: nn.Module, *, quick: bool) -> Outcome:
    """Compare in float64, and in the model's own precision where float64 cannot tell.

    It cannot where the model is too large, does not run in float64, or computes a part in a
    narrower type whatever its input is. Own precision is judged with an allowance for rounding,
    which for large outputs or half precision can hide what float64 shows; so it never overrules.

    Args:
        once: `difference` from the masked original on some inputs.
        shrunk: The smaller model.
        quick: Be content with float32 where it agrees without any allowance.
    """
    if quick:
        found = once(shrunk, lenient=False)
        if not found.failure or found.sure:
            return found
    found = once(shrunk, double=True)
    return found if not found.failure or found.sure else once(private_copy(shrunk))


def difference(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    attempt: Attempt,
    *,
    double: bool = False,
    lenient: bool = True,
    reference: Reference = masking.Masked,
) -> Outcome:
    """Compare once, in float64 or in the model's own precision; `lenient` allows for rounding."""
    items = attempt.items
    if double:
        if not _has_double(model):
            return Outcome(failure="float64 is not available")
        items = tuple(tuple(_copied(x, double=True) for x in item) for item in items)
    try:
        smaller = _doubled(shrunk) if double else shrunk
        outputs = outputs_of(smaller, items, graph, joint=attempt.joint)
    except Exception as error:  # noqa: BLE001 - any failure of user code is the answer here
        failure = f"it does not run ({told(error)})"
        plain = all(p.dtype in ROUNDING for p in model.parameters())  # has kernels for all
        return Outcome(failure=failure, sure=not double and plain)

    del smaller  # before the original needs as much
    rounded = as_rounded(model, structure, shrunk) if double else {}

    def masked(item: Inputs) -> masking.Run:
        with steady(graph):
            tensors = Weights(model, double=double, instead=rounded)
            return reference(graph, structure, tensors).outputs(item)

    try:
        runs = [masked(items[number]) for number in attempt.compared]
    except (RuntimeError, TypeError) as error:
        return Outcome(failure=f"the masked original does not run ({line(error)})")
    narrowed = any(run.narrowed for run in runs)
    pairs = [(run.tensors, outputs[n]) for run, n in zip(runs, attempt.compared, strict=True)]
    found = _distance(pairs, outputs, lenient=lenient)
    return replace(found, sure=found.sure or (double and not narrowed)) if found.failure else found


def outputs_of(
    model: nn.Module, items: Sequence[Inputs], graph: Graph, *, joint: bool
) -> list[list[Tensor]]:
    """Outputs of each single input, from one batch (`joint`) or one by one, in eval mode.

    Both the original, that `graph` is of, and the smaller model draw alike.
    """

    def run(inputs: Inputs) -> list[Tensor]:
        with evaluating(model), torch.no_grad(), steady(graph):
            return masking.flat(model(*(x.clone() for x in inputs)))

    if not joint:
        return [run(item) for item in items]
    together = run(batch(items))
    size = len(items)
    if any(x.ndim == 0 or x.shape[0] != size for x in together):
        raise ValueError("its outputs have no batch dimension")
    return [[x[i : i + 1] for x in together] for i in range(size)]


def batch(items: Sequence[Inputs]) -> Inputs:
    """The items as one batch; a tensor that has no batch dimension stays as it is."""
    return tuple(
        torch.cat(parts) if parts[0].shape[:1] == (1,) else parts[0]
        for parts in zip(*items, strict=True)
    )


def _distance(
    pairs: list[tuple[list[Tensor], list[Tensor]]], outputs: list[list[Tensor]], *, lenient: bool
) -> Outcome:
    """Compare what was wanted with what was found, for some items; `outputs` says how they vary."""
    worst, seen, varied = 0.0, False, False
    for wanted, found in pairs:
        before, after = ([tuple(x.shape) for x in tensors] for tensors in (wanted, found))
        if before != after:
            return Outcome(0.0, f"its outputs have shapes {after} instead of {before}", sure=True)
        for place, (a, b) in enumerate(zip(map(_real, wanted), map(_real, found), strict=True)):
            if not a.is_floating_point():
                continue  # numbers of classes and flags may flip where scores are nearly equal
            seen = True
            if outputs[0][place].shape != outputs[1][place].shape:
                return Outcome(failure=SIZES, sure=True)
            scale = _spread(_real(outputs[0][place]), _real(outputs[1][place]))
            if scale is None:
                return Outcome(failure="its outputs are not finite on these inputs")
            error, rounding = _error(a, b, lenient=lenient)
            relative = error / scale if scale else float("inf") if error else 0.0
            tolerance = _TOLERANCE.get(a.dtype, HALF if lenient else 0.0)
            if not error <= tolerance * scale + rounding:
                failure = f"its outputs differ by {relative:.2g} of how much they vary"
                return Outcome(failure=failure, sure=_is_gross(a, error, scale))
            if scale > rounding:  # else the same constant
                varied, worst = True, max(worst, relative)
    if not seen:
        return Outcome(failure=DISCRETE)
    return Outcome(difference=worst) if varied else Outcome(failure=CONSTANT)


def _is_gross(wanted: Tensor, error: float, scale: float) -> bool:
    """True if a difference in float32 is none of rounding, even where a part has fewer bits."""
    if wanted.dtype != torch.float32:
        return False
    size = float(wanted.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return error > GROSS * scale + HALF * size


def _real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _error(wanted: Tensor, found: Tensor, *, lenient: bool) -> tuple[float, float]:
    """Largest difference, and what rounding alone may make of outputs of this size."""
    differs = (wanted != found) & ~(torch.isnan(wanted) & torch.isnan(found))
    error = float((wanted - found)[differs].abs().max()) if bool(differs.any()) else 0.0
    finite = wanted[torch.isfinite(wanted)]
    size = float(finite.abs().max()) if finite.numel() else 0.0
    places = ROUNDING.get(wanted.dtype, 4) if lenient else 0
    return error, places * torch.finfo(wanted.dtype).eps * size


def _spread(first: Tensor, second: Tensor) -> float | None:
    """Measure how far two outputs lie apart where both are finite; None where nothing is finite."""
    finite = torch.isfinite(first) & torch.isfinite(second)
    return float((first - second)[finite].abs().max()) if bool(finite.any()) else None


def _has_double(model: nn.Module) -> bool:
    small = sum(p.numel() for p in model.parameters()) <= DOUBLE_LIMIT
    return small and not any(p.device.type == "mps" for p in model.parameters())


def _doubled(model: nn.Module) -> nn.Module:
    """A copy in float64, made without a copy in the model's own precision."""
    wide: dict[int, Tensor] = {}
    for tensor in {id(t): t for _, t in named_tensors(model)}.values():
        if tensor.is_floating_point():
            made = _copied(tensor, double=True)
            trained = isinstance(tensor, nn.Parameter)
            wide[id(tensor)] = nn.Parameter(made, tensor.requires_grad) if trained else made
    return private_copy(model, wide).double()  # what else it holds follows


class Weights(Mapping[str, Tensor]):
    """The tensors of a model for one run of its operations, each copied when it is asked for.

    A forward pass may write into what it is given, so that it gets a copy, which lives as long as
    the run needs it: of a large model there is never a second one as a whole.
    """

    def __init__(
        self, model: nn.Module, *, double: bool, instead: Mapping[str, Tensor] | None = None
    ) -> None:
        """Of a model, in float64 if `double`, with others in the place of some."""
        self._own, self._double = dict(named_tensors(model)) | dict(instead or {}), double

    def __getitem__(self, name: str) -> Tensor:
        """A copy of one of them."""
        return _copied(self._own[name], double=self._double)

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._own)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._own)


def _copied(tensor: Tensor, *, double: bool) -> Tensor:
    """A copy, as a forward pass may write into its buffers and its input."""
    wide = double and tensor.is_floating_point()
    return tensor.detach().to(torch.float64 if wide else tensor.dtype, copy=True)
