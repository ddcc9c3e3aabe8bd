"""The dense autoencoder that MLPerf Tiny measures: machines that sound as they should not.

Y. Koizumi et al., "Description and Discussion on DCASE2020 Challenge Task 2", DCASE Workshop 2020,
section 3 (the baseline); C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.sizes import at_least


class Autoencoder(nn.Module):
    """An autoencoder: 267,928 parameters and 2,064 running statistics for 640 features.

    MLPerf Tiny prints 269,992 for both together. Nine linear layers with normalisation and ReLU,
    the fifth narrow, and one to the features again; how far they are off says how odd a sound is.

    Args:
        features: Entries of the input: five frames of 128 mel bands there.
        width: Of all hidden layers but the narrow one.
        narrow: Of that.

    Attributes:
        example_input_array: Zeros (1, features); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number.
    """

    def __init__(self, features: int = 640, width: int = 128, narrow: int = 8) -> None:
        super().__init__()
        at_least(1, "Autoencoder", features=features, width=width, narrow=narrow)
        widths = (features, *(width,) * 4, narrow, *(width,) * 4)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, features))
        self.example_input_array = torch.zeros(1, features)

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, features) -> the same, as they should be."""
        return self.layers(x)
