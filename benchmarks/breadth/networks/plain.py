"""Plain convolutional networks, one after another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5)
        self.conv2 = nn.Conv2d(12, 24, 5)
        self.fc1 = nn.Linear(24 * 5 * 5, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


def make_layers(cfg):
    layers, c = [], 3
    for v in cfg:
        if v == "M":
            layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
        else:
            layers += [nn.Conv2d(c, v, 3, padding=1), nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
            c = v
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, cfg, num_classes=10):
        super().__init__()
        self.features = make_layers(cfg)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(64 * 2 * 2, 96), nn.ReLU(True), nn.Dropout(), nn.Linear(96, num_classes)
        )

    def forward(self, x):
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


class AllConv(nn.Module):
    """Strided convolutions in place of pooling; the classes are channels of the last one."""

    def __init__(self, width=32, classes=10):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.PReLU(2 * width),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ELU(),
            nn.Conv2d(2 * width, classes, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x).mean([2, 3])


class MaxoutCNN(nn.Module):
    """LightCNN: the larger of two halves of the channels (Wu et al. 2018)."""

    class MFM(nn.Module):
        def __init__(self, cin, cout, k):
            super().__init__()
            self.out = cout
            self.filter = nn.Conv2d(cin, 2 * cout, k, padding=k // 2)

        def forward(self, x):
            x = self.filter(x)
            a, b = torch.split(x, self.out, 1)
            return torch.max(a, b)

    def __init__(self):
        super().__init__()
        self.c1 = self.MFM(1, 16, 5)
        self.c2a = self.MFM(16, 16, 1)
        self.c2 = self.MFM(16, 32, 3)
        self.c3 = self.MFM(32, 48, 3)
        self.fc = nn.Linear(48 * 4 * 4, 20)

    def forward(self, x):
        x = F.max_pool2d(self.c1(x), 2)
        x = F.max_pool2d(self.c2(self.c2a(x)), 2)
        x = F.max_pool2d(self.c3(x), 2) + F.avg_pool2d(self.c3(x), 2)
        return self.fc(x.flatten(1))


class NiN(nn.Module):
    def __init__(self, classes=10):
        super().__init__()

        def block(i, o, k):
            return nn.Sequential(
                nn.Conv2d(i, o, k, padding=k // 2, bias=False), nn.BatchNorm2d(o), nn.Hardswish(),
                nn.Conv2d(o, o, 1), nn.Mish(),
                nn.Conv2d(o, o, 1), nn.SiLU(),
            )  # fmt: skip

        self.blocks = nn.ModuleList([block(3, 24, 5), block(24, 40, 3)])
        self.head = nn.Conv2d(40, classes, 3, padding=1)

    def forward(self, x):
        for b in self.blocks:
            x = b(x)
            x = F.max_pool2d(x, 3, stride=2)
        return F.adaptive_avg_pool2d(self.head(x), 1)[:, :, 0, 0]


CASES = (
    Case("LeNet", LeNet, image(32, 1)),
    Case("VGG", lambda: VGG([16, 16, "M", 32, 32, "M", 64]), image()),
    Case("all-convolutional", AllConv, image(24)),
    Case("LightCNN max-feature-map", MaxoutCNN, image(32, 1)),
    Case("network in network", NiN, image()),
)
