"""The multiply-accumulates of a stored network are those of its module, whatever of it is read.

By `measure`, by the second opinion on it and by torchinfo's rule, which goes by the outputs of
modules: of recurrent ones by the first two dimensions of the sequence, of the others by the first,
and that is time or frames where these come first.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compressor import measure
from compressor.network import Network, to_network
from compressor.network.counting import multiply_accumulates
from compressor.network.file import container
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.rules.counters import torchinfo_count
from tests.helpers.int8_nets import examples

TIME, INPUTS, HIDDEN = 7, 5, 6

READ: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "all": lambda x, _: x.mean(1),
    "one step": lambda x, _: x[:, -1],
    "last": lambda _, h: h[-1],
    "first": lambda _, h: h[0],
    "both": lambda x, h: torch.cat([x.mean(1), h[-1]], 1),
}
FORMS: dict[str, Callable[[], nn.RNNBase]] = {
    "GRU": lambda: nn.GRU(INPUTS, HIDDEN, batch_first=True),
    "GRU, time first": lambda: nn.GRU(INPUTS, HIDDEN),
    "GRU, two layers": lambda: nn.GRU(INPUTS, HIDDEN, 2, batch_first=True),
    "GRU, no bias": lambda: nn.GRU(INPUTS, HIDDEN, bias=False, batch_first=True),
    "GRU, both ways": lambda: nn.GRU(INPUTS, HIDDEN, bidirectional=True, batch_first=True),
    "LSTM": lambda: nn.LSTM(INPUTS, HIDDEN, batch_first=True),
    "LSTM, time first, twice": lambda: nn.LSTM(INPUTS, HIDDEN, 2, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(INPUTS, HIDDEN, proj_size=3, batch_first=True),
    "RNN": lambda: nn.RNN(INPUTS, HIDDEN, batch_first=True),
    "RNN, relu": lambda: nn.RNN(INPUTS, HIDDEN, nonlinearity="relu", batch_first=True),
}


class Reader(nn.Module):
    """A convolution, and a recurrent layer of which some is read; of an LSTM state 0 or 1."""

    def __init__(self, layer: nn.RNNBase, read: str, state: int = 0) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv1d(2, INPUTS, 1), layer
        self.read, self.state = READ[read], state
        self.example_input_array = torch.zeros(1, 2, TIME)

    def forward(self, x: Tensor) -> Tensor:
        first = self.layer.batch_first
        x = self.conv(x).transpose(1, 2)
        x, h = self.layer(x if first else x.transpose(0, 1))
        h = h[self.state] if isinstance(h, tuple) else h
        return self.read(x if first else x.transpose(0, 1), h)


class Cells(nn.Module):
    """A cell in a loop; of an LSTM's two states one is read at the end."""

    def __init__(self, cell: nn.RNNCellBase, state: int | None = None) -> None:
        super().__init__()
        self.cell, self.state = cell, state
        self.example_input_array = torch.zeros(1, TIME, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        h = None
        for step in x.unbind(1):
            h = self.cell(step, h)
        return h if self.state is None else h[self.state]


class InOrder(nn.Module):
    """Layers on tensors whose first dimension is not the batch: time, or frames of every item."""

    def __init__(self, *layers: nn.Module, frames: bool) -> None:
        super().__init__()
        self.layers, self.frames = nn.Sequential(*layers), frames
        self.example_input_array = torch.zeros(1, 3, TIME, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        if self.frames:
            return self.layers(x.flatten(0, 1)[:, None]).reshape(x.shape[0], -1)
        return self.layers(x.mean(1).transpose(0, 1)).transpose(0, 1)


class Places(nn.Module):
    """A table of places, looked up without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(TIME, INPUTS), nn.Linear(INPUTS, 4)
        self.register_buffer("places", torch.arange(TIME))
        self.example_input_array = torch.zeros(1, TIME, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x + self.table(self.places)).mean(1))


class Attending(nn.Module):
    """Attention, of which the output or the weights are read."""

    def __init__(self, read: int) -> None:
        super().__init__()
        self.layer, self.read = nn.MultiheadAttention(8, 2, batch_first=True), read
        self.example_input_array = torch.zeros(1, TIME, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x)[self.read].mean(1)


def integers(model: nn.Module) -> Network:
    prepared = prepare(to_network(model))
    calibrate(prepared, [(examples(model, 4),)])
    return convert(prepared)


def check(model: nn.Module, made: Network) -> None:
    """All counters say of a network, and of the one that is read from its file, what they say."""
    macs, official = measure(model).macs, torchinfo_count(model).macs
    assert macs > 0
    assert official > 0
    for stored in (made, container.unpack(container.pack(made))):
        assert measure(stored).macs == macs
        assert multiply_accumulates(stored) == macs
        assert torchinfo_count(stored).macs == official


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("form", FORMS)
def test_whatever_is_read_of_a_recurrent_layer(form: str, read: str) -> None:
    model = Reader(FORMS[form](), read).eval()
    check(model, to_network(model))


@pytest.mark.parametrize("form", [name for name in FORMS if "LSTM" in name])
def test_whatever_is_read_of_the_memory_of_an_lstm(form: str) -> None:
    model = Reader(FORMS[form](), "last", state=1).eval()
    check(model, to_network(model))


@pytest.mark.parametrize("form", ["GRU", "LSTM, time first, twice"])
def test_the_same_beside_integers(form: str) -> None:
    official = {
        torchinfo_count(made).macs
        for read in ("all", "last")
        for model in [Reader(FORMS[form](), read).eval()]
        for made in (model, integers(model), container.unpack(container.pack(integers(model))))
    }
    assert len(official) == 1


@pytest.mark.parametrize(
    ("cell", "state"),
    [(nn.GRUCell, None), (nn.RNNCell, None), (nn.LSTMCell, 0), (nn.LSTMCell, 1)],
)
def test_cells_in_a_loop(cell: type[nn.RNNCellBase], state: int | None) -> None:
    model = Cells(cell(INPUTS, HIDDEN), state).eval()  # pyright: ignore[reportCallIssue]
    check(model, to_network(model))


IN_ORDER: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: InOrder(nn.Linear(INPUTS, 4), frames=False),
    "layer norm": lambda: InOrder(nn.Linear(INPUTS, 4), nn.LayerNorm(4), frames=False),
    "convolution": lambda: InOrder(nn.Conv2d(1, 4, 3), frames=True),
    "transposed": lambda: InOrder(nn.ConvTranspose2d(1, 4, 3, stride=2), frames=True),
    "norms": lambda: InOrder(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.GroupNorm(2, 4), frames=True
    ),
}


@pytest.mark.parametrize("name", IN_ORDER)
def test_time_and_frames_in_the_place_of_a_batch(name: str) -> None:
    model = IN_ORDER[name]().eval()
    check(model, to_network(model))


def test_a_table_that_is_looked_up_without_a_batch() -> None:
    model = Places().eval()
    check(model, to_network(model))


@pytest.mark.parametrize("name", ["linear", "convolution", "transposed"])
def test_integers_on_them(name: str) -> None:
    model = IN_ORDER[name]().eval()
    made = integers(model)
    assert torchinfo_count(made).macs == torchinfo_count(model).macs
    assert measure(made).macs == measure(model).macs


@pytest.mark.parametrize("read", [0, 1], ids=["output", "weights"])
def test_attention_read_in_part(read: int) -> None:
    """Torchinfo sees none of it in a module, whose parts it does not call: a list has it all."""
    model = Attending(read).eval()
    made = to_network(model)
    for stored in (made, container.unpack(container.pack(made))):
        assert measure(stored).macs == measure(model).macs
        assert torchinfo_count(stored).macs >= torchinfo_count(model).macs
