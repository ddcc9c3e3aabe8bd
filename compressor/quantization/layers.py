"""Additions of int8 training to a network: a module for every activation and one for all weights.

Neither holds anything of the network's own: a convolution keeps its parameters, which may be shared
or pruned (zeros stay zeros), and batch normalisation stays live.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor, nn

from compressor.network.fixed import SIGMOID
from compressor.network.grid import Grid
from compressor.quantization.fake import fake_quantise, fake_quantise_weight, swapped
from compressor.quantization.histogram import Histogram
from compressor.quantization.presets import Preset


class Mode(IntEnum):
    """The treatment of values that pass through a quantiser."""

    OFF = 0
    """Nothing: the network computes in floating point."""
    OBSERVE = 1
    """Counts the values and passes them on."""
    FAKE = 2
    """Rounds them."""


class ActivationQuantiser(nn.Module):
    """Rounds an activation to a grid with one scale for the whole tensor.

    The scale is kept as its logarithm to base 2, so that it stays positive and that a step of an
    optimiser which divides by the gradient's size (Adam) changes every scale by the same factor
    (Jain et al. 2020, "Trained Quantization Thresholds", section 3.3).

    Mode and grid are plain Python, so that no forward pass asks a GPU for them; a `state_dict`
    holds them as a small tensor.

    Args:
        preset: The grids to choose from, by whether values become negative.
        learned: True if the scale is a parameter, learned as in LSQ; else it is a buffer.

    Attributes:
        mode: What `forward` does.
        grid: The integers.
        histogram: Values counted so far, while observing; else None.
    """

    log_scale: Tensor

    def __init__(self, preset: Preset, *, learned: bool = False) -> None:
        super().__init__()
        self.preset = preset
        self.learned = learned
        self.mode = Mode.OFF
        self.grid = preset.signed
        self.histogram: Histogram | None = None
        if learned:
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("log_scale", torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """The worth of one integer step, of shape ()."""
        return self.log_scale.exp2()

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; shape and type are kept."""
        if self.mode is Mode.FAKE:
            return fake_quantise(x, self.scale, self.grid)
        if self.histogram is not None:
            self.histogram(x)
        return x

    def observe(self) -> None:
        """Begin to count values."""
        self.histogram = Histogram().to(self.log_scale.device)
        self.mode = Mode.OBSERVE

    @property
    def finite(self) -> bool:
        """True if all values counted so far are numbers."""
        return self.histogram is None or bool(torch.isfinite(self.histogram.largest))

    def settle(self) -> None:
        """Choose grid and scale from the values counted, and round from now on.

        Raises:
            ValueError: If nothing was observed, or a value was not finite.
        """
        if self.histogram is None:
            raise ValueError("an activation quantiser can settle after observe() alone")
        self.grid = self.preset.signed if self.histogram.signed else self.preset.unsigned
        self.settle_on(self.histogram.scale(self.grid.steps[1]))

    def settle_on(self, scale: Tensor) -> None:
        """Round from now on with a scale, (), that somebody else chose."""
        with torch.no_grad():
            self.log_scale.copy_(scale.log2())
        self.histogram = None
        self.mode = Mode.FAKE

    def get_extra_state(self) -> Tensor:
        """Mode and grid."""
        grid = self.grid
        return torch.tensor([self.mode, grid.low, grid.high, grid.zero], dtype=torch.int16)

    def set_extra_state(self, state: Tensor) -> None:
        """Take on a mode and a grid; counts, if any, are part of the ordinary state."""
        mode, *grid = state.tolist()
        self.mode, self.grid = Mode(mode), Grid(*grid)

    def extra_repr(self) -> str:
        """Text for `print(network)`."""
        grid = self.grid
        return f"{self.mode.name.lower()}, {grid.low} to {grid.high}, zero {grid.zero}"


class SigmoidQuantiser(ActivationQuantiser):
    """Rounds the result of a sigmoid to the one grid that fixed-point kernels have for it."""

    def observe(self) -> None:
        """Count nothing: no value matters."""
        self.mode = Mode.OBSERVE

    def settle(self) -> None:
        """Round from now on."""
        self.grid = self.preset.unsigned
        with torch.no_grad():
            self.log_scale.fill_(math.log2(SIGMOID))
        self.mode = Mode.FAKE


class WeightQuantiser(nn.Module):
    """Rounds the weights that are passed through it, each output channel with its own scale.

    Args:
        bits: Of an integer, 2 to 8.
        groups: Of the transposed convolutions whose weights these are; 0 for weights (outputs,
            ...).

    Attributes:
        mode: `Mode.OFF` passes weights on; they are rounded otherwise, also while activations are
            observed, so that scales fit what will run.
        limit: Largest integer.
    """

    def __init__(self, bits: int = 8, groups: int = 0) -> None:
        super().__init__()
        self.mode = Mode.FAKE
        self.limit = 2 ** (bits - 1) - 1
        self.groups = groups

    def forward(self, weight: Tensor) -> Tensor:
        """(outputs, ...), or (inputs, outputs / groups, ...); shape and type are kept."""
        if self.mode is Mode.OFF:
            return weight
        rounded = fake_quantise_weight(swapped(weight, self.groups), self.limit)
        return swapped(rounded, self.groups)
