"""Optimisers that follow a network as it shrinks, and the parameter groups they start from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from compressor.surgery import Cut, Index, take

OptimizerFactory = Callable[..., Optimizer]
"""Called as ``factory(groups, lr=..., weight_decay=...)``; every class in `torch.optim` fits, and
`functools.partial` sets the rest: ``partial(torch.optim.SGD, momentum=0.9)``."""


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


def follow(optimizer: Optimizer, cuts: Iterable[Cut]) -> None:
    """Replace cut parameters in an optimiser and cut their state alike, in place.

    State of the parameter's shape (momentum, second moments) is cut with the parameter, single
    numbers (step counts) stay, and a parameter with any other state (factored moments, say) starts
    anew: keeping that would be wrong.

    Args:
        optimizer: Any torch optimiser, set up by Fabric or not.
        cuts: What `compressor.surgery.cut` returned.
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
    held = [(p, pairs[id(p)]) for p in _parameters(optimizer) if id(p) in pairs]
    _rename(optimizer, {id(p): q for p, q in held})
    for p, q in held:
        state = optimizer.state.pop(p, None)
        if state:
            optimizer.state[q] = state


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _rename(optimizer: Optimizer, new: Mapping[int, nn.Parameter]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [new.get(id(p), p) for p in group["params"]]


def _follows(value: object, old: Tensor) -> bool:
    """Whether a piece of state can be carried over."""
    return not isinstance(value, Tensor) or value.shape == old.shape or value.numel() == 1


def _slice(value: object, old: Tensor, index: Index) -> object:
    if not isinstance(value, Tensor) or value.shape != old.shape:
        return value
    return take(value, index)
