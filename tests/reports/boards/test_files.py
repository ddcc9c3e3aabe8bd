from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressor.export.reading.contents import unpack
from compressor.export.reading.needs import arena
from compressor.export.tflite import tflite_bytes
from compressor.network import to_network
from compressor.network.file import container
from compressor.reports.boards.files import given
from models import DSCNN
from tests.helpers.micro_nets import integers
from tests.helpers.tflite_files import residual


def test_a_tflite_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(residual())
    assert given(path).operators == unpack(residual(), str(path)).operators


@pytest.mark.slow
def test_a_stored_network_is_written_with_a_plan(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = integers(DSCNN(5, 16, 2))
    container.write(network, tmp_path / "network.safetensors")
    plain = unpack(tflite_bytes(network))
    for path in (tmp_path / "network.safetensors", tmp_path):
        found = given(path)
        assert found.name == str(path)
        assert [op.name for op in found.operators] == [op.name for op in plain.operators]
        assert found.plan
        assert arena(found).head <= arena(plain).head


def test_what_no_microcontroller_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no network\.safetensors: a result without Int8"):
        given(tmp_path)
    model = DSCNN(5, 16, 2).eval()
    network = to_network(model, (model.example_input_array,))
    container.write(network, tmp_path / "float.net")
    with pytest.raises(ValueError, match="TFLM"):
        given(tmp_path / "float.net")
    (tmp_path / "cut.net").write_bytes((tmp_path / "float.net").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.net"):
        given(tmp_path / "cut.net")
