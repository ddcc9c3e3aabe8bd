"""Recurrences written out over time, that begin with a tensor the code makes.

The size of that tensor comes from an attribute of the module itself, of a cell that another module
asks for it, from a weight, or from what comes in; and what reads it first is a convolution, a join,
a product or nothing but sums. Sequences are (batch, time, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import example

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES, WIDTH, STATES, CLASSES = 5, 8, 4, 3


class ConvLSTMCell(nn.Module):
    """One convolution of input and state together, with its gates one behind the other."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        b, _, h, w = x.shape
        state = x.new_zeros(b, self.hidden, h, w)
        return state, torch.zeros_like(state)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, o, g = self.conv(torch.cat([x, h], 1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class ConvLSTM(nn.Module):
    """Frames of a film through a cell, whose state another module begins."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.cell = nn.Conv2d(1, 6, 3, padding=1), ConvLSTMCell(6, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 2, 1, 5, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = self.cell.begin(x[:, 0])
        for step in range(x.shape[1]):
            state = self.cell(self.stem(x[:, step]).tanh(), state)
        return self.head(state[0].mean((2, 3)))


class Peepholes(nn.Module):
    """Convolutions of input and state apart, and the cells weighted place by place (Shi 2015).

    The film is as high and wide as the state is deep.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = WIDTH
        self.reads = nn.Conv2d(1, 4 * WIDTH, 3, padding=1)
        self.recurs = nn.Conv2d(WIDTH, 4 * WIDTH, 3, padding=1, bias=False)
        self.peep = nn.Parameter(0.3 * example(1, WIDTH, WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 2, 1, WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, steps, _, height, width = x.shape
        h = x.new_zeros(b, self.hidden, height, width)
        c = torch.zeros_like(h)
        for step in range(steps):
            i, f, o, g = (self.reads(x[:, step]) + self.recurs(h)).chunk(4, 1)
            c = (f + self.peep * c).sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h.mean((2, 3)))


class SelectiveScan(nn.Module):
    """Mamba: a state of its own for every channel, with steps that the channels say (Gu 2023)."""

    def __init__(self, *, spelled: bool = False) -> None:
        super().__init__()
        self.spelled, self.rank, self.inner, self.states = spelled, 3, 2 * WIDTH, STATES
        self.into = nn.Linear(FEATURES, 4 * WIDTH, bias=False)
        self.conv = nn.Conv1d(2 * WIDTH, 2 * WIDTH, 3, padding=2, groups=2 * WIDTH)
        self.says = nn.Linear(2 * WIDTH, 3 + 2 * STATES, bias=False)
        self.steps = nn.Linear(3, 2 * WIDTH)
        self.log = nn.Parameter(torch.arange(1.0, STATES + 1).log().repeat(2 * WIDTH, 1))
        self.skip = nn.Parameter(torch.ones(2 * WIDTH))
        self.out = nn.Linear(2 * WIDTH, CLASSES)
        self.example_input_array = example(1, 3, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.into(x).chunk(2, -1)
        x = functional.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        step, b, c = self.says(x).split([self.rank, self.states, self.states], -1)
        step = functional.softplus(self.steps(step))
        kept, added = self._discrete(step, b, x)
        h = x.new_zeros(x.shape[0], self.inner, self.states)
        seen: list[Tensor] = []
        for t in range(x.shape[1]):
            h = kept[:, t] * h + added[:, t]
            seen.append((h * c[:, t].unsqueeze(1)).sum(-1))
        return self.out(((torch.stack(seen, 1) + x * self.skip) * functional.silu(gate)).mean(1))

    def _discrete(self, step: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        rates = -torch.exp(self.log)
        if self.spelled:
            kept = torch.exp(torch.einsum("bld,dn->bldn", step, rates))
            return kept, torch.einsum("bld,bln,bld->bldn", step, b, x)
        kept = torch.exp(step.unsqueeze(-1) * rates)
        return kept, step.unsqueeze(-1) * b.unsqueeze(2) * x.unsqueeze(-1)


class Diagonal(nn.Module):
    """S4D: a linear recurrence for every channel and state, by weights alone (Gu 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.states = WIDTH, STATES
        self.into = nn.Linear(FEATURES, WIDTH)
        self.rates = nn.Parameter(-example(WIDTH, STATES).abs())
        self.reads, self.says = (nn.Parameter(example(WIDTH, STATES) + n) for n in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 3, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        h, seen = x.new_zeros(x.shape[0], self.width, self.states), list[Tensor]()
        for t in range(x.shape[1]):
            h = self.rates.exp() * h + self.reads * x[:, t].unsqueeze(-1)
            seen.append((h * self.says).sum(-1))
        return self.head(torch.stack(seen, 1).tanh().mean(1))


class MinGRU(nn.Module):
    """Gates of the input alone (Feng 2024), cut of one convolution; the state meets only sums."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = WIDTH
        self.gates = nn.Conv1d(FEATURES, 2 * WIDTH, 1)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        gate, new = self.gates(x).chunk(2, 1)
        h = torch.zeros(x.shape[0], self.hidden, device=x.device)
        for t in range(x.shape[2]):
            share = gate[..., t].sigmoid()
            h = (1 - share) * h + share * new[..., t].tanh()
        return self.head(h)


class Elman(nn.Module):
    """A plain recurrence: by a product with a bare weight, or of input and state joined."""

    def __init__(self, *, joined: bool = False, value: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.joined, self.value = WIDTH, joined, value
        self.reads = nn.Linear(FEATURES + WIDTH * joined, WIDTH)
        if not joined:
            self.recurs = nn.Parameter(0.3 * example(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 3, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.ones(x.shape[0], self.hidden) * self.value
        for t in range(x.shape[1]):
            if self.joined:
                h = self.reads(torch.cat([x[:, t], h], 1)).tanh()
            else:
                h = (self.reads(x[:, t]) + h @ self.recurs).tanh()
        return self.head(h)


class Filled(nn.Module):
    """Results of every step written into a tensor that was made before."""

    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH
        self.layer, self.head = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.example_input_array = example(1, 3, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(x.shape[0], x.shape[1], self.width)
        for t in range(x.shape[1]):
            y[:, t] = self.layer(x[:, t]).tanh()
        return self.head(y.mean(1))


LOOPS: dict[str, Callable[[], nn.Module]] = {
    "conv_lstm": ConvLSTM,
    "conv_lstm_peepholes": Peepholes,
    "selective_scan": SelectiveScan,
    "selective_scan_einsum": lambda: SelectiveScan(spelled=True),
    "diagonal_states": Diagonal,
    "min_gru": MinGRU,
    "elman_bare": Elman,
    "elman_joined": lambda: Elman(joined=True),
    "elman_begun_with_ones": lambda: Elman(value=0.5),
    "filled": Filled,
}
