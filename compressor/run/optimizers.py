"""Optimisers that follow a network as it shrinks, and the parameter groups they start from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from compressor.inputs import randomness
from compressor.surgery.cutting import Cut, Index, take

OptimizerFactory = Callable[..., Optimizer]
"""Called as ``factory(groups, lr=..., weight_decay=...)``; most classes of `torch.optim` fit, and
`functools.partial` sets the rest: ``partial(torch.optim.SGD, momentum=0.9)``. A function makes
others fit: ``lambda groups, lr, weight_decay: torch.optim.Rprop(groups, lr=lr)``."""


def adamw(groups: Iterable[Any], *, lr: float, weight_decay: float) -> Optimizer:
    """Decoupled weight decay (Loshchilov and Hutter 2019), torch's defaults otherwise."""
    return AdamW(groups, lr=lr, weight_decay=weight_decay)


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: filters decay, vectors (norms, biases) do not."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    filters = [p for p in trainable if p.ndim > 1]
    vectors = [p for p in trainable if p.ndim <= 1]
    both = [{"params": filters}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in both if group["params"]]


def check_factory(
    factory: OptimizerFactory, model: nn.Module, *, lr: float, weight_decay: float
) -> None:
    """Make an optimiser and one step of it, on throw-away parameters of the model's kinds.

    Raises:
        ValueError: If it cannot be made as training makes it, or makes no step.
    """
    kind = cast("Any", factory.func if isinstance(factory, functools.partial) else factory)
    name = getattr(kind, "__name__", type(kind).__name__)
    if _needs_closure(kind):
        raise _no_closure(name)
    with randomness.preserved():
        small = [_small(group) for group in groups(model)]
        try:
            made: object = factory(small, lr=lr, weight_decay=weight_decay)
        except Exception as error:
            raise ValueError(_unmade(name, error)) from error
        if isinstance(made, type) or not hasattr(made, "param_groups"):
            raise ValueError(
                f"optimizer(groups, lr=..., weight_decay=...) must return an optimiser, it returns "
                f"a {type(made).__name__}: pass a class such as torch.optim.SGD, or a function "
                "that returns an instance of one"
            )
        if _needs_closure(made):
            raise _no_closure(type(made).__name__)
        given = {id(p) for group in small for p in group["params"]}
        if any(id(p) not in given for p in _parameters(cast("Optimizer", made))):
            raise ValueError(
                f"optimizer={name} holds other parameters than those it is called with, so that it "
                "would not train the smaller model: build it on its first argument"
            )
        try:
            cast("Any", made).step()
        except Exception as error:
            raise ValueError(
                f"optimizer={name} makes no step on parameters like those of the "
                f"{type(model).__name__}: {error}. Pass another, such as torch.optim.AdamW"
            ) from error


def is_scaled(factory: OptimizerFactory) -> bool:
    """True where an optimiser's first step is as long for a gradient a thousand times as large."""
    steps: list[Tensor] = []
    for size in (1e-2, 10.0):
        parameter = nn.Parameter(torch.zeros(2, 2))
        parameter.grad = torch.full((2, 2), size)
        with randomness.preserved():
            factory([{"params": [parameter]}], lr=1e-3, weight_decay=0.0).step()
        steps.append(parameter.detach())
    return bool(torch.allclose(steps[0], steps[1], rtol=1e-2))


def _small(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group of parameters as another of one small parameter for each number of dimensions."""
    found: dict[int, nn.Parameter] = {}
    for p in cast("list[nn.Parameter]", group["params"]):
        if p.ndim not in found:
            found[p.ndim] = nn.Parameter(torch.zeros([2] * p.ndim, dtype=p.dtype, device=p.device))
            found[p.ndim].grad = torch.ones_like(found[p.ndim])
    return {**group, "params": list(found.values())}


def _needs_closure(optimizer: object) -> bool:
    """True where each step asks for a function that computes the loss again."""
    step = getattr(optimizer, "step", None)
    closure = None if step is None else inspect.signature(step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _no_closure(name: str) -> ValueError:
    return ValueError(
        f"optimizer={name} computes the loss several times a step, through a closure, and training "
        "here computes it once a batch: pass another, such as torch.optim.AdamW or torch.optim.SGD"
    )


def _unmade(name: str, error: Exception) -> str:
    """The reason why an optimiser cannot be made, and how it can."""
    for missing in ("weight_decay", "lr"):
        if isinstance(error, TypeError) and f"argument '{missing}'" in str(error):
            return (
                f"optimizer={name} takes no {missing}, and fit calls optimizer(groups, lr=..., "
                "weight_decay=...): pass a function that leaves it out, for instance "
                "lambda groups, lr, weight_decay: torch.optim.Rprop(groups, lr=lr)"
            )
    return (
        f"optimizer={name} cannot be made by optimizer(groups, lr=..., weight_decay=...): {error}. "
        "Pass a class such as torch.optim.SGD or functools.partial(torch.optim.SGD, momentum=0.9)"
    )


def follow(optimizer: Optimizer, cuts: Iterable[Cut]) -> None:
    """Replace cut parameters in an optimiser and cut their state alike, in place.

    State of the parameter's shape (momentum, second moments) is cut with the parameter, single
    numbers (step counts) stay, and a parameter with any other state (factored moments, say) starts
    anew: keeping that would be wrong.

    Args:
        optimizer: Any torch optimiser, set up by Fabric or not.
        cuts: What `compressor.surgery.cutting.cut` returned.
    """
    replaced = {id(c.old): c for c in cuts}
    _rename(optimizer, {key: c.new for key, c in replaced.items()})
    for c in replaced.values():
        state = optimizer.state.pop(c.old, None)
        if state and all(_follows(value, c.old) for value in state.values()):
            cut = {key: _slice(value, c.old, c.index) for key, value in state.items()}
            optimizer.state[c.new] = cut


def hand_over(optimizer: Optimizer, old: nn.Module, new: nn.Module) -> None:
    """Make an optimiser of `old` work on `new`, a copy of it, in place.

    Raises:
        ValueError: If it holds a parameter of neither model.
    """
    pairs = dict(zip(map(id, old.parameters()), new.parameters(), strict=True))
    known = {*pairs, *map(id, new.parameters())}
    strangers = [p for p in _parameters(optimizer) if id(p) not in known]
    if strangers:
        raise ValueError(
            f"the optimiser holds {len(strangers)} parameters that are not the model's (the first "
            f"of shape {tuple(strangers[0].shape)}): build it on the model given to Session, or "
            "set session.optimizer to one built on session.model afterwards"
        )
    _move(optimizer, pairs)


def hand_on(optimizer: Optimizer, old: nn.Module, new: nn.Module) -> None:
    """Make an optimiser of `old` work on the module that has taken its place, in place.

    State of other shapes than the parameter's now starts anew, as in `follow`.

    Args:
        optimizer: It may hold parameters of other modules beside.
        old: The module before.
        new: The other one: with the parameters of the old one by name, and maybe more, or with as
            many in the same order.

    Raises:
        ValueError: If it has neither.
    """
    before, after = dict(old.named_parameters()), dict(new.named_parameters())
    if before.keys() <= after.keys():
        pairs = {id(p): after[name] for name, p in before.items()}
    elif len(before) == len(after):
        pairs = dict(zip(map(id, before.values()), after.values(), strict=True))
    else:
        raise ValueError(
            "the model is replaced by a module of other parameters, which an optimiser in use "
            "cannot follow: make session.optimizer anew when the phase has begun"
        )
    _move(optimizer, pairs)


def add(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Have an optimiser train more parameters, in the last of its groups without weight decay."""
    free = [group for group in optimizer.param_groups if not group.get("weight_decay")]
    (free or optimizer.param_groups)[-1]["params"] += parameters


def check_held(optimizer: Optimizer, model: nn.Module, call: str) -> None:
    """Check that an optimiser trains some of a model.

    Raises:
        ValueError: If it holds none of its parameters; `call` says what was asked.
    """
    own = set(map(id, model.parameters()))
    if not any(id(p) in own for p in _parameters(optimizer)):
        raise ValueError(
            f"{call} got a {type(optimizer).__name__} that holds no parameter of the model as it "
            "is now: make it of session.model.parameters()"
        )


def stored(optimizer: Optimizer, model: nn.Module) -> list[dict[str, Any]]:
    """Settings and state of an optimiser's groups, by the names of a model's parameters.

    A network that takes a model's place may have its parameters in another order, in which
    ``state_dict`` would count them.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    found: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        held = [(names.get(id(p), ""), p) for p in group["params"]]
        found.append({
            "kind": type(optimizer).__name__,
            "settings": {key: value for key, value in group.items() if key != "params"},
            "names": [name for name, _ in held],
            "state": {name: dict(optimizer.state[p]) for name, p in held if p in optimizer.state},
        })  # fmt: skip
    return found


def fill(optimizer: Optimizer, model: nn.Module, groups: Sequence[Mapping[str, Any]]) -> None:
    """Give an optimiser what `stored` found.

    Raises:
        ValueError: If it is of another kind, or its groups hold other parameters.
    """
    kind = type(optimizer).__name__
    kinds = {str(group.get("kind", kind)) for group in groups}  # not in those of earlier versions
    if kinds - {kind}:
        raise ValueError(
            f"the optimiser is a {kind}, and the state that was stored is one of a "
            f"{', '.join(kinds)}: make the optimiser as it was made then, or choose another "
            "directory"
        )
    names = {id(p): name for name, p in model.named_parameters()}
    own = [sorted(names.get(id(p), "") for p in g["params"]) for g in optimizer.param_groups]
    if own != [sorted(group["names"]) for group in groups]:
        raise ValueError(
            "the optimiser holds other parameters, or other groups of them, than the one that was "
            "stored: make it of session.model as it was made then"
        )
    number = {id(p): n for n, p in enumerate(_parameters(optimizer))}
    packed: dict[str, Any] = {"state": {}, "param_groups": []}
    for group, before in zip(optimizer.param_groups, groups, strict=True):
        numbers = [number[id(p)] for p in group["params"]]
        packed["param_groups"].append({**before["settings"], "params": numbers})
        for p in group["params"]:
            state = before["state"].get(names.get(id(p), ""))
            if state:
                packed["state"][number[id(p)]] = state
    optimizer.load_state_dict(packed)


def _move(optimizer: Optimizer, pairs: Mapping[int, nn.Parameter]) -> None:
    """Put parameters into the places of others, by the identity of these, with their state."""
    held = [(p, pairs[id(p)]) for p in _parameters(optimizer) if id(p) in pairs]
    _rename(optimizer, {id(p): q for p, q in held})
    for p, q in held:
        state = optimizer.state.pop(p, None)
        if state and all(_follows(value, q) for value in state.values()):
            optimizer.state[q] = state


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _rename(optimizer: Optimizer, new: Mapping[int, nn.Parameter]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [new.get(id(p), p) for p in group["params"]]


def _follows(value: object, old: Tensor) -> bool:
    """True for a piece of state that can be carried over."""
    return not isinstance(value, Tensor) or value.shape == old.shape or value.numel() == 1


def _slice(value: object, old: Tensor, index: Index) -> object:
    if not isinstance(value, Tensor) or value.shape != old.shape:
        return value
    return take(value, index)
