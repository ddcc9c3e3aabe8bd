"""OSSCAR on torch-kirigami: inner channels chosen and their readers solved by least squares.

X. Meng, S. Ibrahim, K. Behdin, H. Hazimeh, N. Ponomareva, R. Mazumder, "OSSCAR: One-Shot Structured
Pruning in Vision and Language Models with Combinatorial Optimization", ICML 2024: for every layer
the channels of its input are deleted of which the least squares fit of its outputs needs least, by
groups, then swapped with deleted ones while that helps (sections 3.2 and 4). torch-kirigami has an
example of it in its repository, not in its package, for chains of two-dimensional layers; this is
written anew by the paper for convolutions of one and two dimensions, with the example's choices:
one share of all widths, layers in order on the inputs that the smaller network really has, outputs
of the dense one. Channels of a trunk (several writers or readers) stay whole, as they do there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_kirigami import DependencyGraph
from torch_kirigami.pruning import Pruner

from compressor.errors import BudgetError

RIDGE = 1e-3
"""Pull towards the dense weights, as a part of the mean diagonal of the normal equations."""
GROUP = 8
"""Channels that are deleted between two solutions."""
SWAPS = 5
"""Most swaps of a layer."""
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


class WholeError(BudgetError):
    """The caps are not met though every inner width is 1."""


@dataclass(frozen=True)
class Pair:
    """Names of the layer that writes some inner channels, and of the one that reads them."""

    writer: str
    reader: str


def reconstructed(
    model: nn.Module, inputs: Sequence[Tensor], fits: Callable[[nn.Module], bool]
) -> nn.Module:
    """A smaller copy of a network in evaluation mode that `fits`, by batches of inputs alone.

    Raises:
        KirigamiError: If torch-kirigami does not take the network.
        WholeError: If no share of the inner channels is small enough.
    """
    small = copy.deepcopy(model)
    keep = widths(small, inputs[0][:1], fits)
    for pair in pairs(small, inputs[0][:1]):
        layer = small.get_submodule(pair.reader)
        gram, cross = products(model, small, pair.reader, inputs)
        gram, cross = pulled(gram, cross, layer)
        kept, weight = chosen(gram, cross, layer.weight.shape[1], keep[pair.writer])
        gone = sorted(set(range(layer.weight.shape[1])) - set(kept))
        remove(small, inputs[0][:1], {pair.writer: gone})
        with torch.no_grad():
            layer = small.get_submodule(pair.reader)
            layer.weight.copy_(weight.T.reshape(layer.weight.shape))
    return small


def pairs(model: nn.Module, example: Tensor) -> list[Pair]:
    """Layers whose channels one layer writes and one reads, in the order of the network."""
    graph = DependencyGraph.build(model, args=(example,))
    weights = {
        name: graph.parameter(f"{name}.weight")
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    }
    found: list[Pair] = []
    for writer, weight in weights.items():
        impact = graph.propagate(remove=[weight.axis(0).select([0])])
        touched = {n: w for n, w in weights.items() if impact.selection(w).regions}
        touched.pop(writer, None)
        alone = impact.selection(weight) == weight.axis(0).select([0])
        if impact.status == "resolved" and alone and len(touched) == 1:
            (reader, read), *_ = touched.items()
            if impact.selection(read) == read.axis(1).select([0]):
                found.append(Pair(writer, reader))
    return found


def widths(model: nn.Module, example: Tensor, fits: Callable[[nn.Module], bool]) -> dict[str, int]:
    """The largest share of all inner widths with which the network fits, at least 1 of each."""
    writers = [pair.writer for pair in pairs(model, example)]
    whole = {name: len(model.get_submodule(name).weight) for name in writers}
    shares = sorted({kept / width for width in whole.values() for kept in range(1, width + 1)})
    low, high = 0, len(shares)  # the network fits with the shares below `low`
    while low < high:
        middle = (low + high) // 2
        small = copy.deepcopy(model)
        at = {name: max(1, int(shares[middle] * width)) for name, width in whole.items()}
        remove(
            small, example, {name: list(range(at[name], width)) for name, width in whole.items()}
        )
        low, high = (middle + 1, high) if fits(small) else (low, middle)
    if not low:
        raise WholeError(f"{len(writers)} inner widths can be removed, and that is not enough")
    return {name: max(1, int(shares[low - 1] * width)) for name, width in whole.items()}


def remove(model: nn.Module, example: Tensor, gone: dict[str, list[int]]) -> None:
    """Remove channels that some layers write, in place."""
    graph = DependencyGraph.build(model, args=(example,))
    pruner = Pruner(model, graph=graph)
    seeds = [
        graph.parameter(f"{n}.weight").axis(0).select(rows) for n, rows in gone.items() if rows
    ]
    if seeds:
        pruner.apply(pruner.plan_remove(seeds))


def products(
    dense: nn.Module, small: nn.Module, name: str, inputs: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean products of a layer's inputs in the small network, and with its outputs in the dense.

    Returns:
        (unknowns, unknowns) and (unknowns, outputs) in double precision; an unknown is a channel's
        tap, channel by channel.
    """
    heard: list[Tensor] = []
    wanted: list[Tensor] = []
    reader, teacher = small.get_submodule(name), dense.get_submodule(name)
    hooks = [
        reader.register_forward_pre_hook(lambda _, args: heard.append(args[0])),
        teacher.register_forward_hook(lambda _, __, out: wanted.append(out)),
    ]
    gram, cross, rows = torch.zeros(()), torch.zeros(()), 0
    try:
        with torch.no_grad():
            for x in inputs:
                small(x), dense(x)
                a, b = columns(reader, heard.pop()), targets(teacher, wanted.pop())
                gram, cross = gram + (a.T @ a).double(), cross + (a.T @ b).double()
                rows += len(a)
    finally:
        for hook in hooks:
            hook.remove()
    return gram / rows, cross / rows


def columns(layer: nn.Module, x: Tensor) -> Tensor:
    """What every output of a layer sees: (outputs' places, channels x taps)."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)
    x, flat = (x.unsqueeze(2), (1, 1, 0, 1)) if isinstance(layer, nn.Conv1d) else (x, ())
    given = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    sizes = [(one, *size) for one, size in zip(flat, given, strict=True)] if flat else given
    return functional.unfold(x, *sizes).transpose(1, 2).flatten(0, 1)


def targets(layer: nn.Module, y: Tensor) -> Tensor:
    """Outputs of a layer without its bias: (places, outputs)."""
    y = y if isinstance(layer, nn.Linear) else y.flatten(2).transpose(1, 2)
    rows = y.flatten(0, -2)
    return rows if layer.bias is None else rows - layer.bias


def pulled(gram: Tensor, cross: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The normal equations with a pull towards the weights that the layer has."""
    ridge = RIDGE * gram.diagonal().mean()
    present = layer.weight.detach().flatten(1).T.double()
    return gram + ridge * torch.eye(len(gram), dtype=gram.dtype), cross + ridge * present


def chosen(gram: Tensor, cross: Tensor, groups: int, keep: int) -> tuple[list[int], Tensor]:
    """Channels to keep, and the weights of what reads them.

    Groups are deleted by what the error grows without each of them, some at a time, then the
    cheapest of those kept is swapped with the best of those deleted while the error falls.
    """
    taps, kept = len(gram) // groups, list(range(groups))
    while len(kept) > keep:
        costs = deletion(gram, cross, kept, taps)
        gone = costs.argsort()[: min(GROUP, len(kept) - keep)].tolist()
        kept = [group for place, group in enumerate(kept) if place not in gone]
    error = misfit(gram, cross, kept, taps)
    for _ in range(SWAPS if keep < groups else 0):
        place = int(deletion(gram, cross, kept, taps).argmin())
        rest = kept[:place] + kept[place + 1 :]
        others = [sorted([*rest, group]) for group in range(groups) if group not in kept]
        errors = [misfit(gram, cross, other, taps) for other in others]
        best = min(range(len(errors)), key=errors.__getitem__)
        if errors[best] >= error:
            break
        kept, error = others[best], errors[best]
    rows = entries(kept, taps)
    return kept, torch.linalg.solve(gram[rows][:, rows], cross[rows])


def entries(groups: Sequence[int], taps: int) -> Tensor:
    """Rows of the normal equations that belong to some channels."""
    return (torch.tensor(groups)[:, None] * taps + torch.arange(taps)).flatten()


def deletion(gram: Tensor, cross: Tensor, kept: Sequence[int], taps: int) -> Tensor:
    """Growth of the squared error when one channel goes and the others are solved anew.

    w' (inverse)^-1 w over the channel's entries, as in the optimal brain surgeon.
    """
    rows = entries(kept, taps)
    inverse = torch.linalg.inv(gram[rows][:, rows])
    weights = (inverse @ cross[rows]).reshape(len(kept), taps, -1)
    blocks = inverse.reshape(len(kept), taps, len(kept), taps).diagonal(dim1=0, dim2=2)
    solved = torch.linalg.solve(blocks.permute(2, 0, 1), weights)
    return (weights * solved).sum(dim=(1, 2))


def misfit(gram: Tensor, cross: Tensor, kept: Sequence[int], taps: int) -> float:
    """Squared error of the best weights on some channels, but for a constant."""
    rows = entries(kept, taps)
    weights = torch.linalg.solve(gram[rows][:, rows], cross[rows])
    return -float((weights * cross[rows]).sum())
