"""`fit` end to end on small networks, and what it says when something is wrong."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import compressor
from compressor import Budget, Distill, FineTune, Prune, Recalibrate, fit
from compressor.importance import frobenius
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.phases import Phase, constant, cosine
from compressor.run.calibration import recalibrate
from compressor.run.training import Training
from tests.helpers.tiny import CLASSES, Tied, TwoInputs, equal, loader, scenes, tiny

CAPS = Budget(params=700, macs="30k")
QUICK = (Prune(), Recalibrate(), FineTune(epochs=2))


@dataclass(frozen=True)
class Watch:
    """A phase of a user's own: keeps what it sees."""

    seen: list[Training]
    length: int = 1

    def run(self, training: Training, part: int) -> None:
        assert part == 0
        self.seen.append(training)


def accuracy(model: nn.Module) -> float:
    inputs, targets = scenes(200, seed=5).tensors
    with torch.no_grad():
        return float((model.eval()(inputs).argmax(1) == targets).float().mean())


def trained() -> nn.Module:
    """A dense network that has learnt the scenes."""
    model = tiny(width=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = scenes(256).tensors
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model


# --- what it does ---


def test_without_data_it_prunes_at_once() -> None:
    model = tiny()
    before = copy.deepcopy(model)
    result = fit(model, budget=CAPS)
    assert CAPS.allows(compressor.measure(result.model, model.example_input_array))
    assert type(result.model) is type(model)
    assert equal(model, before)
    assert not result.report.log


@pytest.mark.slow
def test_the_default_schedule_brings_accuracy_back() -> None:
    dense = trained()
    budget = Budget(params=600)
    result = fit(dense, loader(256), budget=budget, val=loader(64, seed=3))
    assert [e.phase for e in result.report.log] == ["FineTune"] * 30
    assert result.report.log[0].loss > result.report.log[-1].loss
    pruned = fit(dense, budget=budget).model
    assert accuracy(dense) > 0.9
    assert accuracy(result.model) > max(0.8, accuracy(pruned))
    assert result.report.log[-1].accuracy > 0.8


def test_gradual_pruning_trains_between_its_shrinks() -> None:
    schedule = [Prune(steps=3, epochs=2, lr=1e-2, distill=Distill()), FineTune(epochs=1)]
    result = fit(tiny(), loader(), budget=CAPS, schedule=schedule)
    phases = [(e.phase, e.epoch) for e in result.report.log]
    assert phases == [*(("Prune", n) for n in (1, 2, 3, 4)), ("FineTune", 1)]
    params = [s.reached["params"] for s in result.report.shrinks]
    assert params[0] > params[1] > params[2]
    assert CAPS.allows(result.report.after)


@pytest.mark.parametrize("method", ["dual", "uniform"])
def test_every_method_fits(method: str) -> None:
    schedule = [Prune(method=method), FineTune(epochs=1)]
    assert CAPS.allows(fit(tiny(), loader(), budget=CAPS, schedule=schedule).report.after)


def test_equal_arguments_give_equal_bits_and_the_seed_matters() -> None:
    def once(seed: int) -> nn.Module:
        model = tiny(dropout=0.2)
        return fit(model, loader(), budget=CAPS, schedule=QUICK, seed=seed).model

    torch.manual_seed(1)
    first = once(0)
    torch.manual_seed(2)
    assert equal(first, once(0))
    assert not equal(first, once(1))


def test_the_callers_random_states_are_put_back() -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    wanted = torch.rand(()), np.random.rand(), random.random()  # noqa: NPY002, S311
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    fit(tiny(), loader(), budget=CAPS, schedule=QUICK)
    assert wanted == (torch.rand(()), np.random.rand(), random.random())  # noqa: NPY002, S311


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_every_module_is_kept(training: bool) -> None:  # noqa: FBT001
    model = tiny().train(training)
    model.norm.train(not training)
    result = fit(model, loader(), budget=CAPS, schedule=QUICK)
    assert [m.training for m in result.model.modules()] == [m.training for m in model.modules()]


def test_frozen_parameters_stay_as_they_were() -> None:
    model = tiny()
    for p in (model.stem.weight, model.norm.weight):
        p.requires_grad_(False)  # noqa: FBT003
    result = fit(model, loader(), budget=CAPS, schedule=QUICK)
    keep = result.structure.graph.weights["stem.weight"].dims[0].alive(result.structure.keep)
    assert torch.equal(result.model.stem.weight, model.stem.weight[torch.from_numpy(keep)])
    assert not result.model.stem.weight.requires_grad
    rows = result.structure.graph.weights["down.weight"].dims
    where = np.ix_(*(d.alive(result.structure.keep) for d in rows))
    assert not torch.equal(result.model.down.weight, model.down.weight[where])


def test_several_inputs() -> None:
    model = TwoInputs(16)
    clips, labels = torch.randn(20, 1, 6, 6), torch.arange(20) % CLASSES
    batches = [((clips[i::2], torch.randn(10, 2, 6, 6)), labels[i::2]) for i in (0, 1)]
    result = fit(model, batches, budget=Budget(params=300), schedule=QUICK, val=batches)
    assert result.report.after.params <= 300
    assert 0 <= result.report.log[-1].accuracy <= 1


@pytest.mark.parametrize("model", [Tied(12), tiny(norm=False)], ids=["tied", "no norm"])
def test_other_models(model: nn.Module) -> None:
    budget = Budget(params=500)
    result = fit(model, loader(), budget=budget, schedule=QUICK)
    assert result.report.after.params <= 500


def test_double_precision() -> None:
    clips, labels = scenes(32).tensors
    batches = [(clips.double(), labels)]
    example = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    result = fit(tiny().double(), batches, budget=CAPS, schedule=QUICK, example=example)
    assert result.model.head.weight.dtype == torch.float64
    assert result.report.after.bytes == 8 * result.report.after.params


def test_bfloat16_without_data() -> None:
    example = torch.zeros(1, 1, 8, 8, dtype=torch.bfloat16)
    result = fit(tiny().bfloat16(), budget=Budget(bytes=1400), example=example)
    assert result.model.head.weight.dtype == torch.bfloat16
    assert result.report.after.bytes == 2 * result.report.after.params <= 1400


def test_a_loss_of_the_users_own_is_used_everywhere() -> None:
    seen: list[nn.Module] = []

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        seen.append(model)
        return functional.mse_loss(model(batch["x"]), batch["y"])

    clips = scenes(40).tensors[0]
    batches = [{"x": clips, "y": torch.randn(40, CLASSES)}]
    result = fit(tiny(), batches, budget=CAPS, loss=loss, schedule=[Prune(), FineTune(1, warmup=0)])
    assert len(seen) >= 3
    default = fit(tiny(), batches, budget=CAPS, loss=loss)
    assert len(default.report.log) == 30
    assert result.report.log[0].loss == pytest.approx(1, abs=0.8)  # targets have variance 1


def test_a_factory_gets_groups_rate_and_decay() -> None:
    made: list[dict[str, float]] = []

    def factory(groups: list[dict[str, object]], *, lr: float, weight_decay: float) -> object:
        made.append({"lr": lr, "decay": weight_decay, "groups": len(groups)})
        return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay, momentum=0.9)

    schedule = [Prune(), FineTune(epochs=1, lr=0.05, weight_decay=0.3)]
    fit(tiny(), loader(), budget=CAPS, schedule=schedule, optimizer=factory)
    assert made == 2 * [{"lr": 0.05, "decay": 0.3, "groups": 2}]  # once to try it
    fit(tiny(), loader(), budget=CAPS, schedule=schedule, optimizer=torch.optim.NAdam)
    sgd = partial(torch.optim.SGD, momentum=0.5)
    fit(tiny(), loader(), budget=CAPS, schedule=schedule, optimizer=sgd)


def test_the_last_epoch_is_returned_unless_select_asks_for_the_best() -> None:
    values = iter([0.3, 0.9, 0.1, 0.3, 0.9, 0.1])
    kept: list[dict[str, Tensor]] = []

    def val(model: nn.Module) -> float:
        assert not model.training
        kept.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(values)

    plain = [Prune(), FineTune(epochs=3)]
    last = fit(tiny(), loader(), budget=CAPS, schedule=plain, val=val).model.state_dict()
    assert all(torch.equal(last[k], kept[2][k]) for k in last)
    select = [Prune(), FineTune(epochs=3, select=True)]
    best = fit(tiny(), loader(), budget=CAPS, schedule=select, val=val).model.state_dict()
    assert all(torch.equal(best[k], kept[4][k]) for k in best)
    assert not all(torch.equal(last[k], best[k]) for k in best)


def test_kept_layers_lose_nothing_and_the_report_says_so() -> None:
    result = fit(tiny(), budget=CAPS, keep=["stem"])
    assert result.model.stem.out_channels == 8
    assert "stem" in " ".join(result.report.frozen)


def test_a_phase_of_ones_own_needs_no_base_class() -> None:
    seen: list[Training] = []
    fit(tiny(), budget=CAPS, schedule=[Prune(), Watch(seen)])
    assert seen[0].session.cost.params <= 700


def test_importance_is_an_argument() -> None:
    by_norm = fit(tiny(), loader(), budget=CAPS, schedule=[Prune(importance=frobenius)])
    assert (by_norm.structure.keep == fit(tiny(), budget=CAPS).structure.keep).all()
    by_fisher = fit(tiny(), loader(), budget=CAPS, schedule=[Prune()])
    assert (by_norm.structure.keep != by_fisher.structure.keep).any()


# --- the pieces of training ---


def test_recalibration_is_the_plain_average_and_leaves_the_rest() -> None:
    model = tiny(dropout=0.5)
    model.norm.momentum = 0.3
    before = copy.deepcopy(model)
    batches = [tuple(scenes(20, seed=s).tensors) for s in range(3)]
    recalibrate(model, batches, cross_entropy)
    activations = [before.stem(x) for x, _ in batches]
    mean = torch.stack([a.mean((0, 2, 3)) for a in activations]).mean(0)
    var = torch.stack([a.var((0, 2, 3)) for a in activations]).mean(0)
    torch.testing.assert_close(model.norm.running_mean, mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.norm.running_var, var, rtol=1e-4, atol=1e-6)
    assert model.norm.momentum == 0.3
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_recalibration_without_batches_does_nothing() -> None:
    model = tiny()
    before = copy.deepcopy(model)
    recalibrate(model, [], cross_entropy)
    assert equal(model, before)


def test_distillation_is_its_formula_and_shows_the_teacher_the_same_inputs() -> None:
    student, teacher = tiny(1).eval(), tiny(2).eval()
    x, y = scenes(6).tensors

    def mixed(model: nn.Module, batch: Batch) -> Tensor:
        inputs, targets = batch
        return functional.cross_entropy(model(inputs.flip(0)), targets.flip(0))

    loss = Distill(temperature=2.0, weight=0.25).of(mixed, teacher)
    task = functional.cross_entropy(student(x), y)
    p, q = (m(x).div(2).softmax(1) for m in (teacher, student))
    kl = (p * (p.log() - q.log())).sum(1).mean()
    wanted = 0.75 * task + 0.25 * 4 * kl
    torch.testing.assert_close(loss(student, (x, y)), wanted)
    same = Distill(weight=1.0).of(mixed, student)(student, (x, y))
    assert float(same.detach()) == pytest.approx(0, abs=1e-6)
    assert not student._forward_hooks


def test_the_rate_rises_falls_and_reaches_every_phase_end() -> None:
    tune = FineTune(epochs=10, warmup=2)
    assert tune.rate(0.0) == 0.0
    assert tune.rate(0.1) == pytest.approx(0.5)
    assert tune.rate(0.2) == pytest.approx(1.0)
    assert tune.rate(0.6) == pytest.approx(0.5)
    assert tune.rate(1.0) == pytest.approx(0.0)
    assert FineTune(epochs=2, warmup=0, decay=constant).rate(0.7) == 1.0
    assert FineTune(epochs=1, warmup=3).rate(0.5) == pytest.approx(0.5)
    assert cosine(0) == 1.0


def test_norms_and_biases_do_not_decay() -> None:
    from compressor.run.optimizers import groups  # noqa: PLC0415

    filters, vectors = groups(tiny())
    assert {p.ndim for p in filters["params"]} == {2, 4}
    assert {p.ndim for p in vectors["params"]} == {1}
    assert vectors["weight_decay"] == 0.0


@pytest.mark.parametrize(
    "phase",
    [
        partial(Prune, steps=0), partial(Prune, floor=-1), partial(Prune, epochs=-1),
        partial(Recalibrate, batches=0), partial(FineTune, epochs=0),
        partial(FineTune, warmup=float("nan")),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(phase: partial[Phase]) -> None:
    with pytest.raises(ValueError, match=r"must be a (whole )?number, at least"):
        phase()


def test_distill_checks_its_ranges() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Distill(weight=1.5)


@pytest.mark.parametrize("scores", [[math.nan, 0.9, 0.8], [0.9, math.nan, 0.8]])
def test_an_epoch_without_a_score_is_never_the_best(scores: list[float]) -> None:
    seen: list[tuple[float, Tensor]] = []
    left = iter(scores)

    def judge(model: nn.Module) -> float:
        seen.append((next(left), model.get_parameter("head.weight").detach().clone()))
        return seen[-1][0]

    schedule = [Prune(), FineTune(epochs=3, select=True)]
    result = fit(tiny(), loader(), budget=CAPS, schedule=schedule, val=judge)
    best = next(weight for score, weight in seen if score == 0.9)
    assert torch.equal(result.model.get_parameter("head.weight"), best)


def test_ignored_labels_are_left_out_of_the_accuracy() -> None:
    clips, labels = scenes(32).tensors
    half = labels.clone()
    half[16:] = -100
    schedule = [Prune(), FineTune(epochs=1)]

    def accuracy(val: list[Batch]) -> float | None:
        return fit(tiny(), loader(), budget=CAPS, schedule=schedule, val=val).report.log[0].accuracy

    assert accuracy([(clips, half)]) == accuracy([(clips[:16], labels[:16])])
