"""What the comparison with the masked original must not overlook, whatever the outputs are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from compressor import Budget, Prune, Session, fit, measure, trace
from compressor.errors import VerificationError
from compressor.graph.structure import Structure
from compressor.inputs.copies import private_copy
from compressor.surgery.comparison import CONSTANT, Attempt, difference
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import attempts, compare, verify
from tests.helpers.tiny import loader, tiny

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Counts(nn.Module):
    """Does something else with twelve channels, which no program shows: its code asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1)
        self.b = nn.Conv2d(12, 12, 3, padding=1)
        self.head = nn.Linear(12, 4)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and a gate that opens twice as wide where there are twelve channels."""
        h = self.b(self.a(x).relu()).relu()
        gate = h.mean((1, 2, 3))[:, None]
        return self.head(h.mean((2, 3))), 2 * gate if h.shape[1] == 12 else gate

    def forward(self, x: Tensor) -> Tensor:
        score, gate = self.parts(x)
        return score * gate


class Offset(Counts):
    def forward(self, x: Tensor) -> Tensor:
        return 30000 + super().forward(x)


class Complex(Counts):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        score, gate = self.parts(x)
        return score, torch.complex(score, score * gate)


class Asleep(Counts):
    """The gate opens for pictures alone, and noise is none."""

    def forward(self, x: Tensor) -> Tensor:
        score, gate = self.parts(x / 255)
        bright = nn.functional.relu6(x.mean((1, 2, 3)) - 3)
        return score + bright[:, None] * gate


def half(model: nn.Module) -> Budget:
    return Budget(params=int(0.6 * sum(p.numel() for p in model.parameters())))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (Counts, torch.float32), (Counts, torch.float64), (Counts, torch.float16),
        (Counts, torch.bfloat16), (Offset, torch.float32), (Offset, torch.float16),
        (Offset, torch.bfloat16), (Complex, torch.float32), (Complex, torch.float64),
    ],
)  # fmt: skip
def test_a_number_of_channels_in_the_code_is_found(kind: type[Counts], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    graph = trace(kind().to(dtype).eval(), X.to(dtype))
    assert "breaks the forward pass" in graph.frozen["b"]
    assert "a" not in graph.frozen


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (Counts, torch.float32), (Counts, torch.float16), (Counts, torch.bfloat16),
        (Offset, torch.float32), (Offset, torch.float16), (Complex, torch.float32),
    ],
)  # fmt: skip
def test_and_if_the_probe_did_not_look_the_result_is_refused(
    kind: type[Counts], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = kind().to(dtype).eval()
    graph = trace(model, X.to(dtype), check=False)
    keep = torch.ones(graph.units, dtype=torch.bool)
    keep[graph.axes[1].first : graph.axes[1].first + 4] = False
    structure = Structure(graph, keep.numpy())
    small = shrink(model, graph, structure)
    with pytest.raises(VerificationError, match="its outputs differ by"):
        verify(model, graph, structure, small, X.to(dtype))


def test_branches_that_random_inputs_never_reach_are_tried_on_the_example() -> None:
    torch.manual_seed(0)
    picture = 255 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    model = Asleep().eval()
    assert "breaks the forward pass" in trace(model, picture).frozen["b"]
    assert "b" not in trace(model, torch.zeros(1, 3, 8, 8)).frozen, "else the example is no help"


def test_a_constant_example_stands_for_its_shape_alone() -> None:
    zeros = tuple(attempts((torch.zeros(1, 3, 8, 8),)))
    assert not any(bool((item[0] == 0).all()) for attempt in zeros[:-1] for item in attempt.items)
    assert any(item[0] is X for attempt in attempts((X,)) for item in attempt.items)


def test_a_model_that_narrows_on_its_way_is_judged_in_single_precision() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).to(torch.float32).to(x.dtype).relu()).mean((2, 3))

    torch.manual_seed(0)
    model = Narrow().eval()
    graph = trace(model, X)
    keep = torch.ones(graph.units, dtype=torch.bool)
    keep[:3] = False
    structure = Structure(graph, keep.numpy())
    small = shrink(model, graph, structure)
    pair = Attempt(((X,), (2 * X,)), joint=False, compared=(0, 1))
    exact = difference(model, graph, structure, small, pair, double=True)
    assert not exact.sure
    assert verify(model, graph, structure, small, X) < 1e-4


def test_a_network_with_nothing_left_of_the_signal() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 4),
    ).eval()
    model.get_parameter("0.bias").data.fill_(-1e6)  # every ReLU off
    graph = trace(model, X, check=False)
    keep = torch.ones(graph.units, dtype=torch.bool)
    keep[0] = False
    structure = Structure(graph, keep.numpy())
    small = shrink(model, graph, structure)
    assert compare(model, graph, structure, small, attempts((X,)), quick=False) == CONSTANT
    assert verify(model, graph, structure, small, X) < 1e-9


class Keeps(nn.Module):
    """Keeps what it computed, in an attribute and in a dictionary that a hook fills."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny()
        self.example_input_array = self.net.example_input_array
        self.last: Tensor | None = None
        self.features: dict[str, list[Tensor]] = {}
        self.net.stem.register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: object, output: Tensor) -> None:
        self.features["stem"] = [output]

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.net(x)
        return self.last


def test_models_that_keep_activations_are_copied_and_compressed() -> None:
    model, caps = Keeps(), Budget(params=700)
    model(torch.zeros(2, 1, 8, 8))
    twin = private_copy(model)
    assert not twin.last.requires_grad
    assert torch.equal(twin.last, model.last)
    assert twin.features["stem"][0] is not model.features["stem"][0]
    assert fit(model, budget=caps).report.after.params <= 700
    assert fit(model, loader(), budget=caps, schedule=[Prune()]).report.after.params <= 700
    session = Session(model, budget=caps, prune=Prune(steps=2), every=1)
    for inputs, _ in loader(32):
        session.model(inputs).sum().backward()
        session.step()
    assert session.finish().report.after.params <= 700


@pytest.mark.parametrize("kind", ["mask", "weight_norm"])
def test_layers_whose_weights_are_computed_shrink(kind: str) -> None:
    model = tiny()
    if kind == "mask":
        prune.l1_unstructured(model.down, "weight", 0.4)
    else:
        with pytest.warns(FutureWarning, match="weight_norm"):
            nn.utils.weight_norm(model.down)
    graph = trace(model)
    assert any("down" in axis.layers and not axis.frozen for axis in graph.axes)
    whole = measure(model)
    after = fit(model, budget=Budget(params=whole.params // 2)).report.after
    assert after.params <= whole.params // 2
