"""The table of operations: every name once and real, and one row is a new operation for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.counting.measuring import measure
from compressor.graph.kinds import Kind, Rounding, Zeros
from compressor.graph.operations import BY_NAME, TABLE, Row, operation_of
from compressor.graph.structure import Structure
from compressor.network.file.operations import ALLOWED, operation
from compressor.phases.filters.program import steps
from compressor.phases.filters.rules import Flow
from compressor.phases.filters.uncoupled import split
from compressor.phases.frequency import trace_rows
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.tracing import walk
from compressor.tracing.tracer import trace

aten = torch.ops.aten


def test_every_name_stands_in_one_row_and_is_one_of_pytorchs() -> None:
    """A misspelt name would say nothing of an operation, and nobody would notice."""
    names = [name for row in TABLE for name in row.names.split()]
    assert len(names) == len(set(names)) == len(BY_NAME)
    for name in names:
        short, _, form = name.partition(".")
        plain, written = getattr(aten, short, None), getattr(aten, f"{short}_", None)
        assert plain is not None or written is not None, name
        assert not form or form in plain.overloads(), name


def test_what_the_tracer_follows_can_be_stored() -> None:
    allowed = {name.partition(".")[0] for name in ALLOWED}
    known = {name.partition(".")[0] for name, row in BY_NAME.items() if row.kind in walk.RULES}
    # Memory never written is none of a file's business; the others nobody has asked for.
    assert known - allowed == {
        "empty_like", "new_empty", "native_channel_shuffle", "nanmedian", "mode", "kthvalue",
        "linalg_norm", "quantile", "nanquantile", "index_reduce", "index_reduce_",
        "grid_sampler_2d", "grid_sampler_3d", "embedding_bag", "embedding_renorm_",
    }  # fmt: skip


def test_what_is_stored_and_followed_is_a_row_or_marked_by_pytorch() -> None:
    for name in ALLOWED:
        try:
            target = operation(name)
        except ValueError:  # a form in place that there is none of
            continue
        row = operation_of(target)
        short = target.name().removeprefix("aten::").partition(".")[0]
        if row.kind in walk.RULES:
            rowed = short in BY_NAME or short.removesuffix("_") in BY_NAME
            assert rowed or torch.Tag.pointwise in target.tags, name


@pytest.mark.parametrize(
    ("target", "kind", "zeros"),
    [
        (aten.relu_.default, Kind.POINTWISE, Zeros.STAY),
        (aten.dropout_.default, Kind.DROPOUT, Zeros.STAY),
        (aten.cos.default, Kind.POINTWISE, None),
        (aten.masked_fill.Tensor, Kind.POINTWISE, None),
        (aten.max.dim, Kind.REDUCES, None),
        (aten.max.other, Kind.POINTWISE, Zeros.SUM),
        (aten.view.default, Kind.VIEWS, None),
        (aten.view.dtype, Kind.REINTERPRETS, None),
        (aten.squeeze_.default, Kind.OPAQUE, None),
        (aten.fft_rfft.default, Kind.TRANSFORMS, None),
        (aten.fft_rfftn.default, Kind.UNKNOWN, None),
        (torch.ops.prim.device.default, Kind.UNKNOWN, None),
        ("a module", Kind.UNKNOWN, None),
    ],
)
def test_forms_of_an_operation(target: object, kind: Kind, zeros: Zeros | None) -> None:
    found = operation_of(target)
    assert (found.kind, found.zeros) == (kind, zeros)


def test_what_writes_in_place_is_rounded_by_nobody() -> None:
    assert operation_of(aten.relu.default).rounding is Rounding.CUT
    assert operation_of(aten.relu_.default).rounding is Rounding.LEFT


class Between(nn.Module):
    """An operation between a convolution that passes rows on and one that ends them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 4, 3, padding=1)
        self.example_input_array = torch.randn(1, 1, 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.absolute(self.first(x)))


def test_one_row_and_everybody_knows_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Between()
    assert "'absolute'" in trace(model).frozen["first"]
    assert not trace_rows(model).gates

    monkeypatch.setitem(BY_NAME, "absolute", Row("absolute", Kind.POINTWISE, Zeros.STAY))
    graph = trace(model)
    assert set(graph.frozen) == {"second"}
    structure = Structure(graph, np.arange(graph.units) != 3)
    smaller = shrink(model, graph, structure)
    assert smaller.first.out_channels == 7
    assert verify(model, graph, structure, smaller) < 1e-6
    assert measure(smaller).macs == graph.macs(structure.widths)
    assert set(trace_rows(model).gates) == {"second"}
    flows = {step.name: step.flow for step in steps(split(model, graph))}
    assert flows["absolute"] is Flow.KEEPS
    assert operation_of(aten.absolute.default).free
    assert operation_of(aten.absolute_.default).kind is Kind.POINTWISE
