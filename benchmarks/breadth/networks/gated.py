"""Residual blocks with attention over channels, and blocks of several scales or branches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image


class SELayer(nn.Module):
    def __init__(self, channel, reduction=4):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class ECA(nn.Module):
    """A small convolution along the channels (Wang et al. 2020)."""

    def __init__(self, channels, gamma=2, b=1):
        super().__init__()
        t = int(abs((math.log2(channels) + b) / gamma))
        k = t if t % 2 else t + 1
        self.conv = nn.Conv1d(1, 1, kernel_size=k, padding=k // 2, bias=False)

    def forward(self, x):
        y = F.adaptive_avg_pool2d(x, 1)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(y)


class CBAM(nn.Module):
    def __init__(self, c, r=4):
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(c, c // r, 1), nn.ReLU(), nn.Conv2d(c // r, c, 1))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x):
        avg = self.mlp(torch.mean(x, dim=(2, 3), keepdim=True))
        mx = self.mlp(torch.amax(x, dim=(2, 3), keepdim=True))
        x = x * torch.sigmoid(avg + mx)
        s = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], dim=1)
        return x * torch.sigmoid(self.spatial(s))


class SK(nn.Module):
    """Two kernels, chosen channel by channel with a softmax over the branches (Li et al. 2019)."""

    def __init__(self, c, m=2, r=4):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, c, 3, padding=1 + i, dilation=1 + i, bias=False),
                nn.BatchNorm2d(c),
                nn.ReLU(),
            )
            for i in range(m)
        )
        self.fc = nn.Linear(c, c // r)
        self.fcs = nn.ModuleList(nn.Linear(c // r, c) for _ in range(m))

    def forward(self, x):
        feas = torch.stack([conv(x) for conv in self.convs], dim=1)
        z = self.fc(feas.sum(dim=1).mean(-1).mean(-1))
        weights = torch.stack([fc(z) for fc in self.fcs], dim=1)
        weights = torch.softmax(weights, dim=1).unsqueeze(-1).unsqueeze(-1)
        return (feas * weights).sum(dim=1)


class SplitAttention(nn.Module):
    """ResNeSt: twice the channels, and a softmax over the two of each (Zhang et al. 2020)."""

    def __init__(self, channels, radix=2, r=4):
        super().__init__()
        self.radix = radix
        self.channels = channels
        self.conv = nn.Conv2d(channels, channels * radix, 3, padding=1, groups=radix, bias=False)
        self.bn0 = nn.BatchNorm2d(channels * radix)
        self.fc1 = nn.Conv2d(channels, channels // r, 1)
        self.fc2 = nn.Conv2d(channels // r, channels * radix, 1)

    def forward(self, x):
        x = F.relu(self.bn0(self.conv(x)))
        batch, rchannel = x.shape[:2]
        splited = torch.split(x, rchannel // self.radix, dim=1)
        gap = F.adaptive_avg_pool2d(sum(splited), 1)
        atten = self.fc2(F.relu(self.fc1(gap)))
        atten = F.softmax(atten.view(batch, self.radix, -1), dim=1).view(batch, -1, 1, 1)
        attens = torch.split(atten, rchannel // self.radix, dim=1)
        return sum(att * split for att, split in zip(attens, splited, strict=True))


class Res2(nn.Module):
    """Groups of channels, each fed with the one before it (Gao et al. 2019)."""

    def __init__(self, c, scale=4):
        super().__init__()
        self.width = c // scale
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, padding=1, bias=False) for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(scale - 1))

    def forward(self, x):
        spx = torch.split(x, self.width, 1)
        outs, sp = [], 0
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            sp = sp + spx[i]
            sp = F.relu(bn(conv(sp)))
            outs.append(sp)
        return torch.cat([*outs, spx[-1]], 1)


class GatherExcite(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gather = nn.Conv2d(c, c, 4, stride=4, groups=c, bias=False)
        self.bn = nn.BatchNorm2d(c)

    def forward(self, x):
        g = self.bn(self.gather(x))
        g = F.interpolate(g, size=x.shape[-2:], mode="nearest")
        return x * g.sigmoid()


class CoordAttention(nn.Module):
    def __init__(self, c, r=4):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c // r, 1)
        self.bn = nn.BatchNorm2d(c // r)
        self.h, self.w = nn.Conv2d(c // r, c, 1), nn.Conv2d(c // r, c, 1)

    def forward(self, x):
        _, _, h, w = x.size()
        xh = x.mean(3, keepdim=True)
        xw = x.mean(2, keepdim=True).permute(0, 1, 3, 2)
        y = F.hardswish(self.bn(self.conv1(torch.cat([xh, xw], dim=2))))
        yh, yw = torch.split(y, [h, w], dim=2)
        return x * self.h(yh).sigmoid() * self.w(yw.permute(0, 1, 3, 2)).sigmoid()


class Net(nn.Module):
    """A stem and two residual blocks with one of the layers above in each."""

    def __init__(self, layer, width=24, classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.pre = nn.ModuleList()
        self.mid = nn.ModuleList()
        self.post = nn.ModuleList()
        for _ in range(2):
            inner = width + 8
            self.pre.append(nn.Sequential(nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner)))
            self.mid.append(layer(inner))
            self.post.append(nn.Sequential(nn.Conv2d(inner, width, 1), nn.BatchNorm2d(width)))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.stem(x)
        for pre, mid, post in zip(self.pre, self.mid, self.post, strict=True):
            x = F.relu(x + post(mid(F.relu(pre(x)))))
        return self.head(x.mean(dim=[2, 3]))


CASES = (
    Case("SE-ResNet", lambda: Net(SELayer), image(24)),
    Case("ECA-Net", lambda: Net(ECA), image(24)),
    Case("CBAM", lambda: Net(CBAM), image(24)),
    Case("SK-Net", lambda: Net(SK), image(24)),
    Case("ResNeSt", lambda: Net(SplitAttention), image(24)),
    Case("Res2Net", lambda: Net(Res2), image(24)),
    Case("gather-excite", lambda: Net(GatherExcite), image()),
    Case("coordinate attention", lambda: Net(CoordAttention), image(24)),
)
