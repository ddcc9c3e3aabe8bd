"""One layer's repair: what it should give, what it gets, and the weight in between."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compressor.inputs.batches import Batch
from compressor.inputs.finite import is_finite
from compressor.repair.aim import Aim, Wanted
from compressor.repair.applied import Applied, Key, Watch
from compressor.repair.course import Trail
from compressor.repair.dense import Dense, Said
from compressor.repair.layers import EnoughError, Forward, Layer, Parts, watched
from compressor.repair.products import Products, single
from compressor.repair.rectified import Block, one_sided
from compressor.repair.ridge import Solution, solved
from compressor.repair.rows import as_matrix, as_weight, at, part_of, read, shape_of

LARGE = 4608
"""Entries of a row of a weight beyond which the bias alone is chosen anew: (entries x entries)
numbers, about a gigabyte of them at this size, and a solution in their third power are too much."""


def answer(
    small: nn.Module, dense: Dense, layer: Layer, wanted: Wanted, *, mask: Tensor | None = None
) -> Solution | None:
    """The weight by which a layer gives what the dense one gave, as nearly as it can.

    Where something is added to its outputs it makes up for what that lacks (He et al. 2017,
    arXiv:1707.06168, section 3.3); where a rectifier follows, see `compressor.repair.rectified`.
    The smaller network is run as far as that and no further; sums of products are kept, and the
    rows of this layer where a rectifier follows.

    Args:
        small: The smaller network.
        dense: The dense one.
        layer: The layer, with what becomes of its outputs in the dense network.
        wanted: Which of its outputs are wanted.
        mask: Like the weight, True where an entry may be other than zero.

    Returns:
        The answer; None where the two do not compare, or hold numbers that are not finite.
    """
    weight = small.get_parameter(layer.key[0]).detach()
    matrix = part_of(as_matrix(weight, layer.example), layer.example).double().cpu()
    groups, out, entries = matrix.shape
    halves = [Products.none(groups, out, entries, means=entries > LARGE) for _ in range(2)]
    blocks: list[Block] = []
    for number, said in enumerate(dense.rows(layer.key)):
        found = _rows(small, dense.batches[number], dense.forward, layer, said)
        if len(said) != layer.calls or len(found) != layer.calls:
            return None
        for one, (u, rest), course in zip(said, found, layer.courses, strict=True):
            if one.width <= wanted.highest:
                return None
            aim = Aim.of(course, wanted, one, rest)
            if aim is None or aim.y.shape[1] != groups * out:
                return None
            if not (is_finite(u) and is_finite(aim.y)):
                return None
            later = one.where.second(number)
            for products, mine in zip(halves, (~later, later), strict=True):
                products.add(u[mine], aim.y[mine].reshape(-1, groups, out))
            if aim.rectified:
                blocks.append(Block(single(u), aim))
    biased = layer.example.bias is not None or layer.normed
    allowed = None if mask is None else part_of(as_matrix(mask, layer.example), layer.example).cpu()
    first, second = halves
    solution = solved(first, second, matrix, biased=biased, mask=allowed)
    if biased and allowed is None and entries <= LARGE and math.isfinite(solution.pull):
        solution = one_sided(solution, first + second, matrix, blocks)
    return solution if is_finite(solution.weight) else None


def write(model: nn.Module, layer: Layer, found: Solution) -> None:
    """Put an answer into a model: the weight, and the bias where there is one."""
    parameters, example = dict(model.named_parameters()), layer.example
    weight = parameters[layer.key[0]]
    with torch.no_grad():
        whole = as_matrix(weight, example)
        part_of(whole, example).copy_(found.weight)
        weight.copy_(as_weight(whole, weight, example))
        if example.bias is not None and found.bias is not None:
            part = found.bias.flatten()
            bias = parameters[example.bias].view(-1)
            bias[example.offset : example.offset + len(part)] = part.to(bias)


def _rows(
    small: nn.Module, batch: Batch, forward: Forward, layer: Layer, said: Sequence[Said]
) -> list[tuple[Tensor, Tensor | None]]:
    """What the smaller layer reads at the places of each application, and what is added to it."""
    found: list[tuple[Tensor, Tensor | None]] = []
    left = layer.calls + sum(course.added for course in layer.courses)
    parts = Parts()

    def seen() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise EnoughError

    def joined(_: Key, call: int, rest: Tensor) -> None:
        if layer.courses[call].added:
            found[call] = (found[call][0], at(rest, said[call].where))
            seen()

    trail = Trail(small, joined)

    def applied(one: Applied) -> None:
        if parts.key(one) != layer.key:
            return
        if len(found) == len(said) or shape_of(one) != said[len(found)].where.shape:
            raise EnoughError  # what is read is not what the dense layer reads
        trail.start(layer.key, one)
        found.append((read(one, layer.kernel, said[len(found)].where), None))
        seen()

    watched(small, batch, forward, Watch(small, applied), trail)
    return found
