"""Attention of other forms, and attention mixed with convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image, real


class PVT(nn.Module):
    """Keys and values from a smaller picture (Wang et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, dim, num_heads=2, sr_ratio=2):
            super().__init__()
            self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, dim * 2)
            self.sr, self.norm = nn.Conv2d(dim, dim, sr_ratio, sr_ratio), nn.LayerNorm(dim)
            self.proj = nn.Linear(dim, dim)
            self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
            self.dw = nn.Conv2d(2 * dim, 2 * dim, 3, 1, 1, groups=2 * dim)

        def attn(self, x, H, W):
            B, N, C = x.shape
            d = C // self.num_heads
            q = self.q(x).reshape(B, N, self.num_heads, d).permute(0, 2, 1, 3)
            x_ = self.sr(x.permute(0, 2, 1).reshape(B, C, H, W)).reshape(B, C, -1)
            x_ = self.norm(x_.permute(0, 2, 1))
            kv = self.kv(x_).reshape(B, -1, 2, self.num_heads, d).permute(2, 0, 3, 1, 4)
            k, v = kv[0], kv[1]
            a = (q @ k.transpose(-2, -1)) * self.scale
            return self.proj((a.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, C))

        def forward(self, x, H, W):
            x = x + self.attn(self.norm1(x), H, W)
            y = self.fc1(self.norm2(x))
            B, N, C = y.shape
            y = self.dw(y.transpose(1, 2).view(B, C, H, W)).flatten(2).transpose(1, 2)
            return x + self.fc2(F.gelu(y))

    def __init__(self, dim=32):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.blocks = nn.ModuleList([self.Block(dim), self.Block(dim)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.proj(x)
        H, W = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        for blk in self.blocks:
            x = blk(x, H, W)
        return self.head(self.norm(x).mean(1))


class CoAtNet(nn.Module):
    """Convolutions first, attention with a learnt bias for relative places then (Dai et al. 2021)."""

    def __init__(self, c=32, heads=2, side=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.GELU())
        self.mb = nn.Sequential(
            nn.Conv2d(24, 48, 1), nn.BatchNorm2d(48), nn.GELU(),
            nn.Conv2d(48, 48, 3, 2, 1, groups=48), nn.BatchNorm2d(48), nn.GELU(), nn.Conv2d(48, c, 1),
        )  # fmt: skip
        self.heads, self.d = heads, c // heads
        self.norm = nn.LayerNorm(c)
        self.to_qkv, self.to_out = nn.Linear(c, 3 * c, bias=False), nn.Linear(c, c)
        self.bias = nn.Parameter(torch.zeros(heads, side**2, side**2))
        self.ff = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 64), nn.GELU(), nn.Linear(64, c))
        self.fc = nn.Linear(c, 10)

    def forward(self, x):
        x = self.mb(self.stem(x)).flatten(2).transpose(1, 2)
        qkv = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (t.view(*t.shape[:2], self.heads, self.d).transpose(1, 2) for t in qkv)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        x = x + self.to_out(out.transpose(1, 2).reshape(x.shape))
        return self.fc((x + self.ff(x)).mean(1))


class MobileViT(nn.Module):
    """Attention among pixels at the same place of all patches (Mehta and Rastegari 2022)."""

    def __init__(self, c=24, d=32):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.SiLU()
        )
        self.local = nn.Sequential(
            nn.Conv2d(c, c, 3, 1, 1), nn.SiLU(), nn.Conv2d(c, d, 1, bias=False)
        )
        self.norm, self.qkv, self.proj = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ff = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d)
        )
        self.back = nn.Conv2d(d, c, 1)
        self.fusion = nn.Conv2d(2 * c, c, 3, 1, 1)
        self.fc = nn.Linear(c, 10)

    def forward(self, x):
        x = self.stem(x)
        y = self.local(x)
        b, d, h, w = y.shape
        t = F.unfold(y, 2, stride=2).reshape(b, d, 4, -1).permute(0, 2, 3, 1)
        q, k, v = self.qkv(self.norm(t)).chunk(3, dim=-1)
        a = torch.softmax(q @ k.transpose(-1, -2) * d**-0.5, dim=-1)
        t = t + self.proj(a @ v)
        t = t + self.ff(t)
        y = F.fold(t.permute(0, 3, 1, 2).reshape(b, d * 4, -1), (h, w), 2, stride=2)
        x = self.fusion(torch.cat([x, self.back(y)], 1))
        return self.fc(x.mean((2, 3)))


class XCiT(nn.Module):
    """Attention between channels (El-Nouby et al. 2021)."""

    class XCA(nn.Module):
        def __init__(self, dim, num_heads=4):
            super().__init__()
            self.num_heads = num_heads
            self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
            self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

        def forward(self, x):
            B, N, C = x.shape
            qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads)
            q, k, v = qkv.permute(2, 0, 3, 4, 1).unbind(0)
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
            attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
            return self.proj((attn @ v).permute(0, 3, 1, 2).reshape(B, N, C))

    def __init__(self, dim=48):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, 8)
        self.n1, self.n2, self.xca = nn.LayerNorm(dim), nn.LayerNorm(dim), self.XCA(dim)
        self.gamma = nn.Parameter(0.5 * torch.ones(dim))
        self.mlp = nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim))
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.gamma * self.xca(self.n1(x))
        x = x + self.mlp(self.n2(x))
        return self.head(x.mean(1))


class LinearAttention(nn.Module):
    """Softmax over features of queries and over places of keys; no product of all pairs."""

    def __init__(self, dim=32, heads=4, d=8):
        super().__init__()
        self.heads = heads
        self.inp = nn.Conv1d(20, dim, 3, padding=1)
        self.to_qkv = nn.Conv1d(dim, 3 * heads * d, 1, bias=False)
        self.to_out = nn.Conv1d(heads * d, dim, 1)
        self.ff = nn.Sequential(nn.Conv1d(dim, 64, 1), nn.GELU(), nn.Conv1d(64, dim, 1))
        self.fc = nn.Linear(dim, 5)

    def forward(self, x):
        x = self.inp(x)
        b, c, n = x.shape
        q, k, v = (t.view(b, self.heads, -1, n) for t in self.to_qkv(x).chunk(3, dim=1))
        q, k = q.softmax(dim=-2), k.softmax(dim=-1)
        context = torch.einsum("bhdn,bhen->bhde", k, v)
        out = torch.einsum("bhde,bhdn->bhen", context, q).reshape(b, -1, n)
        x = x + self.to_out(out)
        return self.fc((x + self.ff(x)).mean(-1))


class Conformer(nn.Module):
    """Half steps of feed-forward, attention with relative places, convolutions (Gulati 2020)."""

    class RelAttention(nn.Module):
        def __init__(self, d, heads, length):
            super().__init__()
            self.heads, self.d_k = heads, d // heads
            self.linear_q, self.linear_k = nn.Linear(d, d), nn.Linear(d, d)
            self.linear_v, self.linear_out = nn.Linear(d, d), nn.Linear(d, d)
            self.linear_pos = nn.Linear(d, d, bias=False)
            self.u = nn.Parameter(torch.randn(heads, d // heads) * 0.1)
            self.v = nn.Parameter(torch.randn(heads, d // heads) * 0.1)
            self.register_buffer("pos", torch.randn(1, 2 * length - 1, d))

        def shift(self, x):
            b, h, t, _ = x.shape
            x = F.pad(x, (1, 0)).view(b, h, -1, t)
            return x[:, :, 1:].view(b, h, t, -1)[..., :t]

        def forward(self, x):
            b, t, _ = x.shape
            q = self.linear_q(x).view(b, t, self.heads, self.d_k)
            k = self.linear_k(x).view(b, t, self.heads, self.d_k).permute(0, 2, 3, 1)
            v = self.linear_v(x).view(b, t, self.heads, self.d_k).transpose(1, 2)
            p = self.linear_pos(self.pos).view(1, -1, self.heads, self.d_k).permute(0, 2, 3, 1)
            ac = torch.matmul((q + self.u).transpose(1, 2), k)
            bd = self.shift(torch.matmul((q + self.v).transpose(1, 2), p))
            attn = torch.softmax((ac + bd) / self.d_k**0.5, dim=-1)
            x = torch.matmul(attn, v).transpose(1, 2).contiguous().view(b, t, -1)
            return self.linear_out(x)

    def __init__(self, d=32, length=20):
        super().__init__()

        def ff():
            return nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 64), nn.SiLU(), nn.Linear(64, d))

        self.inp, self.ff1, self.ff2 = nn.Linear(40, d), ff(), ff()
        self.norm_mha, self.attn = nn.LayerNorm(d), self.RelAttention(d, 4, length)
        self.norm_conv = nn.LayerNorm(d)
        self.pointwise_conv1 = nn.Conv1d(d, 2 * d, 1)
        self.depthwise_conv = nn.Conv1d(d, d, 7, padding=3, groups=d)
        self.norm, self.pointwise_conv2 = nn.BatchNorm1d(d), nn.Conv1d(d, d, 1)
        self.final, self.out = nn.LayerNorm(d), nn.Linear(d, 12)

    def conv(self, x):
        x = F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)
        x = F.silu(self.norm(self.depthwise_conv(x)))
        return self.pointwise_conv2(x).transpose(1, 2)

    def forward(self, x):
        x = self.inp(x)
        x = x + 0.5 * self.ff1(x)
        x = x + self.attn(self.norm_mha(x))
        x = x + self.conv(self.norm_conv(x))
        x = self.final(x + 0.5 * self.ff2(x))
        return self.out(x)


class Squeezeformer(nn.Module):
    """Norms after, half the frames in the middle, brought back and added (Kim et al. 2022)."""

    def __init__(self, d=32):
        super().__init__()
        self.inp = nn.Conv1d(40, d, 3, padding=1)
        self.mha1, self.mha2 = (nn.MultiheadAttention(d, 4, batch_first=True) for _ in range(2))
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.scale, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))
        self.reduce = nn.Conv1d(d, d, 3, stride=2, padding=1, groups=d)
        self.mlp = nn.Sequential(nn.Linear(d, 96), nn.SiLU(), nn.Linear(96, d))
        self.recover, self.out = nn.Linear(d, d), nn.Linear(d, 12)

    def forward(self, x):
        x = self.inp(x).transpose(1, 2)
        y = x * self.scale + self.bias
        x = self.ln1(x + self.mha1(y, y, y, need_weights=False)[0])
        z = self.reduce(x.transpose(1, 2)).transpose(1, 2)
        z = self.ln2(z + self.mha2(z, z, z, need_weights=False)[0])
        z = z + self.mlp(z)
        z = self.recover(z.repeat_interleave(2, dim=1)[:, : x.size(1)])
        return self.out(x + z)


class NonLocal(nn.Module):
    """A block of attention over all places of a picture (Wang et al. 2018)."""

    def __init__(self, c=32):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1), nn.BatchNorm2d(c), nn.ReLU())
        self.theta, self.phi, self.g = (nn.Conv2d(c, c // 2, 1) for _ in range(3))
        self.w = nn.Conv2d(c // 2, c, 1)
        self.tail = nn.Sequential(nn.Conv2d(c, 40, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(40, 10)

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.size()
        g = self.g(x).view(b, c // 2, -1).permute(0, 2, 1)
        theta = self.theta(x).view(b, c // 2, -1).permute(0, 2, 1)
        phi = self.phi(x).view(b, c // 2, -1)
        y = torch.matmul(F.softmax(torch.matmul(theta, phi), dim=-1), g)
        y = y.permute(0, 2, 1).contiguous().view(b, c // 2, h, w)
        return self.fc(self.tail(self.w(y) + x).mean((2, 3)))


CASES = (
    Case("PVT", PVT, image()),
    Case("CoAtNet", CoAtNet, image()),
    Case("MobileViT", MobileViT, image()),
    Case("XCiT", XCiT, image()),
    Case("linear attention", LinearAttention, (real(20, 30),)),
    Case("Conformer", Conformer, (real(20, 40),)),
    Case("Squeezeformer", Squeezeformer, (real(40, 20),)),
    Case("non-local block", NonLocal, image()),
)
