"""`fit` on inputs alone: no labels, no training, and clear words where these are needed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from compressor import (
    Budget,
    Distill,
    FineTune,
    Int8,
    Prune,
    Recalibrate,
    Session,
    Unlabelled,
    fit,
    measure,
)
from compressor.importance import fisher, residual
from tests.helpers.tiny import TwoInputs, equal, scenes, tiny

CLIPS, LABELS = scenes(96).tensors
CAPS = Budget(params=700, macs="30k")


def far(small: nn.Module, model: nn.Module, *inputs: Tensor) -> float:
    with torch.no_grad():
        mine, wanted = small.eval()(*inputs), model.eval()(*inputs)
    return float((mine - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())


FORMS: dict[str, Any] = {
    "a tensor": CLIPS,
    "a list of tensors": list(CLIPS.split(64)),
    "a list of lists": [[x] for x in CLIPS.split(64)],
    "a list of tuples": [(x,) for x in CLIPS.split(64)],
    "a loader": DataLoader(TensorDataset(CLIPS), batch_size=64),
    "a loader of tensors": DataLoader(list(CLIPS), batch_size=64),
}


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return fit(tiny(), CLIPS, budget=CAPS).model


@pytest.mark.parametrize("form", FORMS)
def test_inputs_come_in_any_form_and_end_in_the_same_bits(form: str, plain: nn.Module) -> None:
    assert equal(fit(tiny(), FORMS[form], budget=CAPS).model, plain)


def test_it_meets_the_caps_nearer_to_the_dense_network_than_without_inputs() -> None:
    model = tiny()
    alone, blind = fit(model, CLIPS, budget=CAPS), fit(model, budget=CAPS)
    assert CAPS.allows(measure(alone.model, model.example_input_array))
    fresh = scenes(64, seed=8).tensors[0]
    assert far(alone.model, model, fresh) < far(blind.model, model, fresh) / 2
    (shrunk,) = alone.report.shrinks
    assert len(shrunk.tried) > 1
    assert shrunk.tried[min(shrunk.tried, key=shrunk.tried.__getitem__)] == min(
        shrunk.tried.values()
    )
    assert not alone.report.log
    assert not alone.report.rates


def test_nothing_of_the_caller_s_is_touched() -> None:
    model = tiny(dropout=0.4).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    clips = CLIPS.clone()
    result = fit(model, clips, budget=CAPS)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert torch.equal(clips, CLIPS)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(module.training for module in result.model.modules())
    assert all(p.grad is None and p.requires_grad for p in result.model.parameters())


def test_several_inputs_come_with_the_loss_that_says_so() -> None:
    torch.manual_seed(0)
    model = TwoInputs()
    source = torch.Generator().manual_seed(1)
    inputs = [
        (torch.randn(32, 1, 6, 6, generator=source), torch.randn(32, 2, 6, 6, generator=source))
        for _ in range(3)
    ]
    cost = measure(model).params
    result = fit(model, inputs, budget=Budget(params=cost // 2), loss=Unlabelled())
    blind = fit(model, budget=Budget(params=cost // 2))
    assert far(result.model, model, *inputs[0]) < far(blind.model, model, *inputs[0])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_inputs_are_enough_for_a_safe_result(count: int) -> None:
    """Fewer than there are unknowns: the pull decides, and nothing comes out worse."""
    model = tiny()
    result = fit(model, CLIPS[:count], budget=CAPS)
    (shrunk,) = result.report.shrinks
    assert shrunk.repaired is not None
    assert shrunk.repaired.after <= shrunk.repaired.before
    assert shrunk.free is None
    assert all(t.isfinite().all() for t in result.model.state_dict().values())


def test_batches_of_one_do_as_well() -> None:
    model = tiny()
    result = fit(model, list(CLIPS[:16].split(1)), budget=CAPS)
    (shrunk,) = result.report.shrinks
    assert shrunk.repaired is not None
    assert shrunk.repaired.after < shrunk.repaired.before / 2


@pytest.mark.parametrize("importance", [fisher, residual])
def test_every_importance_can_be_asked_for(importance: Any) -> None:
    result = fit(tiny(), CLIPS, budget=CAPS, schedule=[Prune(importance=importance)])
    assert CAPS.allows(result.report.after)


def test_under_a_cap_on_bytes_integers_are_fitted_without_training() -> None:
    model = tiny()
    result = fit(model, CLIPS, budget=Budget(bytes=2600))
    assert not result.report.log
    assert far(result.model, model, CLIPS) < 1


def test_only_what_the_dense_network_says_can_be_trained_on() -> None:
    schedule = [Prune(), FineTune(epochs=1)]
    with pytest.raises(ValueError, match=r"FineTune trains and the data hold inputs alone"):
        fit(tiny(), CLIPS, budget=CAPS, schedule=schedule)
    for share in (0.0, 0.7):
        tune = FineTune(epochs=1, distill=Distill(weight=share))
        with pytest.raises(ValueError, match=r"FineTune\(distill=Distill\(weight=1\)\)"):
            fit(tiny(), CLIPS, budget=CAPS, schedule=[Prune(), tune])
    with pytest.raises(ValueError, match=r"Prune trains and the data hold inputs alone"):
        fit(tiny(), CLIPS, budget=CAPS, schedule=[Prune(steps=2, epochs=1)])
    with pytest.raises(ValueError, match=r"Int8 trains and the data hold inputs alone"):
        fit(tiny(), CLIPS, budget=CAPS, schedule=[Prune(), Int8(epochs=1)])


def test_distillation_alone_trains_on_inputs_and_brings_outputs_nearer() -> None:
    model = tiny()
    tune = FineTune(epochs=3, lr=3e-3, distill=Distill(temperature=1, weight=1))
    bare = fit(model, CLIPS, budget=CAPS, schedule=[Prune(repair=False), Recalibrate()])
    tuned = fit(model, CLIPS, budget=CAPS, schedule=[Prune(repair=False), Recalibrate(), tune])
    assert [epoch.phase for epoch in tuned.report.log] == ["FineTune"] * 3
    assert far(tuned.model, model, CLIPS) < far(bare.model, model, CLIPS)


def test_a_network_of_which_nothing_is_trained_is_pruned_and_followed_by_its_norms() -> None:
    model = tiny().requires_grad_(False)  # noqa: FBT003
    names = ["stem", "depthwise", "pointwise", "down", "head"]
    result = fit(model, CLIPS, budget=CAPS, release=names)
    assert CAPS.allows(result.report.after)
    (shrunk,) = result.report.shrinks
    assert shrunk.repaired is not None
    assert not shrunk.repaired.layers
    with pytest.raises(ValueError, match="no parameter of the Tiny requires a gradient"):
        fit(model, [(CLIPS, LABELS)], budget=CAPS, release=names)


def test_epochs_without_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="epochs"):
        fit(tiny(), CLIPS, budget=CAPS, epochs=3)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ([(CLIPS, LABELS.float())], "label|target|integer|class"),
        ([(CLIPS, LABELS + 7)], "label|class"),
        ([(CLIPS, CLIPS)], "label|target|cross entropy|class"),
        ([{"x": CLIPS}], "pair|mapping|loss|dict"),
        ([CLIPS[:, :, :, :0]], "."),
        ([], "empty"),
        ([CLIPS, LABELS], r"list of pairs, \[\(inputs, targets\)\]"),
        ((CLIPS, LABELS), r"list of pairs, \[\(inputs, targets\)\]"),
        (CLIPS[:0], "empty|no example|no batch"),
        ([torch.zeros(0, 1, 8, 8)], "example|empty"),
        (CLIPS.numpy(), "tensor"),
        (CLIPS[0, 0, 0], "tensor|dimension|batch"),
        (CLIPS.long(), "."),
    ],
    ids=[
        "float labels", "labels out of range", "images as labels", "a mapping", "no pixels",
        "nothing", "a list of both", "a pair", "no inputs", "an empty batch", "an array",
        "a vector", "whole numbers",
    ],
)  # fmt: skip
def test_data_of_the_wrong_kind_are_named(data: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fit(tiny(), data, budget=CAPS)


def test_spoilt_inputs_are_an_error_or_do_no_harm() -> None:
    clips = CLIPS.clone()
    clips[70] = float("nan")
    with pytest.raises(Exception, match=r"(?i)nan|finite") as caught:
        fit(tiny(), clips, budget=CAPS)
    assert type(caught.value).__module__.startswith(("compressor", "builtins"))


def test_a_session_takes_inputs_alone_and_finds_out_by_itself(plain: nn.Module) -> None:
    model = tiny()
    said = Session(model, budget=CAPS, data=list(CLIPS.split(64)), loss=Unlabelled()).finish()
    result = Session(model, budget=CAPS, data=CLIPS).finish()
    assert equal(result.model, said.model)
    assert equal(result.model, plain), "as `fit` does"
    with pytest.raises(ValueError, match="list of pairs"):
        Session(model, budget=CAPS, data=[CLIPS, LABELS])
    assert CAPS.allows(result.report.after)
    (shrunk,) = result.report.shrinks
    assert shrunk.repaired is not None
    blind = Session(model, budget=CAPS).finish()
    assert far(result.model, model, CLIPS) < far(blind.model, model, CLIPS)


def test_inputs_that_are_all_the_same_prove_nothing_free() -> None:
    result = fit(tiny(), CLIPS[:1].expand(96, -1, -1, -1), budget=CAPS)
    (shrunk,) = result.report.shrinks
    assert shrunk.free is None
    assert result.report.after.params > 600


def test_where_outputs_are_not_seen_the_report_says_so() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model.forward(batch[0]), batch[1])

    result = fit(tiny(), [(CLIPS, LABELS)], budget=CAPS, loss=loss, schedule=[Prune()])
    assert "Repair in closed form changed nothing" in str(result.report)
    assert '"before": null' in result.report.json()
