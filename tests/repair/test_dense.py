"""The dense side: what its layers and norms give, and the same however little is remembered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.inputs.batches import call
from compressor.repair.dense import Dense
from compressor.repair.norms import moments
from compressor.repair.rows import ROWS
from tests.helpers.tiny import Tied, scenes, tiny

CLIPS = scenes(24).tensors[0]


def dense(model: nn.Module | None = None, *, memory: int = 1 << 28) -> Dense:
    return Dense(model or tiny(), list(CLIPS.split(8)), call, memory=memory)


def test_rows_are_what_the_layer_gave() -> None:
    model = tiny().eval()
    found = dense(model)
    rows = [pair for one in found.rows(("stem.weight", 0)) for pair in one]
    assert len(rows) == 3
    with torch.no_grad():
        for said, batch in zip(rows, CLIPS.split(8), strict=True):
            where = said.where
            wanted = model.stem(batch).flatten(2)[where.examples, :, where.spots]
            assert torch.equal(said.outputs, wanted)
            assert where.shape == (8, 8, 8)


@pytest.mark.parametrize("memory", [0, 1000, 20_000, 1 << 28])
def test_how_much_is_remembered_changes_no_number(memory: int) -> None:
    one, other = dense(memory=memory), dense()
    for key in other.layers:
        for mine, wanted in zip(one.rows(key), other.rows(key), strict=True):
            for a, b in zip(mine, wanted, strict=True):
                assert torch.equal(a.where.spots, b.where.spots)
                assert torch.equal(a.where.examples, b.where.examples)
                assert torch.equal(a.outputs, b.outputs)
                assert (a.rest is None) == (b.rest is None)
                assert a.rest is None or torch.equal(a.rest, b.rest)
    for number in range(3):
        for left, right in zip(one.outputs(number), other.outputs(number), strict=True):
            assert torch.equal(left, right)


def test_rows_of_a_layer_that_is_called_twice_are_of_both_calls() -> None:
    found = dense(Tied())
    assert [len(one) for one in found.rows(("first.weight", 0))] == [2, 2, 2]


def test_rows_are_limited() -> None:
    wide = torch.randn(4, 1, 80, 80)
    found = Dense(nn.Conv2d(1, 2, 1), list(wide.split(2)), call)
    count = sum(len(said.outputs) for one in found.rows(("weight", 0)) for said in one)
    assert count <= ROWS + 2 < wide.numel()


def test_moments_are_those_of_every_norm_s_inputs() -> None:
    model = tiny().eval()
    found = dense(model).moments
    assert list(found) == ["norm", "norm2"]
    with torch.no_grad():
        for (mean, variance), batch in zip(found["norm"], CLIPS.split(8), strict=True):
            wanted = moments(model.stem(batch))
            torch.testing.assert_close((mean, variance), wanted)


def test_the_model_is_in_eval_mode_and_no_number_is_drawn() -> None:
    model = tiny(dropout=0.5).train()
    state = torch.get_rng_state()
    found = dense(model)
    found.moments  # noqa: B018 - measured when it is asked for
    found.rows(("head.weight", 0))
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert torch.equal(found.outputs(0)[0], model(CLIPS[:8]))


def test_the_outputs_of_a_network_of_several_are_all_of_them() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.layer(x.flatten(1))
            return {"logits": y, "classes": y.argmax(1)}

    assert [one.shape for one in dense(Two()).outputs(0)] == [(8, 3)]
