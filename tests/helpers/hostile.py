"""Calls of the operations that a file may name, with arguments that a stranger would choose.

``python -m tests.helpers.hostile SEED FIRST LAST`` runs cases in this process, as `Network.forward`
would, and writes the number of each to its output before it begins: what was written last when the
process dies is the case that killed it.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from compressor.network import Network, Ref, Step
from compressor.network.file.guard import rehearse
from compressor.network.file.operations import ALLOWED, operation

MEMORY = 3 << 30
"""Bytes of addresses that a child may have: torch takes one and a half GiB of them, and results 64
MiB."""

SECONDS = 20
"""CPU seconds after which a case counts as hanging."""

RESULTS = 1 << 26
NUMBERS = (0, 1, -1, 2, 3, -2, 5, 7, -7, 64, 10**5, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62)
HUGE = (2**63 - 1, -(2**63) + 1, 2**63, -(2**63))
FLOATS = (0.0, -1.0, 0.5, 2.0, 1e-5, 1e308, -1e308, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    *("", "none", "tanh", "same", "valid", "constant", "reflect", "replicate", "circular", "sum"),
    *(
        "mean",
        "amax",
        "amin",
        "prod",
        "multiply",
        "add",
        "trunc",
        "floor",
        "ij",
        "xy",
        "%s",
        "nope",
    ),
    *("ij,jk->ik", "bij,bjk->bik", "i,j->ij", "ii->i", "...i->...", "i->", "ij->ijj", "a,b,c->abc"),
)
DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
SHAPES = (
    *((), (0,), (1,), (3,), (7,), (2, 3), (0, 3), (3, 0), (3, 3), (1, 3, 5), (2, 0, 5)),
    *((1, 3, 4, 4), (2, 4, 5, 6), (0, 3, 4, 4), (1, 0, 4, 4), (1, 2, 3, 4, 4), (1, 1, 1, 1, 1, 2)),
)


class Names(random.Random):
    """Draws arguments."""

    def tensor(self, like: Tensor | None = None) -> Tensor:
        """Any tensor; often of the shape and type of one before it."""
        alike = like is not None and self.random() < 0.6
        shape = like.shape if alike and like is not None else self.choice(SHAPES)
        known = like is not None and self.random() < 0.6
        dtype = like.dtype if known and like is not None else self.choice(DTYPES)
        made = self.filled(tuple(shape), dtype if self.random() < 0.8 else torch.float32)
        return self.moved(made)

    def filled(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        values = torch.randn(shape)
        if dtype.is_floating_point and self.random() < 0.3:
            values = values * self.choice(FLOATS)
        if not dtype.is_floating_point and not dtype.is_complex:
            values = torch.full(shape, self.choice((0, 1, 2, -1, 3, 100, 2**31, 2**62)))
            if dtype is not torch.int64:
                return torch.randint(0, 3, shape).to(dtype)
        return values.to(dtype)

    def moved(self, x: Tensor) -> Tensor:
        """The same shape in another layout, now and then."""
        if x.dim() > 1 and self.random() < 0.15:
            return x.transpose(0, 1).contiguous().transpose(0, 1)
        if self.random() < 0.05:
            return x[:1].expand(x.shape) if x.dim() and x.shape[0] else x
        return x

    def number(self) -> int:
        pool = NUMBERS if self.random() < 0.97 else HUGE
        return self.choice(pool[:7] if self.random() < 0.6 else pool)

    def value(self, kind: str, like: Tensor | None) -> Any:
        """A value of a declared type, and seldom one of another."""
        if self.random() < 0.02:
            return self.choice((None, 1, 1.5, "text", (1, 2), torch.float32, self.tensor()))
        if kind.startswith("Optional["):
            return None if self.random() < 0.5 else self.value(kind[9:-1], like)
        if kind.startswith("List["):
            same = self.random() < 0.4
            one = self.value(kind[5:-1], like)
            size = self.choice((0, 1, 2, 2, 3, 4, 5))
            return tuple(one if same else self.value(kind[5:-1], like) for _ in range(size))
        return self.plain(kind, like)

    def plain(self, kind: str, like: Tensor | None) -> Any:
        drawn: dict[str, Callable[[], Any]] = {
            "Tensor": lambda: self.tensor(like),
            "int": self.number,
            "float": lambda: self.choice(FLOATS),
            "number": lambda: self.number() if self.random() < 0.5 else self.choice(FLOATS),
            "bool": lambda: self.random() < 0.5,
            "str": lambda: self.choice(TEXTS),
            "ScalarType": lambda: self.choice(DTYPES),
            "Layout": lambda: torch.strided,
            "MemoryFormat": lambda: self.choice(
                (torch.contiguous_format, torch.channels_last, torch.preserve_format)
            ),
            "Device": lambda: torch.device("cpu"),
        }
        return drawn[kind]() if kind in drawn else None


@cache
def names() -> list[str]:
    """All operations of this version that a file may name, in a fixed order."""
    found = [name for name in sorted(ALLOWED) if _exists(name)]
    assert len(found) > 550
    return found


def _exists(name: str) -> bool:
    try:
        operation(name)
    except ValueError:
        return False
    return True


def x(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor to call with: a ramp."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) % 3).reshape(shape).to(dtype)


def whole(*shape: int) -> Tensor:
    return x(*shape, dtype=torch.int64)


@cache
def examples() -> dict[str, tuple[Any, ...]]:
    """Calls that run, for operations that few arguments fit; each is spoiled in many ways."""
    image, sound, cube = x(2, 4, 6, 6), x(2, 4, 9), x(1, 4, 5, 5, 5)
    norm = (x(4), x(4), x(4), x(4) + 1)
    gates = (x(12, 4), x(12, 4), x(12), x(12), x(16, 4), x(16, 4), x(16), x(16))
    rnn = (x(4, 4), x(4, 4), x(4), x(4))
    found: dict[str, tuple[Any, ...]] = {
        "conv1d": (sound, x(4, 2, 3), x(4), (1,), (1,), (1,), 2),
        "conv2d": (image, x(4, 2, 3, 3), x(4), (1, 1), (1, 1), (1, 1), 2),
        "conv3d": (cube, x(4, 2, 3, 3, 3), x(4), (1, 1, 1), (1, 1, 1), (1, 1, 1), 2),
        "conv1d.padding": (sound, x(4, 2, 3), x(4), (1,), "same", (1,), 2),
        "conv2d.padding": (image, x(4, 2, 3, 3), x(4), (1, 1), "same", (1, 1), 2),
        "conv3d.padding": (cube, x(4, 2, 3, 3, 3), x(4), (1, 1, 1), "same", (1, 1, 1), 2),
        "conv_transpose1d": (sound, x(4, 2, 3), x(4), (2,), (1,), (1,), 2, (1,)),
        "conv_transpose2d.input": (image, x(4, 2, 3, 3), x(4), (2, 2), (1, 1), (1, 1), 2, (1, 1)),
        "conv_transpose3d.input": (
            cube,
            x(4, 2, 3, 3, 3),
            x(4),
            (2, 2, 2),
            (1, 1, 1),
            (1, 1, 1),
            2,
        ),
        "convolution": (image, x(4, 2, 3, 3), x(4), (1, 1), (1, 1), (1, 1), False, (0, 0), 2),
        "linear": (x(3, 4), x(5, 4), x(5)),
        "bilinear": (x(3, 4), x(3, 5), x(2, 4, 5), x(2)),
        "addmm": (x(3, 5), x(3, 4), x(4, 5)),
        "baddbmm": (x(2, 3, 5), x(2, 3, 4), x(2, 4, 5)),
        "bmm": (x(2, 3, 4), x(2, 4, 5)),
        "mm": (x(3, 4), x(4, 5)),
        "mv": (x(3, 4), x(4)),
        "matmul": (x(2, 3, 4), x(4, 5)),
        "tensordot": (x(3, 4), x(4, 5), (1,), (0,)),
        "einsum": ("ij,jk->ik", (x(3, 4), x(4, 5))),
        "batch_norm": (image, *norm, False, 0.1, 1e-5, False),
        "instance_norm": (image, *norm, True, 0.1, 1e-5, False),
        "layer_norm": (image, (6, 6), x(6, 6), x(6, 6)),
        "rms_norm": (image, (6, 6), x(6, 6)),
        "group_norm": (image, 2, x(4), x(4)),
        "_weight_norm": (x(4, 2, 3), x(4, 1, 1), 0),
        "prelu": (image, x(4)),
        "gru.input": (x(2, 3, 4), x(1, 2, 4), gates[:4], True, 1, 0.0, False, False, True),
        "lstm.input": (x(2, 3, 4), (x(1, 2, 4),) * 2, gates[4:], True, 1, 0.0, False, False, True),
        "rnn_tanh.input": (x(2, 3, 4), x(1, 2, 4), rnn, True, 1, 0.0, False, False, True),
        "rnn_relu.input": (x(2, 3, 4), x(1, 2, 4), rnn, True, 1, 0.0, False, False, True),
        "gru_cell": (x(2, 4), x(2, 4), x(12, 4), x(12, 4), x(12), x(12)),
        "lstm_cell": (x(2, 4), (x(2, 4), x(2, 4)), x(16, 4), x(16, 4), x(16), x(16)),
        "rnn_tanh_cell": (x(2, 4), x(2, 4), *rnn),
        "scaled_dot_product_attention": (x(1, 2, 5, 4), x(1, 2, 6, 4), x(1, 2, 6, 4), x(5, 6)),
        "embedding": (x(5, 3), whole(2, 4)),
        "max_pool1d": (sound, (2,), (2,), (1,), (1,), False),
        "max_pool2d": (image, (2, 2), (2, 2), (1, 1), (1, 1), False),
        "max_pool2d_with_indices": (image, (2, 2), (2, 2), (1, 1), (1, 1), False),
        "max_unpool2d": (x(1, 1, 2, 2), whole(1, 1, 2, 2), (4, 4)),
        "max_unpool3d": (x(1, 1, 2, 2, 2), whole(1, 1, 2, 2, 2), (4, 4, 4), (2,) * 3, (0,) * 3),
        "max_pool3d": (cube, (2, 2, 2), (2, 2, 2), (1, 1, 1), (1, 1, 1), False),
        "avg_pool1d": (sound, (2,), (2,), (1,), False, True),
        "avg_pool2d": (image, (2, 2), (2, 2), (1, 1), False, True, 3),
        "avg_pool3d": (cube, (2, 2, 2), (2, 2, 2), (1, 1, 1), False, True, 3),
        "grid_sampler": (image, x(2, 5, 5, 2), 0, 0, True),
        "affine_grid_generator": (x(2, 2, 3), (2, 4, 5, 5), True),
        "pad": (image, (1, 1, 1, 1), "reflect", None),
        "constant_pad_nd": (image, (1, 1, 1, 1), 0.5),
        "pixel_shuffle": (image, 2),
        "pixel_unshuffle": (image, 2),
        "channel_shuffle": (image, 2),
        "im2col": (image, (2, 2), (1, 1), (1, 1), (2, 2)),
        "col2im": (x(1, 16, 9), (6, 6), (2, 2), (1, 1), (0, 0), (2, 2)),
        "topk": (image, 2, -1, True, True),
        "cumsum": (image, 1),
        "median.dim": (image, 1),
        "index.Tensor": (image, (None, whole(3))),
        "index_select": (image, 1, whole(3)),
        "gather": (x(3, 4), 1, whole(3, 2)),
        "take_along_dim": (x(3, 4), whole(3, 2), 1),
        "scatter.src": (x(3, 4), 1, whole(3, 2), x(3, 2)),
        "scatter.value": (x(3, 4), 1, whole(3, 2), 1.0),
        "scatter_add": (x(3, 4), 1, whole(3, 2), x(3, 2)),
        "scatter_reduce.two": (x(3, 4), 1, whole(3, 2), x(3, 2), "sum"),
        "index_add": (x(3, 4), 0, whole(2), x(2, 4)),
        "index_copy": (x(3, 4), 0, whole(2), x(2, 4)),
        "index_fill.int_Scalar": (x(3, 4), 0, whole(2), 2.0),
        "index_put": (x(3, 4), (whole(2),), x(2, 4), True),
        "one_hot": (whole(5), 4),
        "repeat_interleave.self_int": (image, 2, 1),
        "slice.Tensor": (image, 1, 0, 4, 2),
        "select.int": (image, 1, 2),
        "unfold": (sound, 2, 3, 2),
        "diagonal": (image, 0, 2, 3),
        "roll": (image, (1, 2), (2, 3)),
        "split_with_sizes": (image, (1, 3), 1),
        "unflatten.int": (image, 1, (2, 2)),
        "view": (image, (2, 4, 36)),
        "view.dtype": (image, torch.int32),
        "stft": (x(2, 64), 16, 4, 16, x(16), False, True, True),
        "stft.center": (x(2, 64), 16, 4, 16, x(16), True, "reflect", False, True, True),
        "istft": (x(2, 9, 17, dtype=torch.complex64), 16, 4, 16, x(16) + 1),
        "fft_rfft": (x(2, 16), 16, -1, "ortho"),
        "fft_irfft": (x(2, 9, dtype=torch.complex64), 16, -1, "ortho"),
        "_softmax": (image, 1, False),
        "_log_softmax": (image, 1, False),
        "glu": (image, 1),
    }
    for kind, moved in (("1d", sound), ("2d", image), ("3d", cube)):
        size = tuple(moved.shape[2:])
        pads = (1,) * (2 * len(size))
        for name in ("nearest", "linear", "bilinear", "trilinear", "bicubic"):
            corners = () if name == "nearest" else (False,)
            key = f"upsample_{name}{kind}"
            found[key] = (moved, tuple(2 * n for n in size), *corners)
            found[f"{key}.vec"] = (moved, None, *corners, (2.0,) * len(size))
        for name in ("reflection_pad", "replication_pad"):
            found[f"{name}{kind}"] = (moved, pads)
        for name in ("adaptive_avg_pool", "adaptive_max_pool", "_adaptive_avg_pool"):
            found[f"{name}{kind}"] = (moved, (2,) * len(size))
    known = set(names())
    return {name: call for name, call in found.items() if name in known}


def named(name: str, source: Names) -> dict[str, Any]:
    """Arguments of one call that have to be named."""
    declared = [a for a in operation(name)._schema.arguments if a.kwarg_only]
    return {
        argument.name: source.value(str(argument.real_type), None)
        for argument in declared
        if not argument.has_default_value() or source.random() < 0.2
    }


def drawn(name: str, source: Names, calls: dict[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """Arguments of one call."""
    declared = operation(name)._schema.arguments
    kinds = [str(argument.real_type) for argument in declared]
    if name in calls and source.random() < 0.8:
        args = list(calls[name])
        for _ in range(source.choice((1, 1, 1, 2, 3))):
            at = source.randrange(len(args))
            args[at] = spoiled(args[at], kinds[at], source)
        return tuple(args)
    args, like = [], None
    for kind, argument in zip(kinds, declared, strict=True):
        if argument.kwarg_only or (argument.has_default_value() and source.random() < 0.3):
            break
        args.append(source.value(kind, like))
        like = args[-1] if isinstance(args[-1], Tensor) and like is None else like
    return tuple(args)


def spoiled(value: Any, kind: str, source: Names) -> Any:
    """An argument that ran, changed a little or for another."""
    if isinstance(value, Tensor) and source.random() < 0.7:
        shape = list(value.shape)
        if shape and source.random() < 0.7:
            shape[source.randrange(len(shape))] = source.choice((0, 1, 2, 3, 5))
        elif shape and source.random() < 0.5:
            shape.pop()
        else:
            shape.append(1)
        dtype = value.dtype if source.random() < 0.7 else source.choice(DTYPES)
        return source.moved(source.filled(tuple(shape), dtype))
    if isinstance(value, tuple) and value and source.random() < 0.8:
        items = list(value)
        inner = kind.removeprefix("Optional[").removeprefix("List[").rstrip("]")
        inner = "Tensor" if "Tensor" in kind else inner
        at = source.randrange(len(items))
        if source.random() < 0.15:
            items.pop(at)
        else:
            items[at] = spoiled(items[at], inner, source)
        return tuple(items)
    return source.value(kind, None)


def network_of(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Network, tuple[Tensor, ...]]:
    """A network of one step, as a file would give, and what it is called with."""
    inputs: list[Tensor] = []

    def placed(value: Any) -> Any:
        if isinstance(value, Tensor):
            inputs.append(value)
            return Ref(f"x{len(inputs) - 1}")
        return tuple(map(placed, value)) if isinstance(value, tuple) else value

    by_name = {key: placed(value) for key, value in kwargs.items()}
    step = Step("y", operation(name), placed(args), by_name)
    given = [f"x{n}" for n in range(len(inputs))]
    guard = partial(rehearse, most=RESULTS)
    made = Network([step], given, Ref("y"), nn.Module(), tuple(inputs), guard=guard)
    return made.eval(), tuple(inputs)


def case(seed: int, number: int) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """The call of a number: the operations in turn, other arguments every round."""
    known = [*names(), *examples(), *examples()]  # kernels of their own more often
    name = known[number % len(known)]
    torch.manual_seed(number)
    source = Names(f"{seed} {number}")
    return name, drawn(name, source, examples()), named(name, source)


def ran(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """How a call ended: "ran", "refused", or by which exception of the operation itself."""
    made, inputs = network_of(name, args, kwargs)
    before = [given.clone() for given in inputs]
    try:
        with torch.no_grad():
            made(*inputs)
    except Exception as error:  # noqa: BLE001 - any exception is an ordinary end
        ended = "refused" if "cannot run" in str(error) else type(error).__name__
    else:
        ended = "ran"
    pairs = zip(before, inputs, strict=True)
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs), f"{name} wrote"
    return ended


def main(seed: int, first: int, last: int) -> None:
    """Run cases, the number of each told before it begins."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    case(seed, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in range(first, last):
        name, args, kwargs = case(seed, number)
        os.write(1, f"{number} {name} ".encode())
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        os.write(1, f"{ran(name, args, kwargs)}\n".encode())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
