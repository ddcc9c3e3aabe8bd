"""Several inputs or outputs, computed or shared weights, points, graphs, films."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image, real


class DynamicConv(nn.Module):
    """Kernels mixed by attention over them, picture by picture (Chen et al. 2020)."""

    class Layer(nn.Module):
        def __init__(self, i, o, k=3, n=4):
            super().__init__()
            self.i, self.o, self.k = i, o, k
            self.attention = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, 8), nn.ReLU(), nn.Linear(8, n)
            )
            self.weight = nn.Parameter(torch.randn(n, o, i, k, k) * 0.1)
            self.bias = nn.Parameter(torch.zeros(n, o))

        def forward(self, x):
            a = F.softmax(self.attention(x), dim=1)
            b, _, h, w = x.size()
            weight = torch.mm(a, self.weight.view(self.weight.size(0), -1))
            weight = weight.view(b * self.o, self.i, self.k, self.k)
            bias = torch.mm(a, self.bias).view(-1)
            x = F.conv2d(x.reshape(1, -1, h, w), weight, bias, padding=self.k // 2, groups=b)
            return x.view(b, self.o, x.size(-2), x.size(-1))

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.dy = self.Layer(24, 32)
        self.tail = nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 48, 1))
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        return self.fc(self.tail(F.relu(self.dy(self.stem(x)))).mean((2, 3)))


class MoE(nn.Module):
    """Experts weighed by the two best of a gate (Shazeer et al. 2017)."""

    def __init__(self, dim=24, hidden=40, n=4, k=2):
        super().__init__()
        self.k = k
        self.inp, self.gate = nn.Linear(20, dim), nn.Linear(dim, n, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
            for _ in range(n)
        )
        self.out = nn.Linear(dim, 5)

    def forward(self, x):
        x = torch.tanh(self.inp(x))
        logits = self.gate(x)
        top, index = logits.topk(self.k, dim=-1)
        gates = torch.zeros_like(logits).scatter(-1, index, top.softmax(-1))
        y = torch.stack([e(x) for e in self.experts], dim=-1)
        return self.out(x + (y * gates.unsqueeze(-2)).sum(-1))


class CapsNet(nn.Module):
    """Vectors in place of numbers, squashed; two rounds of routing (Sabour et al. 2017)."""

    def __init__(self, caps=8, dim=4, classes=5, out=6):
        super().__init__()
        self.dim = dim
        self.conv1 = nn.Conv2d(1, 24, 9)
        self.primary = nn.Conv2d(24, caps * dim, 9, stride=4)
        self.W = nn.Parameter(0.1 * torch.randn(caps * 9, classes, out, dim))
        self.decoder = nn.Sequential(nn.Linear(classes * out, 64), nn.ReLU(), nn.Linear(64, 100))

    @staticmethod
    def squash(s, dim=-1):
        n = (s**2).sum(dim, keepdim=True)
        return n / (1 + n) * s / torch.sqrt(n + 1e-8)

    def forward(self, x):
        x = self.primary(F.relu(self.conv1(x)))
        u = self.squash(x.view(x.size(0), -1, self.dim))
        u_hat = torch.einsum("ncod,bnd->bnco", self.W, u)
        b = torch.zeros(u_hat.shape[:3])
        for _ in range(2):
            c = b.softmax(dim=2).unsqueeze(-1)
            v = self.squash((c * u_hat).sum(1))
            b = b + (u_hat * v.unsqueeze(1)).sum(-1)
        return v.norm(dim=-1), self.decoder(v.flatten(1))


class GCN(nn.Module):
    """Graph convolutions with a fixed, normalised adjacency (Kipf and Welling 2017)."""

    def __init__(self, nodes=12, n=16, h=32):
        super().__init__()
        g = torch.Generator().manual_seed(3)
        a = (torch.rand(nodes, nodes, generator=g) < 0.3).float()
        a = ((a + a.t()) > 0).float() + torch.eye(nodes)
        d = a.sum(1).rsqrt()
        self.register_buffer("adj", d[:, None] * a * d[None])
        self.gc1, self.gc2, self.gc3 = nn.Linear(n, h), nn.Linear(h, h), nn.Linear(h, 4)

    def forward(self, x):
        x = F.relu(torch.matmul(self.adj, self.gc1(x)))
        x = F.relu(self.adj @ self.gc2(x))
        return torch.matmul(self.adj, self.gc3(x)).mean(1)


class STGCN(nn.Module):
    """Skeletons: a convolution, then an einsum over joints, then along time (Yan et al. 2018)."""

    def __init__(self, joints=10, k=2, c=24):
        super().__init__()
        a = torch.rand(k, joints, joints, generator=torch.Generator().manual_seed(4))
        self.register_buffer("A", a / a.sum(1, keepdim=True))
        self.k = k
        self.gcn = nn.Conv2d(3, c * k, 1)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, 40, (5, 1), (2, 1), (2, 0)),
            nn.BatchNorm2d(40),
        )
        self.residual = nn.Conv2d(3, 40, 1, (2, 1))
        self.fcn = nn.Conv2d(40, 6, 1)

    def forward(self, x):
        y = self.gcn(x)
        n, kc, t, v = y.size()
        y = y.view(n, self.k, kc // self.k, t, v)
        y = torch.einsum("nkctv,kvw->nctw", (y, self.A)).contiguous()
        y = F.relu(self.tcn(y) + self.residual(x))
        return self.fcn(F.avg_pool2d(y, y.size()[2:])).view(n, -1)


class Siamese(nn.Module):
    """The same layers for both pictures, compared by the distance of their vectors."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 48),
        )  # fmt: skip
        self.out = nn.Linear(48, 1)

    def forward(self, a, b):
        return torch.sigmoid(self.out((self.cnn(a) - self.cnn(b)).abs())).squeeze(-1)


class MultiTask(nn.Module):
    """A trunk with three heads, in a dictionary."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ModuleDict({
            "age": nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 1)),
            "sex": nn.Linear(32, 2),
        })  # fmt: skip
        self.mask = nn.Sequential(nn.Conv2d(32, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 1, 1))

    def forward(self, x):
        f = self.trunk(x)
        pooled = f.mean((2, 3))
        out = {name: head(pooled) for name, head in self.heads.items()}
        out["mask"] = self.mask(f)
        return out


class FiLM(nn.Module):
    """A vector scales and shifts the channels of a picture (Perez et al. 2018)."""

    def __init__(self, c=32):
        super().__init__()
        self.conv_in = nn.Conv2d(3, c, 3, 2, 1)
        self.conv, self.bn = nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c, affine=False)
        self.film = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2 * c))
        self.fc = nn.Linear(c, 4)

    def forward(self, x, cond):
        x = F.relu(self.conv_in(x))
        gamma, beta = torch.chunk(self.film(cond), 2, dim=1)
        y = self.bn(self.conv(x))
        y = gamma.unsqueeze(2).unsqueeze(3) * y + beta.unsqueeze(2).unsqueeze(3)
        return self.fc((x + F.relu(y)).mean((2, 3)))


class HyperNet(nn.Module):
    """A layer whose weights another one makes of a learnt vector (Ha et al. 2017)."""

    def __init__(self, z=8, c=16):
        super().__init__()
        self.c = c
        self.z = nn.Parameter(torch.randn(z))
        self.gen = nn.Sequential(nn.Linear(z, 24), nn.ReLU(), nn.Linear(24, c * c * 9))
        self.stem, self.last = nn.Conv2d(3, c, 3, 2, 1), nn.Conv2d(c, 32, 3, 2, 1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        w = self.gen(self.z).view(self.c, self.c, 3, 3) * 0.1
        x = F.relu(F.conv2d(x, w, padding=1))
        return self.fc(F.relu(self.last(x)).mean((2, 3)))


class NeuralODE(nn.Module):
    """One block stepped four times with weights of its own alone (Chen et al. 2018)."""

    def __init__(self, c=24, steps=4):
        super().__init__()
        self.steps = steps
        self.down = nn.Conv2d(1, c, 3, 2, 1)
        self.norm1, self.conv1 = nn.GroupNorm(4, c), nn.Conv2d(c + 1, c, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(4, c), nn.Conv2d(c + 1, c, 3, 1, 1)
        self.fc = nn.Sequential(nn.Linear(c, 32), nn.ReLU(), nn.Linear(32, 10))

    def f(self, t, x):
        tt = torch.ones_like(x[:, :1, :, :]) * t
        y = self.conv1(torch.cat([tt, F.relu(self.norm1(x))], 1))
        return self.conv2(torch.cat([tt, F.relu(self.norm2(y))], 1))

    def forward(self, x):
        x = self.down(x)
        h = 1.0 / self.steps
        for i in range(self.steps):
            x = x + h * self.f(i * h, x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class TSM(nn.Module):
    """Some channels move a frame back, some a frame ahead (Lin et al. 2019)."""

    def __init__(self, segments=4, c=32, fold_div=8):
        super().__init__()
        self.segments, self.fold_div = segments, fold_div
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1), nn.BatchNorm2d(c), nn.ReLU())
        self.conv1, self.conv2 = nn.Conv2d(c, 40, 3, 1, 1), nn.Conv2d(40, c, 3, 1, 1)
        self.fc = nn.Linear(c, 6)

    def shift(self, x):
        nt, c, h, w = x.size()
        x = x.view(nt // self.segments, self.segments, c, h, w)
        fold = c // self.fold_div
        out = torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return out.view(nt, c, h, w)

    def forward(self, x):
        b = x.shape[0]
        x = self.stem(x.flatten(0, 1))
        x = F.relu(x + self.conv2(F.relu(self.conv1(self.shift(x)))))
        x = self.fc(x.mean((2, 3)))
        return x.view(b, self.segments, -1).mean(1)


class R3D(nn.Module):
    def __init__(self, c=12):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, c, (3, 5, 5), (1, 2, 2), (1, 2, 2)),
            nn.BatchNorm3d(c),
            nn.ReLU(inplace=True),
        )
        self.spatial = nn.Conv3d(c, 20, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn1 = nn.BatchNorm3d(20)
        self.temporal = nn.Conv3d(20, c, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn2 = nn.BatchNorm3d(c)
        self.pool, self.fc = nn.AdaptiveAvgPool3d(1), nn.Linear(c, 6)

    def forward(self, x):
        x = self.stem(x)
        y = self.bn2(self.temporal(F.relu(self.bn1(self.spatial(x)))))
        return self.fc(self.pool(F.relu(x + y)).flatten(1))


class PointNet(nn.Module):
    """A transform of the points learnt from them, one MLP for all, the largest (Qi et al. 2017)."""

    def __init__(self, k=8):
        super().__init__()
        self.t1, self.t2, self.t3 = nn.Conv1d(3, 16, 1), nn.Conv1d(16, 32, 1), nn.Linear(32, 9)
        self.conv1, self.conv2 = nn.Conv1d(3, 24, 1), nn.Conv1d(24, 48, 1)
        self.bn1, self.bn2 = nn.BatchNorm1d(24), nn.BatchNorm1d(48)
        self.fc1, self.fc2 = nn.Linear(48, 32), nn.Linear(32, k)

    def forward(self, x):
        t = F.relu(self.t2(F.relu(self.t1(x))))
        t = torch.max(t, 2, keepdim=True)[0].view(-1, 32)
        trans = self.t3(t).view(-1, 3, 3) + torch.eye(3)
        x = torch.bmm(x.transpose(2, 1), trans).transpose(2, 1)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x = torch.max(x, 2)[0]
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


class DGCNN(nn.Module):
    """Convolutions over the nearest neighbours in the features (Wang et al. 2019)."""

    def __init__(self, k=4):
        super().__init__()
        self.k = k
        self.conv1 = nn.Sequential(
            nn.Conv2d(6, 24, 1, bias=False), nn.BatchNorm2d(24), nn.LeakyReLU(0.2)
        )
        self.conv2 = nn.Sequential(
            nn.Conv2d(48, 32, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2)
        )
        self.conv3 = nn.Sequential(
            nn.Conv1d(56, 64, 1, bias=False), nn.BatchNorm1d(64), nn.LeakyReLU(0.2)
        )
        self.linear = nn.Linear(64, 8)

    def edges(self, x):
        b, c, n = x.shape
        square = (x**2).sum(1, keepdim=True)
        near = 2 * x.transpose(2, 1) @ x - square - square.transpose(2, 1)
        idx = near.topk(self.k, dim=-1)[1]
        feature = torch.gather(
            x.unsqueeze(2).expand(-1, -1, n, -1), 3, idx.unsqueeze(1).expand(-1, c, -1, -1)
        )
        x = x.unsqueeze(3).expand(-1, -1, -1, self.k)
        return torch.cat((feature - x, x), dim=1)

    def forward(self, x):
        x1 = self.conv1(self.edges(x)).max(dim=-1)[0]
        x2 = self.conv2(self.edges(x1)).max(dim=-1)[0]
        x = self.conv3(torch.cat((x1, x2), dim=1))
        return self.linear(x.amax(-1))


class TabularResNet(nn.Module):
    """Columns of numbers and residual MLPs, gated."""

    def __init__(self, n=20, d=40):
        super().__init__()
        self.first = nn.Linear(n, d)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"bn": nn.BatchNorm1d(d), "a": nn.Linear(d, 64), "b": nn.Linear(32, d)})
            for _ in range(2)
        )
        self.last = nn.Sequential(nn.BatchNorm1d(d), nn.ReLU(), nn.Linear(d, 3))

    def forward(self, x):
        x = self.first(x)
        for m in self.blocks:
            x = x + m["b"](F.glu(m["a"](m["bn"](x)), dim=-1))
        return self.last(x)


CASES = (
    Case("dynamic convolution", DynamicConv, image()),
    Case("mixture of experts", MoE, (real(6, 20),)),
    Case("capsules", CapsNet, image(28, 1)),
    Case("GCN", GCN, (real(12, 16),)),
    Case("ST-GCN", STGCN, (real(3, 12, 10),)),
    Case("siamese", Siamese, (real(1, 28, 28), real(1, 28, 28))),
    Case("several tasks", MultiTask, image()),
    Case("FiLM", FiLM, (real(3, 24, 24), real(10))),
    Case("hypernetwork", HyperNet, image(24)),
    Case("neural ODE", NeuralODE, image(24, 1)),
    Case("temporal shift", TSM, (real(4, 3, 24, 24),)),
    Case("film, 3-D", R3D, (real(3, 4, 24, 24),)),
    Case("PointNet", PointNet, (real(3, 40),)),
    Case("DGCNN", DGCNN, (real(3, 24),)),
    Case("tabular, gated", TabularResNet, (real(20),)),
)
