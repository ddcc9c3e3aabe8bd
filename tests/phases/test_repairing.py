"""`Repair`: what phases before it took is made up for, the dense network being the measure."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from compressor import (
    Budget,
    Distill,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Prune,
    Repair,
    Result,
    Train,
    Unstructured,
    fit,
)
from compressor.errors import ResumeError
from compressor.inputs.batches import Batch
from compressor.run.progress import Bar
from compressor.wording import many
from tests.helpers.pulled import Pulled, Stop
from tests.helpers.tiny import equal, loader, refuses, scenes, tiny

CLIPS, LABELS = scenes(96).tensors
ALONE = list(CLIPS.split(32))
PAIRS = list(zip(CLIPS.split(32), LABELS.split(32), strict=True))
CAPS = Budget(params=700)


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(CLIPS)


def far(result: Result, model: nn.Module) -> float:
    wanted = outputs(model)
    return float(
        (outputs(result.model) - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    )


def test_after_a_prune_without_repair_it_brings_outputs_nearer() -> None:
    model = tiny()
    bare = fit(model, ALONE, budget=CAPS, schedule=[Prune(repair=False)])
    repaired = fit(model, ALONE, budget=CAPS, schedule=[Prune(repair=False), Repair()])
    assert far(repaired, model) < far(bare, model) / 2
    (found,) = repaired.report.repairs
    assert found.after < found.before
    assert not bare.report.repairs


def test_zeros_of_single_weights_stay_zero() -> None:
    model = tiny()
    cut = fit(model, ALONE, budget=Budget(nonzero=600), schedule=[Unstructured()])
    whole = fit(model, ALONE, budget=Budget(nonzero=600), schedule=[Unstructured(), Repair()])
    for name, weight in cut.model.named_parameters():
        if weight.ndim > 1:
            zeros = weight == 0
            assert not whole.model.get_parameter(name)[zeros].any(), name
    assert whole.report.after.nonzero <= 600
    assert far(whole, model) < far(cut, model) / 2


def test_the_report_says_so_in_text_and_in_data() -> None:
    result = fit(tiny(), ALONE, budget=CAPS, schedule=[Prune(repair=False), Repair()])
    (found,) = result.report.repairs
    assert f"Repaired in closed form: {many(len(found.layers), 'layer')}." in str(result.report)
    (plain,) = result.report.data()["repairs"]
    assert plain["after"] == found.after
    assert set(plain["layers"]) == set(found.layers)
    assert '"repairs"' in result.report.json()


def test_the_report_says_where_inputs_are_too_few_and_what_was_left() -> None:
    result = fit(tiny(), ALONE, budget=CAPS, schedule=[Prune(repair=False), Repair(inputs=9)])
    (found,) = result.report.repairs
    text = str(result.report)
    for why in found.left.values():
        assert why in text
    assert ("With fewer rows than unknowns" in text) == bool(found.few)
    assert found.few or "there are fewer rows than unknowns" in text


def test_inside_of_prune_it_is_reported_with_the_shrink() -> None:
    result = fit(tiny(), ALONE, budget=CAPS, schedule=[Prune()])
    (shrunk,) = result.report.shrinks
    assert shrunk.repaired is not None
    assert shrunk.repaired.after <= shrunk.repaired.normed
    assert shrunk.judged == "distance of outputs to the dense network's after repair"
    assert f"Compared by {shrunk.judged}" in str(result.report)
    assert f"{shrunk.repaired.after:.3g} repaired" in str(result.report)


def test_the_dense_network_is_the_trained_one() -> None:
    """After `Train` outputs are not brought back to those of the network given."""
    model = tiny()
    schedule = [Train(epochs=3, lr=3e-2), Prune(repair=False), Repair()]
    result = fit(model, PAIRS, budget=CAPS, schedule=schedule)
    trained = fit(model, PAIRS, budget=Budget(params=10**6), schedule=[Train(epochs=3, lr=3e-2)])
    assert far(result, trained.model) < far(result, model)


def test_nor_is_it_another_behind_a_change_of_the_input() -> None:
    rows = FrequencyMask(keep=6, epochs=1, fine_tune=0)
    schedule = [Train(epochs=2, lr=3e-2), rows, Prune(repair=False), Repair()]
    result = fit(tiny(), PAIRS, budget=Budget(params=700, macs="20k"), schedule=schedule)
    (found,) = result.report.repairs
    assert found.after < found.before / 2
    assert {name.split(".")[-2] for name in found.layers} >= {"down", "head"}


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (0, r"Repair\(inputs=0\)"),
        (1.5, r"Repair\(inputs=1\.5\)"),
        ("many", r"Repair\(inputs='many'\)"),
    ],
)
def test_a_wrong_number_is_refused(inputs: object, match: str) -> None:
    with refuses(match):  # type: ignore[attr-defined]
        Repair(inputs=inputs)  # type: ignore[arg-type]


def test_without_data_and_behind_other_networks_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Repair measures on data and fit was given none"):
        fit(tiny(), budget=CAPS, schedule=[Prune(), Repair()])
    for phase in (Half(), Int8(epochs=0)):
        with pytest.raises(ValueError, match=rf"{type(phase).__name__}\(.* at the end"):
            fit(tiny(), ALONE, budget=CAPS, schedule=[Prune(), phase, Repair()])


def test_behind_filters_that_are_pruned_one_by_one_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"put Repair\(\) before FilterPruning"):
        fit(tiny(), ALONE, budget=CAPS, schedule=[FilterPruning(), Repair()])


def test_before_integers_it_is_allowed() -> None:
    model = tiny()
    schedule = [Prune(repair=False), Repair(), Int8(epochs=0)]
    result = fit(model, ALONE, budget=CAPS, schedule=schedule)
    assert far(result, model) < 1
    assert len(result.report.repairs) == 1


def test_through_fabric_in_one_process_no_bit_changes() -> None:
    plain = fit(planted(), ALONE, budget=CAPS, schedule=[Prune(), Repair()])
    fabric = Fabric(accelerator="cpu", devices=1)
    through = fit(planted(), ALONE, budget=CAPS, schedule=[Prune(), Repair()], fabric=fabric)
    assert equal(plain.model, through.model)
    assert plain.report.shrinks == through.report.shrinks
    assert plain.report.shrinks[0].free is not None
    assert plain.report.repairs == through.report.repairs


# --- stopped and gone on with ---


SCHEDULE = (
    Prune(steps=2, epochs=1, importance=None),
    Repair(inputs=64),
    Unstructured(amount=0.3),
    Repair(),
    FineTune(epochs=1, lr=1e-3),
)


def planted() -> nn.Module:
    model = tiny(dropout=0.2)
    with torch.no_grad():
        model.down.weight[3], model.down.bias[3] = model.down.weight[1], model.down.bias[1]
    return model


def call(folder: Path | None, loss: Pulled) -> Result:
    data = loader(64, batch=16, generator=torch.Generator().manual_seed(3))
    return fit(planted(), data, budget=CAPS, schedule=SCHEDULE, checkpoint=folder, loss=loss)


class Counted(Pulled):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__(None)
        self.calls = 0

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        self.calls += 1
        return super().__call__(model, batch)


@cache
def whole() -> tuple[Result, int]:
    """The run without any interruption, and how often it calls the loss."""
    counted = Counted()
    return call(None, counted), counted.calls


def test_the_run_that_is_stopped_removes_and_repairs_all_there_is() -> None:
    report = whole()[0].report
    assert report.shrinks[0].free is not None
    assert all(one.repaired is not None for one in report.shrinks)
    assert len(report.repairs) == 2


@pytest.mark.parametrize(
    "share",
    [pytest.param(x, marks=pytest.mark.slow) for x in (0.5, 0.99)] + [0.88],
)
def test_stopped_anywhere_a_run_with_repairs_ends_in_the_same_bits(
    share: float, tmp_path: Path
) -> None:
    wanted, calls = whole()
    with pytest.raises(Stop):
        call(tmp_path, Pulled(int(share * calls)))
    again = call(tmp_path, Pulled(None))
    assert equal(again.model, wanted.model)
    assert again.report.shrinks == wanted.report.shrinks
    assert again.report.repairs == wanted.report.repairs


def test_another_schedule_is_refused(tmp_path: Path) -> None:
    schedule = [Prune(repair=False), Repair()]
    fit(tiny(), ALONE, budget=CAPS, schedule=schedule, checkpoint=tmp_path)
    with pytest.raises(ResumeError, match="schedule was"):
        fit(tiny(), ALONE, budget=CAPS, schedule=schedule[:1], checkpoint=tmp_path)


def test_on_inputs_alone_a_run_goes_on_too(tmp_path: Path) -> None:
    schedule = [Prune(), Repair(), FineTune(epochs=1, lr=1e-3, distill=Distill(weight=1))]
    whole = fit(tiny(), ALONE, budget=CAPS, schedule=schedule)
    first = fit(tiny(), ALONE, budget=CAPS, schedule=schedule, checkpoint=tmp_path)
    again = fit(tiny(), ALONE, budget=CAPS, schedule=schedule, checkpoint=tmp_path)
    assert equal(whole.model, first.model)
    assert equal(whole.model, again.model)
    assert again.report.repairs == whole.report.repairs


@pytest.mark.parametrize("repair", [True, False])
def test_the_bar_counts_layers_of_structures_and_of_the_repair(
    monkeypatch: pytest.MonkeyPatch, *, repair: bool
) -> None:
    begun: list[list[Any]] = []
    monkeypatch.setattr(Bar, "begin", lambda _, text, total: begun.append([text, total, 0]))

    def advance(_: Bar, note: str = "") -> None:  # noqa: ARG001 - a bar's
        begun[-1][2] += 1

    monkeypatch.setattr(Bar, "advance", advance)
    result = fit(tiny(), PAIRS, budget=CAPS, schedule=[Prune(repair=repair), Repair()])
    counted = {text: (total, count) for text, total, count in begun if total is not None}
    (compared,) = (text for text in counted if text.startswith("Prune: compare"))
    structures = int(compared.split()[-1])
    assert 1 < structures <= len(result.report.shrinks[0].tried)
    layers = 5
    assert counted[compared] == (structures * (layers if repair else 1),) * 2
    assert counted["Repair"] == (layers, layers)
