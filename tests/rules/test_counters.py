"""Other counters: the torchinfo rule is held to torchinfo, the rest to what they are known for."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchinfo
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from compressor.counting.measuring import measure
from compressor.errors import CountError
from compressor.inputs.example import one_input
from compressor.rules import counters
from compressor.rules.counters import (
    Call,
    Count,
    fvcore_count,
    record_calls,
    thop_count,
    torchinfo_count,
    torchinfo_macs,
    torchinfo_params,
)
from tests.zoo import FAMILIES, TRICKY

HUGE = {"vgg11_bn"}
IMAGE = torch.randn(1, 4, 9, 9)
SEQUENCE = torch.randn(1, 10, 16)


def torchinfo_says(model: nn.Module, *inputs: Tensor) -> Count:
    said = torchinfo.summary(model, input_data=list(inputs), verbose=0)
    return Count(params=said.total_params, macs=said.total_mult_adds)


class Shared(nn.Module):
    """The same modules under several names and parents, some called, some only entered."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.outer = nn.Sequential(self.pair, nn.ReLU())
        self.listed = nn.ModuleList([self.pair[0], nn.Conv2d(4, 4, 1)])
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.empty = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        x = self.listed[0](self.outer(self.pair(x)))
        return self.empty(self.listed[1](x) * self.scale)


class AliasLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3))
        self.alias = self.block[0]
        self.deep = nn.ModuleDict({"x": nn.ModuleList([nn.Sequential(self.block)])})

    def forward(self, x: Tensor) -> Tensor:
        return self.alias(self.deep["x"][0](self.block(x)))  # pyright: ignore[reportIndexIssue]


class AliasFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3))
        self.deep = nn.ModuleDict({"x": nn.ModuleList([inner])})
        self.block = inner
        self.alias = inner[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.alias(self.block[1](self.alias(self.deep["x"][0](self.block(x)))))  # pyright: ignore[reportIndexIssue]


class Tied(nn.Module):
    """Two layers with one weight, and parameters of its own that hide the double count."""

    def __init__(self, own: int) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.own = nn.Parameter(torch.ones(own))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.own.sum()


class OnlyEmpty(nn.Module):
    """Its one child is an empty Sequential, which Python takes for no child."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 1, 1))
        self.other = nn.Parameter(torch.ones(2))
        self.child = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        return self.child(x) * self.weight


class ConvInItsName(OnlyEmpty):
    pass


class OddNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first_weight = nn.Parameter(torch.ones(4))
        self.bias = nn.Parameter(torch.ones(4, 1, 1))
        self.bias2 = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Outputs(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 5, 1)
        self.weight = nn.Parameter(torch.ones(3))
        self.wrap = wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.conv(x))


class LeafOutputs(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.wrap = wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(x)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 5, 1)
        self.listed = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Linear(3, 3)])
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        by_hand = nn.functional.conv2d(x, self.conv.weight[:4])
        return self.listed[0](x) + self.linear.weight.sum() + by_hand


class TwiceThroughACell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x[:, 0], self.cell(x[:, 1]))


def masked() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    )
    torch.manual_seed(0)
    prune.random_unstructured(model[0], "weight", 0.6)
    inner = model[2]
    assert isinstance(inner, nn.Sequential)
    prune.random_unstructured(inner[0], "weight", 0.5)
    prune.random_unstructured(inner[0], "bias", 0.5)
    return model


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # retired, but still met
        return nn.Sequential(torch.nn.utils.weight_norm(nn.Conv2d(4, 4, 3)))


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "gru": (lambda: nn.GRU(16, 16, batch_first=True), (SEQUENCE,)),
    "lstm": (lambda: nn.Sequential(nn.LSTM(16, 8, 2, batch_first=True)), (SEQUENCE,)),
    "cell": (TwiceThroughACell, (SEQUENCE,)),
    "attention": (lambda: nn.MultiheadAttention(16, 2, batch_first=True), (SEQUENCE,) * 3),
    "transformer": (lambda: nn.TransformerEncoderLayer(16, 2, 8, batch_first=True), (SEQUENCE,)),
    "embedding": (lambda: nn.Embedding(7, 3), (torch.tensor([[1, 2]]),)),
    "prelu": (lambda: nn.Sequential(nn.PReLU(), nn.GroupNorm(2, 4)), (IMAGE,)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (IMAGE,)),
    "shared": (Shared, (IMAGE,)),
    "alias_first": (AliasFirst, (IMAGE,)),
    "alias_last": (AliasLast, (IMAGE,)),
    "tied": (lambda: Tied(1), (SEQUENCE,)),
    "tied_hidden": (lambda: Tied(300), (SEQUENCE,)),
    "only_empty": (lambda: nn.Sequential(OnlyEmpty(), ConvInItsName()), (IMAGE,)),
    "odd_names": (lambda: nn.Sequential(OddNames(), nn.Identity()), (IMAGE,)),
    "dict": (lambda: Outputs(lambda y: {"a": y, "b": y.sum(1)}), (IMAGE,)),
    "leaf_dict": (lambda: LeafOutputs(lambda y: {"a": y, "b": [y.repeat(3, 1, 1, 1)]}), (IMAGE,)),
    "leaf_tuple": (lambda: LeafOutputs(lambda y: ((y.repeat(2, 1, 1, 1), y), y)), (IMAGE,)),
    "unused": (Unused, (IMAGE,)),
    "masked": (masked, (IMAGE,)),
    "old_weight_norm": (old_weight_norm, (IMAGE,)),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), (IMAGE,)),
    "nothing": (nn.ReLU, (IMAGE,)),
}


class TestTorchinfo:
    @pytest.mark.parametrize("name", ODD)
    def test_odd_networks(self, name: str) -> None:
        build, inputs = ODD[name]
        model = build()
        assert torchinfo_count(model, inputs) == torchinfo_says(model, *inputs)

    @pytest.mark.parametrize("name", sorted(TRICKY))
    def test_tricky_networks(self, name: str) -> None:
        model = TRICKY[name]()
        assert torchinfo_count(model) == torchinfo_says(model, *one_input(model))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", sorted(FAMILIES.keys() - HUGE))
    def test_families(self, name: str) -> None:
        model = FAMILIES[name]()
        assert torchinfo_count(model) == torchinfo_says(model, *one_input(model))

    def test_only_one_item_is_counted(self) -> None:
        model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Flatten())
        batch = torch.randn(6, 4, 9, 9)
        assert torchinfo_count(model, batch) == torchinfo_says(model, batch[:1])

    def test_without_masks_is_the_count_after_removal(self) -> None:
        model = masked()
        kept = torchinfo_count(model, IMAGE, masks=False)
        assert kept.params > torchinfo_count(model, IMAGE).params
        for module in model.modules():
            for name in ("weight", "bias"):
                if hasattr(module, name + "_mask"):
                    prune.remove(module, name)
        assert kept == torchinfo_says(model, IMAGE)

    def test_the_rule_on_a_list_written_by_hand(self) -> None:
        """The count needs calls alone, whoever recorded them."""
        sizes = (("weight", 36), ("bias", 4))
        all_sizes = (("conv.weight", 36), ("conv.bias", 4), ("scale", 7))
        net = Call(
            module="", module_type="Net", depth=0, leaf=False, repeated=False,
            parameters=all_sizes, output=(1, 4, 2, 3),
        )  # fmt: skip
        conv = Call(
            module="conv", module_type="Conv2d", depth=1, leaf=True, repeated=False,
            parameters=sizes, output=(1, 4, 5, 6),
        )  # fmt: skip
        again = replace(conv, repeated=True, output=(1, 4, 2, 3))
        assert [torchinfo_macs(call) for call in (net, conv, again)] == [0, 40 * 30, 40 * 6]
        assert torchinfo_params([net, conv, again]) == 47

    def test_names_of_calls(self) -> None:
        calls = record_calls(nn.Sequential(nn.Conv2d(4, 8, 3), nn.Sequential(nn.ReLU())), IMAGE)
        assert [(call.module, call.depth) for call in calls] == [
            ("", 0), ("0", 1), ("1", 1), ("1.0", 2),
        ]  # fmt: skip
        assert calls[1].output == (1, 8, 7, 7)


class TestOthers:
    """The published quirks of fvcore 0.1.5 and thop 0.1.1, and that asking them does no harm."""

    def test_plain_convolution_is_common_ground(self) -> None:
        model = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.ReLU())
        macs = measure(model, IMAGE).macs
        assert thop_count(model, IMAGE) == Count(params=288, macs=macs)
        assert fvcore_count(model, IMAGE) == Count(params=288, macs=macs)
        assert torchinfo_count(model, IMAGE) == Count(params=288, macs=macs)

    def test_batch_norm_costs_per_parameter_or_per_element(self) -> None:
        model = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8))
        conv, elements = 288 * 49, 8 * 49
        assert measure(model, IMAGE).macs == conv
        assert torchinfo_count(model, IMAGE).macs == conv + 16
        assert fvcore_count(model, IMAGE) == Count(params=304, macs=conv + 2 * elements)
        assert thop_count(model, IMAGE) == Count(params=304, macs=conv + 4 * elements)

    def test_other_arithmetic(self) -> None:
        norm, pool = nn.LayerNorm((4, 9, 9)), nn.AdaptiveAvgPool2d(1)
        elements = IMAGE.numel()
        assert (measure(norm, IMAGE).macs, measure(pool, IMAGE).macs) == (0, 0)
        asked = [
            count(layer, IMAGE) for layer in (norm, pool) for count in (fvcore_count, thop_count)
        ]
        macs = [count.macs for count in asked if count is not None]
        assert macs == [5 * elements, 4 * elements, elements, elements + 4]

    def test_functional_calls_are_missed_by_hooks(self) -> None:
        model = Unused()
        assert measure(model, IMAGE).macs == 2 * 81 * 16
        assert thop_count(model, IMAGE) == Count(params=16 + 4, macs=81 * 16)  # the one called
        fvcore = fvcore_count(model, IMAGE)
        assert fvcore is not None
        assert fvcore.macs == 2 * 81 * 16

    def test_thop_loses_parameters_of_containers(self) -> None:
        model = Outputs(lambda y: y)  # holds 3 parameters beside its convolution
        assert thop_count(model, IMAGE) == Count(params=25, macs=81 * 20)
        assert torchinfo_count(model, IMAGE).params == 28

    def test_attention_differs_everywhere(self) -> None:
        layer = nn.MultiheadAttention(16, 2, batch_first=True)
        ours = measure(layer, (SEQUENCE,) * 3).macs
        assert ours == 4 * 10 * 256 + 2 * 100 * 16
        assert torchinfo_count(layer, (SEQUENCE,) * 3).macs == 0
        thop = thop_count(layer, (SEQUENCE,) * 3)
        assert thop is not None
        assert thop.macs < ours

    @pytest.mark.parametrize("count", [thop_count, fvcore_count, torchinfo_count])
    def test_the_model_is_left_as_it_was(
        self, count: Callable[..., Count | None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), Unnoticed())
        model[1].eval()
        state = {name: value.clone() for name, value in model.state_dict().items()}
        flags = [module.training for module in model.modules()]
        assert count(model, torch.randn(3, 4, 9, 9)) is not None
        assert model.state_dict().keys() == state.keys()
        assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
        assert [module.training for module in model.modules()] == flags
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        assert not any(hooks)
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("count", [thop_count, fvcore_count])
    def test_none_where_not_installed(
        self, count: Callable[..., Count | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def absent(name: str) -> Any:
            raise ModuleNotFoundError(name)

        monkeypatch.setattr(counters.importlib, "import_module", absent)
        assert importlib.import_module is absent
        assert count(nn.Conv2d(4, 8, 3), IMAGE) is None

    @pytest.mark.parametrize("count", [thop_count, fvcore_count, torchinfo_count])
    def test_no_example(self, count: Callable[..., Count | None]) -> None:
        with pytest.raises(ValueError, match="no example input"):
            count(nn.Linear(4, 8))

    def test_a_model_that_fails(self) -> None:
        with pytest.raises(CountError, match=r"could not be run on an example of \(1, 4, 9, 9\)"):
            torchinfo_count(nn.Linear(4, 8), IMAGE)


class Unnoticed(nn.Module):
    """An operation fvcore does not know, which it would warn about."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).abs()
