"""Small audio networks to compress; ordinary `nn.Module`s that need torch and nothing else."""

from __future__ import annotations

from models.audio_transformer import AudioTransformer
from models.autoencoder import Autoencoder
from models.baseline import DCASEBaseline
from models.bcresnet import BCResNet, BCResNetASC
from models.cp_mobile import CPMobile, ResponseNorm
from models.cp_resnet import CPResNet
from models.crepe import CREPE
from models.ds_cnn import DSCNN
from models.layers import ResidualNorm, SubSpectralNorm
from models.linear import LinearMoments, moments
from models.mobilenet import MobileNet
from models.normalised import FixedPCEN, GlobalFreqNorm, Normalised
from models.residual import ResidualCNN
from models.resnet8 import PlainBlock, ResNet8
from models.separable import Separable
from models.shared_resnet import SharedResidualBlock, SharedResNet
from models.tandem import Tandem
from models.tc_resnet import TCResNet, TemporalBlock

__all__ = [
    "CREPE",
    "DSCNN",
    "AudioTransformer",
    "Autoencoder",
    "BCResNet",
    "BCResNetASC",
    "CPMobile",
    "CPResNet",
    "DCASEBaseline",
    "FixedPCEN",
    "GlobalFreqNorm",
    "LinearMoments",
    "MobileNet",
    "Normalised",
    "PlainBlock",
    "ResNet8",
    "ResidualCNN",
    "ResidualNorm",
    "ResponseNorm",
    "Separable",
    "SharedResNet",
    "SharedResidualBlock",
    "SubSpectralNorm",
    "TCResNet",
    "Tandem",
    "TemporalBlock",
    "moments",
]
