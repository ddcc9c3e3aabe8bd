"""The dense autoencoder of MLPerf Tiny's anomaly detection: machine sound, five frames at a time.

Y. Koizumi et al., "Description and Discussion on DCASE2020 Challenge Task2: Unsupervised Anomalous
Sound Detection for Machine Condition Monitoring", 2020, section 3 (the baseline), as C. Banbury et
al., "MLPerf Tiny Benchmark", NeurIPS 2021, section 4 take it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.sizes import at_least


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer, normalised over the batch, and ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())


class Autoencoder(nn.Module):
    """Four hidden layers down to a bottleneck, four up again, and a linear layer to the input.

    With the defaults 269,992 parameters and running statistics. What it cannot reproduce is
    abnormal: the mean squared error between output and input is the score.

    Args:
        features: Values of the input: 5 frames of 128 mel bands.
        width: Values of each hidden layer.
        bottleneck: Values in the middle.

    Attributes:
        example_input_array: Zeros (1, features); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number.
    """

    def __init__(self, features: int = 640, width: int = 128, bottleneck: int = 8) -> None:
        super().__init__()
        at_least(1, "Autoencoder", features=features, width=width, bottleneck=bottleneck)
        sizes = (features, *[width] * 4, bottleneck, *[width] * 4)
        self.layers = nn.Sequential(*(_layer(*pair) for pair in pairwise(sizes)))
        self.out = nn.Linear(width, features)
        self.example_input_array = torch.zeros(1, features)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel energies (batch, features) -> what the network makes of them, of that shape."""
        return self.out(self.layers(x))
