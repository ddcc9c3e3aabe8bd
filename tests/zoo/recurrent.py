"""Small networks with recurrent layers, each with one way of building them.

Sequences are (batch, time, features), spectrograms (batch, 1, frequency, time). Heads are smooth,
so that what gets lost on the way shows at the end.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .layers import conv_norm, example

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES, WIDTH, CLASSES = 6, 8, 3

Recurrent = nn.LSTM | nn.GRU | nn.RNN


class ConvRecurrent(nn.Module):
    """Sound events: convolutions over frequency, a GRU over (channel x frequency), every frame."""

    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(conv_norm(1, 6, 3), nn.MaxPool2d((4, 1)))
        self.gru = nn.GRU(6 * 4, WIDTH, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * WIDTH, CLASSES)
        self.example_input_array = example(1, 1, 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).permute(0, 3, 1, 2).flatten(2)
        states, _ = self.gru(x)
        return self.head(states.tanh()).transpose(1, 2)


class Frames(nn.Module):
    """A product for every frame, a recurrent layer of any form, the mean of its outputs."""

    def __init__(self, kind: type[Recurrent] = nn.LSTM, **settings: Any) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, 7)
        self.layer: Recurrent = kind(7, WIDTH, **settings)
        self.mix = nn.Linear(_outputs(self.layer), 5)
        self.head = nn.Linear(5, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).tanh()
        first = self.layer.batch_first
        states, _ = self.layer(x if first else x.transpose(0, 1))
        return self.head(self.mix(states.mean(1 if first else 0)).tanh())


class LastStates(nn.Module):
    """The last states of all layers and directions of a recurrent layer on the input itself."""

    def __init__(self, kind: type[Recurrent] = nn.GRU, **settings: Any) -> None:
        super().__init__()
        self.layer: Recurrent = kind(FEATURES, WIDTH, batch_first=True, **settings)
        ends = self.layer.num_layers * (1 + self.layer.bidirectional)
        cells = WIDTH if isinstance(self.layer, nn.LSTM) else 0
        self.head = nn.Linear(ends * (cells + (self.layer.proj_size or WIDTH)), CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.layer(x)
        states = last if isinstance(last, tuple) else (last,)
        return self.head(torch.cat([s.transpose(0, 1).flatten(1) for s in states], 1))


class Begun(nn.Module):
    """A GRU that begins with a state of the code's own, of a size that the module remembers."""

    def __init__(self, kind: type[Recurrent] = nn.GRU, *, value: float = 0.0) -> None:
        super().__init__()
        self.width, self.value = WIDTH, value
        self.layer: Recurrent = kind(FEATURES, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.full((1, x.shape[0], self.width), self.value, device=x.device)
        begin = (state, state) if isinstance(self.layer, nn.LSTM) else state
        return self.head(self.layer(x, begin)[0][:, -1])


class Learned(nn.Module):
    """A GRU of two layers with initial states that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, WIDTH, 2, batch_first=True)
        self.start = nn.Parameter(torch.linspace(-1, 1, 2 * WIDTH).reshape(2, 1, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        state = self.start.expand(-1, x.shape[0], -1).contiguous()
        return self.head(self.gru(x, state)[0].mean(1))


class Computed(nn.Module):
    """An LSTM whose initial states are computed from the mean of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Linear(FEATURES, 2 * WIDTH)
        self.lstm = nn.LSTM(FEATURES, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        state, cell = self.begin(x.mean(1)).tanh().unsqueeze(0).chunk(2, -1)
        return self.head(self.lstm(x, (state.contiguous(), cell.contiguous()))[0].mean(1))


class Cells(nn.Module):
    """Steps of a cell, one by one."""

    def __init__(self, kind: type[nn.LSTMCell | nn.GRUCell | nn.RNNCell]) -> None:
        super().__init__()
        self.cell = kind(FEATURES, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 3, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Residual(nn.Module):
    """LSTMs one on the other, each added to what came in, between a first and a last product."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, WIDTH)
        self.layers = nn.ModuleList(nn.LSTM(WIDTH, WIDTH, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))[0]
        return self.head(x.mean(1))


class Stacked(nn.Module):
    """Three GRUs of other widths, one on the other."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (FEATURES, 8, 6, 10)
        layers = (nn.GRU(a, b, batch_first=True) for a, b in pairwise(sizes))
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(sizes[-1], CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)[0].tanh()
        return self.head(x[:, -1])


class Twice(nn.Module):
    """One GRU that runs forwards, and backwards on its own results."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru = nn.Linear(FEATURES, WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        there, state = self.gru(self.embed(x))
        back, _ = self.gru(there.flip(1), state)
        return self.head(back.mean(1))


class Translating(nn.Module):
    """An encoder in both directions, a decoder that begins with its states, attention between."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(FEATURES, WIDTH, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * WIDTH, WIDTH)
        self.decoder = nn.GRU(FEATURES, WIDTH, batch_first=True)
        self.asks = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.head = nn.Linear(3 * WIDTH, CLASSES)
        self.example_input_array = example(1, 5, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        seen, last = self.encoder(x)
        begin = self.bridge(last.transpose(0, 1).flatten(1)).tanh().unsqueeze(0)
        states, _ = self.decoder(x[:, :3], begin)
        weights = torch.bmm(self.asks(states), seen.transpose(1, 2)).softmax(-1)
        return self.head(torch.cat([states, torch.bmm(weights, seen)], -1)).transpose(1, 2)


def _outputs(layer: Recurrent) -> int:
    return (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "conv_gru": ConvRecurrent,
    "conv_gru_layers": lambda: ConvRecurrent(2),
    "lstm": Frames,
    "lstm_two_ways": lambda: Frames(bidirectional=True, num_layers=2, dropout=0.3),
    "lstm_projected": lambda: Frames(proj_size=5, batch_first=True, bidirectional=True),
    "lstm_without_bias": lambda: Frames(bias=False, num_layers=2),
    "rnn_relu": lambda: Frames(nn.RNN, nonlinearity="relu", batch_first=True),
    "gru_last_states": lambda: LastStates(num_layers=2, bidirectional=True),
    "lstm_last_states": lambda: LastStates(nn.LSTM),
    "lstm_last_projected": lambda: LastStates(nn.LSTM, proj_size=3, num_layers=2),
    "gru_begun": Begun,
    "lstm_begun_with_ones": lambda: Begun(nn.LSTM, value=1.0),
    "gru_learned_states": Learned,
    "lstm_computed_states": Computed,
    "lstm_cell": lambda: Cells(nn.LSTMCell),
    "gru_cell": lambda: Cells(nn.GRUCell),
    "rnn_cell": lambda: Cells(nn.RNNCell),
    "lstm_residual": Residual,
    "gru_stacked": Stacked,
    "gru_twice": Twice,
    "gru_attention": Translating,
}
