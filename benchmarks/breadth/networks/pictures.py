"""Networks whose output is a picture, a map or boxes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.breadth.case import Case, image, real


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Up(nn.Module):
    def __init__(self, cin, cout, how):
        super().__init__()
        if how == "transposed":
            self.up = nn.ConvTranspose2d(cin, cin // 2, kernel_size=2, stride=2)
        elif how == "shuffle":
            self.up = nn.Sequential(nn.Conv2d(cin, 2 * cin, 1), nn.PixelShuffle(2))
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(cin, cin // 2, 1),
            )
        self.conv = DoubleConv(cin, cout)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class UNet(nn.Module):
    def __init__(self, how, n_classes=2):
        super().__init__()
        self.inc = DoubleConv(3, 12)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(12, 24))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(24, 48))
        self.up1, self.up2 = Up(48, 24, how), Up(24, 12, how)
        self.outc = nn.Conv2d(12, n_classes, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        return self.outc(self.up2(self.up1(x3, x2), x1))


class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, s=1, g=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Focus(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.conv = Conv(c1 * 4, c2, 3)

    def forward(self, x):
        patches = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(torch.cat(patches, 1))


class SPP(nn.Module):
    def __init__(self, c1, c2, k=(3, 5)):
        super().__init__()
        c_ = c1 // 2
        self.cv1 = Conv(c1, c_)
        self.cv2 = Conv(c_ * (len(k) + 1), c2)
        self.m = nn.ModuleList([nn.MaxPool2d(kernel_size=x, stride=1, padding=x // 2) for x in k])

    def forward(self, x):
        x = self.cv1(x)
        return self.cv2(torch.cat([x] + [m(x) for m in self.m], 1))


class YOLO(nn.Module):
    """Heads give (batch, anchors, height, width, 5 + classes), one after another."""

    def __init__(self, nc=3, na=2):
        super().__init__()
        self.no, self.na = nc + 5, na
        self.focus = Focus(3, 16)
        self.c1, self.c2 = Conv(16, 24, 3, 2), Conv(24, 40, 3, 2)
        self.spp = SPP(40, 40)
        self.lateral = Conv(40, 24)
        self.merge = Conv(48, 24, 3)
        self.m = nn.ModuleList(nn.Conv2d(c, self.no * na, 1) for c in (24, 40))

    def forward(self, x):
        p1 = self.c1(self.focus(x))
        p2 = self.spp(self.c2(p1))
        up = F.interpolate(self.lateral(p2), scale_factor=2, mode="nearest")
        feats = [self.merge(torch.cat([up, p1], 1)), p2]
        z = []
        for x, m in zip(feats, self.m, strict=True):
            x = m(x)
            bs, _, ny, nx = x.shape
            x = x.view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            z.append(x.sigmoid().view(bs, -1, self.no))
        return torch.cat(z, 1)


class FPN(nn.Module):
    """A pyramid under heads with shared weights, for classes and boxes; a dictionary out."""

    def __init__(self, classes=4, anchors=3, dim=24):
        super().__init__()
        self.c3, self.c4 = Conv(3, 16, 3, 4), Conv(16, 32, 3, 2)
        self.lat3, self.lat4 = nn.Conv2d(16, dim, 1), nn.Conv2d(32, dim, 1)
        self.smooth = nn.Conv2d(dim, dim, 3, padding=1)
        self.tower = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1), nn.GroupNorm(4, dim), nn.ReLU()
        )
        self.cls = nn.Conv2d(dim, classes * anchors, 3, padding=1)
        self.reg = nn.Conv2d(dim, 4 * anchors, 3, padding=1)
        self.k = classes

    def forward(self, x):
        c3 = self.c3(x)
        c4 = self.c4(c3)
        p4 = self.lat4(c4)
        p3 = self.smooth(self.lat3(c3) + F.interpolate(p4, size=c3.shape[-2:]))
        logits, boxes = [], []
        for p in (p3, p4):
            t = self.tower(p)
            logits.append(self.cls(t).permute(0, 2, 3, 1).reshape(p.shape[0], -1, self.k))
            boxes.append(self.reg(t).permute(0, 2, 3, 1).reshape(p.shape[0], -1, 4))
        return {"logits": torch.cat(logits, 1), "boxes": torch.cat(boxes, 1)}


class DeepLab(nn.Module):
    """Dilated branches and a pooled one, joined (Chen et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(Conv(3, 24, 3, 2), Conv(24, 32, 3, 2))
        self.aspp = nn.ModuleList(nn.Conv2d(32, 16, 3, padding=r, dilation=r) for r in (1, 2, 3))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 16, 1), nn.ReLU())
        self.project = nn.Sequential(
            nn.Conv2d(64, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.classifier = nn.Conv2d(24, 5, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = self.backbone(x)
        res = [F.relu(conv(x)) for conv in self.aspp]
        res.append(F.interpolate(self.pool(x), size=x.shape[-2:], mode="bilinear"))
        x = self.classifier(self.project(torch.cat(res, dim=1)))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ESPCN(nn.Module):
    def __init__(self, scale=3):
        super().__init__()
        self.first_part = nn.Sequential(
            nn.Conv2d(1, 48, 5, padding=2), nn.Tanh(), nn.Conv2d(48, 24, 3, padding=1), nn.Tanh()
        )
        self.last_part = nn.Sequential(
            nn.Conv2d(24, scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x):
        return self.last_part(self.first_part(x))


class EDSR(nn.Module):
    class ResBlock(nn.Module):
        def __init__(self, n, res_scale=0.1):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(n, n, 3, padding=1), nn.ReLU(True), nn.Conv2d(n, n, 3, padding=1)
            )
            self.res_scale = res_scale

        def forward(self, x):
            res = self.body(x).mul(self.res_scale)
            res += x
            return res

    def __init__(self, n=24):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.40]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, n, 3, padding=1)
        self.body = nn.Sequential(*[self.ResBlock(n) for _ in range(2)])
        self.tail = nn.Sequential(
            nn.Conv2d(n, 4 * n, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(n, 3, 3, padding=1)
        )

    def forward(self, x):
        x = self.head(x - self.mean)
        x = self.tail(self.body(x) + x)
        return x + self.mean


class RCAN(nn.Module):
    class RCAB(nn.Module):
        def __init__(self, n, reduction=4):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(n, n, 3, 1, 1), nn.Conv2d(n, n, 3, 1, 1)
            self.ca = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(n, n // reduction, 1), nn.ReLU(),
                nn.Conv2d(n // reduction, n, 1), nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, x):
            r = self.conv2(F.relu(self.conv1(x)))
            return x + r * self.ca(r)

    def __init__(self, n=24):
        super().__init__()
        self.head = nn.Conv2d(3, n, 3, 1, 1)
        self.group = nn.Sequential(self.RCAB(n), self.RCAB(n), nn.Conv2d(n, n, 3, 1, 1))
        self.up = nn.ConvTranspose2d(n, n, 4, 2, 1)
        self.tail = nn.Conv2d(n, 3, 3, 1, 1)

    def forward(self, x):
        f = self.head(x)
        return self.tail(self.up(self.group(f) + f)) + F.interpolate(x, scale_factor=2)


class FlowNet(nn.Module):
    """Features of two pictures, correlated over shifts, as in optical flow."""

    def __init__(self, d=2):
        super().__init__()
        self.d = d
        self.features = nn.Sequential(Conv(3, 24, 3, 2), Conv(24, 32, 3, 2))
        self.redir = nn.Conv2d(32, 16, 1)
        self.predict = nn.Sequential(
            nn.Conv2d(16 + (2 * d + 1) ** 2, 32, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(32, 2, 3, padding=1),
        )  # fmt: skip

    def forward(self, img1, img2):
        f1, f2 = self.features(img1), self.features(img2)
        padded = F.pad(f2, [self.d] * 4)
        h, w = f1.shape[2:]
        costs = []
        for i in range(2 * self.d + 1):
            for j in range(2 * self.d + 1):
                costs.append(torch.mean(f1 * padded[:, :, i : i + h, j : j + w], 1, keepdim=True))
        corr = F.leaky_relu(torch.cat(costs, 1), 0.1)
        return self.predict(torch.cat([self.redir(f1), corr], 1))


class STN(nn.Module):
    """A spatial transformer before a small network (Jaderberg et al. 2015)."""

    def __init__(self):
        super().__init__()
        self.localization = nn.Sequential(
            nn.Conv2d(1, 8, 7), nn.MaxPool2d(2, 2), nn.ReLU(True),
            nn.Conv2d(8, 16, 5), nn.MaxPool2d(2, 2), nn.ReLU(True),
        )  # fmt: skip
        self.fc_loc = nn.Sequential(nn.Linear(16 * 3 * 3, 32), nn.ReLU(True), nn.Linear(32, 6))
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 5), nn.Conv2d(16, 24, 5)
        self.fc = nn.Linear(24 * 4 * 4, 10)

    def stn(self, x):
        xs = self.localization(x)
        xs = xs.view(-1, xs.size(1) * 3 * 3)
        theta = self.fc_loc(xs)
        theta = theta.view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x):
        x = self.stn(x)
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return self.fc(x.flatten(1))


class Deformable(nn.Module):
    """Each place looks where learnt offsets point, by grid_sample."""

    def __init__(self, c=24):
        super().__init__()
        self.stem = Conv(3, c, 3, 2)
        self.offset = nn.Conv2d(c, 2, 3, padding=1)
        self.conv = Conv(c, 40, 3, 2)
        self.fc = nn.Linear(40, 10)

    def forward(self, x):
        x = self.stem(x)
        n, _, h, w = x.shape
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        grid = torch.stack([xs, ys], -1).unsqueeze(0).expand(n, -1, -1, -1)
        grid = grid + self.offset(x).permute(0, 2, 3, 1).tanh() * 0.1
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return self.fc(self.conv(x).mean((2, 3)))


CASES = (
    Case("U-Net, transposed", lambda: UNet("transposed"), image()),
    Case("U-Net, pixel shuffle", lambda: UNet("shuffle"), image()),
    Case("U-Net, bilinear", lambda: UNet("bilinear"), image()),
    Case("YOLO", YOLO, image()),
    Case("FPN detector", FPN, image()),
    Case("DeepLab", DeepLab, image()),
    Case("ESPCN", ESPCN, image(16, 1)),
    Case("EDSR", EDSR, image(16)),
    Case("RCAN", RCAN, image(16)),
    Case("FlowNet correlation", FlowNet, (real(3, 32, 32), real(3, 32, 32))),
    Case("spatial transformer", STN, image(28, 1)),
    Case("deformable by grid_sample", Deformable, image()),
)
