"""Networks as training leaves them, prepared for int8, for the tests of quantisation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, Preset
from models import BCResNet, BCResNetASC, DCASEBaseline, ResidualCNN, SharedResNet


def trained(model: nn.Module, seed: int = 0, *, negative: float = 0.0) -> nn.Module:
    """With statistics, scales and shifts that are not those of the beginning.

    `negative` is the share of normalisation scales with their sign flipped.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.num_batches_tracked.fill_(100)
                if module.affine:
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0, 0.2, generator=generator)
                    flipped = torch.rand(module.weight.shape, generator=generator) < negative
                    module.weight[flipped] *= -1
        for parameter in model.parameters():
            if parameter.abs().max() == 0:  # a classifier that begins with zeros
                parameter.normal_(0, 0.1, generator=generator)
    return model.eval()


def examples(model: nn.Module, batch: int, seed: int = 1) -> Tensor:
    """Random inputs of the model's shape."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *model.example_input_array.shape[1:], generator=generator)


NETS: dict[str, Callable[[], nn.Module]] = {
    "BC-ResNet": lambda: BCResNet(1, 12, 5, mels=40, frames=21),
    "BC-ResNet-ASC": lambda: BCResNetASC(4, mels=64, frames=20),
    "Shared-ResNet": lambda: SharedResNet(4, mels=64, frames=31),
    "baseline": lambda: DCASEBaseline(2022),
    "ResNet": ResidualCNN,
}


@cache
def bare(name: str) -> Network:
    """One of the networks, trained; a third of the scales is negative. Not to be changed."""
    torch.manual_seed(0)
    return to_network(trained(NETS[name](), negative=0.3))


@cache
def rounded(name: str) -> Network:
    """`bare(name)`, calibrated. Not to be changed."""
    return calibrated(bare(name))


@cache
def integers(name: str) -> Network:
    """The integer reference of `rounded(name)`. Not to be changed."""
    return convert(rounded(name))


def calibrated(
    whole: Network, preset: Preset = ORT, *, fold_bands: bool = True, learned: bool = False
) -> Network:
    """A network that rounds, with tensors of its own and scales chosen from random inputs."""
    whole = copy.deepcopy(whole)
    made = prepare(whole, preset, fold_bands=fold_bands, learned=learned)
    calibrate(made, [(examples(whole, 8, seed),) for seed in (2, 3)])
    return made
