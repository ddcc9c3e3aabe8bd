"""Hand-written reference networks: what a channel pruner must get right.

`FAMILIES` builds each network at its published widths (1000 classes for the image networks),
`PUBLISHED` gives the published number of trainable parameters where there is one, and `TRICKY`
holds small networks with one structural trap each. Every network carries an
`example_input_array` of one small input. They are written from the papers and import torch alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .audio import CRNN, DSCNN, M5, ConvAttention, UNet
from .inception import GoogLeNet, InceptionV3
from .mobile import (
    EfficientNetB0,
    MnasNet,
    MobileNetV2,
    mobilenet_v3_large,
    mobilenet_v3_small,
)
from .plain import VGG11BN, DenseNet, SqueezeNet
from .recurrent import RECURRENT
from .resnets import ConvNeXt, regnet_x_400mf, regnet_y_400mf, resnet18, resnet50, resnext50
from .scene_resnets import cp_resnet, shared_resnet
from .shuffle import ShuffleNetV1, ShuffleNetV2
from .tricky import TRICKY

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["FAMILIES", "PUBLISHED", "RECURRENT", "TRICKY"]

FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnext50_32x4d": resnext50,
    "regnet_x_400mf": regnet_x_400mf,
    "regnet_y_400mf": regnet_y_400mf,
    "convnext_tiny": ConvNeXt,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large": mobilenet_v3_large,
    "efficientnet_b0": EfficientNetB0,
    "mnasnet1_0": MnasNet,
    "shufflenet_v1_g3": ShuffleNetV1,
    "shufflenet_v2_x1_0": ShuffleNetV2,
    "googlenet": GoogLeNet,
    "inception_v3": InceptionV3,
    "densenet121": DenseNet,
    "vgg11_bn": VGG11BN,
    "squeezenet1_1": SqueezeNet,
    "ds_cnn": DSCNN,
    "m5": M5,
    "crnn": CRNN,
    "conv_attention": ConvAttention,
    "unet": UNet,
    "cp_resnet": cp_resnet,
    "shared_resnet": shared_resnet,
}

PUBLISHED: dict[str, int] = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "resnext50_32x4d": 25_028_904,
    "regnet_x_400mf": 5_495_976,
    "regnet_y_400mf": 4_344_144,
    "convnext_tiny": 28_589_128,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "mnasnet1_0": 4_383_312,
    "shufflenet_v2_x1_0": 2_278_604,
    # The two Inception networks without their auxiliary heads.
    "googlenet": 6_624_904,
    "inception_v3": 23_834_568,
    "densenet121": 7_978_856,
    "vgg11_bn": 132_868_840,
    "squeezenet1_1": 1_235_496,
    # Published as 899K and 604K; exact from the layers described.
    "cp_resnet": 898_580,
    "shared_resnet": 603_668,
}
