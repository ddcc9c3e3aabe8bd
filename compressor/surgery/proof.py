"""Proof by running it: the smaller model computes what the masked original computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from compressor.errors import VerificationError
from compressor.graph.graph import Graph
from compressor.graph.program import example_of
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example, Inputs
from compressor.inputs.tensors import named_tensors
from compressor.surgery.comparison import (
    CONSTANT,
    Attempt,
    Reference,
    batch,
    compare_twice,
    difference,
    outputs_of,
)
from compressor.surgery.masking import Masked
from compressor.surgery.scales import alike, factors
from compressor.surgery.weightings import positive, randomised


def verify(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    example: Example | None = None,
) -> float:
    """Compare a smaller model with the masked original on random inputs and on the example.

    Both run in eval mode and, where the model allows it, in float64, so that "equal" means equal:
    what is left is the order of summation. What they draw at random is drawn alike. Where the
    given weights say the same of every input (a network before training, one channel a layer),
    its tensors are held to be the kept ones, and its code is compared on other weights.

    Args:
        model: The original, that `graph` was traced from.
        graph: Its graph.
        structure: What was kept.
        shrunk: The smaller model.
        example: An input of the traced shape; default `model.example_input_array`. Real data are
            best: what random numbers never reach cannot be compared. A constant example (zeros)
            is only used for its shape.

    Returns:
        The largest difference, relative to how much the outputs vary between two inputs.

    Raises:
        VerificationError: If the smaller model does not run, or its outputs differ.
    """
    inputs = example_of(model, example)
    tries = (attempt for attempt in attempts(inputs) if not attempt.joint)
    found = compare(model, graph, structure, shrunk, tries, quick=False)
    if found == CONSTANT:
        found = _on_other_weights(model, graph, structure, shrunk, inputs)
    if isinstance(found, str):
        pairs = zip(graph.axes, structure.widths, strict=True)
        cut = [axis.name for axis, width in pairs if width < axis.size]
        raise VerificationError(
            f"the smaller {type(model).__name__} was compared with its masked original and {found}."
            f" Nothing was returned. Layers that lost channels: {', '.join(cut[:5])}. Find the one "
            f"whose channels the code counts on, with keep={cut[:1]} and so on, and report the "
            "model. Code that looks at sizes (if x.shape == y.shape) goes wrong where two widths "
            "happen to be equal: let it look at arguments of the constructor"
        )
    return found


def _on_other_weights(
    model: nn.Module, graph: Graph, structure: Structure, shrunk: nn.Module, inputs: Inputs
) -> float | str:
    """The comparison of a network whose outputs are the same for every input.

    Its tensors must be exactly the entries that were kept; then the same code is compared on other
    weights. A network that says the same of every input whatever its weights are (LayerNorm of a
    single channel) is that constant, in both.
    """
    mine = dict(named_tensors(shrunk))
    scaled = factors(structure)
    for name, tensor in _kept(graph, structure, model).items():
        if name not in mine or not _same(mine[name].detach(), tensor, rounded=name in scaled):
            return f"its {name!r} is not what was kept"
    equal, tries = False, [attempt for attempt in lively_attempts(inputs) if not attempt.joint]
    for draw in (randomised, partial(randomised, seed=1), positive):
        twin = draw(model)
        small = private_copy(shrunk)
        mine = dict(named_tensors(small))
        for name, tensor in _kept(graph, structure, twin).items():
            mine[name].data.copy_(tensor)
        try:
            found = compare(twin, graph, structure, small, tries, quick=False)
        except VerificationError:  # no numbers with these weights, which says nothing
            continue
        if found != CONSTANT:
            return found
        equal = True
    return 0.0 if equal else CONSTANT


def _same(mine: Tensor, kept: Tensor, *, rounded: bool) -> bool:
    """True if a tensor is what was kept: exactly, or where it was scaled but for rounding."""
    if not rounded or mine.shape != kept.shape:
        return torch.equal(mine, kept)
    return bool(alike(kept, mine, kept.dtype).all())


def _kept(graph: Graph, structure: Structure, model: nn.Module) -> dict[str, Tensor]:
    """The entries of every tensor that a structure keeps, picked by number; scaled rows scaled."""
    tensors, scaled = dict(named_tensors(model)), factors(structure)
    kept: dict[str, Tensor] = {}
    for name, weight in graph.weights.items():
        places = [np.flatnonzero(dim.alive(structure.keep)) for dim in weight.dims]
        where = tuple(torch.from_numpy(p) for p in np.ix_(*places))
        kept[name] = tensors[name].detach()[where] if places else tensors[name].detach()
        if name in scaled:
            kept[name] = scaled[name].scaled(kept[name])
    return kept


def attempts(example: Inputs) -> Iterator[Attempt]:
    """Inputs to try in turn, in a batch and then alone, each drawn when it is come to.

    Random ones with the example, if that says more than its shape; random ones; positive ones; the
    example and what is near it.
    """
    first, second = (_random_like(example, seed) for seed in (0, 1))
    alone = [Attempt((first, second), joint=False, compared=(0,))]
    if _varies(example):
        alone.insert(0, Attempt((first, example), joint=False, compared=(0, 1)))
    yield from (replace(attempt, joint=True, compared=(0, 1)) for attempt in alone)
    yield from alone
    yield from _positive(example)
    yield Attempt((example, _disturbed(example)), joint=False, compared=(0,))


def lively_attempts(example: Inputs) -> Iterator[Attempt]:
    """The same, positive ones of two levels first: what gets through a network without signs."""
    yield from _positive(example)
    yield from attempts(example)


def _positive(example: Inputs) -> Iterator[Attempt]:
    """Positive inputs of two levels, for a logarithm or root of the input, say."""
    first, second = (
        tuple(x.abs() * scale if x.is_floating_point() else x for x in _random_like(example, seed))
        for seed, scale in ((0, 1), (1, 3))
    )
    yield Attempt((first, second), joint=True, compared=(0, 1))
    yield Attempt((first, second), joint=False, compared=(0,))


def compare(
    model: nn.Module,
    graph: Graph,
    structure: Structure,
    shrunk: nn.Module,
    tries: Iterable[Attempt],
    *,
    quick: bool,
    reference: Reference = Masked,
    suits: Callable[[Attempt], bool] | None = None,
) -> float | str:
    """The relative difference on the first inputs that suit the original, or what went wrong.

    The first four arguments are those of `verify`; of `tries`, later ones are for originals that
    cannot take the earlier ones (a fixed batch size, a logarithm of negative numbers). `quick` is
    content with float32 where it agrees; see `compare_twice`. `reference` masks the original;
    `suits` remembers of which inputs the original makes sense, where many are compared.

    Raises:
        VerificationError: If the original itself gives no finite output on any of them.
    """
    for attempt in tries:
        once = partial(difference, model, graph, structure, attempt=attempt, reference=reference)
        found = compare_twice(once, shrunk, quick=quick)
        if not found.failure:
            return found.difference
        if suitable(model, graph, attempt) if suits is None else suits(attempt):
            return found.failure
    raise VerificationError(
        f"{type(model).__name__} gives no finite output in eval mode on random inputs nor on its "
        "example, or other outputs each time, so nothing can be verified. Pass an example that it "
        "can take, or verify=False and compare the models yourself"
    )


def suitable(model: nn.Module, graph: Graph, attempt: Attempt) -> bool:
    """True if the original runs, gives finite numbers, and the same ones alone as in a batch."""
    private = private_copy(model)
    try:
        alone = outputs_of(private, attempt.items, graph, joint=False)
        again = outputs_of(private, attempt.items, graph, joint=attempt.joint)
    except Exception:  # noqa: BLE001 - any failure of user code is the answer here
        return False
    pairs = [(a, b) for x, y in zip(alone, again, strict=True) for a, b in zip(x, y, strict=True)]
    floats = [(a, b) for a, b in pairs if a.is_floating_point() or a.is_complex()]
    return all(
        bool(torch.isfinite(a).any()) and torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
        for a, b in floats
    )


def batch_of(example: Inputs) -> Inputs:
    """A batch of two random inputs like the example."""
    return batch([_random_like(example, 0), _random_like(example, 1)])


def _random_like(example: Inputs, seed: int) -> Inputs:
    """Seeded normal inputs like the example; integers stay as they are.

    Where there is nothing but integers, which may index a table, it is theirs in another order, and
    some more often than others: of a mean over words order says nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    if not any(x.is_floating_point() for x in example):
        found = [_drawn_from(example, generator) for _ in range(DRAWS)]
        before = _random_like(example, 0) if seed else example
        return next((x for x in found if not _as_often(x, before)), found[0])
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    return tuple(draw(x.shape).to(x) if x.is_floating_point() else x for x in example)


DRAWS = 8
"""Most draws of the same integers in another order, of which the first that is another is taken."""


def _drawn_from(example: Inputs, generator: torch.Generator) -> Inputs:
    """Integers of an example, some of them several times."""
    places = (torch.randint(max(1, x.numel()), x.shape, generator=generator) for x in example)
    return tuple(x.flatten()[p.to(x.device)] for x, p in zip(example, places, strict=True))


def _as_often(first: Inputs, second: Inputs) -> bool:
    """True if every number is as often in both: a mean or a maximum would be the same."""
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a.flatten().sort()[0], b.flatten().sort()[0]) for a, b in pairs)


def _varies(example: Inputs) -> bool:
    """True if an example holds more than one number repeated."""
    floats = [x for x in example if x.is_floating_point() and x.numel()]
    return any(bool((x != x.flatten()[0]).any()) for x in floats)


def _disturbed(example: Inputs) -> Inputs:
    """The example with every number changed by up to 30 %."""
    draw = partial(torch.rand, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return tuple(
        x * (0.7 + 0.6 * draw(x.shape)).to(x) if x.is_floating_point() else x for x in example
    )
