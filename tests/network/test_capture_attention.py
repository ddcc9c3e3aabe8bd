"""Attention lies in memory as its device has it: what a network makes of it runs on any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressor.network import to_network
from compressor.network.file import container
from tests.zoo.scaled import SCALED


@pytest.mark.parametrize("name", SCALED)
def test_a_file_of_it_comes_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = SCALED[name]().eval(), torch.randn(3, 6, 10)
    network = to_network(model)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), model(x))
        container.write(network, tmp_path / "file")
        torch.testing.assert_close(container.read(tmp_path / "file")(x), model(x))


def test_a_view_of_what_is_no_attention_stays_one() -> None:
    steps = [str(step.op) for step in to_network(SCALED["causal"]()).steps]
    assert steps.count("aten.view.default") == 3
    assert steps.count("aten.reshape.default") == 1
