"""Rounds of regrowth: what is out keeps its weights, or has zeros for filters and learns on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.accuracy import grounds, regrowth
from benchmarks.accuracy.contenders import pruning
from benchmarks.accuracy.grounds import NETS, Net
from compressor import measure
from compressor.graph.structure import Structure
from compressor.inputs.tensors import named_tensors
from models import TCResNet

CUT = pruning("residual, harmonic mean")


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny network on noise, under the name by which benchmarks know it."""
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(32, 1, 40, 20, generator=generator), torch.arange(32) % 4

    def hears(_: str) -> tuple[Tensor, Tensor]:
        return clips

    build = partial(TCResNet, 4, widths=(8, 8, 12, 16), mels=40, frames=20)
    usual = NETS["TC-ResNet"]
    monkeypatch.setitem(grounds.NETS, "tiny", Net(build, hears, 4, usual.plan, usual.training))
    return "tiny"


def begun(net: str) -> nn.Module:
    """Untrained, with shifts above zero: a rectifier lets a filter of zeros learn by them alone."""
    torch.manual_seed(0)
    model = NETS[net].build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.constant_(module.bias, 0.5)
    return model.eval()


def parts(model: nn.Module, structure: Structure) -> tuple[list[Tensor], list[Tensor]]:
    """Entries of the parameters that a structure keeps, and those that it removes."""
    kept: list[Tensor] = []
    gone: list[Tensor] = []
    tensors = dict(named_tensors(model))
    for name, weight in structure.graph.weights.items():
        if weight.trainable and weight.dims:
            stays = np.ix_(*(dim.alive(structure.keep) for dim in weight.dims))
            mask = np.zeros([dim.size for dim in weight.dims], dtype=bool)
            mask[stays] = True
            mask = torch.from_numpy(mask)
            kept.append(tensors[name].detach()[mask])
            gone.append(tensors[name].detach()[~mask])
    return kept, gone


def test_units_that_are_out_keep_their_weights(net: str) -> None:
    before = begun(net)
    structure = regrowth.chosen(begun(net), net, "mild", CUT, 0).structure
    assert not structure.keep.all()
    after = regrowth.dormant(begun(net), net, "mild", CUT, 0)
    kept, gone = zip(parts(before, structure), parts(after, structure), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(*gone, strict=True))
    assert sum(a.numel() for a in gone[0]) > 0
    assert all(not torch.equal(a, b) for a, b in zip(*kept, strict=True) if a.numel() > 8)


def test_filters_are_silenced_and_learn_again(net: str) -> None:
    structure = regrowth.chosen(begun(net), net, "mild", CUT, 0).structure
    model, tensors = begun(net), dict(named_tensors(begun(net)))
    silent = dict(named_tensors(regrowth.silenced(model, structure)))
    filters = 0
    for name, weight in structure.graph.weights.items():
        if weight.out_dim is None:
            assert torch.equal(silent[name], tensors[name]), "norms and biases stay"
            continue
        alive = torch.from_numpy(weight.dims[weight.out_dim].alive(structure.keep))
        assert torch.equal(silent[name][alive], tensors[name][alive])
        assert not silent[name][~alive].any()
        filters += int((~alive).sum())
    assert filters > 0
    after = dict(named_tensors(regrowth.soft(begun(net), net, "mild", CUT, 0)))
    for name, weight in structure.graph.weights.items():
        if weight.out_dim is not None:
            alive = torch.from_numpy(weight.dims[weight.out_dim].alive(structure.keep))
            assert after[name][~alive].flatten(1).any(1).all(), "every filter has come back"


@pytest.mark.parametrize("one", [regrowth.dormant, regrowth.soft])
def test_a_round_ends_in_the_dense_network(net: str, one: regrowth.Round) -> None:
    model = one(begun(net), net, "mild", CUT, 3)
    assert replace(measure(model), nonzero=0) == replace(measure(begun(net)), nonzero=0)
    assert not model.training
