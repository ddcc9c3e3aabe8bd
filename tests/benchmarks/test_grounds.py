"""The table of dense networks says what the records say; draws of clips are those of a seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.accuracy import grounds
from benchmarks.accuracy.grounds import NETS, WAYS, Net, inputs, labelled, report
from benchmarks.common.records import Record, Records, read
from compressor import measure
from recipes.training.loop import accuracy


def record(way: str, seed: int, validation: float) -> Record:
    return {
        "net": "TC-ResNet", "way": way, "seed": seed, "params": 10, "macs": 20, "epochs": 5,
        "lr": 0.004, "train": 1.0, "validation": validation, "test": 0.5, "CPU seconds": 3,
    }  # fmt: skip


def test_gains_are_paired_by_seed() -> None:
    """A run that was trained on and has no dense record is left out."""
    found = [record("dense", 0, 0.90), record("dense", 1, 0.80)]
    found += [record(WAYS[1], 1, 0.82), record(WAYS[1], 0, 0.90), record(WAYS[2], 2, 0.99)]
    page = report(Records(tuple(found)))
    assert "TC-ResNet (2)" in page
    assert "85.0 (5.0)" in page
    assert "| +1.0 (1.0) | - |" in page
    assert "BC-ResNet (" not in page


def test_seconds_are_shown_where_all_of_a_training_was_seen() -> None:
    seen = record("dense", 0, 0.90)
    assert report(Records((seen,))).rstrip().endswith("| 3 |")
    assert report(Records(({**seen, "CPU seconds": None},))).rstrip().endswith("| - |")


def test_draws_are_those_of_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(300.0).reshape(300, 1, 1, 1)

    def hears(_: str) -> tuple[Tensor, Tensor]:
        return x, x.flatten().long()

    net = NETS["TC-ResNet"]
    monkeypatch.setitem(
        grounds.NETS, "N", Net(net.build, hears, net.classes, net.plan, net.training)
    )
    pairs = labelled("N", 3)
    assert [len(part) for part, _ in pairs] == [64] * 4
    assert all(torch.equal(part.flatten().long(), y) for part, y in pairs)
    assert torch.equal(torch.cat(inputs("N", 3)), torch.cat([part for part, _ in pairs]))
    assert not torch.equal(inputs("N", 3)[0], inputs("N", 4)[0])


@pytest.mark.parametrize("net", NETS)
def test_every_network_takes_its_example(net: str) -> None:
    model = NETS[net].build()
    assert measure(model).params < 400_000
    assert model(model.example_input_array.expand(2, -1, -1, -1)).shape == (2, NETS[net].classes)


KEPT = [(net, seed) for net in NETS for seed in range(5) if grounds.file_of(net, seed).is_file()]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("net", "seed"), KEPT)
def test_weights_are_those_that_the_records_are_of(net: str, seed: int) -> None:
    """A little apart on another CPU: of a few hundred clips one or two may lie on the border."""
    found = read(grounds.WEIGHTS.with_name("grounds.jsonl"), range(5))
    said = found.values("validation", net=net, way="dense", seed=seed)
    measured = accuracy(grounds.load(net, seed), *NETS[net].hears("validation"))
    assert said == pytest.approx([measured], abs=0.0051)
