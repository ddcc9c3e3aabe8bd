"""Measure what a network costs, exactly: parameters by reading them, MACs by running it once.

A multiply-accumulate (MAC) is one multiply-add of a convolution or a matrix product, for one input:
half of what `torch.utils.flop_counter` counts. What PyTorch runs as one fused kernel, which this
counter reads as zero (attention, the transformer layer, LSTM), is made to run as separate products;
an operation that is not counted although weights go into it, or although it is named a product, is
an error, never a zero. `docs/counting.md` says what this leaves out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode  # the only way to see every operation
from torch.utils.flop_counter import FlopCounterMode

from compressor.budget import Cost
from compressor.counting.origins import Origins
from compressor.counting.stored import COUNTED, Compressed, Described, Role, Stored
from compressor.errors import CountError
from compressor.graph.operations import operation_of
from compressor.graph.own import forms
from compressor.graph.signature import Operation, flops
from compressor.inputs import randomness
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example, one_input
from compressor.inputs.forms import check_counted
from compressor.inputs.models import check_model
from compressor.inputs.process import exclusive

PRODUCT = re.compile(
    r"conv(?!ert)|linear|matmul|gemm|attention|attn|einsum|lstm|gru|rnn|mm(?![a-z])|mv$|dot$"
)
"""Names of operations that multiply matrices, of any package: never free without a formula."""

_aten = torch.ops.aten


def measure(
    model: nn.Module | Compressed,
    example: Example | None = None,
    *,
    operations: Sequence[Operation] = (),
) -> Cost:
    """Count parameters, non-zero parameters, MACs for one input, and bytes.

    Every distinct parameter counts once (a tied one too), buffers never. A parameter under an
    active mask of `torch.nn.utils.prune` counts in full, its masked entries as zeros. The MACs are
    found by running a copy of the model once in eval mode; the model itself is not touched.

    A network of integers (after `Int8`) has no parameters: its weights and biases count in their
    place, and its bytes are those of all its tensors, scales included.

    Args:
        model: Any module, or what `fit` returned.
        example: Input, for instance of shape (batch, channel, frequency, time); only the first
            item of the batch is used. Several positional arguments are given as a tuple; those
            whose first dimension is not the first argument's batch are passed whole. By default
            `model.example_input_array`.
        operations: Operators of one's own in the model (`compressor.Operation`).

    Returns:
        The cost. MACs are half of what `torch.utils.flop_counter` counts, with attention and
        recurrent layers run as separate matrix products, and with vector products counted. An
        operation without a formula and without weights (a Fourier transform of the input, a sort)
        counts nothing.

    Raises:
        CountError: If an operation that takes weights, or is a product by its name, cannot be
            counted, or the model cannot be copied or run.
        ValueError: If there is no model or no example, or an empty one, or the model's weights are
            none that can be seen: it is scripted, or they are packed.
        TypeError: If the example is neither a tensor nor a tuple of tensors.
    """
    model, example = opened(model, example)
    check_model(model)
    check_counted(model)
    told = list(described(model))
    found = [(p.numel(), nonzero(m, name, p), p.nbytes) for m, name, p in undescribed(model)]
    counted = [s.tensor for s in told if s.role in COUNTED]
    stored = [s.tensor for s in told] if any(s.role is Role.SCALE for s in told) else counted
    return Cost(
        params=sum(n for n, _, _ in found) + sum(t.numel() for t in counted),
        nonzero=sum(n for _, n, _ in found) + sum(int(t.count_nonzero()) for t in counted),
        macs=multiply_accumulates(model, example, operations),
        bytes=sum(n for _, _, n in found) + sum(t.nbytes for t in stored),
    )


def opened(
    model: nn.Module | Compressed, example: Example | None
) -> tuple[nn.Module, Example | None]:
    """The model that is to be counted, and its example: those of a result where none is given."""
    if not isinstance(model, Compressed):
        return model, example
    return model.model, (model.example or None) if example is None else example


def multiply_accumulates(
    model: nn.Module, example: Example | None = None, operations: Sequence[Operation] = ()
) -> int:
    """MACs of one forward pass of `model` for one input; arguments and errors as in `measure`."""
    inputs = one_input(model, example)
    own = {op.overloadpacket: flops(told, op) for op, told in forms(operations).items()}
    scratch = private_copy(model).eval()
    for parameter in scratch.parameters():  # the counter stumbles over views of those that learn
        parameter.requires_grad = False
    known = {**dict.fromkeys(_UNCOUNTED, _flops), **own}
    counter = FlopCounterMode(display=False, custom_mapping=known)
    with randomness.preserved(), torch.no_grad(), _unfused(), _Guard(scratch, counter), counter:
        run(scratch, inputs)
    return counter.get_total_flops() // 2


def owned_parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Every distinct parameter once, as (module that holds it, its name there, parameter)."""
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield module, name, parameter


def described(model: nn.Module) -> Iterator[Stored]:
    """Every distinct tensor of the `Described` modules in a model, with what it is for."""
    seen: set[int] = set()
    for module in model.modules():
        for stored in module.stored() if isinstance(module, Described) else ():
            if id(stored.tensor) not in seen:
                seen.add(id(stored.tensor))
                yield stored


def undescribed(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """As `owned_parameters`, without what `described` gives."""
    told = {id(stored.tensor) for stored in described(model)}
    return (owned for owned in owned_parameters(model) if id(owned[2]) not in told)


def nonzero(module: nn.Module, name: str, parameter: Tensor) -> int:
    """Entries of `parameter`, held by `module` as `name`, that are not zero or masked to zero."""
    mask = mask_of(module, name)
    return int(torch.count_nonzero(parameter.detach() if mask is None else parameter * mask))


def mask_of(module: nn.Module, name: str) -> Tensor | None:
    """The mask that `torch.nn.utils.prune` keeps beside parameter `name` of `module`, if any."""
    plain = name.removesuffix("_orig")
    return None if plain == name else dict(module.named_buffers(recurse=False)).get(plain + "_mask")


def run(model: nn.Module, inputs: tuple[Tensor, ...]) -> object:
    """Output of `model` for `inputs`; a `CountError` that says on what it was run if it fails."""
    # Compiled code would bypass the counter. Without the compiler loaded nothing is compiled, and
    # loading it only to say so takes a second.
    compiler = "torch._dynamo" in sys.modules
    try:
        with exclusive(), torch.compiler.set_stance("force_eager") if compiler else nullcontext():
            return model(*inputs)
    except CountError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{tuple(x.shape)} {x.dtype} on {x.device}" for x in inputs)
        weights = ", ".join(sorted({f"{p.dtype} on {p.device}" for p in model.parameters()}))
        raise CountError(
            f"{type(model).__name__} could not be run on an example of {shapes}: {error} (its "
            f"parameters: {weights or 'none'}). Pass an example that the model accepts."
        ) from error


class _Guard(TorchDispatchMode):
    """Refuses every operation with weights that `counter` does not count and that is not free.

    It lies under the counter, so it sees operations as the counter executes them: decomposed.
    """

    def __init__(self, model: nn.Module, counter: FlopCounterMode) -> None:
        super().__init__()
        self.counter = counter
        self.origins = Origins(model)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = (args, kwargs or {})
        if func.overloadpacket not in self.counter.flop_registry and not is_free(func):
            self._check(func, given)
        result = func(*args, **(kwargs or {}))
        self.origins.follow(func, given, result)
        return result

    def _check(self, func: OpOverload, given: object) -> None:
        weighs = self.origins.weighs(given)
        if not weighs and not PRODUCT.search(func._opname):  # noqa: SLF001 - see `is_free`
            return
        where = max(self.counter.mod_tracker.parents, key=len).partition(".")[2]
        name = func._schema.name  # noqa: SLF001 - see `_is_free`
        why = "it takes weights" if weighs else "it is a product by its name"
        raise CountError(
            f"the multiply-accumulates of {func.name()!r} in module {where or 'the model'!r} "
            f"cannot be counted: {why}, and PyTorch's counter has no formula for it. Write it with "
            "convolutions, linear layers or matmul, move it out of the model, say what it does, "
            f"operations=[compressor.Operation({name!r}, ...)] (docs/own-operators.md), or what it "
            "costs with torch.utils.flop_counter.register_flop_formula."
        )


@cache
def is_free(op: OpOverload) -> bool:
    """True if `op` surely holds no convolution and no matrix product.

    Where neither its row nor PyTorch says so, it costs nothing only if no weight goes into it.
    """
    if op.namespace != "aten":
        return op.namespace in {"prim", "profiler"}  # bookkeeping: the device of a tensor and such
    name = op._opname.rstrip("_")  # noqa: SLF001 - an in-place form is as free as the plain one
    plain = getattr(getattr(_aten, name, None), op._overloadname, op)  # noqa: SLF001
    return operation_of(op).free or _is_marked_free(op) or _is_marked_free(plain)


def _is_marked_free(op: OpOverload) -> bool:
    """True if PyTorch marks `op` as elementwise, as a view, or as making a tensor of numbers."""
    schema = op._schema  # noqa: SLF001 - what an operation aliases is written nowhere else
    returns = [result.alias_info for result in schema.returns]
    view = any(alias is not None and not alias.is_write for alias in returns)
    maker = not any("Tensor" in str(argument.type) for argument in schema.arguments)
    return view or maker or bool({torch.Tag.pointwise, torch.Tag.inplace_view} & set(op.tags))


@contextmanager
def _unfused() -> Generator[None]:
    """Make PyTorch run attention and recurrent layers as products that the counter sees."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fastpath)
        torch.backends.mha.set_fastpath_enabled(value=False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        tf32: Any = None  # unchanged: merely setting it warns where there is no Intel GPU
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=tf32))
        yield


def _flops(*shapes: torch.Size, **_: object) -> int:
    left, right = shapes[-2:]  # a bias may stand before them
    return 2 * prod(left) * (right[-1] if len(right) > 1 else 1)


# Products that torch.utils.flop_counter has no formula for: operations from the operands' shapes.
_UNCOUNTED = (_aten.mv, _aten.dot, _aten.vdot, _aten.addmv, _aten.addbmm)
