"""Saved results come back as the same small model, or not at all."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from compressor import Budget, Result, fit, load, storage
from compressor.graph import archive
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.tracing.tracer import trace
from tests.helpers.cases import some
from tests.helpers.graphs import graphs
from tests.helpers.tiny import Tied, Tiny, TwoInputs, equal, tiny
from tests.zoo import TRICKY

CAPS = Budget(params=700, macs="30k")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A saved result, for reading, and itself."""
    result, folder = fit(tiny(), budget=CAPS), tmp_path_factory.mktemp("saved")
    result.save(folder)
    return folder, result


@pytest.fixture
def saved(first: tuple[Path, Result], tmp_path: Path) -> Path:
    """A folder with a saved result, for writing."""
    shutil.copytree(first[0], tmp_path / "saved")
    return tmp_path / "saved"


def sizes(model: nn.Module) -> list[tuple[object, ...]]:
    """What modules remember of their widths."""
    names = ("in_channels", "out_channels", "groups", "num_features", "in_features", "out_features")
    return [tuple(getattr(m, name, None) for name in names) for m in model.modules()]


@pytest.mark.parametrize("model", [tiny(), Tied(), TwoInputs()], ids=type)
def test_load_gives_back_the_saved_model(model: nn.Module, tmp_path: Path) -> None:
    result = fit(model, budget=Budget(params=sum(p.numel() for p in model.parameters()) // 2))
    result.save(tmp_path / "run")
    fresh = type(model)()
    before = copy.deepcopy(fresh)
    loaded = load(tmp_path / "run", fresh)
    assert equal(fresh, before)
    assert equal(loaded, result.model)
    assert sizes(loaded) == sizes(result.model)
    example = model.example_input_array
    inputs = example if isinstance(example, tuple) else (example,)
    inputs = tuple(torch.randn(3, *x.shape[1:]) for x in inputs)
    assert torch.equal(loaded.eval()(*inputs), result.model.eval()(*inputs))


@pytest.mark.parametrize(
    "name",
    ["shuffle_sizes", "sub_spectral_norm", "concat_three", "flatten_linear", "conv_transpose"],
)
def test_networks_with_traps(name: str, tmp_path: Path) -> None:
    model = TRICKY[name]()
    graph = trace(model)
    widths = np.where([bool(a.frozen) for a in graph.axes], graph.sizes, (graph.sizes + 1) // 2)
    result = fit(model, budget=Budget(params=graph.params(widths)))
    result.save(tmp_path)
    assert equal(load(tmp_path, TRICKY[name]()), result.model)


def test_ties_are_kept(tmp_path: Path) -> None:
    fit(Tied(), budget=Budget(params=500)).save(tmp_path)
    loaded = load(tmp_path, Tied())
    assert loaded.first.weight is loaded.second.weight


def test_data_type_mode_and_flags(tmp_path: Path) -> None:
    example = torch.zeros(1, 1, 8, 8, dtype=torch.bfloat16)
    result = fit(tiny().bfloat16(), budget=CAPS, example=example)
    result.save(tmp_path)
    fresh = Tiny().eval()
    fresh.stem.requires_grad_(False)  # noqa: FBT003
    loaded = load(tmp_path, fresh)
    assert equal(loaded, result.model)
    assert loaded.head.weight.dtype == torch.bfloat16
    assert not loaded.training
    assert not loaded.stem.weight.requires_grad


class Shifted(Tiny):
    """Takes a mean away that its state dict does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - self.mean)


def test_buffers_that_are_not_saved_take_the_data_type_of_the_others(tmp_path: Path) -> None:
    example = torch.randn(2, 1, 8, 8).bfloat16()
    result = fit(Shifted().bfloat16(), budget=CAPS, example=example)
    result.save(tmp_path)
    loaded = load(tmp_path, Shifted())
    assert torch.equal(loaded.eval()(example), result.model.eval()(example))
    path = tmp_path / "model.json"
    record = storage.read_json(path)
    record["data"]["buffers"]["mean"] = "load"
    path.write_bytes(storage.sealed(record))
    with pytest.raises(ValueError, match="data type is 'load', which torch does not know"):
        load(tmp_path, Shifted())


class Scales(nn.Module):
    """Keeps what it knows outside of parameters and buffers."""

    def __init__(self, known: object = None) -> None:
        super().__init__()
        self.known = known

    def get_extra_state(self) -> object:
        return self.known

    def set_extra_state(self, state: object) -> None:
        self.known = state

    def forward(self, x: Tensor) -> Tensor:
        return x


def scaled(known: object = None) -> Tiny:
    model = tiny()
    model.dropout = Scales(known)
    return model


def test_extra_state_is_kept(tmp_path: Path) -> None:
    shared = torch.arange(3.0)
    result = fit(scaled({"v": 1, "range": (0.5, [shared, shared])}), budget=CAPS)
    result.save(tmp_path)
    known = load(tmp_path, scaled()).dropout.known
    assert known["v"] == 1
    low, (one, two) = known["range"]
    assert low == 0.5
    assert torch.equal(one, shared)
    assert torch.equal(two, shared)


@pytest.mark.parametrize("known", [{1, 2}, {"f": len}, {(1, 2): 3}])
def test_extra_state_that_is_no_plain_data_costs_nothing_else(
    known: object, tmp_path: Path
) -> None:
    result = fit(scaled(known), budget=CAPS)
    with pytest.warns(
        UserWarning, match=r"extra state of 'dropout' is not saved.*is no plain data"
    ):
        result.save(tmp_path)
    loaded = load(tmp_path, scaled("before"))
    assert loaded.dropout.known == "before"
    assert torch.equal(loaded.head.weight, result.model.head.weight)


def test_the_tensor_file_is_a_plain_state_dict(first: tuple[Path, Result]) -> None:
    folder, result = first
    (file,) = folder.glob("model-*.safetensors")
    other = load(folder, Tiny())
    other.load_state_dict(load_file(file))
    assert equal(other, result.model)
    assert {p.name for p in folder.iterdir()} == {
        file.name, "model.json", "report.json", "report.md", "layers.png",
    }  # fmt: skip


def test_saving_again_replaces_the_older_result(tmp_path: Path) -> None:
    fit(tiny(0), budget=CAPS).save(tmp_path)
    second = fit(tiny(1), budget=Budget(params=400))
    second.save(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert equal(load(tmp_path, Tiny()), second.model)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: Tiny(9), r"compressed Tiny .* stem.weight is \(9, 1, 3, 3\) instead of \(8, 1"),
        (lambda: Tiny(norm=False), r"norm\.weight \(8,\) is missing; .* and \d+ more\. Build"),
        (TwoInputs, r"cannot become a part of this TwoInputs"),
    ],
)
def test_another_architecture_is_refused(other, match: str, saved: Path) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=match):
        load(saved, other())


def test_an_extra_layer_is_refused(saved: Path) -> None:
    model = Tiny()
    model.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"extra\.weight \(2, 2\) is new"):
        load(saved, model)


def test_a_model_of_another_name_is_loaded_with_a_warning(first: tuple[Path, Result]) -> None:
    class Renamed(Tiny):
        pass

    folder, result = first
    with pytest.warns(UserWarning, match="holds a compressed Tiny and is loaded into a Renamed"):
        loaded = load(folder, Renamed())
    assert equal(loaded, result.model)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is not there: pass the path"):
        load(tmp_path / "nowhere", Tiny())


@pytest.mark.parametrize("part", ["cut", "flip", "missing"])
def test_damaged_tensors(part: str, saved: Path) -> None:
    (file,) = saved.glob("*.safetensors")
    content = file.read_bytes()
    if part == "missing":
        file.unlink()
    else:
        changed = content[:-40] if part == "cut" else content[:-1] + bytes([content[-1] ^ 1])
        file.write_bytes(changed)
    with pytest.raises(ValueError, match="is damaged: "):
        load(saved, Tiny())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("[]", "not a record of this library"),
        ("{", "is not JSON"),
        ('{"format": 99}', "not a record"),
    ],
)
def test_damaged_json(change: str, match: str, saved: Path) -> None:
    (saved / "model.json").write_text(change)
    with pytest.raises(ValueError, match=match):
        load(saved, Tiny())


def test_records_of_another_format_or_that_point_elsewhere(saved: Path) -> None:
    path = saved / "model.json"
    record = storage.read_json(path)
    path.write_bytes(storage.sealed(record | {"format": 2}))
    with pytest.raises(ValueError, match="has format 2 and this version reads format 1"):
        load(saved, Tiny())
    path.write_bytes(storage.sealed(record | {"tensors": "../secret.safetensors"}))
    with pytest.raises(ValueError, match="names a file elsewhere"):
        load(saved, Tiny())


@given(st.lists(st.integers(-3, 12), max_size=40))
def test_runs_and_spell_are_inverse(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    np.testing.assert_array_equal(archive.spell(archive.runs(array)), array)


def packs(graph: Graph) -> None:
    """What is packed and unpacked keeps the same and costs the same."""
    keep = np.random.default_rng(0).random(graph.units) < 0.7
    keep[[axis.first for axis in graph.axes]] = True
    for axis in graph.axes:
        keep[axis.units] |= bool(axis.frozen)
    structure = Structure(graph, keep)
    data = json.loads(json.dumps(archive.pack(structure)))
    again = archive.unpack(data)
    assert (again.keep == keep).all()
    for quantity in ("params", "macs", "bytes"):
        before = getattr(graph, quantity)(structure.widths)
        assert getattr(again.graph, quantity)(again.widths) == before


@given(graphs())
def test_packed_structures_cost_what_they_did(graph: Graph) -> None:
    packs(graph)


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", some(sorted(TRICKY), 8))
def test_packed_structures_of_traced_networks_cost_what_they_did(name: str) -> None:
    packs(trace(TRICKY[name](), check=False))


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
@settings(max_examples=50, deadline=None)
def test_flatten_and_restore_are_inverse_through_json(tree: object) -> None:
    tensors: dict[str, torch.Tensor] = {}
    wrapped = {"tree": tree, 7: (torch.arange(3), [torch.tensor(1.5)])}
    again = storage.restore(json.loads(json.dumps(storage.flatten(wrapped, tensors))), tensors)
    assert again["tree"] == tree
    assert torch.equal(again[7][0], torch.arange(3))
    assert isinstance(again[7], tuple)
    assert len(tensors) == 2


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(TypeError, match="cannot store state/hook: function is no plain data"):
        storage.flatten({"state": {"hook": lambda: None}}, {})


def test_a_result_shows_as_one_sentence() -> None:
    result = fit(tiny(), budget=CAPS)
    assert repr(result).startswith("<Result: Tiny: ")
    assert len(repr(result)) < 250
