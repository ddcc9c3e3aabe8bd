"""The ways in which a "masked" network is not the pruned one: each is shown to matter, and met."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch_pruning
from torch import Tensor, nn

from compressor.counting.measuring import measure
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.evaluation import evaluating
from compressor.inputs.tensors import named_tensors
from compressor.surgery.cutting import shrink
from compressor.surgery.masking import Masked
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from models import BCResNetASC
from models.layers import ResidualNorm
from tests.zoo import FAMILIES, TRICKY
from tests.zoo.scene_resnets import shared_resnet


def thinned(graph: Graph, axis: int | None = None) -> Structure:
    """Half of every axis (or of one) removed, seeded."""
    random = np.random.default_rng(3)
    keep = np.ones(graph.units, dtype=bool)
    for number, a in enumerate(graph.axes):
        if not a.frozen and axis in (None, number):
            keep[a.first + random.permutation(a.size)[: a.size // 2]] = False
    return Structure(graph, keep)


def output(model: nn.Module, x: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        return model(x)


def masked(model: nn.Module, graph: Graph, structure: Structure, x: Tensor) -> Tensor:
    return Masked(graph, structure, dict(named_tensors(model))).outputs([x]).tensors[0]


def with_zero_filters(model: nn.Module, graph: Graph, structure: Structure) -> nn.Module:
    """What pruning by zeroing filters does: rows of convolutions set to zero, nothing else."""
    twin = copy.deepcopy(model)
    tensors = dict(named_tensors(twin))
    with torch.no_grad():
        for site in graph.sites:
            weight = graph.weights[site.weight]
            assert weight.out_dim is not None
            alive = weight.dims[weight.out_dim].alive(structure.keep)
            dead = torch.from_numpy(np.flatnonzero(~alive))
            tensors[site.weight].index_fill_(weight.out_dim, dead, 0.0)
    return twin


@pytest.fixture(scope="module")
def scene_net() -> nn.Module:
    return randomised(BCResNetASC(10, mels=32, frames=12)).double()


def noise(model: nn.Module) -> Tensor:
    example = model.example_input_array
    assert isinstance(example, Tensor)
    return torch.randn(example.shape, generator=torch.Generator().manual_seed(1)).double()


def test_zero_filters_are_revived_by_norm_shifts_and_residual_norm(scene_net: nn.Module) -> None:
    graph = trace(scene_net, noise(scene_net))
    structure, x = thinned(graph), noise(scene_net)
    small = output(shrink(scene_net, graph, structure), x)
    honest = masked(scene_net, graph, structure, x)
    naive = output(with_zero_filters(scene_net, graph, structure), x)
    scale = small.abs().max()
    assert (honest - small).abs().max() / scale < 1e-12
    assert (naive - small).abs().max() / scale > 1e-2


def test_residual_norm_statistics_are_those_of_the_kept_channels() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), ResidualNorm(0.1), nn.Conv2d(6, 2, 1)
    ).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    graph = trace(model, x)
    structure = thinned(graph)
    kept = torch.from_numpy(np.flatnonzero(structure.keep))
    first, norm, last = model
    with torch.no_grad():
        inside = norm(first(x)[:, kept])
        by_hand = torch.conv2d(inside, last.weight[:, kept], last.bias)
        of_all = torch.conv2d(norm(first(x))[:, kept], last.weight[:, kept], last.bias)
    assert torch.allclose(masked(model, graph, structure, x), by_hand, atol=1e-12)
    assert (of_all - by_hand).abs().max() > 1e-3


def test_one_shared_weight_is_cut_once_and_its_norms_every_time() -> None:
    model = randomised(shared_resnet(num_classes=10, width=8))
    graph = trace(model)
    small = shrink(model, graph, thinned(graph))
    assert verify(model, graph, thinned(graph), small) < 1e-9
    shared = [s.weight for s in graph.sites]
    assert len(shared) > len(set(shared)), "this network applies a weight several times"
    assert measure(small).params == graph.params(thinned(graph).widths)


def test_a_smaller_copy_inherits_train_and_eval_mode() -> None:
    model = TRICKY["dropout2d"]()
    graph = trace(model)
    for mode in (True, False):
        model.train(mode)
        small = shrink(model, graph, thinned(graph))
        assert all(module.training is mode for module in small.modules())


class FixedTail(nn.Module):
    """A zero last layer, as the tandem model of 2022 starts with, behind code that asks for 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.counted = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 3, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.example_input_array = torch.zeros(1, 1, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.counted(self.stem(x).relu())
        return self.last(2 * x if x.shape[1] == 8 else x)


def test_zero_weights_do_not_hide_a_mistake_from_the_probe() -> None:
    graph = trace(FixedTail())
    assert "differ" in graph.frozen["counted"]
    held = {axis.name: bool(axis.frozen) for axis in graph.axes}
    assert held == {"stem": False, "counted": True}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "bcresnet", "densenet121", "mobilenet_v2"])
def test_torch_pruning_removes_the_same_entries(name: str) -> None:
    """An independent dependency graph, given one layer's channels, arrives at the same network."""
    build = FAMILIES.get(name, lambda: BCResNetASC(16, mels=32, frames=12))
    model = randomised(build()).eval()
    example = model.example_input_array
    assert isinstance(example, Tensor)
    graph = trace(model)
    modules = dict(model.named_modules())
    for number in range(0, len(graph.axes), max(1, len(graph.axes) // 4)):
        axis, structure = graph.axes[number], thinned(graph, number)
        site = next(s for s in graph.sites if s.module == axis.name)
        if not site.dense or not isinstance(modules[axis.name], nn.Conv2d):
            continue
        other = copy.deepcopy(model)
        dead = np.flatnonzero(~site.writes.alive(structure.keep)).tolist()
        dependencies = torch_pruning.DependencyGraph().build_dependency(other, example)
        layer = dict(other.named_modules())[axis.name]
        group = dependencies.get_pruning_group(
            layer, torch_pruning.prune_conv_out_channels, idxs=dead
        )
        group.prune()
        ours = shrink(model, graph, structure)
        shapes = [tuple(p.shape) for p in ours.parameters()]
        assert shapes == [tuple(p.shape) for p in other.parameters()]
        x = torch.randn(example.shape, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(output(ours, x), output(other, x), rtol=1e-4, atol=1e-5)
