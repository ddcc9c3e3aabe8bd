"""Networks that hear: spectrograms made outside, and keyword spotters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, real


class DSCNN(nn.Module):
    """Depthwise separable keyword spotter (Zhang et al. 2017)."""

    def __init__(self, classes=12, filters=32):
        super().__init__()
        self.conv1 = nn.Conv2d(1, filters, (10, 4), stride=(2, 2), padding=(5, 1), bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.layers = nn.ModuleList()
        for _ in range(3):
            self.layers.append(
                nn.Conv2d(filters, filters, 3, padding=1, groups=filters, bias=False)
            )
            self.layers.append(nn.BatchNorm2d(filters))
            self.layers.append(nn.Conv2d(filters, filters, 1, bias=False))
            self.layers.append(nn.BatchNorm2d(filters))
        self.fc = nn.Linear(filters, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for i in range(0, len(self.layers), 2):
            x = F.relu(self.layers[i + 1](self.layers[i](x)))
        x = F.avg_pool2d(x, kernel_size=x.size()[2:])
        return self.fc(x.squeeze(3).squeeze(2))


class SubSpectralNorm(nn.Module):
    def __init__(self, channels, sub_bands):
        super().__init__()
        self.sub_bands = sub_bands
        self.bn = nn.BatchNorm2d(channels * sub_bands)

    def forward(self, x):
        n, c, f, t = x.size()
        x = x.view(n, c * self.sub_bands, f // self.sub_bands, t)
        return self.bn(x).view(n, c, f, t)


class BCResNet(nn.Module):
    """Residuals broadcast along the frequencies (Kim et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, cin, cout, stride=1):
            super().__init__()
            self.transition = cin != cout or stride != 1
            self.pre = (
                nn.Sequential(nn.Conv2d(cin, cout, 1), nn.BatchNorm2d(cout), nn.ReLU())
                if self.transition
                else nn.Identity()
            )
            self.f2 = nn.Conv2d(cout, cout, (3, 1), (stride, 1), (1, 0), groups=cout)
            self.ssn = SubSpectralNorm(cout, 5)
            self.f1 = nn.Sequential(
                nn.Conv2d(cout, cout, (1, 3), padding=(0, 1), groups=cout), nn.BatchNorm2d(cout),
                nn.SiLU(), nn.Conv2d(cout, cout, 1), nn.Dropout2d(0.1),
            )  # fmt: skip

        def forward(self, x):
            identity = x
            x = self.ssn(self.f2(self.pre(x)))
            aux = x
            x = x.mean(2, keepdim=True)
            x = self.f1(x)
            x = x + aux
            if not self.transition:
                x = x + identity
            return F.relu(x)

    def __init__(self, classes=12):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 5, (2, 1), 2)
        self.blocks = nn.Sequential(self.Block(16, 16), self.Block(16, 24, 2), self.Block(24, 24))
        self.tail = nn.Conv2d(24, 24, 5, groups=24, padding=(0, 2))
        self.head = nn.Sequential(nn.Conv2d(24, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.classifier = nn.Conv2d(32, classes, 1)

    def forward(self, x):
        x = self.head(self.tail(self.blocks(self.conv(x))).mean(2, keepdim=True))
        return self.classifier(x.mean(-1, keepdim=True)).flatten(1)


class TCResNet(nn.Module):
    """Frequencies as channels of convolutions along time (Choi et al. 2019)."""

    class S2Block(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.conv0 = nn.Conv2d(i, o, (1, 9), stride=2, padding=(0, 4), bias=False)
            self.bn0 = nn.BatchNorm2d(o, affine=True)
            self.conv1 = nn.Conv2d(o, o, (1, 9), padding=(0, 4), bias=False)
            self.bn1 = nn.BatchNorm2d(o)
            self.residual = nn.Conv2d(i, o, 1, stride=2, bias=False)

        def forward(self, x):
            out = F.relu(self.bn0(self.conv0(x)))
            out = self.bn1(self.conv1(out))
            return F.relu(out + F.relu(self.residual(x)))

    def __init__(self, bands=40):
        super().__init__()
        self.conv = nn.Conv2d(bands, 16, (1, 3), padding=(0, 1), bias=False)
        self.s2 = nn.Sequential(self.S2Block(16, 24), self.S2Block(24, 32))
        self.fc = nn.Conv2d(32, 12, 1)

    def forward(self, x):
        b, _, f, t = x.shape
        x = x.view(b, f, 1, t)
        x = F.dropout(self.s2(self.conv(x)), 0.5, self.training)
        x = self.fc(F.adaptive_avg_pool2d(x, 1))
        return x.view(b, -1)


class TENet(nn.Module):
    """Inverted bottlenecks along time with several kernels side by side (Li et al. 2020)."""

    class IBB(nn.Module):
        def __init__(self, c, t, kernels):
            super().__init__()
            h = c * t
            self.expand = nn.Sequential(
                nn.Conv1d(c, h, 1, bias=False), nn.BatchNorm1d(h), nn.ReLU()
            )
            self.mtconvs = nn.ModuleList(
                nn.Sequential(
                    nn.Conv1d(h, h, k, padding=k // 2, groups=h, bias=False), nn.BatchNorm1d(h)
                )
                for k in kernels
            )
            self.project = nn.Sequential(nn.Conv1d(h, c, 1, bias=False), nn.BatchNorm1d(c))

        def forward(self, x):
            y = self.expand(x)
            out = 0
            for conv in self.mtconvs:
                out = out + conv(y)
            return F.relu(x + self.project(F.relu(out)))

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(40, 24, 3, padding=1)
        self.blocks = nn.Sequential(self.IBB(24, 2, (3, 5, 7)), self.IBB(24, 2, (3, 5, 7)))
        self.fc = nn.Linear(24, 12)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean(-1))


class CRNN(nn.Module):
    """Convolutions, then a recurrent layer along time over channels and bands."""

    def __init__(self, cell="gru", classes=10):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d((1, 4)),
            nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d((1, 5)),
        )  # fmt: skip
        make = nn.GRU if cell == "gru" else nn.LSTM
        self.rnn = make(24 * 2, 24, batch_first=True, bidirectional=cell != "gru")
        self.fc = nn.Linear(24 if cell == "gru" else 48, classes)

    def forward(self, x):
        x = self.cnn(x)
        b, c, t, f = x.size()
        x = x.permute(0, 2, 1, 3).contiguous().view(b, t, c * f)
        x, _ = self.rnn(x)
        return torch.sigmoid(self.fc(x))


class MCNet(nn.Module):
    """Coordinates of the frequencies as further channels, soft masks per band."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 24, 3, padding=1)
        self.mask = nn.Sequential(nn.Linear(40, 40), nn.Sigmoid())
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(24, 32, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = x * self.mask(x.mean(-1)).unsqueeze(-1)
        pos = torch.linspace(0, 1, x.shape[2])[None, None, :, None]
        x = torch.cat([x, pos.expand(x.shape[0], 1, -1, x.shape[3])], 1)
        x = self.body(self.conv(x))
        return self.fc(x.amax((2, 3)) + x.mean((2, 3)))


class ECAPA(nn.Module):
    """Speaker vectors: several scales, attentive statistics (Desplanques et al. 2020)."""

    def __init__(self, c=32):
        super().__init__()
        self.layer1 = nn.Conv1d(40, c, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(c)
        self.scale = 4
        w = c // self.scale
        self.convs = nn.ModuleList(nn.Conv1d(w, w, 3, padding=2, dilation=2) for _ in range(3))
        self.cat = nn.Conv1d(2 * c, 64, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(64, 16, 1), nn.Tanh(), nn.Conv1d(16, 64, 1), nn.Softmax(dim=2)
        )
        self.bn5, self.fc6 = nn.BatchNorm1d(128), nn.Linear(128, 24)

    def forward(self, x):
        x = self.bn1(F.relu(self.layer1(x)))
        spx = torch.chunk(x, self.scale, dim=1)
        ys = [spx[0]]
        for i, conv in enumerate(self.convs):
            ys.append(F.relu(conv(spx[i + 1] + ys[-1] if i else spx[i + 1])))
        y = torch.cat(ys, 1) + x
        x = F.relu(self.cat(torch.cat((x, y), dim=1)))
        w = self.attention(x)
        mu = torch.sum(x * w, dim=2)
        sg = torch.sqrt((torch.sum((x**2) * w, dim=2) - mu**2).clamp(min=1e-4))
        return self.fc6(self.bn5(torch.cat((mu, sg), 1)))


MEL = (real(1, 40, 50),)
CASES = (
    Case("DS-CNN", DSCNN, (real(1, 49, 10),)),
    Case("BC-ResNet", BCResNet, MEL),
    Case("TC-ResNet", TCResNet, MEL),
    Case("TENet", TENet, (real(40, 50),)),
    Case("CRNN, GRU", CRNN, (real(1, 50, 40),)),
    Case("CRNN, BiLSTM", lambda: CRNN("lstm"), (real(1, 50, 40),)),
    Case("bands with coordinates", MCNet, MEL),
    Case("ECAPA speaker vectors", ECAPA, (real(40, 50),)),
)
