"""Networks for phones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image


def conv_dw(inp, oup, stride):
    return nn.Sequential(
        nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False),
        nn.BatchNorm2d(inp),
        nn.ReLU(inplace=True),
        nn.Conv2d(inp, oup, 1, 1, 0, bias=False),
        nn.BatchNorm2d(oup),
        nn.ReLU(inplace=True),
    )


class MobileNetV1(nn.Module):
    def __init__(self, n_class=10):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            conv_dw(16, 32, 1), conv_dw(32, 64, 2), conv_dw(64, 64, 1), nn.AvgPool2d(8),
        )  # fmt: skip
        self.fc = nn.Linear(64, n_class)

    def forward(self, x):
        x = self.model(x)
        x = x.view(-1, x.shape[1])
        return self.fc(x)


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio):
        super().__init__()
        hidden = int(round(inp * expand_ratio))
        self.use_res_connect = stride == 1 and inp == oup
        layers = []
        if expand_ratio != 1:
            layers += [nn.Conv2d(inp, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        layers += [
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, oup, 1, bias=False), nn.BatchNorm2d(oup),
        ]  # fmt: skip
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        features = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
        inp = 16
        for t, c, n, s in [[1, 8, 1, 1], [4, 16, 2, 2], [4, 24, 2, 1]]:
            for i in range(n):
                features.append(InvertedResidual(inp, c, s if i == 0 else 1, t))
                inp = c
        features += [nn.Conv2d(inp, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6()]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x):
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1)
        return self.classifier(x)


class SqueezeExcite(nn.Module):
    def __init__(self, c, act):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)
        self.act, self.gate = nn.ReLU(), act

    def forward(self, x):
        return x * self.gate(self.fc2(self.act(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class MBConv(nn.Module):
    def __init__(self, cin, cout, k, s, t, act, gate):
        super().__init__()
        c = cin * t
        self.expand = nn.Sequential(nn.Conv2d(cin, c, 1, bias=False), nn.BatchNorm2d(c), act())
        self.dw = nn.Sequential(
            nn.Conv2d(c, c, k, s, k // 2, groups=c, bias=False), nn.BatchNorm2d(c), act()
        )
        self.se = SqueezeExcite(c, gate) if gate is not None else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(c, cout, 1, bias=False), nn.BatchNorm2d(cout))
        self.skip = s == 1 and cin == cout

    def forward(self, x):
        y = self.project(self.se(self.dw(self.expand(x))))
        return y + x if self.skip else y


class MobileNetV3(nn.Module):
    def __init__(self):
        super().__init__()
        hs, gate = nn.Hardswish, nn.Hardsigmoid()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), hs())
        self.blocks = nn.Sequential(
            MBConv(16, 16, 3, 1, 2, nn.ReLU, None),
            MBConv(16, 24, 5, 2, 3, nn.ReLU, gate),
            MBConv(24, 24, 5, 1, 3, hs, gate),
        )
        self.conv_head = nn.Conv2d(24, 64, 1)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        x = F.adaptive_avg_pool2d(x, 1)
        x = F.hardswish(self.conv_head(x))
        return self.classifier(x.flatten(1))


class EfficientNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.blocks = nn.ModuleList([
            MBConv(16, 16, 3, 1, 4, nn.SiLU, nn.Sigmoid()),
            MBConv(16, 24, 3, 2, 4, nn.SiLU, nn.Sigmoid()),
            MBConv(24, 24, 5, 1, 4, nn.SiLU, nn.Sigmoid()),
        ])  # fmt: skip
        self.head = nn.Sequential(nn.Conv2d(24, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU())
        self.fc = nn.Linear(64, 10)

    def forward(self, inputs):
        x = F.silu(self.bn1(self.conv_stem(inputs)))
        for block in self.blocks:
            x = block(x)
        x = self.head(x)
        bs = inputs.size(0)
        x = nn.AdaptiveAvgPool2d(1)(x).view(bs, -1)
        return self.fc(F.dropout(x, 0.2, self.training))


class MnasNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16, momentum=0.01), nn.ReLU(),
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 12, 1, bias=False), nn.BatchNorm2d(12),
            MBConv(12, 20, 3, 2, 3, nn.ReLU, None), MBConv(20, 20, 5, 1, 3, nn.ReLU, None),
            nn.Conv2d(20, 64, 1), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(p=0.2, inplace=True), nn.Linear(64, 10))

    def forward(self, x):
        return self.classifier(self.net(x).mean([2, 3]))


def channel_shuffle(x, groups):
    batchsize, num_channels, height, width = x.size()
    channels_per_group = num_channels // groups
    x = x.view(batchsize, groups, channels_per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batchsize, -1, height, width)


class ShuffleNetV1(nn.Module):
    class Unit(nn.Module):
        def __init__(self, c, g=4):
            super().__init__()
            self.g = g
            self.conv1, self.bn1 = nn.Conv2d(c, c, 1, groups=g, bias=False), nn.BatchNorm2d(c)
            self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
            self.bn2 = nn.BatchNorm2d(c)
            self.conv3, self.bn3 = nn.Conv2d(c, c, 1, groups=g, bias=False), nn.BatchNorm2d(c)

        def forward(self, x):
            y = channel_shuffle(F.relu(self.bn1(self.conv1(x))), self.g)
            return F.relu(x + self.bn3(self.conv3(self.bn2(self.dw(y)))))

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 48, 3, 2, 1)
        self.units = nn.Sequential(self.Unit(48), self.Unit(48))
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        return self.fc(self.units(self.stem(x)).mean((2, 3)))


class ShuffleNetV2(nn.Module):
    class Unit(nn.Module):
        def __init__(self, c):
            super().__init__()
            b = c // 2
            self.branch2 = nn.Sequential(
                nn.Conv2d(b, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
                nn.Conv2d(b, b, 3, 1, 1, groups=b, bias=False), nn.BatchNorm2d(b),
                nn.Conv2d(b, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
            )  # fmt: skip

        def forward(self, x):
            x1, x2 = x.chunk(2, dim=1)
            return channel_shuffle(torch.cat((x1, self.branch2(x2)), dim=1), 2)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU())
        self.stage = nn.Sequential(self.Unit(48), self.Unit(48))
        self.conv5 = nn.Conv2d(48, 64, 1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.conv5(self.stage(self.conv1(x))))
        return self.fc(x.mean([2, 3]))


class GhostModule(nn.Module):
    def __init__(self, inp, oup, ratio=2, relu=True):
        super().__init__()
        self.oup = oup
        init = -(-oup // ratio)
        new = init * (ratio - 1)
        self.primary = nn.Sequential(
            nn.Conv2d(inp, init, 1, bias=False), nn.BatchNorm2d(init),
            nn.ReLU() if relu else nn.Sequential(),
        )  # fmt: skip
        self.cheap = nn.Sequential(
            nn.Conv2d(init, new, 3, 1, 1, groups=init, bias=False), nn.BatchNorm2d(new),
            nn.ReLU() if relu else nn.Sequential(),
        )  # fmt: skip

    def forward(self, x):
        x1 = self.primary(x)
        out = torch.cat([x1, self.cheap(x1)], dim=1)
        return out[:, : self.oup, :, :]


class GhostNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.g1, self.g2 = GhostModule(16, 48), GhostModule(48, 16, relu=False)
        self.g3, self.g4 = GhostModule(16, 48), GhostModule(48, 16, relu=False)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.g2(self.g1(x))
        x = x + self.g4(self.g3(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1))


class RepVGGBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.rbr_dense = nn.Sequential(
            nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        )
        self.rbr_1x1 = nn.Sequential(
            nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
        )
        self.rbr_identity = nn.BatchNorm2d(cin) if cin == cout and stride == 1 else None

    def forward(self, x):
        id_out = 0 if self.rbr_identity is None else self.rbr_identity(x)
        return F.relu(self.rbr_dense(x) + self.rbr_1x1(x) + id_out)


class RepVGG(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage0 = RepVGGBlock(3, 16, 2)
        self.stage1 = nn.Sequential(RepVGGBlock(16, 24, 2), RepVGGBlock(24, 24))
        self.linear = nn.Linear(24, 10)

    def forward(self, x):
        out = self.stage1(self.stage0(x))
        return self.linear(F.adaptive_avg_pool2d(out, 1).view(out.size(0), -1))


CASES = (
    Case("MobileNet V1", MobileNetV1, image()),
    Case("MobileNet V2", MobileNetV2, image()),
    Case("MobileNet V3", MobileNetV3, image()),
    Case("EfficientNet", EfficientNet, image()),
    Case("MnasNet", MnasNet, image()),
    Case("ShuffleNet V1", ShuffleNetV1, image()),
    Case("ShuffleNet V2", ShuffleNetV2, image()),
    Case("GhostNet", GhostNet, image()),
    Case("RepVGG", RepVGG, image()),
)
