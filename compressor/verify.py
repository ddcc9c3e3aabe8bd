"""Proof by running it: the smaller model computes what the masked original computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from compressor import masking
from compressor.errors import VerificationError
from compressor.graph import Graph
from compressor.structure import Structure
from compressor.surgery import shrink
from compressor.tracing.program import Example, evaluating, example_of

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference allowed, relative to the largest output (half precision: 3 %)."""

DOUBLE_LIMIT = 20_000_000
"""Models with more parameters are compared in their own precision, to save memory."""


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
        The largest difference, relative to the largest output.

    Raises:
        VerificationError: If the smaller model does not run, or its outputs differ.
    """
    found = compare(model, graph, structure, shrunk, example_of(model, example))
    if isinstance(found, str):
        raise VerificationError(
            f"the smaller {type(model).__name__} was compared with its masked original and {found}."
            " Nothing was returned. Please report the model; meanwhile name the layers around "
            "reshapes or slices with fixed sizes in keep=[...]"
        )
    return found


def compare(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    example: Sequence[Tensor],
) -> float | str:
    """The relative difference on inputs that suit the original, or what went wrong as text.

    Random inputs in a batch of two come first: a reshape with a fixed size can mix the items of a
    batch, which one item does not show. Where the original itself cannot take these (a fixed
    batch size, a logarithm of negative numbers), one random item and then the example are used.

    Raises:
        VerificationError: If the original itself gives no finite output on any of them.
    """
    attempts = (random_like(example, 2), random_like(example, 1), tuple(example))
    for inputs in attempts:
        found = difference(model, graph, structure, shrunk, inputs)
        if not isinstance(found, str) or _suits(model, inputs):
            return found
    raise VerificationError(
        f"{type(model).__name__} gives no finite output in eval mode on random inputs nor on its "
        "example, or other outputs each time, so nothing can be verified. Pass an example that it "
        "can take, or verify=False and compare the models yourself"
    )


def _suits(model: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Whether the original gives finite outputs, the same alone as in a batch."""
    try:
        with evaluating(model), torch.no_grad():
            together = masking.flat(model(*inputs))
            alone = masking.flat(model(*[x[:1] for x in inputs]))
    except Exception:  # noqa: BLE001  (any failure of user code is the answer here)
        return False
    return all(
        bool(torch.isfinite(a).all()) and torch.allclose(a[:1], b[:1], rtol=1e-3, atol=1e-5)
        for a, b in zip(together, alone, strict=True)
    )


def difference(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    inputs: Sequence[Tensor],
) -> float | str:
    """Largest relative difference of outputs; what went wrong as text if it is too large."""
    text = ""
    for left, right, x in _precisions(model, shrunk, inputs):
        try:
            reference = _masked(left, graph, structure, x)
        except (RuntimeError, TypeError) as error:
            # A model that casts to single precision on its way cannot run in double: try as it is.
            text = str(error).splitlines()[0]
            continue
        return _compare(reference, right, x)
    return f"the masked original does not run ({text})"


def _masked(
    model: nn.Module, graph: Graph, structure: Structure, inputs: Sequence[Tensor]
) -> list[Tensor]:
    """Masked outputs of every item of the batch, joined along the batch."""
    batch = inputs[0].shape[0]
    rows = [
        masking.run(model, graph, structure, [x[i : i + 1] for x in inputs]) for i in range(batch)
    ]
    return [torch.cat(parts) if parts[0].ndim else parts[0] for parts in zip(*rows, strict=True)]


def _compare(reference: list[Tensor], shrunk: nn.Module, inputs: Sequence[Tensor]) -> float | str:
    try:
        with evaluating(shrunk), torch.no_grad():
            outputs = masking.flat(shrunk(*inputs))
    except Exception as error:  # noqa: BLE001  (any failure of user code is the answer here)
        return f"it does not run ({type(error).__name__}: {str(error).splitlines()[0]})"
    shapes = [tuple(x.shape) for x in reference], [tuple(x.shape) for x in outputs]
    if shapes[0] != shapes[1]:
        return f"its outputs have shapes {shapes[1]} instead of {shapes[0]}"
    worst = 0.0
    for a, b in zip(reference, outputs, strict=True):
        if not bool(torch.isfinite(a).all()) or not bool(torch.isfinite(b).all()):
            return "the outputs are not finite on random inputs"
        scale = max(float(a.abs().max()), 1e-30) if a.numel() else 1.0
        error = float((a - b).abs().max()) / scale if a.numel() else 0.0
        worst = max(worst, error)
    dtype = reference[0].dtype if reference else torch.float64
    allowed = TOLERANCE.get(dtype, 3e-2)
    return worst if worst <= allowed else f"its outputs differ by {worst:.2g} of the largest one"


def _precisions(
    model: nn.Module, shrunk: nn.Module, inputs: Sequence[Tensor]
) -> Iterator[tuple[nn.Module, nn.Module, tuple[Tensor, ...]]]:
    """Both models and the inputs in float64, then as they are."""
    parameters = list(model.parameters())
    large = sum(p.numel() for p in parameters) > DOUBLE_LIMIT
    if not large and not any(p.device.type == "mps" for p in parameters):
        x = tuple(i.double() if i.is_floating_point() else i for i in inputs)
        yield copy.deepcopy(model).double(), copy.deepcopy(shrunk).double(), x
    yield model, shrunk, tuple(inputs)


def random_like(example: Sequence[Tensor], batch: int) -> tuple[Tensor, ...]:
    """Seeded random inputs like the example (integers are repeated as they are)."""
    generator = torch.Generator().manual_seed(0)
    made: list[Tensor] = []
    for x in example:
        shape = (batch, *x.shape[1:])
        if x.is_floating_point():
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
            made.append(noise.to(x.device, x.dtype))
        else:
            made.append(x.expand(shape).clone())
    return tuple(made)


def shrink_verified(
    model: nn.Module, graph: Graph, structure: Structure, example: Example | None = None
) -> tuple[nn.Module, float]:
    """`shrink`, then `verify`: the smaller model and the relative difference that was seen."""
    smaller = shrink(model, graph, structure)
    return smaller, verify(model, graph, structure, smaller, example)
