"""The table of pitch networks: which runs there are, and what stands in a row."""

from __future__ import annotations

from benchmarks.accuracy.pitch import report, wanted
from benchmarks.common.records import Record, Records

NUMBERS = {"clean": 90.0, "noisy": 80.0, "median": 5.0, "int8 clean": 89.0, "int8 noisy": 79.0}


def record(way: str, share: str, seed: int, clean: float) -> Record:
    key = {"network": "tiny", "share": share, "way": way, "seed": seed}
    sizes = {"params": 1000, "macs": 20_000, "bytes": 1500, "ONNX bytes": 2500}
    return {**key, **NUMBERS, **sizes, "clean": clean, "CPU seconds": 12.0}


def test_the_dense_network_is_run_once_and_trained_on_for_every_seed() -> None:
    keys = [run.key for run in wanted(["tiny"], ["1/2"], ["dense", "cut", "ten epochs"], [0, 1])]
    found = [(key["share"], key["way"], key["seed"]) for key in keys]
    assert len(set(found)) == len(found) == 7
    assert [k for k in found if k[0] == "1"] == [
        ("1", "dense", 0), ("1", "ten epochs", 0), ("1", "ten epochs", 1),
    ]  # fmt: skip


def test_a_row_has_means_over_the_seeds() -> None:
    made = Records(
        (record("dense", "1", 0, 95), *(record("cut", "1/2", s, 60 + s) for s in (0, 2)))
    )
    text = report(made)
    assert "| tiny: dense | 1,000 | 20,000 | 95.0 |" in text
    assert "| tiny, 1/2: cut | 1,000 | 20,000 | 61.0 (1.0) | 80.0 (0.0) |" in text
    assert "Seeds of the tones: tiny 0, 2;" in text
