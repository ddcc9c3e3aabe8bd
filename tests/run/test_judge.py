"""Structures are worth what they leave, repaired: loss with labels, distance without."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.graph.structure import Structure, full
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.inputs.unlabelled import Unlabelled
from compressor.repair.least_squares import distance
from compressor.run.calibration import calibration_loss
from compressor.run.judge import Judge, measure_of
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.helpers.structures import any_widths
from tests.helpers.tiny import scenes, tiny

CLIPS, LABELS = scenes(48).tensors
PAIRS = list(zip(CLIPS.split(16), LABELS.split(16), strict=True))
ALONE = list(CLIPS.split(16))


def judge(model: nn.Module, batches: list[Batch], loss: object, inputs: int = 256) -> Judge:
    return Judge(model, trace(model), batches, loss, inputs)  # type: ignore[arg-type]


def test_the_whole_is_at_no_distance_and_has_its_own_loss() -> None:
    model = tiny().eval()
    whole = full(trace(model))
    assert judge(model, ALONE, Unlabelled())(whole) == 0
    with torch.no_grad():
        wanted = sum(float(cross_entropy(model, batch)) for batch in PAIRS) / 3
    assert judge(model, PAIRS, cross_entropy)(whole) == pytest.approx(wanted, rel=1e-6)


def test_worth_is_that_of_what_is_left_after_repair() -> None:
    model = tiny().eval()
    graph = trace(model)
    structure = any_widths(graph, 3)
    one = Judge(model, graph, ALONE, Unlabelled(), 256)
    small = shrink(model, graph, structure)
    found = one.repaired(small, structure)
    assert one(structure) == pytest.approx(found.after)
    assert one(structure) == pytest.approx(distance(small, one.dense))
    assert one(structure) < found.before


def test_without_repair_norms_alone_are_estimated() -> None:
    model = tiny().eval()
    graph = trace(model)
    structure = any_widths(graph, 3)
    small = shrink(model, graph, structure)
    found = Judge(model, graph, PAIRS, cross_entropy, 0)(structure)
    assert found == pytest.approx(calibration_loss(small, PAIRS, cross_entropy))
    blind = Judge(model, graph, ALONE, Unlabelled(), 0)(structure)
    assert 0 < blind < math.inf
    repaired = Judge(model, graph, ALONE, Unlabelled(), 256)(structure)
    assert repaired < blind


def test_repair_sees_so_many_inputs_and_the_loss_all_of_them() -> None:
    model = tiny().eval()
    one = judge(model, PAIRS, cross_entropy, inputs=20)
    assert [len(batch[0]) for batch in one.dense.batches] == [16, 4]
    assert len(one.batches) == 3


def test_model_and_random_state_are_untouched_and_answers_are_equal() -> None:
    model = tiny(dropout=0.3).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    graph, state = trace(model), torch.get_rng_state()
    one = Judge(model, graph, PAIRS, cross_entropy, 256)
    structure = any_widths(graph, 3)
    assert (
        one(structure)
        == one(structure)
        == Judge(model, graph, PAIRS, cross_entropy, 256)(structure)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_nearer_structures_are_worth_more() -> None:
    model = tiny().eval()
    graph = trace(model)
    keep = full(graph).keep.copy()
    axis = next(axis for axis in graph.axes if "down" in axis.layers)
    found = []
    for units in (1, 6, 14):
        keep[axis.first : axis.first + units] = False
        found.append(Judge(model, graph, ALONE, Unlabelled(), 256)(Structure(graph, keep.copy())))
    assert found == sorted(found)
    assert len(set(found)) == 3


class Spoils(nn.Module):
    """NaN where channels are missing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(1, 6, 3), nn.Linear(6, 4)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x).relu().mean((2, 3))
        return self.head(x)


def test_what_is_not_finite_is_worth_nothing_and_spoilt_data_are_an_error() -> None:
    model = Spoils().eval()
    graph = trace(model)
    structure = any_widths(graph, 3)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        value = cross_entropy(model, batch)
        return value if model.layer.out_channels == 6 else value * math.inf

    assert math.isinf(Judge(model, graph, PAIRS, loss, 256)(structure))
    spoilt = [(clips.masked_fill(clips > 1, math.nan), labels) for clips, labels in PAIRS]
    with pytest.raises(TrainingError, match="batch 1 of the data"):
        Judge(model, graph, spoilt, cross_entropy, 256)(structure)


def test_masks_hold_while_judging() -> None:
    model = tiny().eval()
    mask = torch.rand(model.down.weight.shape) < 0.5
    with torch.no_grad():
        model.down.weight.mul_(mask)
    graph = trace(model)
    structure = Structure(graph, np.ones(graph.units, dtype=bool))
    one = Judge(model, graph, ALONE, Unlabelled(), 256, {"down.weight": mask})
    small = shrink(model, graph, structure)
    one.repaired(small, structure)
    assert not small.down.weight[~mask].any()


def test_masks_are_cut_with_what_is_judged() -> None:
    """As if the network had been masked after it was cut."""
    model = tiny().eval()
    source = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(p.shape, generator=source) < 0.5
        for name, p in model.named_parameters()
        if p.ndim == 4
    }
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    graph = trace(model)
    structure = any_widths(graph, 3)
    one = Judge(model, graph, ALONE, Unlabelled(), 256, masks)
    small = shrink(model, graph, structure)
    alive = {name: p != 0 for name, p in small.named_parameters() if name in masks}
    found = Judge(model, graph, ALONE, Unlabelled(), 256, alive).repaired(small, structure)
    assert found.layers
    assert one(structure) == pytest.approx(found.after)
    for name, living in alive.items():
        assert not small.get_parameter(name)[~living].any()


@pytest.mark.parametrize(
    ("loss", "repaired", "said"),
    [
        (Unlabelled(), True, "distance of outputs to the dense network's after repair"),
        (Unlabelled(), False, "distance of outputs to the dense network's before fine-tuning"),
        (cross_entropy, True, "loss after repair"),
        (cross_entropy, False, "loss before fine-tuning"),
    ],
)
def test_the_measure_has_a_name(loss: object, *, repaired: bool, said: str) -> None:
    assert measure_of(loss, repaired=repaired) == said  # type: ignore[arg-type]
