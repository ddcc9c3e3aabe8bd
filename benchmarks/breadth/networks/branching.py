"""Networks that concatenate, split, and join branches of several resolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image


def cbr(i, o, k=3, s=1, d=1):
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, padding=d * (k // 2), dilation=d, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


class DenseLayer(nn.Module):
    def __init__(self, num_input_features, growth_rate, bn_size=2):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.conv1 = nn.Conv2d(num_input_features, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)

    def forward(self, features):
        x = torch.cat(features, 1)
        x = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(x)))


class DenseNet(nn.Module):
    def __init__(self, growth=8, num_classes=10):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        c = 16
        self.block1 = nn.ModuleList(DenseLayer(c + i * growth, growth) for i in range(3))
        c += 3 * growth
        self.norm, self.trans = nn.BatchNorm2d(c), nn.Conv2d(c, c // 2, 1, bias=False)
        c = c // 2
        self.block2 = nn.ModuleList(DenseLayer(c + i * growth, growth) for i in range(3))
        c += 3 * growth
        self.norm5 = nn.BatchNorm2d(c)
        self.classifier = nn.Linear(c, num_classes)

    @staticmethod
    def dense(block, x):
        features = [x]
        for layer in block:
            features.append(layer(features))
        return torch.cat(features, 1)

    def forward(self, x):
        x = self.dense(self.block1, self.conv0(x))
        x = F.avg_pool2d(self.trans(F.relu(self.norm(x))), 2, 2)
        x = F.relu(self.norm5(self.dense(self.block2, x)))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class CSPStage(nn.Module):
    def __init__(self, c, n=2):
        super().__init__()
        h = c // 2
        self.cv1, self.cv2, self.cv3 = cbr(c, h, 1), cbr(c, h, 1), cbr(2 * h, c, 1)
        self.m = nn.Sequential(*(nn.Sequential(cbr(h, h, 1), cbr(h, h, 3)) for _ in range(n)))

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)) + self.cv1(x), self.cv2(x)), 1))


class CSPNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 24, 3, 2)
        self.stages = nn.Sequential(CSPStage(24), cbr(24, 40, 3, 2), CSPStage(40))
        self.fc = nn.Linear(40, 10)

    def forward(self, x):
        return self.fc(self.stages(self.stem(x)).mean((2, 3)))


class DLA(nn.Module):
    """A small tree: roots join the ends of two blocks and what went in (Yu et al. 2018)."""

    def __init__(self):
        super().__init__()
        self.base = cbr(3, 16)
        self.t1, self.t2 = cbr(16, 32, 3, 2), cbr(32, 32)
        self.root = nn.Conv2d(32 + 32 + 16, 32, 1)
        self.bn = nn.BatchNorm2d(32)
        self.down = nn.MaxPool2d(2)
        self.fc = nn.Conv2d(32, 10, 1)

    def forward(self, x):
        x = self.base(x)
        a = self.t1(x)
        b = self.t2(a) + a
        x = F.relu(self.bn(self.root(torch.cat([b, a, self.down(x)], 1))) + b)
        x = F.avg_pool2d(x, x.shape[2:])
        return self.fc(x).view(x.size(0), -1)


class HRNet(nn.Module):
    """Two resolutions side by side that exchange sums (Wang et al. 2020)."""

    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 16)
        self.t = nn.ModuleList([cbr(16, 16), cbr(16, 32, 3, 2)])
        self.branches = nn.ModuleList([cbr(16, 16), cbr(32, 32)])
        self.up = nn.Sequential(nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))
        self.last = nn.Conv2d(48, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        xs = [t(x) for t in self.t]
        a, b = (branch(x) for branch, x in zip(self.branches, xs, strict=True))
        h, w = a.size(2), a.size(3)
        high = F.relu(a + F.interpolate(self.up(b), size=(h, w), mode="nearest"))
        low = F.relu(b + self.down(a))
        low = F.interpolate(low, size=(h, w), mode="bilinear", align_corners=True)
        return self.last(torch.cat([high, low], 1))


class Inception(nn.Module):
    class Block(nn.Module):
        def __init__(self, cin, n1, r3, n3, r5, n5, pool):
            super().__init__()
            self.branch1x1 = cbr(cin, n1, 1)
            self.branch3x3 = nn.Sequential(cbr(cin, r3, 1), cbr(r3, n3, 3))
            self.branch5x5 = nn.Sequential(cbr(cin, r5, 1), cbr(r5, n5, 5))
            self.pool_proj = cbr(cin, pool, 1)

        def forward(self, x):
            pooled = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)
            outs = [self.branch1x1(x), self.branch3x3(x), self.branch5x5(x), self.pool_proj(pooled)]
            return torch.cat(outs, dim=1)

    def __init__(self):
        super().__init__()
        self.pre = cbr(3, 24, 3, 2)
        self.a3 = self.Block(24, 8, 12, 16, 4, 8, 8)
        self.b3 = self.Block(40, 16, 16, 24, 4, 8, 8)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(56, 10)

    def forward(self, x):
        x = self.b3(F.max_pool2d(self.a3(self.pre(x)), 3, 2, 1))
        return self.fc(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class SqueezeNet(nn.Module):
    class Fire(nn.Module):
        def __init__(self, i, s, e):
            super().__init__()
            self.squeeze = nn.Conv2d(i, s, 1)
            self.e1, self.e3 = nn.Conv2d(s, e, 1), nn.Conv2d(s, e, 3, padding=1)

        def forward(self, x):
            x = F.relu(self.squeeze(x), inplace=True)
            return torch.cat([F.relu(self.e1(x)), F.relu(self.e3(x))], 1)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True),
            self.Fire(24, 8, 24), self.Fire(48, 8, 24), self.Fire(48, 12, 32),
        )  # fmt: skip
        self.final = nn.Conv2d(64, 10, 1)

    def forward(self, x):
        x = F.relu(self.final(F.dropout(self.features(x), 0.5, self.training)))
        return torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)


class VoVNet(nn.Module):
    """One concatenation of all layers at the end of a block (Lee et al. 2019)."""

    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 24, 3, 2)
        self.layers = nn.ModuleList([cbr(24, 16), cbr(16, 16), cbr(16, 16)])
        self.concat = cbr(24 + 48, 48, 1)
        self.ese = nn.Conv2d(48, 48, 1)
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        x = self.stem(x)
        output = [x]
        for layer in self.layers:
            x = layer(x)
            output.append(x)
        xt = self.concat(torch.cat(output, dim=1))
        xt = xt * (F.relu6(self.ese(xt.mean((2, 3), keepdim=True)) + 3.0) / 6.0)
        return self.head(xt.mean((2, 3)))


class DualPath(nn.Module):
    """A part of the channels is added, the rest concatenated (Chen et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 24, 3, 2)
        self.convs = nn.ModuleList(
            [nn.Conv2d(24, 28, 3, padding=1), nn.Conv2d(28, 28, 3, padding=1)]
        )
        self.d = 24
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x)
        for conv in self.convs:
            y = conv(F.relu(x))
            d = self.d
            x = torch.cat([x[:, :d] + y[:, :d], x[:, d:], y[:, d:]], 1)
        return self.fc(F.relu(x).mean([2, 3]))


CASES = (
    Case("DenseNet", DenseNet, image(16)),
    Case("CSPNet", CSPNet, image()),
    Case("DLA", DLA, image()),
    Case("HRNet", HRNet, image(16)),
    Case("Inception", Inception, image()),
    Case("SqueezeNet", SqueezeNet, image()),
    Case("VoVNet", VoVNet, image()),
    Case("dual path", DualPath, image()),
)
