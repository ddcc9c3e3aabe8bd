"""Proof by running it: the smaller model computes what the masked original computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor import masking
from compressor.errors import VerificationError
from compressor.graph import Graph
from compressor.structure import Structure
from compressor.surgery import shrink
from compressor.tracing.program import Example, evaluating, example_of, named_tensors

Inputs = tuple[Tensor, ...]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference allowed, relative to how much the output varies (half precision: 3 %)."""

DOUBLE_LIMIT = 100_000_000
"""Models with more parameters are compared in their own precision, to save memory."""


@dataclass(frozen=True)
class Attempt:
    """Inputs to compare on.

    Attributes:
        items: Two single inputs. How far their outputs lie apart is the scale of differences: a
            constant as large as the -1e9 of a class mask would hide any error.
        joint: Give both to the smaller model as one batch: a reshape with a fixed size can mix
            items, which one alone does not show. Both are then compared, else only the first.
    """

    items: tuple[Inputs, Inputs]
    joint: bool


def verify(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    example: Example | None = None,
) -> float:
    """Compare a smaller model with the masked original on random inputs.

    Both run in eval mode and, where the model allows it, in float64, so that "equal" means equal:
    what is left is the order of summation.

    Args:
        model: The original, that `graph` was traced from.
        graph: Its graph.
        structure: What was kept.
        shrunk: The smaller model.
        example: An input of the traced shape; default `model.example_input_array`.

    Returns:
        The largest difference, relative to how much the outputs vary between two inputs.

    Raises:
        VerificationError: If the smaller model does not run, or its outputs differ.
    """
    inputs = example_of(model, example)
    found = compare(model, graph, structure, shrunk, attempts(inputs)[1:], double_first=True)
    if isinstance(found, str):
        cut = [
            axis.name for axis, w in zip(graph.axes, structure.widths, strict=True) if w < axis.size
        ]
        raise VerificationError(
            f"the smaller {type(model).__name__} was compared with its masked original and {found}."
            f" Nothing was returned. Layers that lost channels: {', '.join(cut[:5])}. Find the one "
            f"whose channels the code counts on, with keep={cut[:1]} and so on, and report the "
            "model"
        )
    return found


def attempts(example: Inputs) -> tuple[Attempt, ...]:
    """Inputs to try in turn: random ones in a batch, then alone, then the example disturbed."""
    first, second = (_random_like(example, seed) for seed in (0, 1))
    return (
        Attempt((first, second), joint=True),
        Attempt((first, second), joint=False),
        Attempt((example, _disturbed(example)), joint=False),
    )


def compare(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    tries: Sequence[Attempt],
    *,
    double_first: bool,
) -> float | str:
    """The relative difference on the first inputs that suit the original, or what went wrong.

    Args:
        model: The original.
        graph: Its graph.
        structure: What was kept.
        shrunk: The smaller model.
        tries: Inputs; later ones are for originals that cannot take the earlier ones (a fixed
            batch size, a logarithm of negative numbers).
        double_first: Compare in float64 at once, not only where single precision differs.

    Raises:
        VerificationError: If the original itself gives no finite output on any of them.
    """
    for attempt in tries:
        found: float | str = "the masked original does not run"
        for double in (True, False) if double_first else (False, True):
            found = difference(model, graph, structure, shrunk, attempt, double=double)
            if not isinstance(found, str):
                return found
        if _suits(model, attempt):
            return found
    raise VerificationError(
        f"{type(model).__name__} gives no finite output in eval mode on random inputs nor on its "
        "example, or other outputs each time, so nothing can be verified. Pass an example that it "
        "can take, or verify=False and compare the models yourself"
    )


def difference(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    attempt: Attempt,
    *,
    double: bool,
) -> float | str:
    """Largest relative difference of outputs; what went wrong as text if it is too large.

    With `double` both run in float64, if the model is not too large, the device has it and the
    model does not cast on its way.
    """
    tensors = {name: tensor.detach() for name, tensor in named_tensors(model)}
    items = attempt.items
    if double:
        if not _has_double(model):
            return "float64 is not available"
        tensors = {name: _in_double(tensor) for name, tensor in tensors.items()}
        shrunk = copy.deepcopy(shrunk).double()
        items = tuple(tuple(map(_in_double, item)) for item in items)
    compared = items if attempt.joint else items[:1]
    try:
        reference = [masking.run(graph, structure, tensors, item) for item in compared]
    except (RuntimeError, TypeError) as error:
        return f"the masked original does not run ({str(error).splitlines()[0]})"
    try:
        outputs = _outputs(shrunk, items, joint=attempt.joint)
    except Exception as error:  # noqa: BLE001 - any failure of user code is the answer here
        return f"it does not run ({type(error).__name__}: {str(error).splitlines()[0]})"
    return _distance(reference, outputs)


def _outputs(model: nn.Module, items: Sequence[Inputs], *, joint: bool) -> list[list[Tensor]]:
    """Outputs of each item, from one batch or one by one, in eval mode."""
    with evaluating(model), torch.no_grad():
        if not joint:
            return [masking.flat(model(*item)) for item in items]
        together = masking.flat(model(*_batch(items)))
    size = len(items)
    if any(x.ndim == 0 or x.shape[0] != size for x in together):
        raise ValueError("its outputs have no batch dimension")
    return [[x[i : i + 1] for x in together] for i in range(size)]


def _distance(reference: list[list[Tensor]], outputs: list[list[Tensor]]) -> float | str:
    """Compare the items of `reference` with those of `outputs`, which may have one more."""
    worst, seen = 0.0, False
    for wanted, found in zip(reference, outputs, strict=False):
        shapes = [tuple(x.shape) for x in wanted], [tuple(x.shape) for x in found]
        if shapes[0] != shapes[1]:
            return f"its outputs have shapes {shapes[1]} instead of {shapes[0]}"
        for place, (a, b) in enumerate(zip(wanted, found, strict=True)):
            if not a.is_floating_point():
                continue  # numbers of classes and flags may flip where scores are nearly equal
            scale = _spread(outputs[0][place], outputs[1][place])
            if scale is None:
                return "its outputs are not finite on these inputs"
            error, rounding = _error(a, b)
            if scale == 0 and error == 0:
                continue  # the same constant
            seen = True
            relative = error / scale if scale else float("inf")
            if not error <= TOLERANCE.get(a.dtype, 3e-2) * scale + rounding:
                return f"its outputs differ by {relative:.2g} of how much they vary"
            worst = max(worst, relative)
    return worst if seen else "its outputs are constant or whole numbers: nothing can be compared"


def _error(wanted: Tensor, found: Tensor) -> tuple[float, float]:
    """Largest difference, and what rounding alone may make of the entries that differ."""
    differs = (wanted != found) & ~(torch.isnan(wanted) & torch.isnan(found))
    if not bool(differs.any()):
        return 0.0, 0.0
    error = float((wanted - found)[differs].abs().max())
    size = float(wanted[differs].abs().max())
    return error, 100 * torch.finfo(wanted.dtype).eps * size


def _spread(first: Tensor, second: Tensor) -> float | None:
    """How far two outputs lie apart where both are finite; None where nothing is finite."""
    finite = torch.isfinite(first) & torch.isfinite(second)
    if not bool(finite.any()):
        return None
    return float((first - second)[finite].abs().max())


def _suits(model: nn.Module, attempt: Attempt) -> bool:
    """Whether the original runs, gives finite numbers, and the same ones alone as in a batch."""
    private = copy.deepcopy(model)
    try:
        alone = _outputs(private, attempt.items, joint=False)
        again = _outputs(private, attempt.items, joint=attempt.joint)
    except Exception:  # noqa: BLE001 - any failure of user code is the answer here
        return False
    pairs = [(a, b) for x, y in zip(alone, again, strict=True) for a, b in zip(x, y, strict=True)]
    floats = [(a, b) for a, b in pairs if a.is_floating_point()]
    return all(
        bool(torch.isfinite(a).any()) and torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
        for a, b in floats
    )


def _has_double(model: nn.Module) -> bool:
    parameters = list(model.parameters())
    small = sum(p.numel() for p in parameters) <= DOUBLE_LIMIT
    return small and not any(p.device.type == "mps" for p in parameters)


def _in_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _batch(items: Sequence[Inputs]) -> Inputs:
    """The items as one batch; a tensor that has no batch dimension stays as it is."""
    return tuple(
        torch.cat(parts) if parts[0].shape[:1] == (1,) else parts[0]
        for parts in zip(*items, strict=True)
    )


def batch_of(example: Inputs) -> Inputs:
    """A batch of two random inputs like the example."""
    return _batch([_random_like(example, 0), _random_like(example, 1)])


def _random_like(example: Inputs, seed: int) -> Inputs:
    """Seeded normal inputs like the example; integers stay as they are."""
    generator = torch.Generator().manual_seed(seed)

    def noise(x: Tensor) -> Tensor:
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        return drawn.to(x.device, x.dtype)

    return tuple(noise(x) if x.is_floating_point() else x for x in example)


def _disturbed(example: Inputs) -> Inputs:
    """The example with every number changed by up to 30 %."""
    generator = torch.Generator().manual_seed(2)

    def near(x: Tensor) -> Tensor:
        drawn = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        return x * (0.7 + 0.6 * drawn).to(x.device, x.dtype)

    return tuple(near(x) if x.is_floating_point() else x for x in example)


def shrink_verified(
    model: nn.Module, graph: Graph, structure: Structure, example: Example | None = None
) -> tuple[nn.Module, float]:
    """`shrink`, then `verify`: the smaller model and the relative difference that was seen."""
    smaller = shrink(model, graph, structure)
    return smaller, verify(model, graph, structure, smaller, example)
