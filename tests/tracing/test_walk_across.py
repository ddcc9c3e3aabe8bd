"""What looks across channels: one table for tracer and masked original, and who reads positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from compressor.counting.measuring import measure
from compressor.graph import operations
from compressor.graph.graph import Graph
from compressor.graph.kinds import ACROSS, Kind
from compressor.surgery.cutting import shrink
from compressor.surgery.masking import Masked
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from tests.helpers.structures import any_widths

X = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """Two convolutions, a function, a convolution and a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int = 12) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 12, 3), nn.Conv2d(12, 12, 3, padding=1)
        self.function = function
        self.third, self.head = nn.Conv2d(channels, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.function(self.second(torch.relu(self.first(x))))
        return self.head(torch.relu(self.third(x)).mean((2, 3)))


def follows(model: nn.Module, x: Tensor, seeds: int = 2) -> Graph:
    """Assert the laws of any structure: masked = shrunk, and the cost that was counted."""
    model = randomised(model)
    graph = trace(model, x)
    for seed in range(seeds):
        structure = any_widths(graph, seed)
        smaller = shrink(model, graph, structure)
        assert verify(model, graph, structure, smaller, x) <= 1e-4
        assert measure(smaller, x).params == graph.params(structure.widths)
        assert measure(smaller, x).macs == graph.macs(structure.widths)
    return graph


def mfm(larger: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    """Max feature map: the larger of the two halves."""
    return larger(*x.chunk(2, 1))


@pytest.mark.parametrize(
    "larger", [torch.max, torch.min, torch.maximum, torch.minimum, torch.fmax, torch.fmin]
)
def test_the_larger_of_two_tensors_is_entrywise(larger: Callable[..., Tensor]) -> None:
    graph = follows(Between(partial(mfm, larger), 6), X)
    assert set(graph.frozen) == {"head"}


UNREAD: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda x: x - x.max(1, keepdim=True)[0],
    "min": lambda x: x - x.min(1, keepdim=True).values,
    "max without keepdim": lambda x: x * x.max(1).values[:, None],
    "median": lambda x: x - x.median(1, keepdim=True).values,
    "nanmedian": lambda x: x - x.nanmedian(1, keepdim=True)[0],
    "mode": lambda x: x.round() - x.round().mode(1, keepdim=True).values,
    "smallest": lambda x: x - x.kthvalue(1, 1, keepdim=True).values,
    "topk": lambda x: x - x.topk(1, 1).values,
    "cummax": lambda x: x + x.cummax(1).values,
    "cummin": lambda x: x + x.cummin(1)[0],
    "cumsum": lambda x: x + x.cumsum(1),
    "logcumsumexp": lambda x: x + x.logcumsumexp(1),
    "prod": lambda x: x + torch.sigmoid(x).prod(1, keepdim=True),
    "aminmax": lambda x: x - x.aminmax(dim=1, keepdim=True).min,
    "any": lambda x: x * (x > 1).any(1, keepdim=True),
    "log_softmax": lambda x: x * x.log_softmax(1),
    "max in space": lambda x: x.max(3, keepdim=True)[0] + x,
    "topk in space": lambda x: x.topk(3, 3).values,
    "sort in space": lambda x: x.sort(2).values,
    "sorted numbers in space": lambda x: x.sort(2).indices * x,
    "argmax in space": lambda x: x.argmax(3, keepdim=True) * x,
}

READ: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda x: x + x.max(1, keepdim=True).indices,
    "median": lambda x: x * x.median(1, keepdim=True)[1],
    "mode": lambda x: x * x.round().mode(1, keepdim=True)[1],
    "topk": lambda x: x * x.topk(1, 1).indices,
    "cummax": lambda x: x + x.cummax(1).indices,
    "argmin": lambda x: x + x.argmin(1, keepdim=True),
}


@pytest.mark.parametrize("name", UNREAD)
def test_where_a_value_was_found_holds_nothing_while_nobody_asks(name: str) -> None:
    assert set(follows(Between(UNREAD[name]), X, 1).frozen) == {"head"}


@pytest.mark.parametrize("name", READ)
def test_where_a_value_was_found_holds_the_layer_when_it_is_read(name: str) -> None:
    graph = follows(Between(READ[name]), X, 1)
    assert "returns channel numbers, which are read" in graph.frozen["second"]


@pytest.mark.parametrize("few", [lambda x: x.topk(3, 1)[0], lambda x: x.sort(1)[0][:, :3]])
def test_the_largest_few_channels_have_to_be_there(few: Callable[[Tensor], Tensor]) -> None:
    assert "second" in follows(Between(few, 3), X, 1).frozen


def test_tracer_and_masked_original_agree_on_what_looks_across() -> None:
    """Both go by the kind; the forms of `max` and `min` that are entry by entry are of another."""
    for row in operations.TABLE:
        for name in row.names.split() if row.kind in ACROSS else ():
            packet = getattr(torch.ops.aten, name)
            kinds = {
                form: operations.operation_of(getattr(packet, form)) for form in packet.overloads()
            }
            other = {form for form, found in kinds.items() if found.kind not in ACROSS}
            assert other == ({"other", "out"} if name in ("max", "min") else set())
            assert all(kinds[form].kind is Kind.POINTWISE for form in other)


def test_over_the_kept_entries_alone() -> None:
    model = randomised(Between(lambda x: x - x.max(1, keepdim=True)[0]))
    graph = trace(model, X)
    structure = any_widths(graph, 0)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    masked = Masked(graph, structure, tensors)
    seen = [
        operations.operation_of(node.target).kind in ACROSS
        for node in masked.program.graph.nodes
        if node.op == "call_function" and masked._reduced(node) is not None
    ]
    assert seen == [True]
