"""Operators of one's own: signatures that are right, wrong, and those that a page shows."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor import Budget, CountError, Operation
from compressor.graph.structure import Structure
from compressor.surgery.proof import verify
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "own-operators.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(name: str, *tensors: Tensor) -> Tensor:
    space, _, operator = name.partition("::")
    return getattr(getattr(torch.ops, space), operator)(*tensors)


class Around(nn.Module):
    """An operator between two convolutions."""

    def __init__(self, name: str, *shape: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 3)
        self.weight, self.name = nn.Parameter(torch.rand(shape or 12) + 0.5), name

    def forward(self, x: Tensor) -> Tensor:
        return self.last(run(self.name, self.first(x), self.weight))


class Mixed(nn.Module):
    """The page's dynamic convolution, with taps that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.taps = nn.Conv2d(3, 12, 3), nn.Conv2d(3, 5, 3)
        self.weight, self.last = nn.Parameter(torch.randn(8, 12, 5)), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        taps = self.taps(x).movedim(1, -1).softmax(-1)
        return self.last(run("mylib::dyn_conv", self.first(x), self.weight, taps).relu())


EXAMPLE = torch.randn(1, 3, 9, 8, generator=torch.Generator().manual_seed(0))


def operator(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Register an operator whose fake form is itself: these are made of PyTorch's own."""
    name = f"owntest::{function.__name__}"
    torch.library.custom_op(name, function, mutates_args=()).register_fake(function)
    return function


@operator
def scaled(x: Tensor, w: Tensor) -> Tensor:
    return x * w[:, None, None]


@operator
def normed(x: Tensor, w: Tensor) -> Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt() * w[:, None, None]


@operator
def pooled(x: Tensor, w: Tensor) -> Tensor:
    return torch.einsum("bcht,ck->bcht", x, w)


@operator
def ranked(x: Tensor, w: Tensor) -> Tensor:
    """Channel by channel, but for the first one, which is added to all."""
    return x * w[:, None, None] + x[:, :1]


@operator
def turned(x: Tensor) -> Tensor:
    return x.transpose(2, 3).contiguous()


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(run("owntest::turned", self.first(x)))


def thinned(model: nn.Module, operations: list[Operation]) -> tuple[compressor.Graph, Structure]:
    """A graph, and a structure without every third unit; all laws of a shrunk model hold."""
    graph = compressor.trace(model, EXAMPLE, operations=operations)
    structure = Structure(graph, np.arange(graph.units) % 3 != 1)
    smaller = compressor.shrink(model, graph, structure)
    assert verify(model, graph, structure, smaller, EXAMPLE) < 1e-9
    cost = compressor.measure(smaller, EXAMPLE, operations=operations)
    assert (cost.macs, cost.params) == (
        graph.macs(structure.widths),
        graph.params(structure.widths),
    )
    return graph, structure


@pytest.mark.parametrize("code", BLOCKS, ids=["entrywise", "mixing"])
def test_the_pages_examples_are_short_and_hold(code: str) -> None:
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    scope: dict[str, object] = {}
    exec(compile(code, "own-operators.md", "exec"), scope)  # noqa: S102 - our own document
    torch.manual_seed(0)
    model = Around("mylib::snake") if "snake" in scope else Mixed()
    operations: list[Operation] = scope["operations"]  # type: ignore[assignment]
    graph, _ = thinned(model, operations)
    free = {axis.name for axis in graph.axes if not axis.frozen}
    assert free >= ({"first"} if "snake" in scope else {"first", "weight"})
    before = compressor.measure(model, EXAMPLE, operations=operations)
    budget = Budget(params=before.params * 2 // 3, macs=before.macs * 2 // 3)
    result = compressor.fit(model, budget=budget, example=EXAMPLE, operations=operations)
    assert result.report.after.macs <= before.macs * 2 // 3


def test_dead_channels_are_taken_without_a_change() -> None:
    torch.manual_seed(1)
    model = Around("owntest::scaled")
    with torch.no_grad():
        for tensor in (model.first.weight, model.first.bias):
            tensor[::2] = 0
    operations = [Operation("owntest::scaled", "b c ..., c -> b c ...")]
    graph = compressor.trace(model, EXAMPLE, operations=operations)
    smaller = compressor.shrink(model, graph, Structure(graph, np.arange(graph.units) % 2 == 1))
    assert smaller.first.out_channels == 6
    torch.testing.assert_close(smaller(EXAMPLE), model(EXAMPLE))


def test_what_looks_at_a_dimension_is_compared_over_what_is_left() -> None:
    torch.manual_seed(0)
    graph, _ = thinned(
        Around("owntest::normed"), [Operation("owntest::normed", "b [c] h t, c -> b [c] h t")]
    )
    assert not graph.axes[0].frozen


@pytest.mark.parametrize(
    "name", ["owntest::normed", "owntest::ranked"], ids=["a norm", "one channel for all"]
)
def test_a_signature_that_is_wrong_is_held(name: str) -> None:
    """What is not on its own, though a word says so, comes out in the trial."""
    torch.manual_seed(0)
    told = [Operation(name, "b c h t, c -> b c h t")]
    graph = compressor.trace(Around(name), EXAMPLE, operations=told)
    assert graph.axes[0].frozen
    assert "breaks the forward pass" in graph.axes[0].frozen


def test_the_products_of_an_operator() -> None:
    torch.manual_seed(0)
    model, plain = Around("owntest::pooled", 12, 5), Around("owntest::scaled")
    signature = "b c h t, c k -> b c h t"
    thinned(model, [Operation("owntest::pooled", signature)])
    free = [Operation("owntest::scaled", "b c ..., c -> b c ...")]
    layers = compressor.measure(plain, EXAMPLE, operations=free).macs
    for macs, more in ((None, 5 * 12 * 7 * 6), ("", 0), ("c k + h t", 60 + 42)):
        told = [Operation("owntest::pooled", signature, macs=macs)]
        assert compressor.measure(model, EXAMPLE, operations=told).macs == layers + more


def test_an_operator_that_nobody_describes_holds_what_it_touches() -> None:
    model = Around("owntest::scaled")
    with pytest.raises(CountError, match=r"operations=\[compressor.Operation\('owntest::scaled'"):
        compressor.trace(model, EXAMPLE)


def test_one_without_weights_is_held_with_the_remedy() -> None:
    graph = compressor.trace(Bare(), EXAMPLE)
    assert "'turned' (test_own.py:" in graph.frozen["first"]
    assert "operations=[compressor.Operation('owntest::turned', ...)]" in graph.frozen["first"]
    told = [Operation("owntest::turned", "b c h t -> b c t h")]
    assert set(compressor.trace(Bare(), EXAMPLE, operations=told).frozen) == {"last"}


def test_no_file_holds_such_an_operator(tmp_path: object) -> None:
    torch.manual_seed(0)
    model = Around("owntest::scaled")
    told = [Operation("owntest::scaled", "b c ..., c -> b c ...")]
    session = compressor.Session(model, budget=Budget(params=400), example=EXAMPLE, operations=told)
    result = session.finish()
    assert isinstance(result.model, Around)
    with pytest.raises(
        ValueError, match=r"'owntest::scaled' is none of PyTorch's own.*Result.model"
    ):
        result.write(f"{tmp_path}/net.safetensors")
    result.save(f"{tmp_path}/saved")
    back = compressor.load(f"{tmp_path}/saved", model)
    assert torch.equal(back(EXAMPLE), result.model(EXAMPLE))


@pytest.mark.parametrize(
    ("name", "signature", "message"),
    [
        ("scaled", "b c -> b c", "'namespace::operator'"),
        ("owntest::scaled", "b c h t, c", "on either side of one arrow"),
        ("owntest::scaled", "b c h t, c -> b c 7", "'7' where a word"),
        ("owntest::scaled", "b c c t, c -> b c", "'c' twice in one tensor"),
        ("owntest::scaled", "b c h t -> b c h t", "says nothing of the tensor 'w'"),
        ("owntest::scaled", "b c h t, c, c -> b c h t", "more tensors than the operator takes"),
        ("owntest::scaled", "b c t, c -> b c t", r"'b c t' of x, which has 4 dimensions"),
        ("owntest::scaled", "b c h t, h -> b c h t", "two sizes 'h', 7 and 12"),
        ("owntest::scaled", "b c h t, c -> b c h t, b", "makes 2 tensors, the operator 1"),
        ("owntest::scalde", "b c h t, c -> b c h t", "the closest are 'owntest::scaled'"),
        ("aten::relu", "b c h t -> b c h t", "knows this operator itself"),
    ],
)
def test_mistakes_are_told_before_anything_runs(name: str, signature: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compressor.trace(
            Around("owntest::scaled"), EXAMPLE, operations=[Operation(name, signature)]
        )


def test_operations_are_a_list_of_them() -> None:
    told = Operation("owntest::scaled", "b c ..., c -> b c ...")
    for given in (["owntest::scaled"], "owntest::scaled", [told, told]):
        with pytest.raises(ValueError, match="operations= holds"):
            compressor.trace(Around("owntest::scaled"), EXAMPLE, operations=given)  # type: ignore[arg-type]
