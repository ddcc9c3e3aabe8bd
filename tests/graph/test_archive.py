"""A structure as data and back: what is scaled as queries get narrower comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from compressor import trace
from compressor.graph.archive import mismatches, pack, unpack
from compressor.graph.structure import Structure, restrict
from compressor.surgery.cutting import shrink
from tests.helpers.tiny import equal
from tests.zoo.scaled import SCALED


def packed(name: str) -> tuple[torch.nn.Module, Structure, Any]:
    """A network, a part of it, and that as JSON has it."""
    torch.manual_seed(0)
    model = SCALED[name]()
    graph = trace(model)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            keep[axis.first : axis.first + axis.size // 3] = False
    structure = Structure(graph, keep)
    return model, structure, json.loads(json.dumps(pack(structure)))


@pytest.mark.parametrize("name", ["packed", "added", "asked"])
def test_rows_and_widths_come_back(name: str) -> None:
    model, structure, data = packed(name)
    again = unpack(data)
    assert len(again.graph.scaled) == len(structure.graph.scaled) > 0
    for one, other in zip(structure.graph.scaled, again.graph.scaled, strict=True):
        assert (one.weight, one.dim) == (other.weight, other.dim)
        assert np.array_equal(one.rows, other.rows)
        assert one.factor(structure.keep) == other.factor(structure.keep) < 1
    small = shrink(model, structure.graph, structure)
    assert equal(shrink(model, again.graph, again), small)
    assert not mismatches(small, restrict(again))
    rest = unpack(
        json.loads(json.dumps(pack(Structure(restrict(again), np.ones(sum(again.keep))))))
    )
    assert all(one.factor(rest.keep) == 1 for one in rest.graph.scaled)


def test_a_structure_of_an_older_version_scales_nothing() -> None:
    _, structure, data = packed("packed")
    del data["scaled"]
    again = unpack(data)
    assert not again.graph.scaled
    assert np.array_equal(again.keep, structure.keep)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dim": 2}, r"rows of block.attn.qkv.weight lie in dimension 2 of 2"),
        ({"rows": [[0, 1, 73]]}, "units 0 to 72 are named, of 72"),
        ({"rows": [[-1, 0, 1]]}, r"a row of block.attn.qkv.weight has no number"),
        ({"width": []}, r"queries of block.attn.qkv.weight have no width"),
    ],
    ids=["dim", "rows", "none", "width"],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], match: str) -> None:
    _, _, data = packed("packed")
    data["scaled"][0] |= change
    with pytest.raises(ValueError, match=match):
        unpack(data)
