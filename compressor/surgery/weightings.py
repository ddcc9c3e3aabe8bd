"""Other weights for a network, with which it can be seen to compute something.

Fresh networks have zeros and ones that hide mistakes, and a network may say the same of every input
(a shift that switches every ReLU off, a last layer of zeros, one channel a layer). What the code
does with channels does not depend on what the weights are, so it is tried with others. Buffers and
frozen parameters stay what they are: mel filters are never negative, positions are whole, a mask
holds zeros and ones, and a logarithm of noise is no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from compressor.inputs.copies import private_copy
from compressor.inputs.tensors import named_tensors

Draw = Callable[[Tensor, torch.Generator], Tensor]


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy whose weights are random, scaled so that signals keep their size.

    The statistics of PyTorch's normalisation layers are random as well; other buffers and frozen
    parameters keep their values, unless these are zeros, which would hide what they multiply.
    """
    return _filled(model, seed, _noise, mean=1.0)


def positive(model: nn.Module) -> nn.Module:
    """A copy through which a positive signal gets whatever its widths: no weight is negative.

    Every layer takes something like a mean of its inputs, and every normalisation adds to it, so
    that no ReLU is off.
    """
    return _filled(model, 0, _means, mean=-1.0)


def _filled(model: nn.Module, seed: int, draw: Draw, *, mean: float) -> nn.Module:
    """A copy with weights from `draw` and statistics of either sign.

    What is drawn is put in as it is: a copy of the model's own weights would be written over.
    """
    generator = torch.Generator().manual_seed(seed)
    statistics, held = dict(_statistics(model)), _held(model)
    drawn: dict[int, Tensor] = {}
    for key, tensor in {id(tensor): tensor for _, tensor in named_tensors(model)}.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        if key in statistics:
            made = _near_one(tensor, generator).mul_(mean if statistics[key] else 1.0)
        elif key not in held:
            made = draw(tensor.detach(), generator)
        elif not bool(tensor.any()):
            made = _near_one(tensor, generator)
        else:
            continue
        drawn[key] = _in_place_of(tensor, made)
    return private_copy(model, drawn)


def _in_place_of(tensor: Tensor, made: Tensor) -> Tensor:
    """What is drawn for a tensor, as the parameter or buffer that the tensor is."""
    made = made.to(tensor)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made


def _statistics(model: nn.Module) -> Iterator[tuple[int, bool]]:
    """Running statistics by identity, and whether each is a mean."""
    for module in model.modules():
        if isinstance(module, _NormBase):
            for name in ("running_mean", "running_var"):
                yield id(getattr(module, name)), name == "running_mean"


def _held(model: nn.Module) -> set[int]:
    """Identities of buffers, and of frozen parameters unless all are frozen, which says nothing."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    held = [] if len(frozen) == sum(1 for _ in model.parameters()) else frozen
    return {id(tensor) for tensor in (*model.buffers(), *held)}


def _near_one(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty(tensor.shape).uniform_(0.5, 1.5, generator=generator)


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Random weights; a filter bank that is never negative stays so."""
    if tensor.ndim < 2:
        return _near_one(tensor, generator)
    deviation = (2.0 / _inputs(tensor)) ** 0.5
    noise = _normal(tensor.numel(), generator).mul_(deviation).view(tensor.shape)
    low, high = float(tensor.min()), float(tensor.max())
    return noise.abs() if 0 <= low < high else noise


PERIOD = 65_537
"""After so many numbers noise repeats itself: a prime, so that no two channels have the same."""


def _normal(count: int, generator: torch.Generator) -> Tensor:
    """Normal numbers; drawing them all would take longer than running a large network."""
    drawn = torch.empty(min(count, PERIOD)).normal_(generator=generator)
    return drawn.repeat(-(-count // PERIOD))[:count] if count > PERIOD else drawn


def _means(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Weights around one over the number of inputs."""
    near = _near_one(tensor, generator)
    return near if tensor.ndim < 2 else near / _inputs(tensor)


def _inputs(tensor: Tensor) -> int:
    return max(1, tensor.numel() // tensor.shape[0])
