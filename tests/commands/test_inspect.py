"""`inspect` says what can go, and how far."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import compressor
from compressor.__main__ import main
from compressor.commands.words import named
from compressor.network.file import container
from tests.helpers.micro_nets import integers

Capture = pytest.CaptureFixture[str]
NET = ["inspect", "mine:Net", "--input", "1,1,8,8"]


def test_groups_and_the_least(here: Path, capsys: Capture) -> None:
    """The least is what a network of one channel a layer costs; a channel what one fewer saves."""
    del here
    assert main(NET) == 0
    out = capsys.readouterr().out
    net, zeros = named("mine:Net"), torch.zeros(1, 1, 8, 8)
    whole, fewer = (compressor.measure(net(width), zeros) for width in (8, 7))
    row = next(line for line in out.splitlines() if line.startswith("| 0 "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    saved = whole.params - fewer.params, whole.macs - fewer.macs
    assert cells == ["0", "8", "0", *(f"{n:,}" for n in saved), "yes"]
    assert "Net: 2 groups, 20 channels, of which 20 may go." in out
    assert "Kept whole: 7 (it is the network's output)." in out
    assert f"Now: {whole.params:,} parameters, {whole.macs:,} MACs, {whole.bytes:,} bytes." in out

    class Least(torch.nn.Sequential):
        def __init__(self) -> None:
            super().__init__(*net(1))
            self[3], self[7] = torch.nn.Conv2d(1, 1, 3), torch.nn.Linear(1, 3)

    least = compressor.measure(Least(), zeros)
    assert f"go: {least.params:,} parameters, {least.macs:,} MACs, {least.bytes:,} byt" in out


def test_a_network_of_integers_has_nothing_to_remove(here: Path, capsys: Capture) -> None:
    container.write(integers(named("mine:made")), here / "small.safetensors")
    assert main(["inspect", "small.safetensors"]) == 2
    assert "its weights are 8-bit integers, made by Int8()" in capsys.readouterr().err


def test_layers_that_are_kept(here: Path, capsys: Capture) -> None:
    del here
    assert main([*NET, "--keep", "0"]) == 0
    out = capsys.readouterr().out
    assert "20 channels, of which 12 may go." in out
    assert "Kept whole: 0 (asked for by keep=)." in out
    assert main([*NET, "--keep", "77"]) == 2
    assert "keep='77' names no layer" in capsys.readouterr().err
