"""Networks that take waveforms: raw filters, front ends inside, separation, vocoders."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import weight_norm
from torch.nn.utils.parametrizations import weight_norm as parametrized_weight_norm

from benchmarks.breadth.case import Case, real, sound


class M5(nn.Module):
    def __init__(self, n_input=1, n_output=35, stride=16, n_channel=24):
        super().__init__()
        self.conv1 = nn.Conv1d(n_input, n_channel, kernel_size=80, stride=stride)
        self.bn1 = nn.BatchNorm1d(n_channel)
        self.pool1 = nn.MaxPool1d(4)
        self.conv2 = nn.Conv1d(n_channel, 2 * n_channel, kernel_size=3)
        self.bn2 = nn.BatchNorm1d(2 * n_channel)
        self.pool2 = nn.MaxPool1d(4)
        self.fc1 = nn.Linear(2 * n_channel, n_output)

    def forward(self, x):
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1])
        x = x.permute(0, 2, 1)
        return F.log_softmax(self.fc1(x), dim=2)


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TCN(nn.Module):
    """Causal dilated convolutions with normed weights (Bai et al. 2018)."""

    class TemporalBlock(nn.Module):
        def __init__(self, i, o, k, dilation):
            super().__init__()
            pad = (k - 1) * dilation
            self.conv1 = parametrized_weight_norm(
                nn.Conv1d(i, o, k, padding=pad, dilation=dilation)
            )
            self.conv2 = parametrized_weight_norm(
                nn.Conv1d(o, o, k, padding=pad, dilation=dilation)
            )
            self.net = nn.Sequential(
                self.conv1, Chomp1d(pad), nn.ReLU(), nn.Dropout(0.2),
                self.conv2, Chomp1d(pad), nn.ReLU(), nn.Dropout(0.2),
            )  # fmt: skip
            self.downsample = nn.Conv1d(i, o, 1) if i != o else None
            self.relu = nn.ReLU()

        def forward(self, x):
            out = self.net(x)
            res = x if self.downsample is None else self.downsample(x)
            return self.relu(out + res)

    def __init__(self):
        super().__init__()
        layers = [self.TemporalBlock(i, o, 3, 2**n) for n, (i, o) in enumerate([(8, 24), (24, 24)])]
        self.network = nn.Sequential(*layers)
        self.linear = nn.Linear(24, 10)

    def forward(self, x):
        return self.linear(self.network(x)[:, :, -1])


class WaveNet(nn.Module):
    """Gates of tanh and sigmoid, skips summed (van den Oord et al. 2016)."""

    def __init__(self, residual=24, skip=32, classes=16):
        super().__init__()
        self.causal = nn.Conv1d(1, residual, 2)
        self.dilated = nn.ModuleList()
        self.res = nn.ModuleList()
        self.skip = nn.ModuleList()
        for i in range(4):
            self.dilated.append(nn.Conv1d(residual, 2 * residual, 2, dilation=2**i))
            self.res.append(nn.Conv1d(residual, residual, 1))
            self.skip.append(nn.Conv1d(residual, skip, 1))
        self.end = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skip, 32, 1), nn.ReLU(), nn.Conv1d(32, classes, 1)
        )

    def forward(self, x):
        x = self.causal(x)
        total = None
        for dilated, res, skip in zip(self.dilated, self.res, self.skip, strict=True):
            filt, gate = dilated(x).chunk(2, dim=1)
            y = torch.tanh(filt) * torch.sigmoid(gate)
            s = skip(y)
            total = s if total is None else total[..., -s.size(-1) :] + s
            y = res(y)
            x = y + x[..., -y.size(-1) :]
        return self.end(total)


class ConvTasNet(nn.Module):
    """A learnt basis, masks of two sources, and the basis back (Luo and Mesgarani 2019)."""

    class Block(nn.Module):
        def __init__(self, b, h, d):
            super().__init__()
            self.conv1x1, self.prelu1 = nn.Conv1d(b, h, 1), nn.PReLU()
            self.norm1 = nn.GroupNorm(1, h, eps=1e-8)
            self.dsconv = nn.Conv1d(h, h, 3, padding=d, dilation=d, groups=h)
            self.prelu2, self.norm2 = nn.PReLU(), nn.GroupNorm(1, h, eps=1e-8)
            self.out = nn.Conv1d(h, b, 1)

        def forward(self, x):
            y = self.norm1(self.prelu1(self.conv1x1(x)))
            return x + self.out(self.norm2(self.prelu2(self.dsconv(y))))

    def __init__(self, n=32, length=16, b=24, h=48, c=2):
        super().__init__()
        self.c, self.n = c, n
        self.encoder = nn.Conv1d(1, n, length, stride=length // 2, bias=False)
        self.bottleneck = nn.Sequential(nn.GroupNorm(1, n), nn.Conv1d(n, b, 1))
        self.tcn = nn.Sequential(*[self.Block(b, h, 2**i) for i in range(3)])
        self.mask = nn.Conv1d(b, c * n, 1)
        self.decoder = nn.ConvTranspose1d(n, 1, length, stride=length // 2, bias=False)

    def forward(self, mixture):
        w = F.relu(self.encoder(mixture))
        m, _, k = w.shape
        mask = F.relu(self.mask(self.tcn(self.bottleneck(w)))).view(m, self.c, self.n, k)
        sources = w.unsqueeze(1) * mask
        return self.decoder(sources.view(m * self.c, self.n, k)).view(m, self.c, -1)


class Snake(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x):
        shape = x.shape
        x = x.reshape(shape[0], shape[1], -1)
        x = x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)
        return x.reshape(shape)


class Vocoder(nn.Module):
    """Mel bands to a waveform: HiFi-GAN with weight_norm in its old form and Snake."""

    def __init__(self, c=32):
        super().__init__()
        self.conv_pre = weight_norm(nn.Conv1d(40, c, 7, 1, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for i in range(2):
            o = c // 2 ** (i + 1)
            self.ups.append(weight_norm(nn.ConvTranspose1d(c // 2**i, o, 8, 4, padding=2)))
            self.resblocks.append(
                nn.ModuleList(
                    nn.Sequential(Snake(o), weight_norm(nn.Conv1d(o, o, k, padding=k // 2)))
                    for k in (3, 7)
                )
            )
        self.conv_post = weight_norm(nn.Conv1d(c // 4, 1, 7, 1, padding=3))

    def forward(self, x):
        x = self.conv_pre(x)
        for up, blocks in zip(self.ups, self.resblocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            xs = None
            for block in blocks:
                y = x + block(x)
                xs = y if xs is None else xs + y
            x = xs / len(blocks)
        return torch.tanh(self.conv_post(F.leaky_relu(x)))


def mel_matrix(bins, bands, rate):
    """Triangles that overlap by half, evenly on the mel scale."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    hz = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    f = torch.linspace(0, rate / 2, bins)[:, None]
    up = (f - hz[:-2]) / (hz[1:-1] - hz[:-2])
    down = (hz[2:] - f) / (hz[2:] - hz[1:-1])
    return torch.minimum(up, down).clamp(min=0)


class LogMel(nn.Module):
    def __init__(self, n_fft=256, hop=128, bands=32):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft))
        self.register_buffer("fb", mel_matrix(n_fft // 2 + 1, bands, 8000))

    def power(self, x):
        spec = torch.stft(
            x, self.n_fft, self.hop, window=self.window, center=True, return_complex=True
        )
        return torch.matmul(spec.abs().pow(2).transpose(1, 2), self.fb)

    def forward(self, x):
        return 10.0 * torch.log10(torch.clamp(self.power(x), min=1e-10))


class CNN14(nn.Module):
    """PANNs: spectrogram, mel bands, a norm over bands, blocks, two poolings (Kong et al. 2020)."""

    class ConvBlock(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)

        def forward(self, x, pool_size=(2, 2)):
            x = F.relu_(self.bn1(self.conv1(x)))
            x = F.relu_(self.bn2(self.conv2(x)))
            return F.avg_pool2d(x, kernel_size=pool_size)

    def __init__(self, classes=20):
        super().__init__()
        self.logmel_extractor = LogMel()
        self.bn0 = nn.BatchNorm2d(32)
        self.conv_block1, self.conv_block2 = self.ConvBlock(1, 16), self.ConvBlock(16, 32)
        self.fc1, self.fc_audioset = nn.Linear(32, 32), nn.Linear(32, classes)

    def forward(self, wave):
        x = self.logmel_extractor(wave.squeeze(1)).unsqueeze(1)
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = F.dropout(self.conv_block1(x), p=0.2, training=self.training)
        x = self.conv_block2(x)
        x = torch.mean(x, dim=3)
        (x1, _) = torch.max(x, dim=2)
        x2 = torch.mean(x, dim=2)
        embedding = F.relu_(self.fc1(x1 + x2))
        return {"clipwise_output": torch.sigmoid(self.fc_audioset(embedding)), "embedding": x1}


class STFTSpotter(nn.Module):
    """The transform as a convolution with fixed cosines and sines, as torchlibrosa has it."""

    def __init__(self, n_fft=128, hop=64):
        super().__init__()
        n = torch.arange(n_fft, dtype=torch.float32)
        k = torch.arange(n_fft // 2 + 1, dtype=torch.float32)[:, None]
        basis = torch.hann_window(n_fft) * torch.cos(2 * math.pi * k * n / n_fft)
        other = torch.hann_window(n_fft) * torch.sin(2 * math.pi * k * n / n_fft)
        self.conv_real = nn.Conv1d(1, len(k), n_fft, hop, bias=False)
        self.conv_imag = nn.Conv1d(1, len(k), n_fft, hop, bias=False)
        self.conv_real.weight.data = basis[:, None]
        self.conv_imag.weight.data = other[:, None]
        for p in (*self.conv_real.parameters(), *self.conv_imag.parameters()):
            p.requires_grad = False
        self.melW = nn.Parameter(mel_matrix(len(k), 24, 8000), requires_grad=False)
        self.net = nn.Sequential(
            nn.Conv2d(1, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 40, 3, 2, 1), nn.BatchNorm2d(40), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 12),
        )  # fmt: skip

    def forward(self, x):
        power = self.conv_real(x) ** 2 + self.conv_imag(x) ** 2
        mel = power.transpose(1, 2) @ self.melW
        return self.net(torch.log(mel + 1e-6)[:, None])


class PCEN(nn.Module):
    """Per-channel energy normalisation with trained constants (Wang et al. 2017)."""

    def __init__(self, bands=32):
        super().__init__()
        self.mel = LogMel(bands=bands)
        self.log_s = nn.Parameter(torch.log(0.025 * torch.ones(bands)))
        self.log_alpha = nn.Parameter(torch.log(0.98 * torch.ones(bands)))
        self.log_delta = nn.Parameter(torch.log(2.0 * torch.ones(bands)))
        self.log_r = nn.Parameter(torch.log(0.5 * torch.ones(bands)))
        self.conv = nn.Sequential(
            nn.Conv1d(bands, 40, 3), nn.ReLU(), nn.Conv1d(40, 48, 3), nn.ReLU()
        )
        self.out = nn.Linear(48, 12)

    def forward(self, x):
        e = self.mel.power(x[:, 0])
        s = self.log_s.exp()
        m = [e[:, 0]]
        for t in range(1, e.shape[1]):
            m.append((1 - s) * m[-1] + s * e[:, t])
        m = torch.stack(m, dim=1)
        alpha, delta, r = self.log_alpha.exp(), self.log_delta.exp(), self.log_r.exp()
        e = (e / (1e-6 + m) ** alpha + delta) ** r - delta**r
        return self.out(self.conv(e.transpose(1, 2)).mean(-1))


class SincNet(nn.Module):
    """First filters made of trained cut-off frequencies (Ravanelli and Bengio 2018)."""

    def __init__(self, filters=20, k=31):
        super().__init__()
        self.low = nn.Parameter(torch.linspace(0.01, 0.35, filters)[:, None])
        self.band = nn.Parameter(torch.full((filters, 1), 0.05))
        self.register_buffer("n", torch.arange(-(k // 2), k // 2 + 1).float()[None])
        self.register_buffer("window", torch.hamming_window(k))
        self.convs = nn.Sequential(
            nn.BatchNorm1d(filters), nn.LeakyReLU(0.2), nn.Conv1d(filters, 32, 5, 4),
            nn.LeakyReLU(0.2), nn.Conv1d(32, 40, 5, 4), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.fc = nn.Linear(40, 10)

    def forward(self, x):
        low = self.low.abs()
        high = low + self.band.abs()
        f = 2 * high * torch.sinc(2 * high * self.n) - 2 * low * torch.sinc(2 * low * self.n)
        x = F.conv1d(x, (f * self.window).unsqueeze(1), stride=4)
        return self.fc(self.convs(x.abs()).mean(-1))


class Demucs(nn.Module):
    """Strided encoder, recurrent middle, skips, gated units (Défossez et al. 2019)."""

    def __init__(self, c=12):
        super().__init__()
        self.enc1 = nn.Sequential(
            nn.Conv1d(1, c, 8, 4), nn.ReLU(), nn.Conv1d(c, 2 * c, 1), nn.GLU(1)
        )
        self.enc2 = nn.Sequential(
            nn.Conv1d(c, 2 * c, 8, 4), nn.ReLU(), nn.Conv1d(2 * c, 4 * c, 1), nn.GLU(1)
        )
        self.lstm = nn.LSTM(2 * c, 2 * c, num_layers=1, bidirectional=True)
        self.linear = nn.Linear(4 * c, 2 * c)
        self.dec2 = nn.Sequential(
            nn.Conv1d(2 * c, 4 * c, 1), nn.GLU(1), nn.ConvTranspose1d(2 * c, c, 8, 4), nn.ReLU()
        )
        self.dec1 = nn.Sequential(nn.Conv1d(c, 2 * c, 1), nn.GLU(1), nn.ConvTranspose1d(c, 1, 8, 4))

    def forward(self, mix):
        a = self.enc1(mix)
        b = self.enc2(a)
        h, _ = self.lstm(b.permute(2, 0, 1))
        h = self.linear(h).permute(1, 2, 0)
        h = self.dec2(h + b)
        return self.dec1(h + a[..., : h.shape[-1]])


CASES = (
    Case("M5, raw sound", M5, sound()),
    Case("TCN", TCN, (real(8, 64),)),
    Case("WaveNet", WaveNet, sound(200)),
    Case("Conv-TasNet", ConvTasNet, sound(800)),
    Case("vocoder with Snake", Vocoder, (real(40, 10),)),
    Case("CNN14 with its front end", CNN14, sound()),
    Case("spotter with STFT as convolution", STFTSpotter, sound(2000)),
    Case("PCEN", PCEN, sound(2000)),
    Case("SincNet", SincNet, sound(1000)),
    Case("Demucs", Demucs, sound(1044)),
)
