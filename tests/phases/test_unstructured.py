"""Unstructured pruning: the papers' figures, torch's own pruning as an oracle, and what lasts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from compressor import Budget, BudgetError, FineTune, Half, Prune, Session, Unstructured, fit
from compressor.network import to_network
from compressor.network.file import container
from compressor.phases.unstructured import mask, weights
from compressor.run.training import Training
from compressor.surgery.masks import Masks
from models import BCResNetASC, SharedResNet
from tests.helpers.random_nets import drawn
from tests.helpers.tiny import Tied, Tiny, equal, loader, tiny

SHARES = st.floats(0.0, 0.99)


def stirred(model: nn.Module) -> nn.Module:
    """No parameter is zero, as after training: a fresh norm's shifts are."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.01)
    return model


def nonzero(model: nn.Module) -> int:
    return sum(int(torch.count_nonzero(p)) for p in model.parameters())


def convolutions(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


PAPERS = {
    "2020": (lambda: SharedResNet(channels=64, num_classes=3), (1, 2, 64, 32), 0.6, 245_587),
    "2021": (lambda: BCResNetASC(80, 10), (1, 1, 64, 34), 0.89, 33_035 + 14_650),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_papers_figures_come_out_exactly(paper: str) -> None:
    make, shape, amount, expected = PAPERS[paper]
    result = fit(
        stirred(make()), budget=Budget(nonzero=expected), schedule=[Unstructured(amount=amount)],
        example=torch.zeros(shape),
    )  # fmt: skip
    assert result.report.after.nonzero == nonzero(result.model) == expected


@pytest.mark.slow
def test_bytes_of_the_papers() -> None:
    """Half precision throughout in 2020; 8 bits for convolutions and 16 for the rest in 2021."""
    make, shape, amount, expected = PAPERS["2020"]
    result = fit(
        stirred(make()), budget=Budget(nonzero=expected), example=torch.zeros(shape),
        schedule=[Unstructured(amount=amount), Half()],
    )  # fmt: skip
    assert result.report.accounted[0] == 491_174
    assert round((33_035 + 2 * 14_650) / 1024, 2) == 60.87


@given(SHARES, st.integers(0, 2**16))
def test_the_mask_is_that_of_torch(amount: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = Tiny()
    tensors, masks = weights(model, (nn.Conv2d,)), Masks()
    total = sum(w.numel() for w in tensors.values())
    keep = total - round(amount * total)
    found = [(m, "weight") for m in convolutions(model)]
    mask(masks, tensors, keep, per_layer=False)
    torch_prune.global_unstructured(found, torch_prune.L1Unstructured, amount=total - keep)
    wanted = [m.weight_mask.bool() for m, _ in found]
    if all(bool(w.any()) for w in wanted):  # torch may empty a layer, which we never do
        assert all(torch.equal(a, b) for a, b in zip(masks.values(), wanted, strict=True))


@given(SHARES, st.integers(0, 2**16))
def test_every_layer_of_its_own_keeps_the_same_share(amount: float, seed: int) -> None:
    torch.manual_seed(seed)
    tensors, masks = weights(Tiny(), (nn.Conv2d,)), Masks()
    total = sum(w.numel() for w in tensors.values())
    keep = total - round(amount * total)
    mask(masks, tensors, keep, per_layer=True)
    for name, live in masks.items():
        share = live.numel() * keep / total
        assert int(live.sum()) == max(1, int(share))
        dead = tensors[name].abs()[~live]
        assert not len(dead) or dead.max() <= tensors[name].abs()[live].min()


@given(
    st.lists(SHARES, min_size=2, max_size=5), st.sampled_from([True, False]), st.integers(0, 2**16)
)
def test_masks_only_shrink(amounts: list[float], per_layer: object, seed: int) -> None:
    torch.manual_seed(seed)
    tensors, masks = weights(Tiny(), (nn.Conv2d,)), Masks()
    total = sum(w.numel() for w in tensors.values())
    seen = []
    for amount in amounts:
        for weight in tensors.values():
            weight.normal_()  # whatever training does to what is zero already
        mask(masks, tensors, total - round(amount * total), per_layer=bool(per_layer))
        seen.append({name: live.clone() for name, live in masks.items()})
    assert all(bool((b[n] <= a[n]).all()) for a, b in pairwise(seen) for n in a)


def test_a_shared_tensor_is_pruned_and_counted_once() -> None:
    model = stirred(Tied())
    tensors = weights(model, (nn.Conv2d,))
    assert len(tensors) == len({id(p) for m in convolutions(model) for p in [m.weight]})
    total = sum(w.numel() for w in tensors.values())
    others = nonzero(model) - total
    cap = others + total // 2
    assert nonzero(fit(model, budget=Budget(nonzero=cap), schedule=[Unstructured()]).model) == cap


@pytest.mark.parametrize("settings", [{"amount": 0.5}, {"steps": 3, "epochs": 1}])
def test_zeros_last_through_training_and_later_removals(settings: dict[str, float]) -> None:
    model = stirred(tiny())
    others = nonzero(model) - sum(w.numel() for w in weights(model, (nn.Conv2d,)).values())
    cap = others + 200
    schedule = [Unstructured(**settings), FineTune(epochs=1), Prune(), FineTune(epochs=1)]
    budget = Budget(params=500, **({} if "amount" in settings else {"nonzero": cap}))
    result = fit(model, loader(), budget=budget, schedule=schedule)
    small = result.report.after
    assert small.params <= 500
    assert small.nonzero < small.params - 50
    assert nonzero(result.model) == small.nonzero


def test_pruning_again_changes_nothing() -> None:
    model = stirred(tiny())
    schedule = [Unstructured(amount=0.7)]
    once = fit(model, budget=Budget(nonzero=10_000), schedule=schedule).model
    twice = fit(once, budget=Budget(nonzero=10_000), schedule=schedule).model
    assert equal(once, twice)


def test_a_session_holds_masks_while_units_go() -> None:
    session = Session(stirred(tiny()), budget=Budget(params=600), prune=None)
    Unstructured(amount=0.6).run(Training(session, None), 0)
    before = {n: live.clone() for n, live in session.masks.items()}
    session.shrink()
    for name, p in session.model.named_parameters():
        if name in before:
            assert session.masks[name].shape == p.shape
            assert not p[~session.masks[name]].any()
    with torch.no_grad():
        for p in session.model.parameters():
            p.add_(1.0)
    session.masks.hold(session.model)
    lived = sum(int(live.sum()) for live in session.masks.values())
    assert lived == sum(int(p.count_nonzero()) for n, p in session.model.named_parameters()
                        if n in session.masks)  # fmt: skip


@pytest.mark.parametrize("last", [[], [Half()]])
def test_a_cap_on_the_file_is_met_by_zeros_alone(last: list) -> None:
    model = stirred(tiny(width=32))
    whole = len(container.pack(to_network(model)))
    cap = whole * (4 if last else 7) // 10
    result = fit(model, budget=Budget(bytes=cap), schedule=[Unstructured(), *last])
    made = to_network(result.model)
    assert result.report.files == (whole, len(container.pack(made)))
    assert 0.7 * cap < result.report.files[1] <= cap
    assert result.report.after.params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("schedule", "budget", "message"),
    [
        ([Unstructured(amount=0.6)], Budget(params=300), "zeros count"),
        ([Unstructured()], Budget(nonzero=20), "fewer than one each"),
        ([Unstructured()], Budget(params=10**6), "nothing of non-zero"),
        ([Unstructured(over=(nn.LSTM,), amount=0.5)], Budget(nonzero=300), "finds no LSTM"),
        ([Prune(), Unstructured()], Budget(nonzero=300), "nothing to do"),
    ],
)
def test_what_cannot_be_is_said(schedule: list, budget: Budget, message: str) -> None:
    with pytest.raises((BudgetError, ValueError), match=message):
        fit(tiny(), budget=budget, schedule=schedule)


@pytest.mark.parametrize("amount", [0.99, 0.999999])
@pytest.mark.parametrize("seed", range(3))
def test_no_layer_is_left_without_a_weight(seed: int, amount: float) -> None:
    model = drawn(seed)
    example = model.example_input_array
    phase = Unstructured(amount=amount)
    result = fit(model, budget=Budget(nonzero=10**6), schedule=[phase])
    named = dict(result.model.named_parameters())
    pruned = weights(model, phase.over)
    assert pruned
    assert all(int(named[name].count_nonzero()) >= 1 for name in pruned)
    assert result.model(torch.randn_like(example)).isfinite().all()


@pytest.mark.parametrize("seed", range(2))
def test_one_weight_a_layer_is_reached_and_one_less_is_refused(seed: int) -> None:
    model = drawn(seed)
    pruned = weights(model, Unstructured().over)
    rest = sum(p.numel() for name, p in model.named_parameters() if name not in pruned)
    least = rest + len(pruned)
    result = fit(model, budget=Budget(nonzero=least), schedule=[Unstructured()])
    assert result.report.after.nonzero <= least
    with pytest.raises(
        BudgetError, match=rf"leaves {rest:,} parameters alone.*fewer than one each"
    ):
        fit(model, budget=Budget(nonzero=least - 1), schedule=[Unstructured()])


@pytest.mark.parametrize(
    "settings",
    [{"amount": 1.0}, {"amount": -0.1}, {"amount": "half"}, {"steps": 0}, {"over": (3,)}],
)
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Unstructured"):
        Unstructured(**settings)
