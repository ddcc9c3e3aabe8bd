"""Convolutional networks with computed weights or norms over channels, and mixers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image


class StdConv2d(nn.Conv2d):
    """Standardised weights, as in BiT (Kolesnikov et al. 2020)."""

    def forward(self, x):
        w = self.weight
        v, m = torch.var_mean(w, dim=[1, 2, 3], keepdim=True, unbiased=False)
        w = (w - m) / torch.sqrt(v + 1e-10)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BiT(nn.Module):
    class Block(nn.Module):
        def __init__(self, c, mid):
            super().__init__()
            self.gn1, self.conv1 = nn.GroupNorm(8, c), StdConv2d(c, mid, 1, bias=False)
            self.gn2, self.conv2 = (
                nn.GroupNorm(8, mid),
                StdConv2d(mid, mid, 3, padding=1, bias=False),
            )
            self.gn3, self.conv3 = nn.GroupNorm(8, mid), StdConv2d(mid, c, 1, bias=False)

        def forward(self, x):
            out = self.conv1(F.relu(self.gn1(x)))
            out = self.conv2(F.relu(self.gn2(out)))
            return x + self.conv3(F.relu(self.gn3(out)))

    def __init__(self):
        super().__init__()
        self.root = StdConv2d(3, 48, 3, 2, 1, bias=False)
        self.body = nn.Sequential(self.Block(48, 32), self.Block(48, 32))
        self.head = nn.Sequential(nn.GroupNorm(8, 48), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.conv = nn.Conv2d(48, 10, 1)

    def forward(self, x):
        x = self.conv(self.head(self.body(self.root(x))))
        return x[..., 0, 0]


class ScaledStdConv2d(nn.Conv2d):
    def __init__(self, *args, eps=1e-6, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 1.7))
        self.eps = eps

    def forward(self, x):
        fan_in = self.weight[0].numel()
        mean = torch.mean(self.weight, dim=[1, 2, 3], keepdim=True)
        var = torch.var(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        weight = (self.weight - mean) * torch.rsqrt(torch.clamp(var * fan_in, min=self.eps))
        return F.conv2d(x, weight * self.gain, self.bias, self.stride, self.padding)


class NFNet(nn.Module):
    class Block(nn.Module):
        def __init__(self, c, alpha=0.2, beta=1.0):
            super().__init__()
            self.alpha, self.beta = alpha, beta
            self.conv1 = ScaledStdConv2d(c, c // 2, 1)
            self.conv2 = ScaledStdConv2d(c // 2, c // 2, 3, padding=1)
            self.conv3 = ScaledStdConv2d(c // 2, c, 1)
            self.skip_gain = nn.Parameter(torch.tensor(0.3))

        def forward(self, x):
            out = F.gelu(x) * 1.7 / self.beta
            out = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(out)) * 1.7)) * 1.7)
            return x + self.alpha * out * self.skip_gain

    def __init__(self):
        super().__init__()
        self.stem = ScaledStdConv2d(3, 48, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(self.Block(48), self.Block(48))
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        return self.fc(F.gelu(self.blocks(self.stem(x))).mean((2, 3)))


class LayerNorm2d(nn.Module):
    def __init__(self, c, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        self.eps = eps

    def forward(self, x):
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class GRN(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, 1, 1, dim), 0.1))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x):
        gx = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        nx = gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * nx) + self.beta + x


class ConvNeXt(nn.Module):
    class Block(nn.Module):
        def __init__(self, dim, grn):
            super().__init__()
            self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
            self.norm = nn.LayerNorm(dim, eps=1e-6)
            self.pwconv1 = nn.Linear(dim, 3 * dim)
            self.act = nn.GELU()
            self.grn = GRN(3 * dim) if grn else nn.Identity()
            self.pwconv2 = nn.Linear(3 * dim, dim)
            self.gamma = None if grn else nn.Parameter(0.1 * torch.ones(dim))

        def forward(self, x):
            shortcut = x
            x = self.dwconv(x)
            x = x.permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
            x = self.pwconv2(self.grn(self.act(self.pwconv1(self.norm(x)))))
            if self.gamma is not None:
                x = self.gamma * x
            return shortcut + x.permute(0, 3, 1, 2)

    def __init__(self, grn=False, dims=(24, 40)):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), LayerNorm2d(dims[0]))
        self.stage1 = self.Block(dims[0], grn)
        self.down = nn.Sequential(LayerNorm2d(dims[0]), nn.Conv2d(*dims, 2, 2))
        self.stage2 = self.Block(dims[1], grn)
        self.norm = nn.LayerNorm(dims[1])
        self.head = nn.Linear(dims[1], 10)

    def forward(self, x):
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean([-2, -1])))


class PoolFormer(nn.Module):
    class Block(nn.Module):
        def __init__(self, dim, ratio=2):
            super().__init__()
            self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
            self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
            self.fc1, self.fc2 = nn.Conv2d(dim, dim * ratio, 1), nn.Conv2d(dim * ratio, dim, 1)
            self.layer_scale_1 = nn.Parameter(0.1 * torch.ones(dim))
            self.layer_scale_2 = nn.Parameter(0.1 * torch.ones(dim))

        def forward(self, x):
            y = self.norm1(x)
            x = x + self.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * (self.pool(y) - y)
            y = self.fc2(F.gelu(self.fc1(self.norm2(x))))
            return x + self.layer_scale_2.unsqueeze(-1).unsqueeze(-1) * y

    def __init__(self, dim=48):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, 7, stride=4, padding=2)
        self.network = nn.Sequential(self.Block(dim), self.Block(dim))
        self.norm = nn.GroupNorm(1, dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.norm(self.network(self.patch_embed(x)))
        return self.head(x.mean([-2, -1]))


class MLPMixer(nn.Module):
    class Mlp(nn.Module):
        def __init__(self, dim, hidden):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

        def forward(self, x):
            return self.fc2(F.gelu(self.fc1(x)))

    class Block(nn.Module):
        def __init__(self, tokens, dim):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.token_mix = MLPMixer.Mlp(tokens, 2 * tokens)
            self.channel_mix = MLPMixer.Mlp(dim, 2 * dim)

        def forward(self, x):
            x = x + self.token_mix(self.ln1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.channel_mix(self.ln2(x))

    def __init__(self, dim=48, patch=8):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, patch, patch)
        self.blocks = nn.Sequential(*[self.Block(16, dim) for _ in range(2)])
        self.ln, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = self.ln(self.blocks(x))
        return self.head(x.mean(dim=1))


class GatedMLP(nn.Module):
    """gMLP: halves, one of which gates the other after a mix along the tokens (Liu et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, dim, tokens):
            super().__init__()
            self.norm, self.proj_in = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim)
            self.sgu_norm = nn.LayerNorm(2 * dim)
            self.spatial = nn.Conv1d(tokens, tokens, 1)
            self.proj_out = nn.Linear(2 * dim, dim)

        def forward(self, x):
            u, v = F.gelu(self.proj_in(self.norm(x))).chunk(2, dim=-1)
            v = self.spatial(self.sgu_norm(v))
            return x + self.proj_out(u * v)

    def __init__(self, dim=32):
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 8, 8)
        self.layers = nn.ModuleList(self.Block(dim, 16) for _ in range(2))
        self.to_logits = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.shape
        x = x.reshape(b, c, h * w).permute(0, 2, 1)
        for layer in self.layers:
            x = layer(x)
        return self.to_logits(x.mean(1))


class FNet(nn.Module):
    """Fourier transforms in place of attention (Lee-Thorp et al. 2021)."""

    def __init__(self, dim=32, depth=2):
        super().__init__()
        self.embed = nn.Linear(40, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth))
        self.ffs = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
            for _ in range(depth)
        )
        self.out = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.embed(x.squeeze(1))
        for i, ff in enumerate(self.ffs):
            x = self.norms[2 * i](x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
            x = self.norms[2 * i + 1](x + ff(x))
        return self.out(x[:, 0])


CASES = (
    Case("BiT, standardised weights", BiT, image(24)),
    Case("NFNet, scaled weights", NFNet, image(24)),
    Case("ConvNeXt", ConvNeXt, image()),
    Case("ConvNeXt V2", lambda: ConvNeXt(grn=True), image()),
    Case("PoolFormer", PoolFormer, image()),
    Case("MLP-Mixer", MLPMixer, image()),
    Case("gMLP", GatedMLP, image()),
    Case("FNet", FNet, image(40, 1)),
)
