"""Torch-Pruning's attempts at a transformer: networks that run, within what is asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.common.heads import ATTEMPTS, Attempt, at_ratio, pruned
from compressor import measure
from models import AudioTransformer


@pytest.fixture
def model() -> AudioTransformer:
    torch.manual_seed(0)
    return AudioTransformer(5, 16, 2, 4, hidden=24, mels=8, frames=36)


def batches() -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 1, 8, 36, generator=random), torch.arange(8) % 5)]


@pytest.mark.slow
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda a: a.name)
def test_every_attempt_comes_near_the_cap(model: AudioTransformer, attempt: Attempt) -> None:
    """It never exceeds it, leaves less than a third of it, and the dense network stays."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cap = measure(model).macs // 2
    small = pruned(model, attempt, lambda m: measure(m).macs <= cap, batches())
    assert small is not None
    assert 2 / 3 * cap < measure(small).macs <= cap
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for block in small.blocks:
        attention = block.attention
        assert attention.query.out_features == attention.heads * attention.key_width
        assert attention.value.out_features == attention.heads * attention.value_width
        assert attention.heads == 4 - round(4 * attempt.heads)
        assert attention.scale == 4**-0.5
    assert (small.norm.normalized_shape == (16,)) is attempt.bottleneck


def test_nothing_fits_an_impossible_cap(model: AudioTransformer) -> None:
    assert pruned(model, ATTEMPTS[0], lambda m: measure(m).macs == 0, batches()) is None


def test_dead_channels_go_first(model: AudioTransformer) -> None:
    """Units of small weights are removed, and the function stays."""
    dead = [1, 5, 7, 10, 20, 23]
    with torch.no_grad():
        for block in model.blocks:
            block.mlp[0].weight[dead], block.mlp[0].bias[dead] = 0.0, 0.0
            block.mlp[2].weight[:, dead] = 0.0
            for layer in (block.attention.query, block.attention.key, block.attention.value):
                layer.weight[1::4], layer.bias[1::4] = 0.0, 0.0
            block.attention.output.weight[:, 1::4] = 0.0
    attempt = Attempt(taylor=False, bottleneck=True)
    small = at_ratio(model, attempt, 0.25, batches())
    assert {block.mlp[0].out_features for block in small.blocks} == {18}
    (x, _), *_ = batches()
    torch.testing.assert_close(small(x), model.eval()(x))
