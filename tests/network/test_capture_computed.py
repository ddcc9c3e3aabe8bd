"""Computed weights, attention and embeddings as networks, in files and in another runtime."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional, utils

from compressor.export.onnx import onnx_bytes
from compressor.network import to_network
from compressor.network.file.guard import rehearse
from compressor.network.file.plain import from_plain, to_plain
from tests.zoo.layers import example

Weigh = Callable[[Tensor, Tensor], Tensor]


class Computed(nn.Conv2d):
    """A convolution whose weight is a function of a parameter and of a gain a channel."""

    def __init__(self, inputs: int, outputs: int, weigh: Weigh) -> None:
        super().__init__(inputs, outputs, 3)
        self.gain, self.weigh = nn.Parameter(torch.rand(outputs, 1, 1, 1) + 0.5), weigh

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weigh(self.weight, self.gain), self.bias)


def standardised(weight: Tensor, gain: Tensor) -> Tensor:
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, correction=0)
    return (weight - mean) * torch.rsqrt(variance + 1e-5) * gain


def by_batch_norm(weight: Tensor, gain: Tensor) -> Tensor:
    flat = weight.reshape(1, len(weight), -1)
    scaled = functional.batch_norm(flat, None, None, gain.flatten(), None, training=True)
    return scaled.reshape_as(weight)


def rounded(weight: Tensor, gain: Tensor) -> Tensor:
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / 7
    return (weight + ((weight / scale).round().clamp(-7, 7) * scale - weight).detach()) * gain


WEIGHTS: dict[str, Weigh] = {
    "var_mean": standardised,
    "std": lambda w, g: w / (w.view(len(w), -1).std(1).view(-1, 1, 1, 1) + 1e-5) * g,
    "batch_norm": by_batch_norm,
    "norm": lambda w, g: w / (w.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-6) * g,
    "normalize": lambda w, g: functional.normalize(w.flatten(1), dim=1).view_as(w) * g,
    "vector_norm": lambda w, g: w / torch.linalg.vector_norm(w, dim=(1, 2, 3), keepdim=True) * g,
    "exp": lambda w, g: w * g.exp(),
    "softplus": lambda w, g: w * functional.softplus(g),
    "reciprocal": lambda w, g: w * (g + 1e-3).reciprocal(),
    "division": lambda w, g: w / (g.abs() + 1e-3),
    "rounded": rounded,
    "softmax": lambda w, g: w.flatten(1).softmax(1).view_as(w) * g,
    "largest": lambda w, g: w / w.abs().flatten(1).max(1)[0][:, None, None, None] * g,
}


def image(first: nn.Module, second: nn.Module) -> nn.Module:
    """Two convolutions and a head."""
    model = nn.Sequential(
        *(first, nn.ReLU(), second, nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4)),
    )
    model.example_input_array = example(1, 3, 12, 12)
    return model


def computed(weigh: Weigh) -> nn.Module:
    return image(Computed(3, 12, weigh), Computed(12, 10, weigh))


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return image(norm(nn.Conv2d(3, 12, 3)), norm(nn.Conv2d(12, 10, 3)))


class Heads(nn.Module):
    """Attention written by hand from one product, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.embed, self.how = nn.Linear(6, 16), how
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 4)
        self.example_input_array = example(1, 9, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        batch, time, width = x.shape
        parts = self.qkv(x).reshape(batch, time, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        if self.how == "fused":
            found = functional.scaled_dot_product_attention(q, k, v)
        elif self.how == "einsum":
            scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / 2
            found = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)
        elif self.how == "baddbmm":
            q, k, v = (z.reshape(-1, time, width // 4) for z in (q, k, v))
            bias = torch.zeros(batch * 4, time, time, device=x.device)
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=0, alpha=0.5)
            found = torch.bmm(scores.softmax(-1), v).unflatten(0, (batch, 4))
        else:
            below = torch.tril(torch.ones(time, time, device=x.device))
            scores = (q @ k.mT / 2).masked_fill(below == 0, float("-inf"))
            found = scores.softmax(-1) @ v
        return self.out((x + found.transpose(1, 2).reshape(batch, time, width)).mean(1))


class Patches(nn.Module):
    """A tiny vision transformer: patches, a class token, positions, an encoder."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 10, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)
        self.example_input_array = example(1, 3, 12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.encoder(x)[:, 0])


class Asked(nn.Module):
    """nn.MultiheadAttention that looks back alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(6, 16), nn.MultiheadAttention(16, 4)
        self.head = nn.Linear(16, 4)
        self.example_input_array = example(1, 9, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(0, 1)
        ahead = torch.triu(torch.ones(9, 9, dtype=torch.bool, device=x.device), 1)
        return self.head((x + self.attention(x, x, x, attn_mask=ahead)[0]).mean(0))


class Shifted(nn.Module):
    """Attention in shifted windows, with a table of biases that is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.qkv = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 24)
        self.table, self.head = nn.Parameter(torch.randn(7, 2)), nn.Linear(8, 4)
        steps = torch.arange(4)
        self.register_buffer("places", steps[:, None] - steps + 3)
        self.example_input_array = example(1, 3, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        batch, rows, columns, width = x.shape
        y = torch.roll(x, (-1, -1), (1, 2)).view(batch, rows // 2, 2, columns // 2, 2, width)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, width)
        q, k, v = self.qkv(y).reshape(-1, 4, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.places.flatten()].view(4, 4, 2).permute(2, 0, 1)
        found = ((q @ k.transpose(-2, -1) + bias).softmax(-1) @ v).transpose(1, 2)
        found = found.reshape(batch, rows // 2, columns // 2, 2, 2, width).permute(0, 1, 3, 2, 4, 5)
        found = torch.roll(found.reshape(batch, rows, columns, width), (1, 1), (1, 2))
        return self.head((x + found).mean((1, 2)))


class Words(nn.Module):
    """An embedding and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(20, 12, padding_idx=0), nn.Conv1d(12, 8, 3)
        self.head = nn.Linear(8, 4)
        self.example_input_array = torch.arange(9)[None]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.layer(self.words(x).transpose(1, 2))).amax(-1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda weigh=weigh: computed(weigh) for name, weigh in WEIGHTS.items()},
    "weight_norm": lambda: normed(utils.parametrizations.weight_norm),
    "spectral_norm": lambda: normed(utils.parametrizations.spectral_norm),
    "old_spectral_norm": lambda: normed(utils.spectral_norm),
    **{how: lambda how=how: Heads(how) for how in ("fused", "einsum", "baddbmm", "causal")},
    "patches": lambda: Patches(first=False),
    "patches_norm_first": lambda: Patches(first=True),
    "multi_head": Asked,
    "shifted": Shifted,
    "words": Words,
}
RUN = ("var_mean", "rounded", "spectral_norm", "baddbmm", "causal", "patches", "shifted", "words")


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]().train()
    if "spectral" in name:
        model(inputs(model, 2))
    return model.eval()


def inputs(model: nn.Module, count: int) -> Tensor:
    like = model.example_input_array
    generator = torch.Generator().manual_seed(count)
    if like.is_floating_point():
        return torch.randn(count, *like.shape[1:], generator=generator)
    return torch.randint(20, (count, *like.shape[1:]), generator=generator)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_written_stored_and_rehearsed(name: str) -> None:
    model = made(name)
    network = to_network(model).eval()
    again = from_plain(*to_plain(network)).eval()
    for batch in (1, 3):
        x = inputs(model, batch)
        rehearse(again, [x])
        with torch.no_grad():
            wanted, found = model(x), network(x)
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)  # fused in evaluation
            assert torch.equal(again(x), found)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_it_runs_in_another_runtime(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = made(name)
    content = onnx_bytes(to_network(model))
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    for batch in (1, 4):
        x = inputs(model, batch)
        found = torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])
        with torch.no_grad():
            torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-5)
