"""The audio transformer: counts by hand and by PyTorch, attention against PyTorch's own module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor import measure
from models import AudioTransformer
from models.audio_transformer import Attention, TransformerBlock


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(model.example_input_array)
    return counter.get_total_flops() // 2


def test_the_sizes_that_its_docstring_states() -> None:
    model = AudioTransformer()
    assert model.positions.shape == (1, 1 + 15, 64)
    assert (parameters(model), macs(model)) == (232_716, 3_738_368)


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize(
    ("patch", "stride", "patches"),
    [(None, None, 1 * 8), ((8, 8), (8, 8), 2 * 6), ((6, 10), (5, 9), 3 * 5)],
)
def test_counts_by_hand(
    *,
    class_token: bool,
    patch: tuple[int, int] | None,
    stride: tuple[int, int] | None,
    patches: int,
) -> None:
    """16 columns, two blocks of four heads of three columns of keys, 20 units, 16 bands."""
    model = AudioTransformer(
        5, 16, 2, 4, hidden=20, key_width=3, patch=patch, stride=stride, class_token=class_token,
        mels=16, frames=54,
    )  # fmt: skip
    bands, frames = patch or (16, 12)
    size, tokens = bands * frames, patches + class_token
    layers = 2 * 16 * 12 + 16 * 16 + 16 * 16 + 2 * 16 * 20
    others = 2 * 12 + 16 + 16 + 20 + 16 + 4 * 16
    ends = (size + 1) * 16 + (tokens + class_token) * 16 + 2 * 16 + (16 + 1) * 5
    assert parameters(model) == 2 * (layers + others) + ends
    products = tokens**2 * (12 + 16)
    expected = patches * size * 16 + 2 * (tokens * layers + products) + 16 * 5
    assert macs(model) == expected == measure(model).macs


def test_attention_is_pytorchs() -> None:
    """The same weights in `nn.MultiheadAttention`."""
    ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x = noise(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_a_block_adds_two_branches() -> None:
    block, x = TransformerBlock(12, 3, 20, None, 0.0), noise(2, 5, 12)
    y = x + block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), y + block.mlp(block.norm2(y)))


def test_dropout_is_off_in_evaluation_mode_alone() -> None:
    model, x = AudioTransformer(width=16, depth=1, dropout=0.5), noise(2, 1, 40, 101)
    assert torch.equal(model.eval()(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def take(layer: nn.Linear, kept: list[int], dim: int) -> nn.Linear:
    """A linear layer with some of its rows (0) or columns (1)."""
    weight = layer.weight[kept] if dim == 0 else layer.weight[:, kept]
    small = nn.Linear(weight.shape[1], weight.shape[0])
    bias = layer.bias[kept] if dim == 0 else layer.bias
    small.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return small


def test_dead_columns_and_heads_go_without_a_trace() -> None:
    """Scale stays what it was built with: fewer columns of keys change nothing else."""
    layer, x = Attention(12, 3, key_width=4, value_width=5), noise(2, 6, 12)
    with torch.no_grad():
        layer.query.weight[1::4], layer.query.bias[1::4] = 0.0, 0.0  # column 1 of every head
        layer.output.weight[:, 2::5] = 0.0  # column 2 of the values of every head
        layer.output.weight[:, 5:10] = 0.0  # the second head
        expected = layer(x)
    heads = (0, 2)
    keys = [4 * head + place for head in heads for place in (0, 2, 3)]
    values = [5 * head + place for head in heads for place in (0, 1, 3, 4)]
    layer.query, layer.key = take(layer.query, keys, 0), take(layer.key, keys, 0)
    layer.value, layer.output = take(layer.value, values, 0), take(layer.output, values, 1)
    layer.heads = 2
    assert (layer.key_width, layer.value_width) == (3, 4)
    torch.testing.assert_close(layer(x), expected)
