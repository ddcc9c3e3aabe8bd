"""Transformers over patches, frames and words, with torch's own layers and written by hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image, real, tokens


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Attention(nn.Module):
    def __init__(self, dim, num_heads=4, fused=False):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.fused = fused
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            attn = (q * self.scale) @ k.transpose(-2, -1)
            x = attn.softmax(dim=-1) @ v
        x = x.transpose(1, 2).reshape(B, N, -1)
        return self.proj(x)


class Block(nn.Module):
    def __init__(self, dim, heads, fused):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, heads, fused)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, dim * 2)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, fused, distilled=False, patch=8, dim=48, side=(32, 32), channels=3):
        super().__init__()
        n = (side[0] // patch) * (side[1] // patch)
        self.patch_embed = nn.Conv2d(channels, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim)) if distilled else None
        self.pos_embed = nn.Parameter(torch.randn(1, n + 1 + distilled, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, 4, fused) for _ in range(2)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)
        self.head_dist = nn.Linear(dim, 10) if distilled else None

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        cls = [self.cls_token.expand(x.shape[0], -1, -1)]
        if self.dist_token is not None:
            cls.append(self.dist_token.expand(x.shape[0], -1, -1))
        x = torch.cat((*cls, x), dim=1) + self.pos_embed
        x = self.norm(self.blocks(x))
        if self.head_dist is not None:
            return (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        return self.head(x[:, 0])


class SimpleViT(nn.Module):
    """Patches by rearranging the picture, sines for positions, separate layers for q, k and v."""

    class SelfAttention(nn.Module):
        def __init__(self, dim, heads=3, dim_head=16):
            super().__init__()
            self.heads, self.dim_head = heads, dim_head
            self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
            self.to_k = nn.Linear(dim, heads * dim_head, bias=False)
            self.to_v = nn.Linear(dim, heads * dim_head, bias=False)
            self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

        def split(self, t):
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        def forward(self, x):
            q, k, v = self.split(self.to_q(x)), self.split(self.to_k(x)), self.split(self.to_v(x))
            dots = torch.einsum("bhid,bhjd->bhij", q, k) * self.dim_head**-0.5
            out = torch.einsum("bhij,bhjd->bhid", dots.softmax(-1), v)
            return self.to_out(out.transpose(1, 2).flatten(2))

    def __init__(self, dim=48, p=8):
        super().__init__()
        self.p = p
        self.norm_in, self.embed = nn.LayerNorm(3 * p * p), nn.Linear(3 * p * p, dim)
        position = torch.arange(16)[:, None] * torch.exp(torch.arange(dim // 2) * -0.3)
        self.register_buffer("pos", torch.cat([position.sin(), position.cos()], -1))
        self.layers = nn.ModuleList(
            nn.ModuleList([
                nn.LayerNorm(dim), self.SelfAttention(dim), nn.LayerNorm(dim), Mlp(dim, 96)
            ])
            for _ in range(2)
        )  # fmt: skip
        self.out = nn.Linear(dim, 10)

    def forward(self, img):
        b, c, h, w = img.shape
        p = self.p
        x = img.view(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, p * p * c)
        x = self.embed(self.norm_in(x)) + self.pos
        for n1, attn, n2, ff in self.layers:
            x = attn(n1(x)) + x
            x = ff(n2(x)) + x
        return self.out(x.mean(dim=1))


def window_partition(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window_size, window_size, C)


def window_reverse(windows, window_size, H, W):
    B = int(windows.shape[0] / (H * W / window_size / window_size))
    x = windows.view(B, H // window_size, W // window_size, window_size, window_size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)


class WindowAttention(nn.Module):
    def __init__(self, dim, window, num_heads):
        super().__init__()
        self.dim, self.num_heads, self.scale = dim, num_heads, (dim // num_heads) ** -0.5
        table = torch.randn((2 * window - 1) ** 2, num_heads) * 0.02
        self.relative_position_bias_table = nn.Parameter(table)
        coords = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        rel = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer(
            "relative_position_index", rel[..., 0] * (2 * window - 1) + rel[..., 1]
        )
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x, mask):
        B_, N, C = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.num_heads, C // self.num_heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = q * self.scale @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        attn = attn + bias.view(N, N, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            nW = mask.shape[0]
            attn = attn.view(B_ // nW, nW, self.num_heads, N, N) + mask[None, :, None]
            attn = attn.view(-1, self.num_heads, N, N)
        x = (attn.softmax(-1) @ v).transpose(1, 2).reshape(B_, N, C)
        return self.proj(x)


class Swin(nn.Module):
    class Block(nn.Module):
        def __init__(self, dim, size, shift, window=4, heads=2):
            super().__init__()
            self.size, self.shift, self.window = size, shift, window
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.attn, self.mlp = WindowAttention(dim, window, heads), Mlp(dim, 2 * dim)
            mask = None
            if shift:
                ids = torch.zeros(1, size, size, 1)
                slices = (slice(-window), slice(-window, -shift), slice(-shift, None))
                for n, (h, w) in enumerate((h, w) for h in slices for w in slices):
                    ids[:, h, w] = n
                ids = window_partition(ids, window).view(-1, window * window)
                mask = torch.where(ids[:, None] != ids[:, :, None], -100.0, 0.0)
            self.register_buffer("attn_mask", mask)

        def forward(self, x):
            H = W = self.size
            B, L, C = x.shape
            shortcut = x
            x = self.norm1(x).view(B, H, W, C)
            if self.shift:
                x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
            w = window_partition(x, self.window).view(-1, self.window**2, C)
            w = self.attn(w, self.attn_mask).view(-1, self.window, self.window, C)
            x = window_reverse(w, self.window, H, W)
            if self.shift:
                x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
            x = shortcut + x.view(B, H * W, C)
            return x + self.mlp(self.norm2(x))

    class PatchMerging(nn.Module):
        def __init__(self, size, dim):
            super().__init__()
            self.size = size
            self.norm, self.reduction = (
                nn.LayerNorm(4 * dim),
                nn.Linear(4 * dim, 2 * dim, bias=False),
            )

        def forward(self, x):
            B, L, C = x.shape
            x = x.view(B, self.size, self.size, C)
            x = torch.cat([x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)], -1)
            return self.reduction(self.norm(x.view(B, -1, 4 * C)))

    def __init__(self, dim=24):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm0 = nn.LayerNorm(dim)
        self.layers = nn.ModuleList([
            self.Block(dim, 8, 0), self.Block(dim, 8, 2), self.PatchMerging(8, dim),
            self.Block(2 * dim, 4, 0),
        ])  # fmt: skip
        self.norm, self.head = nn.LayerNorm(2 * dim), nn.Linear(2 * dim, 10)

    def forward(self, x):
        x = self.norm0(self.proj(x).flatten(2).transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        x = F.adaptive_avg_pool1d(self.norm(x).transpose(1, 2), 1)
        return self.head(torch.flatten(x, 1))


class EncoderClassifier(nn.Module):
    """torch's own encoder over words, sines for positions."""

    def __init__(self, ntoken=80, d_model=32, nhead=4, nhid=64):
        super().__init__()
        self.embedding = nn.Embedding(ntoken, d_model)
        pos = torch.arange(16).unsqueeze(1) * torch.exp(
            torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model)
        )
        pe = torch.zeros(16, d_model)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos), torch.cos(pos)
        self.register_buffer("pe", pe)
        layer = nn.TransformerEncoderLayer(d_model, nhead, nhid, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.d_model, self.fc = d_model, nn.Linear(d_model, 4)

    def forward(self, src):
        x = self.embedding(src) * math.sqrt(self.d_model) + self.pe[: src.size(1)]
        return self.fc(self.encoder(x).mean(dim=1))


class Translator(nn.Module):
    """torch's own decoder over an encoder's output, with a causal mask."""

    def __init__(self, d=32):
        super().__init__()
        self.inp, self.emb = nn.Linear(20, d), nn.Embedding(60, d)
        enc = nn.TransformerEncoderLayer(d, 4, 64, batch_first=True, norm_first=True)
        dec = nn.TransformerDecoderLayer(d, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(enc, 1, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(dec, 1)
        self.out = nn.Linear(d, 60)

    def forward(self, x, y):
        mask = torch.triu(torch.full((y.size(1), y.size(1)), float("-inf")), diagonal=1)
        return self.out(self.decoder(self.emb(y), self.encoder(self.inp(x)), tgt_mask=mask))


class Perceiver(nn.Module):
    """Learnt queries that read a long input through nn.MultiheadAttention."""

    def __init__(self, latents=6, d=32):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, d) * 0.1)
        self.cross = nn.MultiheadAttention(d, 4, kdim=20, vdim=20, batch_first=True)
        self.self_attn = nn.MultiheadAttention(d, 4, batch_first=True)
        self.ln1, self.ln2, self.ln3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(20)
        self.mlp, self.fc = Mlp(d, 64), nn.Linear(d, 5)

    def forward(self, x):
        q = self.latents.unsqueeze(0).repeat(x.shape[0], 1, 1)
        x = self.ln3(x)
        q = q + self.cross(self.ln1(q), x, x, need_weights=False)[0]
        q = q + self.self_attn(q, q, q)[0]
        q = q + self.mlp(self.ln2(q))
        return self.fc(q.mean(1))


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Llama(nn.Module):
    """Rotary positions, fewer keys than queries, gated MLP, RMS norms, causal."""

    class Layer(nn.Module):
        def __init__(self, dim, n_heads, n_kv, head_dim):
            super().__init__()
            self.n_heads, self.n_kv, self.head_dim = n_heads, n_kv, head_dim
            self.wq = nn.Linear(dim, n_heads * head_dim, bias=False)
            self.wk = nn.Linear(dim, n_kv * head_dim, bias=False)
            self.wv = nn.Linear(dim, n_kv * head_dim, bias=False)
            self.wo = nn.Linear(n_heads * head_dim, dim, bias=False)
            self.w1, self.w3 = nn.Linear(dim, 64, bias=False), nn.Linear(dim, 64, bias=False)
            self.w2 = nn.Linear(64, dim, bias=False)
            self.n1, self.n2 = RMSNorm(dim), RMSNorm(dim)

        def forward(self, x, cos, sin):
            b, t, _ = x.shape
            h = self.n1(x)
            q = self.wq(h).view(b, t, self.n_heads, self.head_dim).transpose(1, 2)
            k = self.wk(h).view(b, t, self.n_kv, self.head_dim).transpose(1, 2)
            v = self.wv(h).view(b, t, self.n_kv, self.head_dim).transpose(1, 2)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            rep = self.n_heads // self.n_kv
            k, v = k.repeat_interleave(rep, dim=1), v.repeat_interleave(rep, dim=1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.wo(y.transpose(1, 2).contiguous().view(b, t, -1))
            h = self.n2(x)
            return x + self.w2(F.silu(self.w1(h)) * self.w3(h))

    def __init__(self, vocab=60, dim=32, heads=4, kv=2, length=12):
        super().__init__()
        d = dim // heads
        self.tok = nn.Embedding(vocab, dim)
        angles = torch.outer(torch.arange(length), 10000 ** (-torch.arange(0, d, 2) / d))
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.layers = nn.ModuleList(self.Layer(dim, heads, kv, d) for _ in range(2))
        self.norm, self.output = RMSNorm(dim), nn.Linear(dim, vocab, bias=False)

    def forward(self, ids):
        x = self.tok(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.output(self.norm(x))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


CASES = (
    Case("ViT, by hand", lambda: ViT(fused=False), image()),
    Case("ViT, fused", lambda: ViT(fused=True), image()),
    Case("DeiT, distilled", lambda: ViT(fused=True, distilled=True), image()),
    Case("simple ViT, einsum", SimpleViT, image()),
    Case("Swin", Swin, image()),
    Case("nn.TransformerEncoder", EncoderClassifier, (tokens(16, 80),)),
    Case("nn.TransformerDecoder", Translator, (real(10, 20), tokens(8, 60))),
    Case("Perceiver, nn.MultiheadAttention", Perceiver, (real(30, 20),)),
    Case("Llama, grouped queries", Llama, (tokens(12, 60),)),
    Case("AST", lambda: ViT(fused=True, side=(64, 40), channels=1), (real(1, 64, 40),)),
)
