"""Any network that a `.tflite` can hold, any cap, any method: the file of what is left fits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor import Budget, Int8, Prune, Recalibrate, fit, trace
from compressor.allocation.memory import Memory
from compressor.export.micro.arena import lifetimes, ram
from compressor.export.micro.thrift import frugal
from compressor.export.reading.contents import unpack
from compressor.export.reading.needs import arena
from compressor.graph.graph import Graph
from compressor.network import to_network
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from compressor.run.file_size import Stored
from compressor.run.working_memory import memory
from models import BCResNet, DCASEBaseline, MobileNet, ResidualCNN
from tests.helpers.cases import cases
from tests.helpers.int8_nets import calibrated, examples, trained
from tests.helpers.structures import any_widths
from tests.zoo.micro import MICRO


@cache
def known(name: str) -> tuple[nn.Module, Graph, Memory]:
    torch.manual_seed(3)
    model = trained(MICRO[name](), negative=0.3)
    graph = trace(model, model.example_input_array)
    return model, graph, memory(Stored(model, (model.example_input_array,), graph, {}, {}))


def reachable(graph: Graph, held: Memory, share: float) -> int:
    """A cap that is a share of the way from the smallest peak to that of the whole."""
    low = np.array([axis.size if axis.frozen else 1 for axis in graph.axes], dtype=np.int64)
    least, whole = held(low), held(graph.sizes)
    return int(least + share * (whole - least))


@pytest.mark.slow
@settings(max_examples=cases(60, 600), deadline=None)
@given(
    st.sampled_from(sorted(MICRO)),
    st.floats(0, 1),
    st.floats(0.2, 1),
    st.sampled_from(["dual", "uniform", "exact"]),
    st.integers(0, 99),
)
def test_the_file_of_what_is_left_is_within_the_cap(
    name: str, share: float, of_macs: float, method: str, seed: int
) -> None:
    model, graph, held = known(name)
    cap = reachable(graph, held, share)
    low = any_widths(graph, seed).widths  # caps that some structure meets together
    macs = max(int(of_macs * graph.macs(graph.sizes)), graph.macs(np.minimum(low, graph.sizes)))
    low = np.array([axis.size if axis.frozen else 1 for axis in graph.axes], dtype=np.int64)
    budget = Budget(ram=cap, macs=max(macs, graph.macs(low), 1))
    report = (result := fit(model, budget=budget, schedule=[Prune(method=method)])).report
    example = model.example_input_array
    program = frugal(convert(calibrated(to_network(result.model, (example,)), TFLM)))
    assert ram(program) == report.after.ram
    assert ram(program) <= cap
    assert report.memory is not None
    assert report.memory.arena <= cap
    rooms = [tensor.room for tensor in lifetimes(program).values()]
    assert all(room % 16 == 0 for room in rooms)
    assert report.after.macs <= budget.caps["macs"]


NETS = {
    "ResNet": (lambda: ResidualCNN(mels=32, frames=40), 0.5),
    "BC-ResNet": (lambda: BCResNet(1, 12, 5, mels=40, frames=21), 0.6),
    "baseline": (lambda: DCASEBaseline(2022), 0.5),
    "MobileNet": (lambda: MobileNet(size=48), 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_the_interpreter_measures_the_cost(name: str, tmp_path: Path) -> None:
    from tests.helpers.tflite_files import recorded  # noqa: PLC0415 - skips without interpreter

    make, share = NETS[name]
    model = trained(make(), negative=0.3)
    data = [(examples(model, 4, seed), torch.tensor([0, 1, 0, 1])) for seed in (1, 2)]
    graph = trace(model, model.example_input_array)
    held = memory(Stored(model, (model.example_input_array,), graph, {}, {}))
    cap = reachable(graph, held, share)
    schedule = [Prune(method="dual"), Recalibrate(), Int8(epochs=0, preset=TFLM)]
    result = fit(model, data, budget=Budget(ram=cap), schedule=schedule)
    result.export(tmp_path / "model.tflite")
    content = (tmp_path / "model.tflite").read_bytes()
    assert recorded(content)["head"] == result.report.after.ram <= cap < held(graph.sizes)
    assert arena(unpack(content)).head == result.report.after.ram
