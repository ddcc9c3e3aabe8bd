"""A session shrinks in place under a loop that it does not own."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.budget import Budget, Cost
from compressor.counting.measuring import measure
from compressor.errors import BudgetError, VerificationError
from compressor.fitting import fit
from compressor.graph.structure import Structure
from compressor.network import to_network
from compressor.network.file.container import pack
from compressor.phases import Prune
from compressor.run.compression import on_the_way
from compressor.run.optimizers import follow
from compressor.session import Session
from compressor.surgery.cutting import Cut, cut
from compressor.surgery.embedding import embed
from tests.helpers.tiny import Tied, TwoInputs, equal, loader, scenes, tiny

CAPS = Budget(params=500, macs="25k")


def train(session: Session, optimizer: torch.optim.Optimizer, steps: int) -> list[int]:
    """The loop of the README; returns the number of parameters after each step."""
    inputs, targets = scenes(32).tensors
    sizes: list[int] = []
    session.model.train()
    for _ in range(steps):
        loss = functional.cross_entropy(session.model(inputs), targets) + session.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.step()
        sizes.append(sum(p.numel() for p in session.model.parameters()))
    return sizes


def test_without_every_the_model_is_small_at_once() -> None:
    model = tiny()
    session = Session(model, budget=CAPS)
    assert CAPS.allows(measure(session.model, model.example_input_array))
    result = session.finish()
    assert result.model is session.model
    assert result.report.after == measure(result.model, model.example_input_array)


def test_the_given_model_is_never_touched() -> None:
    model = tiny()
    before = copy.deepcopy(model)
    session = Session(model, budget=CAPS, prune=Prune(steps=2), every=1)
    train(session, torch.optim.SGD(session.model.parameters(), lr=0.1), 3)
    session.finish()
    assert equal(model, before)
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]


def test_gradual_shrinks_come_when_due_and_the_module_stays_the_same_object() -> None:
    session = Session(tiny(), budget=CAPS, prune=Prune(steps=3), every=2)
    module = session.model
    session.optimizer = torch.optim.AdamW(session.model.parameters(), lr=1e-2)
    sizes = train(session, session.optimizer, 8)
    assert module is session.model
    assert sizes[0] > sizes[1] == sizes[2] > sizes[3] == sizes[4] > sizes[5] == sizes[7]
    assert sizes[7] <= 500
    assert len(session.shrinks) == 3
    assert CAPS.allows(session.finish().report.after)


def test_finish_makes_the_shrinks_that_are_still_due() -> None:
    session = Session(tiny(), budget=CAPS, prune=Prune(steps=5), every=100)
    train(session, torch.optim.SGD(session.model.parameters(), lr=0.1), 2)
    assert not session.shrinks
    assert CAPS.allows(session.finish().report.after)


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        partial(torch.optim.Adam, lr=0.01, amsgrad=True),
        partial(torch.optim.AdamW, lr=0.01),
        partial(torch.optim.RMSprop, lr=0.01, momentum=0.5),
        partial(torch.optim.Adagrad, lr=0.01),
        partial(torch.optim.Adafactor, lr=0.01),
    ],
    ids=lambda make: make.func.__name__,
)
def test_optimiser_state_is_cut_like_its_parameters(make: partial[torch.optim.Optimizer]) -> None:
    session = Session(tiny(), budget=CAPS, prune=Prune(steps=1), every=10**6)
    optimizer = session.optimizer = make(session.model.parameters())
    train(session, optimizer, 2)
    names = {id(p): n for n, p in session.model.named_parameters()}
    before = {names[id(p)]: copy.deepcopy(s) for p, s in optimizer.state.items()}
    held = [names[id(p)] for g in optimizer.param_groups for p in g["params"]]
    graph, alive = session.graph, session.alive
    session.shrink()
    keep = np.isin(alive, session.alive)
    own = dict(session.model.named_parameters())
    assert [id(own[n]) for n in held] == [
        id(p) for g in optimizer.param_groups for p in g["params"]
    ]
    compared = 0
    for name, parameter in own.items():
        places = [np.flatnonzero(d.alive(keep)) for d in graph.weights[name].dims]
        for key, old in before[name].items():
            if not isinstance(old, Tensor) or parameter not in optimizer.state:
                continue
            new = optimizer.state[parameter][key]
            if old.numel() > 1:
                assert torch.equal(new, old[np.ix_(*places)])
                compared += 1
            else:
                assert torch.equal(new, old)
    assert compared or make.func is torch.optim.Adafactor
    sizes = train(session, optimizer, 2)  # it still works
    assert sizes[0] <= 500


def test_state_of_another_shape_starts_anew() -> None:
    old, new = nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(2, 3))
    other = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([old, other], lr=0.1)
    optimizer.state[old] = {"rows": torch.zeros(4, 1), "step": 3}
    optimizer.state[other] = {"buffer": torch.ones(2)}
    follow(optimizer, [Cut(old, new, (torch.tensor([0, 2]), None))])
    assert optimizer.param_groups[0]["params"][0] is new
    assert new not in optimizer.state
    assert old not in optimizer.state
    assert torch.equal(optimizer.state[other]["buffer"], torch.ones(2))


def test_an_optimiser_of_the_given_model_works_on_the_copy() -> None:
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    functional.cross_entropy(model(scenes(8).tensors[0]), scenes(8).tensors[1]).backward()
    optimizer.step()
    momentum = optimizer.state[model.head.weight]["momentum_buffer"].clone()
    before = copy.deepcopy(model)
    session = Session(model, budget=CAPS, prune=Prune(steps=2), every=2, optimizer=optimizer)
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in session.model.parameters()}
    state = optimizer.state[session.model.head.weight]["momentum_buffer"]
    assert torch.equal(state, momentum)
    assert train(session, optimizer, 5)[-1] <= 500
    assert equal(model, before)


def test_an_optimiser_of_something_else_is_refused() -> None:
    stranger = torch.optim.SGD([nn.Parameter(torch.zeros(3))], lr=0.1)
    with pytest.raises(ValueError, match=r"holds 1 parameters that are not the model's"):
        Session(tiny(), budget=CAPS, optimizer=stranger)


def test_a_gradual_session_equals_masking_the_original_once() -> None:
    """Two shrinks without training in between keep exactly the original's weights."""
    model = tiny().eval()
    session = Session(model, budget=CAPS, prune=Prune(steps=2), every=1)
    session.step()
    session.step()
    structure = session.structure
    expected = copy.deepcopy(model)
    cut(expected, session.dense, structure)
    assert equal(session.model, expected)
    assert session.cost.params == session.dense.params(structure.widths)


def test_embedding_is_undone_by_cutting() -> None:
    session = Session(tiny(), budget=CAPS)
    train(session, torch.optim.SGD(session.model.parameters(), lr=0.1), 2)
    large = embed(session.original, session.structure, session.model)
    cut(large, session.dense, session.structure)
    assert equal(large, session.model)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_wrong_cut_is_noticed(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one layer shuffled while cutting: shapes and costs are right, outputs are not."""
    from compressor.run import shrinking as module  # noqa: PLC0415

    session = Session(tiny(), budget=CAPS, prune=Prune(steps=steps), every=1)
    for _ in range(steps - 1):
        session.step()

    def crooked(model: nn.Module, graph: object, structure: Structure) -> nn.Module:
        small = original(model, graph, structure)
        with torch.no_grad():
            small.stem.weight.copy_(small.stem.weight.flip(0))
        return small

    original = module.shrink
    monkeypatch.setattr(module, "shrink", crooked)
    with pytest.raises(VerificationError, match="differ by"):
        session.step()


def test_a_wrong_count_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.run import shrinking as module  # noqa: PLC0415

    def short(model: nn.Module, example: object, **settings: object) -> Cost:
        cost = measure(model, example, **settings)
        return Cost(cost.params, cost.nonzero, cost.macs + 1, cost.bytes)

    session = Session(tiny(), budget=CAPS)
    monkeypatch.setattr(module, "measure", short)
    with pytest.raises(VerificationError, match=r"was counted anew and has macs [\d,]+ instead of"):
        session.finish()


def test_unpruned_sessions_do_not_pass_for_small() -> None:
    session = Session(tiny(), budget=CAPS, prune=None)
    with pytest.raises(VerificationError, match=r"does not: params [\d,]+ > 500"):
        session.finish()


def test_penalty_is_a_zero_of_the_models_kind() -> None:
    model = tiny().double()
    example = model.example_input_array.double()
    penalty = Session(model, budget=CAPS, example=example).penalty()
    assert penalty.shape == ()
    assert penalty.dtype == torch.float64
    assert penalty == 0


def test_data_makes_the_importance_a_measured_one() -> None:
    by_norm = Session(tiny(), budget=CAPS)
    by_fisher = Session(tiny(), budget=CAPS, data=loader())
    assert by_norm.structure.keep.tolist() != by_fisher.structure.keep.tolist()


@pytest.mark.parametrize("model", [TwoInputs(), Tied(), tiny(norm=False)], ids=type)
def test_other_kinds_of_models(model: nn.Module) -> None:
    before = measure(model, model.example_input_array)
    budget = Budget(params=before.params // 2, macs=before.macs // 2)
    result = Session(model, budget=budget).finish()
    assert budget.allows(result.report.after)
    names = [n for n, _ in result.model.named_parameters()]
    assert names == [n for n, _ in model.named_parameters()]  # ties are kept


def test_frozen_parameters_and_modes_are_kept() -> None:
    model = tiny()
    model.stem.requires_grad_(False)  # noqa: FBT003
    model.norm.eval()
    result = Session(model, budget=CAPS).finish().model
    assert not result.stem.weight.requires_grad
    assert result.down.weight.requires_grad
    assert [m.training for m in result.modules()] == [m.training for m in model.modules()]


def test_the_way_down_is_geometric_and_ends_at_the_budget() -> None:
    budget = Budget(params=100, macs=5000)
    now = Cost(params=1600, nonzero=1600, macs=4000, bytes=6400)
    steps: list[int] = []
    for remaining in (4, 3, 2, 1):
        caps = on_the_way(budget, now, remaining)
        assert caps.macs == 5000  # met already
        steps.append(caps.params)
        now = Cost(params=caps.params, nonzero=0, macs=4000, bytes=0)
    assert steps == [800, 400, 200, 100]


def test_infeasible_budgets_name_what_is_reachable() -> None:
    with pytest.raises(BudgetError, match="params"):
        Session(tiny(), budget=Budget(params=10))


def packed(model: nn.Module, example: Tensor) -> int:
    return len(pack(to_network(model, example)))


@pytest.mark.slow
def test_a_cap_on_bytes_is_one_on_the_file_of_floats_and_that_is_said() -> None:
    model = tiny(width=16)
    cap = packed(model, model.example_input_array) // 2
    with pytest.warns(UserWarning, match=r"file of float32 weights.*Int8\(\).*weight_bits=32"):
        warned = Session(model, budget=Budget(bytes=cap)).finish()
    result = Session(model, budget=Budget(bytes=cap), weight_bits=32).finish()
    assert equal(result.model, warned.model)
    assert 0.7 * cap < packed(result.model, model.example_input_array) <= cap
    assert result.report.stored == "float32"
    assert f"the file has {result.report.files[1]:,}, its weights in float32" in str(  # type: ignore[index]
        result.report
    ).replace("\n", " ")


def test_bits_that_a_session_does_not_make_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight_bits=8\).*are float32 and stay so.*Int8\(\)"):
        Session(tiny(), budget=Budget(bytes=9000), weight_bits=8)
    half = tiny().double()
    example = half.example_input_array.double()
    with pytest.raises(ValueError, match=r"weight_bits=32\).*are float64"):
        Session(half, budget=CAPS, example=example, weight_bits=32)


def test_other_caps_and_fit_are_silent() -> None:
    model = tiny(width=16)
    Session(model, budget=CAPS, weight_bits=32)
    Session(model, budget=CAPS)
    cap = packed(model, model.example_input_array) // 2
    assert fit(model, budget=Budget(bytes=cap)).report.stored == "float32"


def test_every_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"every=0"):
        Session(tiny(), budget=CAPS, every=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"data": 3}, r"data is an int and yields no batches"),
        ({"data": (b for b in loader())}, r"data is a generator, which can be read only once"),
        ({"data": [{"x": torch.zeros(2, 1, 8, 8)}]}, r"data yields a dict.* pass loss="),
        ({"data": [(torch.zeros(2, 2, 8, 8), torch.zeros(2).long())]}, r"does not run on the"),
        ({"data": loader(), "loss": lambda *_: 3}, r"must return a tensor with one number"),
        ({"loss": 3}, r"loss=3 is a int: pass a function"),
        ({"optimizer": "sgd"}, r"optimizer='sgd'\): must be an optimiser built on the model given"),
        ({"optimizer": torch.optim.SGD}, r"must be an optimiser built on the model given"),
        ({"fabric": 3}, r"fabric=3 is no Fabric"),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_kind(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Session(tiny(), budget=CAPS, every=1, **change)
    with pytest.raises(ValueError, match="a model is needed"):
        Session(3, budget=CAPS)


def test_the_settings_of_one_removal_are_called_as_those_of_all() -> None:
    session = Session(tiny(), budget=Budget(macs=5_000), prune=None)
    session.shrink(prune=Prune(), remaining=1)
    assert session.cost.macs <= 5_000
