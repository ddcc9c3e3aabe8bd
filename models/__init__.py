"""Small audio networks to compress; ordinary `nn.Module`s that need torch and nothing else."""

from __future__ import annotations

from models.bcresnet import BCResNet, BCResNetASC
from models.layers import ResidualNorm, SubSpectralNorm
from models.residual import ResidualCNN

__all__ = ["BCResNet", "BCResNetASC", "ResidualCNN", "ResidualNorm", "SubSpectralNorm"]
