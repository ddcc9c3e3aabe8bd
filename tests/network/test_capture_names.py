"""Layers and tensors of a model that have the names of a network's own attributes."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, Prune, fit, load
from compressor.network import Network, Rewrite, to_network
from compressor.network.file.container import pack, unpack
from compressor.phases.half import Half
from compressor.phases.int8 import Int8
from compressor.phases.unstructured import Unstructured
from tests.helpers.tiny import CLASSES, loader


class Clashing(nn.Module):
    """Layers, a parameter and a buffer named as a `Network` names what it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Conv2d(1, 8, 3, padding=1)
        self.shapes = nn.BatchNorm2d(8)
        self.outputs = nn.Sequential(OrderedDict(steps=nn.Conv2d(8, 8, 1)))
        self._frees = nn.Linear(8, CLASSES)
        self.get_buffer = nn.Dropout(0.1)
        self.result = nn.Parameter(torch.full((1,), 0.9))
        self.register_buffer("inputs", torch.full((1,), 0.1))
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shapes(self.steps(x)).relu() * self.result + self.inputs
        return self._frees(self._modules["get_buffer"](self.outputs(x).relu().mean((2, 3))))


@pytest.fixture
def model() -> Clashing:
    torch.manual_seed(0)
    made = Clashing()
    for _ in range(3):
        made(torch.randn(16, 1, 8, 8))  # statistics
    return made.eval()


X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_network_keeps_the_names_and_its_own_attributes(model: Clashing) -> None:
    made = to_network(model)
    assert made.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(made(X), model(X))
    assert [s.name for s in made.steps][-1] == made.outputs.name
    assert made.inputs == ("x",)
    assert made.get_submodule("outputs.steps").weight is made.tensor("outputs.steps.weight")
    assert made.get_parameter("result") is dict(made.named_parameters())["result"]
    assert made.get_buffer("inputs") is dict(made.named_buffers())["inputs"]
    for missing in ("x", "steps.x", "outputs.x.y"):
        with pytest.raises(AttributeError, match="no submodule"):
            made.get_submodule(missing)
    with pytest.raises(AttributeError, match="no parameter"):
        made.get_parameter("inputs")
    with pytest.raises(AttributeError, match="no buffer"):
        made.get_buffer("result")
    with pytest.raises(AttributeError, match="'shapes' is no parameter and no buffer"):
        made.tensor("shapes")


def test_it_is_copied_loaded_rewritten_and_stored(model: Clashing) -> None:
    made = to_network(model)
    twin = to_network(Clashing()).eval()
    twin.load_state_dict(model.state_dict())
    again = unpack(pack(made))
    for other in (twin, copy.deepcopy(made), Rewrite(made).build(), again):
        assert torch.equal(other.eval()(X), model(X))
    assert again.state_dict().keys() == made.state_dict().keys()
    wide = made.double()(X.double())
    assert torch.allclose(wide, model.double()(X.double()))


def test_it_trains_like_the_model(model: Clashing) -> None:
    made = to_network(model)
    model.get_submodule("shapes").train()
    made.get_submodule("shapes").train()
    for one in (made, model):
        one(X).square().mean().backward()
    for name, p in model.named_parameters():
        assert torch.allclose(made.get_parameter(name).grad, p.grad, atol=1e-7)
    assert int(made.tensor("shapes.num_batches_tracked")) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [[Prune(), Int8(1)], [Unstructured(amount=0.3), Half()], [Prune(), Unstructured(0.2), Int8(0)]],
    ids=["int8", "half", "sparse"],
)
def test_a_compressed_model_is_written_and_read(
    model: Clashing, schedule: list, tmp_path: Path
) -> None:
    caps = Budget(bytes=6_000, nonzero=170)
    result = fit(model, loader(32), budget=caps, schedule=schedule)
    assert isinstance(result.model, Network)
    result.write(tmp_path / "small")
    assert torch.equal(load(tmp_path / "small")(X), result.model(X))
