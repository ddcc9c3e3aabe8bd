"""Residual networks: basic, bottleneck, before activation, wide, grouped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image


def conv3x3(in_planes, out_planes, stride=1, groups=1):
    return nn.Conv2d(in_planes, out_planes, 3, stride, padding=1, groups=groups, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride=1, groups=1):
        super().__init__()
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inplanes, planes, stride=1, groups=1):
        super().__init__()
        width = planes if groups == 1 else planes * 2
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inplanes != planes * self.expansion:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inplanes, planes * self.expansion, 1, stride, bias=False),
                nn.BatchNorm2d(planes * self.expansion),
            )

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, block, layers, width=16, groups=1, num_classes=10):
        super().__init__()
        self.inplanes, self.groups = width, groups
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, width * 2, layers[1], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width * 2 * block.expansion, num_classes)

    def _make_layer(self, block, planes, blocks, stride=1):
        layers = []
        for i in range(blocks):
            layers.append(block(self.inplanes, planes, stride if i == 0 else 1, self.groups))
            self.inplanes = planes * block.expansion
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)


class PreActBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(cin), conv3x3(cin, cout, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(cout), conv3x3(cout, cout)
        if stride != 1 or cin != cout:
            self.shortcut = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        return self.conv2(F.dropout(F.relu(self.bn2(out)), 0.3, self.training)) + shortcut


class WideResNet(nn.Module):
    def __init__(self, k=2):
        super().__init__()
        n = [16, 16 * k, 32 * k]
        self.conv1 = conv3x3(3, n[0])
        self.block1 = nn.Sequential(PreActBlock(n[0], n[1], 1), PreActBlock(n[1], n[1], 1))
        self.block2 = nn.Sequential(PreActBlock(n[1], n[2], 2), PreActBlock(n[2], n[2], 1))
        self.bn = nn.BatchNorm2d(n[2])
        self.n_channels = n[2]
        self.fc = nn.Linear(n[2], 10)

    def forward(self, x):
        out = self.block2(self.block1(self.conv1(x)))
        out = F.avg_pool2d(F.relu(self.bn(out)), 8)
        out = out.view(-1, self.n_channels)
        return self.fc(out)


class PaddedShortcut(nn.Module):
    """Shortcuts of kind A: strided picture, zeros for the new channels (He et al. 2016)."""

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.stride, self.extra = stride, cout - cin
            self.conv1, self.bn1 = conv3x3(cin, cout, stride), nn.BatchNorm2d(cout)
            self.conv2, self.bn2 = conv3x3(cout, cout), nn.BatchNorm2d(cout)

        def forward(self, x):
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.extra:
                half = self.extra // 2
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
            return F.relu(out + x)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv3x3(3, 16), nn.BatchNorm2d(16), nn.ReLU())
        widths = [(16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)]
        self.body = nn.Sequential(*[self.Block(*w) for w in widths])
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.body(self.stem(x)).mean((-2, -1)))


CASES = (
    Case("ResNet basic", lambda: ResNet(BasicBlock, [2, 2]), image()),
    Case("ResNet bottleneck", lambda: ResNet(Bottleneck, [1, 2]), image(16)),
    Case("ResNeXt", lambda: ResNet(Bottleneck, [1, 1], groups=8), image(16)),
    Case("WideResNet before activation", WideResNet, image(16)),
    Case("ResNet with padded shortcuts", PaddedShortcut, image()),
)
