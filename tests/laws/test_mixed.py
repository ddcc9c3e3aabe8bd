"""Random networks that mix all kinds: what is cut is the masked original, counted and capped."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor import Budget, BudgetError, VerificationError, fit, measure, shrink, trace
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.surgery.proof import verify
from compressor.surgery.weightings import randomised
from tests.helpers.cases import cases
from tests.helpers.mixed_nets import BODIES, FRONTS, NORMS, POOLS, Mixed, mixed
from tests.helpers.structures import any_widths, owners
from tests.zoo.planting import Entries

SEEDS = st.integers(0, 1 << 20)


def built(seed: int) -> Mixed:
    """A network in double precision, with weights of either sign."""
    model = randomised(mixed(seed)).double().eval()
    assert isinstance(model, Mixed)
    example = model.example_input_array
    model.example_input_array = example.double() if example.is_floating_point() else example
    return model


def torch_macs(model: nn.Module) -> int:
    """By PyTorch's counter, on shapes alone, where attention is its two products."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.to("meta")(model.example_input_array.to("meta"))
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast)
    return counter.get_total_flops() // 2


def checked(model: Mixed, structure: Structure) -> nn.Module:
    """The smaller model, which computes what the masked one does and costs what was counted."""
    graph = structure.graph
    small = shrink(model, graph, structure)
    verify(model, graph, structure, small)
    cost = measure(small)
    assert cost.params == sum(p.numel() for p in small.parameters())
    assert cost.params == graph.params(structure.widths)
    assert cost.macs == graph.macs(structure.widths)
    return small


def whatever_goes(seed: int) -> Graph:
    model = built(seed)
    graph = trace(model)
    for draw in range(2):
        small = checked(model, any_widths(graph, draw))
        assert measure(small).macs == torch_macs(small)
    return graph


def planted(model: Mixed, seed: int) -> list[Entries]:
    """One silent part in every body that has some."""
    draw, found = random.Random(seed), list[Entries]()  # noqa: S311
    for number, body in enumerate(model.bodies):
        found += [
            Entries(f"bodies.{number}.{part.tensor}", part.dim, part.places)
            for part in body.silence(draw)
        ]
    return found


def output(model: nn.Module, example: Tensor) -> Tensor:
    with torch.no_grad():
        return model(example)


def silent_parts_go(seed: int) -> int:
    """The number of parts that were planted, found, and removed without a trace."""
    model = built(seed)
    parts = planted(model, seed)
    graph = trace(model)
    free = {
        unit
        for part in parts
        for unit in owners(graph, part)
        if not graph.axes[graph.axis_of[unit]].frozen
    }
    if not free:
        return 0
    structure = Structure(graph, ~np.isin(np.arange(graph.units), list(free)))
    small = checked(model, structure)
    x = model.example_input_array
    assert torch.allclose(output(small, x), output(model, x), rtol=1e-9, atol=1e-9)
    return len(free)


def refused(error: BudgetError) -> bool:
    """True if the caps are what stopped it, and the message says by how much."""
    said = str(error)
    return "cannot be reached" in said and "the smallest structure has" in said


def meets_or_refuses(seed: int) -> str:
    """Any caps: all of them are met, or a reason says why not."""
    model, draw = mixed(seed), random.Random(seed)  # noqa: S311
    cost = measure(model)
    shares = {name: draw.uniform(0.05, 1.0) for name in ("params", "macs")}
    if draw.random() < 0.3:
        shares.pop(draw.choice(sorted(shares)))
    budget = Budget(**{name: max(1, int(s * getattr(cost, name))) for name, s in shares.items()})
    try:
        small = fit(model, budget=budget).model
    except BudgetError as error:
        if not refused(error):
            raise
        return "refused"
    assert budget.params is None or sum(p.numel() for p in small.parameters()) <= budget.params
    assert budget.macs is None or torch_macs(small) <= budget.macs
    return "met"


def drawn_kinds(count: int) -> set[str]:
    return {kind for seed in range(count) for kind in mixed(seed).kinds}


def test_networks_are_of_every_kind_soon() -> None:
    assert drawn_kinds(60) >= {*BODIES, *NORMS, *POOLS, *FRONTS}


FEW = settings(deadline=None, max_examples=cases(4, 100))
SINGLE_UNITS, NUMBERS, HALVES = 1013, (1014, 2020, 4040), 9072
"""Networks with heads that can only go all together, with sizes that are equal by chance, and with
channels of which equally large parts are left by chance."""


@pytest.mark.slow
@FEW
@given(SEEDS)
@example(SINGLE_UNITS)
@example(NUMBERS[0])
@example(NUMBERS[1])
@example(NUMBERS[2])
@example(HALVES)
def test_whatever_goes_it_is_the_masked_original_and_costs_what_was_counted(seed: int) -> None:
    whatever_goes(seed)


@pytest.mark.slow
@FEW
@given(SEEDS)
def test_parts_that_say_nothing_go_without_a_trace(seed: int) -> None:
    silent_parts_go(seed)


@pytest.mark.slow
def test_most_silent_parts_are_found_and_free() -> None:
    assert sum(silent_parts_go(seed) for seed in range(4)) >= 4


@pytest.mark.slow
@FEW
@given(SEEDS)
@example(NUMBERS[2])
@example(HALVES)
def test_all_caps_are_met_or_a_reason_says_why_not(seed: int) -> None:
    meets_or_refuses(seed)


def test_the_laws_see_a_wrong_count_and_a_wrong_weight() -> None:
    """Else they would show nothing: one weight too many, and one entry of another."""
    model = built(6)
    graph = trace(model)
    structure = any_widths(graph, 0)
    small = shrink(model, graph, structure)
    assert measure(small).macs < measure(model).macs
    with torch.no_grad():
        next(p for p in small.parameters() if p.ndim > 1).flatten()[0] += 1
    with pytest.raises(VerificationError):
        verify(model, graph, structure, small)
