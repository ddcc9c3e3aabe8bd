"""Networks and inputs whose results differ from each other, for what compares runtimes.

On plain noise a deep untrained network says nearly the same of every input, and any runtime agrees
with it. Normalised by the statistics of inputs that differ it does not, but is chaotic: one rounded
value that falls on the other side may move the result by many steps. So a runtime is compared with
the reference on inputs that are off by a millionth.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from compressor.network import Network, to_network
from compressor.network.integer import Requantise
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from models import Tandem
from tests.helpers.int8_nets import NETS, trained

LIVELY = {**NETS, "tandem": lambda: Tandem(64, 8, frames=34)}


def varied(model: nn.Module, count: int, seed: int) -> Tensor:
    """Inputs with a level, a tilt and some bands of their own, of the model's shape."""
    generator = torch.Generator().manual_seed(seed)
    shape = model.example_input_array.shape[1:]
    level, tilt = torch.randn(2, count, 1, 1, 1, generator=generator)
    bands = torch.randn(count, 1, shape[1], 1, generator=generator) > 1
    slope = torch.linspace(-1, 1, shape[1])[:, None]
    return torch.randn(count, *shape, generator=generator) / 2 + level + tilt * slope + 1.5 * bands


def settled(model: nn.Module) -> nn.Module:
    """A model normalised by inputs that differ; a third of its scales is negative."""
    model = trained(model, negative=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(varied(model, 32, 0))
    return model.eval()


@cache
def lively(name: str, *, fold_bands: bool = True) -> Network:
    """An integer reference whose results differ."""
    torch.manual_seed(0)
    model = settled(LIVELY[name]())
    prepared = prepare(to_network(model), fold_bands=fold_bands)
    calibrate(prepared, [(varied(model, 16, seed),) for seed in (1, 2)])
    return convert(prepared)


def agrees(made: Network, x: Tensor, says: Tensor) -> None:
    """Assert that a runtime says what the reference says, as nearly as that is defined."""
    step = [module for module in made.modules() if isinstance(module, Requantise)][-1].scale
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        wanted = made(x)
        moved = made(x + 1e-6 * torch.randn(x.shape, generator=generator))
    assert (wanted.std(dim=0) / step).mean() >= 3
    apart, usual = ((y - wanted).abs() / step for y in (says, moved))
    assert apart.mean() <= 0.05 + 2 * usual.mean()
    assert (apart > 2.001).double().mean() <= 0.01 + 2 * (usual > 2.001).double().mean()
    assert (says.argmax(dim=1) == wanted.argmax(dim=1)).double().mean() >= 0.98
