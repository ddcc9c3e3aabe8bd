"""int8 as files: bytes, kernels, parity and time, beside floating point and torchao, in one run.

    python -m benchmarks.int8.quantization  # tables into quantization.md

Every network is trained for a moment on real sound (`benchmarks.int8.nets`), calibrated and
converted, without training in int8. torchao gets the same network and clips
(`benchmarks.int8.pt2e`). Files run in ONNX Runtime at default settings, but for one thread; where
`qemu-x86_64` is installed, also on another CPU (`benchmarks.int8.cpus`). Some twenty minutes of one
processor.
"""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from time import process_time

import torch
from torch import Tensor

from benchmarks.common.command import parser, started
from benchmarks.common.contest import alternate
from benchmarks.common.tables import publish
from benchmarks.int8 import cpus, files, pt2e
from benchmarks.int8.files import File, said
from benchmarks.int8.kernels import operations, ran
from benchmarks.int8.nets import CASES, SPEECH, Case, Trained, trained
from benchmarks.int8.page import Measured, Way, report
from compressor import measure
from compressor.export.onnx import onnx_bytes
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.network.integer import IntConv
from compressor.quantization.presets import VNNI

FEW = 100
"""Clips that references are asked about which are slow or not the point."""
FEWER = 40
"""Clips on an emulated CPU, which takes twenty times as long."""
LEAST = 0.01
"""Seconds that one timing lasts: shorter runs are repeated for the mean."""


def made_of(case: Case, found: Trained, whole: Network) -> dict[str, File | str]:
    """All files of a network, by who made them; what stopped torchao where it failed."""
    ours = partial(files.ours, whole, found.calibration)
    theirs = partial(files.theirs, found.model, found.calibration)
    made: dict[str, File | str] = {Way.FLOAT: File(onnx_bytes(whole), None, whole)}
    folded = made[Way.FOLDED] = ours(fold_bands=True)
    made[Way.SEVEN] = ours(fold_bands=True, preset=VNNI)
    integers = (m for m in folded.reference.modules() if isinstance(m, IntConv))
    if any(m.scale.dim() == 2 for m in integers):  # scales of its own in sub-bands
        made[Way.KEPT] = ours(fold_bands=False)
    made[Way.XNNPACK] = theirs(pt2e.xnnpack)
    if case.both:
        made[Way.X86] = theirs(pt2e.x86)
    return made


def measured(case: Case, turns: int) -> Measured:
    """Everything about one network."""
    found = trained(case)
    whole = to_network(found.model)
    made = made_of(case, found, whole)
    sound = {name: file for name, file in made.items() if isinstance(file, File)}
    there = operations(whole)
    outputs = {name: said(files.session(file.content), found.clips) for name, file in sound.items()}
    right = {name: int((out.argmax(1) == found.labels).sum()) for name, out in outputs.items()}
    reference = sound[Way.FOLDED].reference
    packed = container.pack(reference)
    runs = {n: partial(files.session(file.content), found.clips[:1]) for n, file in sound.items()}
    first, unpacked = found.clips[:FEW], container.unpack(packed)
    theirs = outputs.get(Way.XNNPACK)
    strange = theirs is not None and 2 * same(theirs, outputs[Way.FLOAT]) <= len(theirs)
    return Measured(
        name=case.name,
        shape=tuple(whole.example_input_array.shape[1:]),
        cost=measure(found.model),
        clips=len(found.clips),
        packed_float=len(container.pack(whole)),
        packed=len(packed),
        unpacked=float((said(unpacked, first) - said(reference, first)).abs().max()),
        files={name: len(file.content) for name, file in sound.items()},
        exported={name: file.exported for name, file in sound.items() if file.exported},
        folding=pt2e.folding(found.model, found.clips[:8]) if strange else None,
        failed={name: file for name, file in made.items() if isinstance(file, str)},
        there=there,
        kernels={name: ran(file.content, there) for name, file in sound.items()},
        parity={
            n: files.parity(sound[n], outputs[n], found.clips, None if n == Way.FOLDED else FEW)
            for n in sound
            if n != Way.FLOAT
        },
        as_float={n: same(out, outputs[Way.FLOAT]) for n, out in outputs.items() if n != Way.FLOAT},
        seconds=alternate(runs, n=turns, least=LEAST, device=torch.device("cpu")),
        ground=case.ground.name,
        right=right if case.ground is SPEECH else {},
        elsewhere=elsewhere(sound, found.clips[:FEWER]),
    )


def elsewhere(sound: dict[str, File], clips: Tensor) -> dict[str, tuple[float, int, int]]:
    """Every file in integers on a CPU without VNNI, against its own reference."""
    if shutil.which(cpus.EMULATOR) is None:
        return {}
    found: dict[str, tuple[float, int, int]] = {}
    contents = {name: file.content for name, file in sound.items() if name != Way.FLOAT}
    contents[Way.SIGNED] = files.signed(sound[Way.FOLDED].content)
    for name, content in contents.items():
        wanted = said(sound[Way.FOLDED if name == Way.SIGNED else name].reference, clips)
        got = cpus.said_without_vnni(content, clips)
        extent = float(wanted.max() - wanted.min())
        share = float((got - wanted).abs().max()) / extent
        found[name] = share, same(got, wanted), len(clips)
    return found


def same(outputs: Tensor, others: Tensor) -> int:
    """Clips of which two say the same."""
    return int((outputs.argmax(1) == others.argmax(1)).sum())


def main() -> None:
    """Measure, print and write."""
    made = parser(__doc__)
    made.add_argument("--turns", type=int, default=100, help="timings of every file")
    made.add_argument("--only", default="", help="networks whose name has this; nothing is kept")
    options = started(made)
    logging.disable(logging.WARNING)  # the exporter's and torchao's remarks on what they import
    found: list[Measured] = []
    for case in (case for case in CASES if options.only in case.name):
        start = process_time()
        found.append(measured(case, options.turns))
        print(f"{case.name}: {process_time() - start:.0f} CPU s", flush=True)
    path = Path(__file__).with_suffix(".md")
    publish(report(found, options.turns), None if options.only else path)


if __name__ == "__main__":
    main()
