"""Dead channels planted into a network, and proof that nothing depends on them.

A span runs from one layer to the layers that read it. A third of the first one's channels are
silenced: what writes them and what reads them is zero. That is enough only if nothing between looks
across channels, so it is tried out: other numbers in their place, at every layer of the span, must
leave every output as it is, bit for bit. What a tool makes of such a network under a cap that the
dead channels alone can meet must compute the same as before, whatever the tool is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils import _pytree as pytree

from benchmarks.breadth.case import Inputs

READERS = 4
"""Most layers that may read the planted channels."""
SPANS = 6
"""Most places that are planted: enough for a cap to bite."""


@dataclass
class Planted:
    """A network with dead channels.

    Attributes:
        model: The network.
        zeroed: Which entries were silenced, of every parameter with some.
    """

    model: nn.Module
    zeroed: dict[str, Tensor] = field(default_factory=dict)

    @property
    def params(self) -> int:
        """How many entries were silenced."""
        return sum(int(mask.sum()) for mask in self.zeroed.values())


@dataclass(frozen=True)
class Step:
    """A layer as it ran, with the widths that it reads and writes."""

    name: str
    module: nn.Module
    reads: int
    writes: int

    @property
    def dense(self) -> bool:
        """True if it mixes the channels that it reads."""
        return isinstance(self.module, nn.Linear) or getattr(self.module, "groups", 0) == 1


def lively(model: nn.Module) -> nn.Module:
    """The network with shifts, scales and statistics as after training, in place.

    Fresh ones are zeros and ones, which hide mistakes.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2 and name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
        for module in model.modules():
            if isinstance(module, _BatchNorm | nn.LayerNorm | nn.GroupNorm):
                if module.weight is not None:
                    module.weight.uniform_(0.5, 1.5)
                if isinstance(module, _BatchNorm) and module.running_mean is not None:
                    module.running_mean.normal_(0.0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
    return model


def outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """All tensors that a network gives, with whatever it draws drawn alike."""
    torch.manual_seed(1)
    with torch.no_grad():
        given = pytree.tree_leaves(model(*inputs))
    return [each for each in given if isinstance(each, Tensor)]


def equal(first: list[Tensor], second: list[Tensor], tolerance: float = 1e-3) -> bool:
    """True if outputs have the same shapes and differ little from their own size."""
    if [x.shape for x in first] != [x.shape for x in second]:
        return False
    return all(
        bool((a - b).abs().max() <= tolerance * a.abs().max())
        for a, b in zip(first, second, strict=True)
        if a.numel() and a.is_floating_point()
    )


def plant(model: nn.Module, inputs: Inputs) -> Planted:
    """A copy of a network with a third of the channels dead in some places."""
    outputs(model, inputs)  # weights made by hooks can be copied after a run alone
    planted = Planted(copy.deepcopy(model))
    steps = _steps(planted.model, inputs)
    spans = 0
    for start, first in enumerate(steps):
        if spans < SPANS and first.dense and first.writes > 2 and _plain(first.module):
            spans += any(_try(planted, inputs, span) for span in _spans(steps[start:]))
    return planted


def _steps(model: nn.Module, inputs: Inputs) -> list[Step]:
    """Layers with weights in the order in which they run, but for those that run several times."""
    ran: list[Step] = []
    with ExitStack() as stack:
        for name, module in model.named_modules():
            widths = _widths(module)
            if widths is not None:
                step = Step(name, module, *widths)
                hook = module.register_forward_hook(partial(_append, ran, step))
                stack.callback(hook.remove)
        outputs(model, inputs)
    names = [step.name for step in ran]
    return [step for step in ran if names.count(step.name) == 1]


def _append(ran: list[Step], step: Step, *_: object) -> None:
    ran.append(step)


def _widths(module: nn.Module) -> tuple[int, int] | None:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, _ConvNd):
        return module.in_channels, module.out_channels
    if isinstance(module, _BatchNorm):
        return module.num_features, module.num_features
    return None


def _plain(module: nn.Module) -> bool:
    return "weight" in dict(module.named_parameters(recurse=False))


def _spans(steps: list[Step]) -> Iterator[list[Step]]:
    """From the first layer to the first, second ... that reads as many channels as it writes."""
    width, readers = steps[0].writes, 0
    for end, step in enumerate(steps[1:], start=2):
        readers += step.dense and step.reads == width
        if step.dense and step.reads == width:
            inside = [s for s in steps[1:end] if width in (s.reads, s.writes)]
            if all(map(_plain, (s.module for s in inside))):
                yield [steps[0], *inside]
        if readers == READERS:
            return


def _try(planted: Planted, inputs: Inputs, span: list[Step]) -> bool:
    """Silence a third of the channels of a span; undone, and False, if an output sees them."""
    width = span[0].writes
    dead = torch.randperm(width)[: max(1, width // 3)]
    before = copy.deepcopy(planted.model.state_dict())
    masks = _silence(span, width, dead)
    with torch.no_grad():
        model = planted.model
        silent: list[bool] = []
        with _overheard(span, dead, silent):
            here = outputs(model, inputs)
        writers = [s for s in span if s.writes == width and (s.reads == width or s is span[0])]
        with _disturbed([span[0], *writers, *_gates(span, width)], dead):
            there = outputs(model, inputs)
        same = all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
        if not same or not all(silent):
            model.load_state_dict(before)
            return False
    for name, mask in masks.items():
        planted.zeroed[name] = mask | planted.zeroed.get(name, torch.zeros_like(mask))
    return True


def _gates(span: list[Step], width: int) -> list[Step]:
    """Layers inside that write as many channels from another number of them."""
    return [s for s in span[1:] if s.writes == width and s.reads != width]


def _silence(span: list[Step], width: int, dead: Tensor) -> dict[str, Tensor]:
    """Set to zero what writes and reads some channels; gives the masks of what was set."""
    masks: dict[str, Tensor] = {}
    last = span[-1]
    for step in span:
        for name, parameter in step.module.named_parameters(recurse=False):
            mask = torch.zeros_like(parameter, dtype=torch.bool)
            turned = isinstance(step.module, _ConvTransposeNd) and parameter.ndim > 1
            written = 1 if turned and step.dense else 0
            read = 1 - written
            if step.writes == width and step is not last:
                mask.index_fill_(written, dead, value=True)
            if step is not span[0] and step.dense and step.reads == width and parameter.ndim > 1:
                mask.index_fill_(read, dead, value=True)
            with torch.no_grad():
                parameter.masked_fill_(mask, 0.0)
            if mask.any():
                masks[f"{step.name}.{name}" if step.name else name] = mask
    return masks


@contextmanager
def _overheard(span: list[Step], dead: Tensor, silent: list[bool]) -> Iterator[None]:
    """Note for every reader if zeros come in where channels are dead: nothing else writes them."""
    with ExitStack() as stack:
        for step in span[1:]:
            if step.dense and step.reads == span[0].writes:
                dim = -1 if isinstance(step.module, nn.Linear) else 1
                hook = partial(_listen, dim, dead, silent)
                stack.callback(step.module.register_forward_pre_hook(hook).remove)
        yield


def _listen(dim: int, dead: Tensor, silent: list[bool], _module: nn.Module, given: Any) -> None:
    silent.append(not given[0].index_select(dim, dead).any())


@contextmanager
def _disturbed(steps: list[Step], dead: Tensor) -> Iterator[None]:
    """Put other numbers into the dead channels behind these layers."""
    with ExitStack() as stack:
        for step in steps:
            dim = -1 if isinstance(step.module, nn.Linear) else 1
            stack.callback(step.module.register_forward_hook(partial(_noise, dim, dead)).remove)
        yield


def _noise(dim: int, dead: Tensor, _module: nn.Module, _given: Any, output: Tensor) -> Tensor:
    return output.index_fill(dim, dead, 2.7)
