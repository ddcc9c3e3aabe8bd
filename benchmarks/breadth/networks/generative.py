"""Autoencoders and generators."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.breadth.case import Case, image, real


class ConvAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 48, 7),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(48, 32, 7), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x):
        return self.decoder(self.encoder(x))


class TiedAutoencoder(nn.Module):
    """The decoder takes the transposed weights of the encoder."""

    def __init__(self, sizes=(256, 96, 32)):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(sizes[1], sizes[0]) * 0.05)
        self.w2 = nn.Parameter(torch.randn(sizes[2], sizes[1]) * 0.1)
        self.b1, self.b2 = nn.Parameter(torch.zeros(sizes[1])), nn.Parameter(torch.zeros(sizes[2]))
        self.d1, self.d2 = nn.Parameter(torch.zeros(sizes[0])), nn.Parameter(torch.zeros(sizes[1]))

    def forward(self, x):
        x = x.flatten(1)
        h = torch.relu(F.linear(x, self.w1, self.b1))
        z = F.linear(h, self.w2, self.b2)
        h = torch.relu(F.linear(z, self.w2.t(), self.d2))
        return F.linear(h, self.w1.t(), self.d1)


class VAE(nn.Module):
    """Draws its code in eval mode too."""

    def __init__(self, z_dim=16):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()
        )
        self.fc_mu, self.fc_logvar = nn.Linear(32 * 49, z_dim), nn.Linear(32 * 49, z_dim)
        self.fc = nn.Linear(z_dim, 32 * 49)
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)
        )

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return eps.mul(std).add_(mu)

    def forward(self, x):
        h = self.conv(x)
        shape = h.shape
        h = h.view(h.size(0), -1)
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = self.reparameterize(mu, logvar)
        out = self.deconv(F.relu(self.fc(z)).view(-1, shape[1], 7, 7))
        return torch.sigmoid(out), mu, logvar


class DCGAN(nn.Module):
    def __init__(self, nz=32, ngf=12, nc=3):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 4, 4, 1, 0, bias=False), nn.BatchNorm2d(ngf * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, nc, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z):
        return self.main(z[:, :, None, None])


class SNDiscriminator(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(3, c, 3, 1, 1))
        self.conv2 = spectral_norm(nn.Conv2d(c, 2 * c, 4, 2, 1))
        self.conv3 = spectral_norm(nn.Conv2d(2 * c, 2 * c, 4, 2, 1))
        self.fc = spectral_norm(nn.Linear(2 * c, 1))

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x), 0.2)
        x = F.leaky_relu(self.conv2(x), 0.2)
        x = F.leaky_relu(self.conv3(x), 0.2)
        return self.fc(x.sum(dim=(2, 3)))


class PixelNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


class ProgressiveGAN(nn.Module):
    """Learning rates equalised by a constant in front of every weight (Karras et al. 2018)."""

    class EqualConv(nn.Module):
        def __init__(self, i, o, k, p):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(o, i, k, k))
            self.bias = nn.Parameter(torch.zeros(o))
            self.scale, self.p = (2 / (i * k * k)) ** 0.5, p

        def forward(self, x):
            return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.p)

    def __init__(self, z=32):
        super().__init__()
        self.start = self.EqualConv(z, 48, 4, 3)
        self.c1, self.c2 = self.EqualConv(48, 32, 3, 1), self.EqualConv(32, 32, 3, 1)
        self.rgb, self.norm = self.EqualConv(32, 3, 1, 0), PixelNorm()

    def forward(self, z):
        x = self.norm(z).unsqueeze(-1).unsqueeze(-1)
        x = self.norm(F.leaky_relu(self.start(x), 0.2))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.norm(F.leaky_relu(self.c1(x), 0.2))
        x = self.norm(F.leaky_relu(self.c2(x), 0.2))
        return self.rgb(x)


class ResnetGenerator(nn.Module):
    """Style transfer: reflection padding, instance norms, residual blocks (Johnson et al. 2016)."""

    def __init__(self, n=12):
        super().__init__()

        def block(c):
            return nn.Sequential(
                nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c, affine=True),
                nn.ReLU(True), nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3),
                nn.InstanceNorm2d(c, affine=True),
            )  # fmt: skip

        self.down = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, n, 7), nn.InstanceNorm2d(n), nn.ReLU(),
            nn.Conv2d(n, 2 * n, 3, 2, 1), nn.InstanceNorm2d(2 * n), nn.ReLU(),
        )  # fmt: skip
        self.res = nn.ModuleList([block(2 * n), block(2 * n)])
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(2 * n, n, 3, 1, 1), nn.ReLU(), nn.Conv2d(n, 3, 1)
        )

    def forward(self, x):
        x = self.down(x)
        for r in self.res:
            x = x + r(x)
        return torch.tanh(self.up(x))


class DiffusionUNet(nn.Module):
    """A step number embedded in sines, added to the channels between two convolutions."""

    def __init__(self, c=24):
        super().__init__()
        self.register_buffer("freqs", torch.exp(-torch.arange(8) * 0.5))
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 2 * c))
        self.conv_in = nn.Conv2d(1, c, 3, padding=1)
        self.norm1, self.conv1 = nn.GroupNorm(4, c), nn.Conv2d(c, c, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(4, c), nn.Conv2d(c, c, 3, padding=1)
        self.out = nn.Conv2d(2 * c, 1, 3, padding=1)

    def forward(self, x, t):
        a = t * self.freqs
        scale, shift = self.time(torch.cat([a.sin(), a.cos()], -1))[..., None, None].chunk(2, 1)
        h = self.conv_in(x)
        r = self.conv1(F.silu(self.norm1(h)))
        r = self.norm2(r) * (1 + scale) + shift
        r = self.conv2(F.silu(r))
        return self.out(torch.cat([h, h + r], 1))


CASES = (
    Case("convolutional autoencoder", ConvAutoencoder, image(28, 1)),
    Case("tied autoencoder", TiedAutoencoder, image(16, 1)),
    Case("VAE", VAE, image(28, 1)),
    Case("DCGAN generator", DCGAN, (real(32),)),
    Case("discriminator, spectral norm", SNDiscriminator, image(16)),
    Case("progressive GAN, pixel norm", ProgressiveGAN, (real(32),)),
    Case("style transfer", ResnetGenerator, image(24)),
    Case("diffusion U-Net", DiffusionUNet, (real(1, 16, 16), real(1))),
)
