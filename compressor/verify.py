"""Proof by running it: the smaller model computes what the masked original computes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor import masking
from compressor.errors import VerificationError
from compressor.graph import Graph
from compressor.structure import Structure
from compressor.surgery import shrink
from compressor.tracing.program import Example, evaluating, example_of, named_tensors

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
    inputs = example_of(model, example)
    found = compare(model, graph, structure, shrunk, inputs, batches=(1,), double_first=True)
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
    *,
    batches: Sequence[int],
    double_first: bool,
) -> float | str:
    """The relative difference on inputs that suit the original, or what went wrong as text.

    Random inputs come first. Where the original itself cannot take these (a fixed batch size, a
    logarithm of negative numbers), the next batch size and at last the example are used.

    Args:
        model: The original.
        graph: Its graph.
        structure: What was kept.
        shrunk: The smaller model.
        example: Inputs of the traced shape, batch of one.
        batches: Sizes of the random batches to try. Two shows what one does not: a reshape with a
            fixed size that mixes the items of a batch.
        double_first: Compare in float64 at once, not only where single precision differs.

    Raises:
        VerificationError: If the original itself gives no finite output on any of them.
    """
    attempts = (*(random_like(example, batch) for batch in batches), tuple(example))
    for inputs in attempts:
        found: float | str = "the masked original does not run"
        for double in (True, False) if double_first else (False, True):
            found = difference(model, graph, structure, shrunk, inputs, double=double)
            if not isinstance(found, str):
                return found
        if _suits(model, inputs):
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
    *,
    double: bool,
) -> float | str:
    """Largest relative difference of outputs; what went wrong as text if it is too large.

    With `double` both run in float64, if the model is not too large, the device has it and the
    model does not cast on its way.
    """
    tensors = {name: tensor.detach() for name, tensor in named_tensors(model)}
    x = tuple(inputs)
    if double:
        if not _has_double(model):
            return "float64 is not available"
        tensors = {name: _in_double(tensor) for name, tensor in tensors.items()}
        shrunk, x = copy.deepcopy(shrunk).double(), tuple(_in_double(i) for i in inputs)
    try:
        reference = _masked(graph, structure, tensors, x)
    except (RuntimeError, TypeError) as error:
        return f"the masked original does not run ({str(error).splitlines()[0]})"
    return _compare(reference, shrunk, x)


def _masked(
    graph: Graph, structure: Structure, tensors: Mapping[str, Tensor], inputs: Sequence[Tensor]
) -> list[Tensor]:
    """Masked outputs of every item of the batch, joined along the batch."""
    batch = inputs[0].shape[0]
    rows = [
        masking.run(graph, structure, tensors, [x[i : i + 1] for x in inputs]) for i in range(batch)
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


def _has_double(model: nn.Module) -> bool:
    parameters = list(model.parameters())
    small = sum(p.numel() for p in parameters) <= DOUBLE_LIMIT
    return small and not any(p.device.type == "mps" for p in parameters)


def _in_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


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
