"""Random draws made alike in two runs, so that networks that sample in eval mode can be compared.

A smaller network draws fewer numbers, and a batch of two other numbers than two batches of one: an
equal seed does not make equal draws. Independent draws have no identity, though: any value is as
good in any place. So while two runs are compared, the k-th operation that draws gives the same
possible value everywhere, whatever the shape, and a choice by probabilities gives what is expected
(a dropout, its input; a Bernoulli draw, its probability; a multinomial one, the likeliest).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils._python_dispatch import TorchDispatchMode  # the only way to see every draw

from compressor.graph.graph import Graph
from compressor.graph.program import argument
from compressor.inputs import randomness

_SAME = """
    rand rand_like uniform randn randn_like normal exponential geometric cauchy log_normal random
    randint randint_like
"""
"""Operations whose entries are drawn independently of each other and of the values they are given,
up to limits, mean and deviation."""


@contextmanager
def steady(graph: Graph) -> Generator[None]:
    """Draws alike in every run inside one of these; no random state moves.

    Nothing is done where the network, that `graph` is of, draws nothing.
    """
    if not _draws(graph):
        yield
        return
    with randomness.preserved(), _Steady():
        yield


def _draws(graph: Graph) -> bool:
    """True if any operation of a network draws, in eval mode."""
    nodes = [] if graph.program is None else graph.program.graph.nodes
    return any(
        torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and not _spares(node)
        for node in nodes
    )


def _spares(node: Node) -> bool:
    """True if an operation that can draw does not: outside of training, or with no dropout."""
    quiet = argument(node, "train") is False or argument(node, "training") is False
    return quiet or argument(node, "dropout_p") == 0


class _Steady(TorchDispatchMode):
    """Gives every operation that draws the same value in every place."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        self.number += 1
        torch.manual_seed(self.number)  # for what is not known below: alike where shapes are
        names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001
        given = dict(zip(names, args, strict=False)) | kwargs
        name = func._opname.rstrip("_")  # noqa: SLF001 - in place or not
        if name in _SAME.split():
            return func(*args, **kwargs).copy_(self._value(name, given))
        if name == "bernoulli" and "p" in names:
            given.setdefault("p", 0.5)  # what is left out where it is the default
        expected = _EXPECTED[name](given) if name in _EXPECTED else None
        if expected is None:
            return func(*args, **kwargs)
        if func._schema.is_mutable:  # noqa: SLF001 - says whether it writes
            return args[0].copy_(expected)
        return expected

    def _value(self, name: str, given: dict[str, Any]) -> Tensor:
        """A possible value of an independent draw, another one for every operation."""
        part = 0.25 + 0.5 * (0.618 * self.number % 1)
        low = given.get("low", given.get("from", 0)) or 0
        if name == "uniform":
            return torch.as_tensor(low + (given.get("to", 1.0) - low) * part)
        if name == "normal":
            return torch.as_tensor(given.get("mean", 0.0) + given.get("std", 1.0) * part)
        whole = {"random", "randint", "randint_like"}
        return torch.as_tensor(low if name in whole else 1 if name == "geometric" else part)


def _bernoulli(given: dict[str, Any]) -> Tensor:
    x: Tensor = given["self"]
    p = given.get("p", x)
    return torch.as_tensor(p, dtype=x.dtype, device=x.device).expand_as(x).clone()


def _multinomial(given: dict[str, Any]) -> Tensor:
    """The likeliest, in order."""
    order = given["self"].argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(int(given["num_samples"]), device=order.device)
    return order[..., places % order.shape[-1]]


def _rrelu(given: dict[str, Any]) -> Tensor:
    slope = (given.get("lower", 1 / 8) + given.get("upper", 1 / 3)) / 2
    return torch.nn.functional.leaky_relu(given["self"], slope)


_EXPECTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bernoulli": _bernoulli,
    "native_dropout": lambda given: (given["input"], torch.ones_like(given["input"]).bool()),
    "poisson": lambda given: given["self"].clone(),
    "binomial": lambda given: given["count"] * given["prob"],
    "multinomial": _multinomial,
    "rrelu_with_noise": _rrelu,
}
"""What an operation draws on average, or most likely, from its arguments by name."""
