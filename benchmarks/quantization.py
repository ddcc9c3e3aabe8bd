"""int8 as files: bytes, kernels, parity and time, beside floating point and torchao, in one run.

    python -m benchmarks.quantization       # tables into benchmarks/quantization.md

Every network is trained for a moment on real sound (`benchmarks.int8_nets`), calibrated and
converted, without training in int8, which would change values and nothing that is compared here.
torchao gets the same network and the same clips (`benchmarks.int8_rival`). Files run in ONNX
Runtime at default settings, but for one thread; where `qemu-x86_64` is installed, also on a CPU
that this is not (`benchmarks.int8_cpus`). Some twenty minutes of one processor.
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path
from time import process_time

import torch
from torch import Tensor

from benchmarks import int8_rival as rival
from benchmarks.contest import alternate
from benchmarks.int8_cpus import emulated, said_without_vnni
from benchmarks.int8_files import (
    File,
    Parity,
    has_bands,
    in_floating_point,
    ours,
    parity,
    said,
    said_by,
    session,
    signed,
    theirs,
)
from benchmarks.int8_kernels import operations, ran
from benchmarks.int8_nets import CASES, SPEECH, Case, Trained, trained
from benchmarks.int8_tables import (
    FLOAT,
    FOLDED,
    KEPT,
    SEVEN,
    SIGNED,
    X86,
    XNNPACK,
    Measured,
    report,
)
from compressor import measure
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.quantization.presets import VNNI
from compressor.storage import write_bytes

TABLE = Path(__file__).with_suffix(".md")
FEW = 100
"""Clips that references are asked about which are slow or not the point."""
FEWER = 40
"""Clips on an emulated CPU, which takes twenty times as long."""
LEAST = 0.01
"""Seconds that one timing lasts: shorter runs are repeated for the mean."""


def files(case: Case, found: Trained, whole: Network) -> dict[str, File | str]:
    """All files of a network, by who made them; what stopped torchao where it failed."""
    made: dict[str, File | str] = {FLOAT: in_floating_point(whole)}
    folded = ours(whole, found.calibration, fold_bands=True)
    made[FOLDED] = folded
    made[SEVEN] = ours(whole, found.calibration, fold_bands=True, preset=VNNI)
    if has_bands(folded.reference):
        made[KEPT] = ours(whole, found.calibration, fold_bands=False)
    made[XNNPACK] = theirs(found.model, found.calibration, rival.xnnpack)
    if case.both:
        made[X86] = theirs(found.model, found.calibration, rival.x86)
    return made


def measured(case: Case, turns: int) -> Measured:
    """Everything about one network."""
    found = trained(case)
    whole = to_network(found.model)
    made = files(case, found, whole)
    sound = {name: file for name, file in made.items() if isinstance(file, File)}
    there = operations(whole)
    outputs = {name: said(file.content, found.clips) for name, file in sound.items()}
    packed = container.pack(sound[FOLDED].reference)
    return Measured(
        name=case.name,
        shape=tuple(whole.example_input_array.shape[1:]),
        cost=measure(found.model),
        clips=len(found.clips),
        packed_float=len(container.pack(whole)),
        packed=len(packed),
        unpacked=unpacked(sound[FOLDED], packed, found.clips[:FEW]),
        files={name: len(file.content) for name, file in sound.items()},
        exported={name: file.exported for name, file in sound.items() if file.exported},
        folding=folding(found, outputs),
        failed={name: file for name, file in made.items() if isinstance(file, str)},
        there=there,
        kernels={name: ran(file.content, there) for name, file in sound.items()},
        parity=parities(sound, outputs, found.clips),
        as_float={n: same(out, outputs[FLOAT]) for n, out in outputs.items() if n != FLOAT},
        seconds=timed(sound, found.clips[:1], turns),
        ground=case.ground.name,
        right=right(outputs, found.labels) if case.ground is SPEECH else {},
        elsewhere=elsewhere(sound, found.clips[:FEWER]),
    )


def folding(found: Trained, outputs: dict[str, Tensor]) -> float | None:
    """What torchao's folding alone does to outputs, where it hardly ever names the same class."""
    if 2 * same(outputs[XNNPACK], outputs[FLOAT]) > len(found.clips):
        return None
    return rival.folding(found.model, found.clips[:8])


def unpacked(file: File, packed: bytes, clips: Tensor) -> float:
    """Largest difference between a network and what its container gives back."""
    again = container.unpack(packed)
    return float((said_by(again, clips) - said_by(file.reference, clips)).abs().max())


def parities(
    sound: dict[str, File], outputs: dict[str, Tensor], clips: Tensor
) -> dict[str, Parity]:
    """Every file in integers against its own reference."""
    most = {name: len(clips) if name == FOLDED else FEW for name in sound if name != FLOAT}
    return {name: parity(sound[name], outputs[name], clips, n) for name, n in most.items()}


def right(outputs: dict[str, Tensor], labels: Tensor) -> dict[str, int]:
    """Clips that files name the class of."""
    return {name: int((out.argmax(1) == labels).sum()) for name, out in outputs.items()}


def elsewhere(sound: dict[str, File], clips: Tensor) -> dict[str, tuple[float, int, int]]:
    """Every file in integers on a CPU without VNNI, against its own reference."""
    if not emulated():
        return {}
    found: dict[str, tuple[float, int, int]] = {}
    contents = {name: file.content for name, file in sound.items() if name != FLOAT}
    contents[SIGNED] = signed(sound[FOLDED].content)
    for name, content in contents.items():
        wanted = said_by(sound[FOLDED if name == SIGNED else name].reference, clips)
        got = said_without_vnni(content, clips)
        extent = float(wanted.max() - wanted.min())
        share = float((got - wanted).abs().max()) / extent
        found[name] = share, same(got, wanted), len(clips)
    return found


def same(outputs: Tensor, others: Tensor) -> int:
    """Clips of which two say the same."""
    return int((outputs.argmax(1) == others.argmax(1)).sum())


def timed(sound: dict[str, File], clip: Tensor, turns: int) -> dict[str, list[float]]:
    """Processor seconds of one run of every file on one clip, turn by turn."""
    runs = {name: partial(session(file.content), clip) for name, file in sound.items()}
    return alternate(runs, n=turns, least=LEAST, device=torch.device("cpu"))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--turns", type=int, default=100, help="timings of every file")
    parser.add_argument("--only", default="", help="networks whose name has this; nothing is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # the exporter's and torchao's remarks on what they import
    found: list[Measured] = []
    for case in CASES:
        if options.only in case.name:
            start = process_time()
            found.append(measured(case, options.turns))
            print(f"{case.name}: {process_time() - start:.0f} CPU s", flush=True)
    text = report(found, options.turns)
    if not options.only:
        write_bytes(TABLE, text.encode())
    print(text)


if __name__ == "__main__":
    main()
