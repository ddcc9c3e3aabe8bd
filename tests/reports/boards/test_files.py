from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressor.export.reading.contents import unpack
from compressor.export.tflite import tflite_bytes, write
from compressor.network import to_network
from compressor.network.file import container
from compressor.reports.boards.files import given
from compressor.reports.result import NETWORK
from models import DSCNN
from tests.helpers.micro_nets import integers
from tests.helpers.tflite_files import residual
from tests.zoo.micro import MICRO


def test_a_tflite_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(residual())
    assert given(path).operators == unpack(residual(), str(path)).operators


@pytest.mark.parametrize("name", ["grouped", "joined"])
def test_a_stored_network_is_the_file_that_export_writes(tmp_path: Path, name: str) -> None:
    """Byte for byte: its size, its plan, and every operator."""
    torch.manual_seed(1)
    network = integers(MICRO[name]())
    container.write(network, tmp_path / NETWORK)
    write(network, tmp_path / "exported")
    wanted = (tmp_path / "exported").read_bytes()
    for path in (tmp_path / NETWORK, tmp_path):
        found = given(path)
        assert found.name == str(tmp_path / NETWORK)
        options = found.operators[0].options
        assert options is not None
        assert options.content.data == wanted
        assert found.plan


def test_a_kernel_that_pads_is_counted_as_it_is_exported(tmp_path: Path) -> None:
    """A depthwise layer of stride 2 pads by its kernel in what `export` writes, not by a copy."""
    torch.manual_seed(1)
    network = integers(MICRO["depthwise"]())
    container.write(network, tmp_path / "network")
    size = write(network, tmp_path / "exported")
    assert given(tmp_path / "network").size == size != len(tflite_bytes(network))


def test_in_a_folder_for_the_firmware_it_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(residual())
    assert given(tmp_path) == unpack(residual(), str(path))


def test_what_no_microcontroller_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no network\.safetensors: a result without Int8"):
        given(tmp_path)
    model = DSCNN(5, 16, 2).eval()
    network = to_network(model, (model.example_input_array,))
    container.write(network, tmp_path / "float.net")
    with pytest.raises(ValueError, match="TFLM"):
        given(tmp_path / "float.net")
    with pytest.raises(ValueError, match="no file is named"):
        given("")
    (tmp_path / "cut.net").write_bytes((tmp_path / "float.net").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.net"):
        given(tmp_path / "cut.net")
