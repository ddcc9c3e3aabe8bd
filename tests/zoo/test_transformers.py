"""The transformers of the zoo are what they claim: attention as PyTorch's, windows, turns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.attention import (
    ATTENTION,
    HEAD,
    HEADS,
    TIME,
    WIDTH,
    EinsumAttention,
    GroupedQueries,
    Separate,
)
from tests.zoo.attention_written import WRITTEN
from tests.zoo.planting import PLANTS
from tests.zoo.scaled import SCALED
from tests.zoo.transformers import WHOLE, PackedAttention, SwinBlock, WindowAttention
from tests.zoo.transformers import window_partition as partition
from tests.zoo.transformers import window_reverse as reverse

NETWORKS = {**WHOLE, **ATTENTION, **WRITTEN}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def example_of(model: nn.Module) -> tuple[Tensor, ...]:
    example = model.example_input_array
    return example if isinstance(example, tuple) else (example,)


def test_every_network_has_its_plants() -> None:
    assert PLANTS.keys() == {**NETWORKS, **SCALED}.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_runs_is_small_and_hears_every_input(name: str) -> None:
    model = NETWORKS[name]().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) < 12_000
    shown = tuple(x.clone().requires_grad_() for x in example_of(model))
    first = model(*shown)
    assert first.shape == (1, 5)
    assert first.isfinite().all()
    assert torch.equal(first, model(*shown))
    first.square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in shown)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_clips_of_a_batch_do_not_hear_each_other(name: str) -> None:
    model = NETWORKS[name]().eval()
    many = [torch.randn(3, *x.shape[1:]) for x in example_of(model)]
    with torch.no_grad():
        alone = [model(*(x[i : i + 1] for x in many)) for i in range(3)]
        torch.testing.assert_close(model(*many), torch.cat(alone))


def test_fused_is_the_same_as_by_hand() -> None:
    names = ("vit", "vit_fused", "vit_width_of_input")
    models = [WHOLE[name]().eval() for name in names]
    x = torch.randn(2, 3, 16, 16)
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
        torch.testing.assert_close(model(x), models[0](x))


def theirs(weight: Tensor, bias: Tensor | None, output: nn.Linear) -> nn.MultiheadAttention:
    """PyTorch's attention with given weights."""
    made = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    with torch.no_grad():
        made.in_proj_weight.copy_(weight)
        made.in_proj_bias.copy_(torch.zeros(3 * WIDTH) if bias is None else bias)
    made.out_proj.load_state_dict(output.state_dict())
    return made


@pytest.mark.parametrize("fused", [True, False])
def test_packed_attention_is_pytorchs(*, fused: bool) -> None:
    ours, x = PackedAttention(fused=fused), torch.randn(2, TIME, WIDTH)
    reference = theirs(ours.qkv.weight, ours.qkv.bias, ours.proj)
    torch.testing.assert_close(ours(x), reference(x, x, x)[0])


def test_separate_and_einsum_attention_are_pytorchs() -> None:
    x = torch.randn(2, TIME, WIDTH)
    einsum = EinsumAttention()
    reference = theirs(einsum.to_qkv.weight, None, einsum.to_out)
    torch.testing.assert_close(einsum(x), reference(x, x, x)[0])
    ours = Separate()
    layers = (ours.to_q, ours.to_k, ours.to_v)
    reference = theirs(
        torch.cat([layer.weight for layer in layers]),
        torch.cat([layer.bias for layer in layers]),
        ours.to_out,
    )
    torch.testing.assert_close(ours(x), reference(x, x, x)[0])


def test_grouped_queries_head_by_head() -> None:
    """Two heads read each group; positions turn pairs of columns; nothing hears the future."""
    layer, x = GroupedQueries(), torch.randn(1, TIME, WIDTH)
    q, k, v = (part(x)[0] for part in (layer.q_proj, layer.k_proj, layer.v_proj))
    mixed: list[Tensor] = []
    for head in range(HEADS):
        own = slice(head * HEAD, (head + 1) * HEAD)
        of_group = slice(head // 2 * HEAD, (head // 2 + 1) * HEAD)
        rows: list[Tensor] = []
        for now in range(TIME):
            said = [
                turned(q[now, own], now) @ turned(k[then, of_group], then)
                for then in range(now + 1)
            ]
            shares = (torch.stack(said) / HEAD**0.5).softmax(0)
            rows.append(shares @ v[: now + 1, of_group])
        mixed.append(torch.stack(rows))
    torch.testing.assert_close(layer(x)[0], layer.o_proj(torch.cat(mixed, dim=1)))


def turned(x: Tensor, time: int) -> Tensor:
    """Columns i and i + 3 as complex numbers, turned by 100^(-i / 3) a step."""
    pairs = torch.complex(x[:3], x[3:])
    turns = torch.polar(torch.ones(3), time * 100.0 ** -(torch.arange(3) / 3))
    return torch.cat([(pairs * turns).real, (pairs * turns).imag])


def test_windows_go_back_to_their_places() -> None:
    x = torch.arange(2.0 * 8 * 8 * 3).reshape(2, 8, 8, 3)
    windows = partition(x, 4)
    assert torch.equal(windows[1], x[0, :4, 4:])
    assert torch.equal(reverse(windows, 4, 8, 8), x)


def test_shifted_windows_hear_neighbours_alone() -> None:
    """A place hears the window of the shifted grid that it lies in, and not around the edge."""
    block = SwinBlock(8, 2, 8, shift=2).eval()
    x = torch.randn(1, 64, 8, requires_grad=True)
    block(x)[0].reshape(8, 8, 8)[0, 0].sum().backward()
    assert x.grad is not None
    heard = (x.grad[0].abs().sum(1) > 1e-12).reshape(8, 8)  # the mask's -100 leaves exp(-100)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:2, :2] = True
    assert torch.equal(heard, expected)


def test_a_window_adds_the_bias_of_relative_places() -> None:
    layer = WindowAttention(8, 2, 4)
    side = 2 * 4 - 1
    assert layer.relative.shape == (16, 16)
    assert int(layer.relative[0, 0]) == 3 * side + 3  # no distance
    assert int(layer.relative[0, 15]) == 0  # three up, three left
    assert int(layer.relative[5, 1]) == 4 * side + 3  # one down
