"""Forms of a model in which nothing can be cut: one sentence each, with the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, fit, measure, trace
from tests.helpers.tiny import refuses

EXAMPLE = torch.zeros(2, 3, 6, 6)
quantization = torch.ao.quantization


def network() -> nn.Sequential:
    """A network that can be cut."""
    layers = (nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))
    return nn.Sequential(*layers).eval()


class Holder(nn.Module):
    """A model of which some other is a layer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def observed(*, trained: bool) -> nn.Module:
    """A network that is prepared for quantisation, after training or during."""
    model = quantization.QuantWrapper(network()).train(trained)
    if trained:
        model.qconfig = quantization.get_default_qat_qconfig("x86")
        return quantization.prepare_qat(model)
    model.qconfig = quantization.get_default_qconfig("x86")
    return quantization.prepare(model)


def converted() -> nn.Module:
    """A network of integers, as PyTorch makes it."""
    model = observed(trained=False)
    model(EXAMPLE)
    return quantization.convert(model)


FORMS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "compiled": (
        lambda: torch.compile(network()),  # type: ignore[return-value]
        r"made by torch.compile of a Sequential: pass that, model._orig_mod, and compile what",
    ),
    "scripted": (
        lambda: torch.jit.script(network()),
        r"the model is a Rec.*made by torch.jit.*pass the model as it was before torch.jit.script",
    ),
    "traced": (
        lambda: torch.jit.trace(network(), EXAMPLE),
        r"a TopLevelTracedModule, made by torch.jit.*or torch.jit.trace, and script what comes",
    ),
    "frozen": (lambda: torch.jit.freeze(torch.jit.script(network())), r"made by torch.jit"),
    "a layer scripted": (
        lambda: Holder(torch.jit.script(network())),
        r"the layer 'inner' of the Holder is a .*pass the model with that layer as it was before",
    ),
    "exported": (
        lambda: torch.export.export(network(), (EXAMPLE,)).module(),
        r"traced or exported before, for inputs of one shape \(.*Pass the module that they were",
    ),
    "a layer exported": (
        lambda: Holder(torch.export.export(network(), (EXAMPLE,)).module()),
        r"Pass the module that they were exported from, and export what comes out",
    ),
    "its operations": (
        lambda: torch.export.export(network(), (EXAMPLE,)).graph_module,
        r"traced or exported before.*Pass the module that they were exported from",
    ),
    "dynamic integers": (
        lambda: quantization.quantize_dynamic(network(), {nn.Linear}),
        r"the layer '3.* quantised already.*pass the network in floating point, and Int8\(\)",
    ),
    "integers": (converted, r"the layer 'module.0' of the QuantWrapper is a .*quantised already"),
    "observed": (
        partial(observed, trained=False),
        r"a HistogramObserver, put there by torch.ao.quantization.*as it was before prepare\(\)",
    ),
    "trained for integers": (
        partial(observed, trained=True),
        r"FakeQuantize, put there by torch.ao.quantization.*Int8\(\) in the schedule",
    ),
}
FREE: dict[str, Callable[[], nn.Module]] = {
    "a layer compiled": lambda: Holder(torch.compile(network(), backend="eager")),  # type: ignore[arg-type]
    "spread over devices": lambda: nn.DataParallel(network()),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(network()),
}
COMPILING = {"compiled", "a layer compiled"}
"""Of these PyTorch's compiler is read, which takes seconds."""


def cases(names: Iterable[str]) -> list[Any]:
    return [pytest.param(n, marks=pytest.mark.slow if n in COMPILING else ()) for n in names]


WARNINGS = (
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    "ignore::FutureWarning",
)


@pytest.mark.filterwarnings(*WARNINGS)
@pytest.mark.parametrize("name", cases(FORMS))
def test_what_cannot_be_cut_says_what_to_pass_instead(name: str) -> None:
    make, match = FORMS[name]
    with refuses(match) as caught:
        trace(make(), EXAMPLE)
    assert len(str(caught.value)) < 420


@pytest.mark.filterwarnings(*WARNINGS)
@pytest.mark.parametrize("name", ["scripted", "frozen", "dynamic integers", "integers"])
def test_weights_that_cannot_be_seen_are_not_counted_as_none(name: str) -> None:
    make, match = FORMS[name]
    with refuses(match):
        measure(make(), EXAMPLE)


@pytest.mark.filterwarnings(*WARNINGS)
def test_a_model_spread_over_processes_is_named_with_what_it_holds(tmp_path: Path) -> None:
    distributed = torch.distributed
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(network())
        for call in (trace, partial(fit, budget=Budget(params=300)), measure):
            with refuses(r"a DistributedDataParallel.*\(model.module is what it holds\), and wrap"):
                call(model, example=EXAMPLE)
        with refuses(r"'inner' of the Holder is a Distr.*\(model.inner.module is what it holds"):
            trace(Holder(model), EXAMPLE)
    finally:
        distributed.destroy_process_group()


@pytest.mark.filterwarnings(*WARNINGS)
@pytest.mark.parametrize("name", cases(FREE))
def test_forms_around_a_model_that_let_it_be_cut(name: str) -> None:
    model = FREE[name]()
    smaller = fit(model, example=EXAMPLE, budget=Budget(params=300)).model
    assert type(smaller) is type(model)
    assert measure(smaller, EXAMPLE).params <= 300
