"""The tables of `benchmarks.int8.quantization`."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.common.contest import ratios
from benchmarks.common.tables import listed, page, quartiles, table
from benchmarks.int8.files import NUDGE, Parity
from benchmarks.int8.kernels import Kernels, Operations
from compressor import Cost


class Way(StrEnum):
    """Maker of a file, and the way it was made."""

    FLOAT = "floating point"
    FOLDED = "ours"
    KEPT = "ours, sub-bands apart"
    SEVEN = "ours, 7 bits"
    SIGNED = "ours, signed"
    XNNPACK = "torchao, XNNPACK"
    X86 = "torchao, X86Inductor"


PACKAGES = ("torch", "torchao", "onnx", "onnxruntime")
EXTENSIONS = ("avx2", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""What a processor may have for products of 8-bit integers."""

EQUAL = 0.05
"""Difference of times that is called none."""
AGREE = 0.999
"""Share of clips on which a file and its reference should name the same class."""
STEPS = 1
"""Steps that outputs of a file and its reference should be apart at most."""
LOWEST = 0.1
"""Share of timings that had the quietest neighbours."""
WRONG = 0.01
"""Share of the outputs' extent that folding, which should change nothing, may move them by."""


@dataclass(frozen=True)
class Measured:
    """One network; mappings are by who made a file.

    Attributes:
        shape: Of the input, (channels, frequency, time).
        clips: How many there are to compare on, of `ground`.
        packed_float: Bytes of the container in floating point; `packed` those in integers.
        unpacked: Largest difference of what that container gives back.
        files: Bytes of ONNX files; `exported` those of the stripped ones, before.
        folding: Change of outputs by torchao's folding alone, as a share of their extent, where
            seen.
        failed: What stopped a way.
        there: Operations of the network; `kernels` what runs of them.
        as_float: Clips of which a file says what the one in floating point says.
        seconds: Of one run, turn by turn.
        right: Clips whose class is right where the network learned; else empty.
        elsewhere: On a CPU without VNNI, if emulated: largest difference from the reference in
            shares of its extent, how many of the first clips name the same class, and how many
            there are.
    """

    name: str
    shape: tuple[int, ...]
    cost: Cost
    clips: int
    packed_float: int
    packed: int
    unpacked: float
    files: Mapping[str, int]
    exported: Mapping[str, int]
    folding: float | None
    failed: Mapping[str, str]
    there: Operations
    kernels: Mapping[str, Kernels]
    parity: Mapping[str, Parity]
    as_float: Mapping[str, int]
    seconds: Mapping[str, Sequence[float]]
    ground: str
    right: Mapping[str, int]
    elsewhere: Mapping[str, tuple[float, int, int]]


def report(found: Sequence[Measured], turns: int) -> str:
    """The whole page."""

    def rows(of: Callable[[Measured], Iterable[list[str]]], *head: str) -> str:
        return table(("network", *head), (row for m in found for row in of(m)))

    return page(
        "# int8: bytes, kernels, parity, time",
        _head(found, turns),
        "## Bytes",
        BYTES,
        rows(
            _bytes, "input", "parameters", "MACs", "float32 file", "int8 file", "B a parameter",
            "ONNX float32", "ONNX int8", "sub-bands apart", "torchao, XNNPACK", "stripped",
            "torchao, X86Inductor", "stripped",
        ),
        _larger(found),
        "## Kernels",
        KERNELS,
        rows(_kernels, "file", "layers", "sums", "pools", "conversions", "in floating point"),
        "## Parity",
        PARITY,
        rows(
            _parity, "file", "clips", "largest difference", "same class", "top two close", "nudged",
            "class as in float",
        ),
        _agreement(found),
        _learned(found),
        _failures(found),
        "## Parity on a CPU without VNNI",
        ELSEWHERE,
        rows(_elsewhere, "file", "clips", "largest difference", "same class"),
        "## Time",
        TIME,
        rows(_time, "file", "ms: lowest tenth", "median (quartiles)", *TIMES),
        _verdict(found),
    )  # fmt: skip


def _head(found: Sequence[Measured], turns: int) -> str:
    packages = listed(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    return (
        f"{packages}, Python {platform.python_version()}, {_processor()}, one thread. Networks are "
        "trained for one to five epochs on ESC-50, folds 1 to 4, so that their outputs differ, "
        f"{_names(m.name for m in found if m.right)} for 25 on speech commands, and "
        "calibrated on 64 of these clips; int8 is compared as it is then, without training in "
        "int8. What is compared is said of the clips of fold 5, of all speakers not trained on, or "
        "of the first of them. The tandem is given all 256 rows and picks its 192; Shared-ResNet "
        f"hears one channel twice. Times are of n = {turns} turns."
    )


BYTES = (
    "Float32 and int8 file: what `Result.write` writes before and after `Int8`. ONNX files are "
    "stripped of traces and names; torchao's are given as its exporter writes them too. Ours, "
    "sub-bands apart: SubSpectralNorm stays an operation of its own in floating point "
    "(`fold_bands=False`). Ours, 7 bits (below): `presets.VNNI`, with signed weights. torchao "
    "has a quantiser of its own, X86Inductor; XNNPACK's, of which it keeps a copy for its tests, "
    "puts more of BC-ResNet into integers and is compared everywhere."
)
KERNELS = (
    "What ONNX Runtime runs at default settings, by its own optimised graph. Layers are "
    "convolutions and matrix products, sums those of two results, pools means and maxima over "
    "frequency or time; all as integer kernels, of how many. A convolution folded by sub-band "
    "counts once though it runs in pieces. Conversions: kernels that only go from integers to "
    "floating point or back. SiLU is Sigmoid and Mul, or QuickGelu. Residual Normalization (ASC "
    "and tandem: five, each with two means, a sum and products) and the moments of the tandem's "
    "linear model ours leaves in floating point on purpose; XNNPACK's quantiser rounds inside of "
    "the former."
)
PARITY = (
    "A file in ONNX Runtime against its own reference in PyTorch: largest difference of an output, "
    "in percent of the outputs' extent and, for ours, in steps of the last grid; on how many clips "
    "the largest output is the same; on how many the reference's two largest are at most a step "
    "apart, so that a step can swap them. Nudged: how far the reference itself moves when its "
    f"inputs change by {NUDGE:g} of their size; one value that is rounded otherwise changes others "
    "after it, so that no runtime can be closer than that for certain. Last, on how many of all "
    "clips the class is that of the network in floating point."
)
ELSEWHERE = (
    "The same files and references, run by ONNX Runtime on an emulated CPU: QEMU's Haswell, AVX2 "
    "and no VNNI (`benchmarks.int8.cpus`). Its kernels for signed weights add pairs of products in "
    "16 bits and cut them off. Ours, signed: our file with int8 weights in the place of uint8, "
    "which is what this library wrote before."
)
TIME = (
    "One clip a run, milliseconds of processor time. Files take turns; what neighbours on the "
    "machine do to a timing they do to those beside it, and the lowest tenth of timings had the "
    "quietest neighbours. Times floating point: ratio of the lowest tenths, and of the two timings "
    "of every turn."
)
TIMES = ("times floating point, lowest tenth", "median (quartiles)")


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    words = listing.read_text().split() if listing.is_file() else ()
    there = [name for name in EXTENSIONS if name in words]
    absent = [] if any("vnni" in name for name in there) else ["no VNNI"]
    return f"{platform.machine()} with {', '.join([*there, *absent]) or 'nothing known'}"


def _bytes(m: Measured) -> Iterator[list[str]]:
    yield [
        m.name,
        " x ".join(map(str, m.shape)),
        f"{m.cost.params:,}",
        f"{m.cost.macs / 1e6:.1f} M",
        f"{m.packed_float:,}",
        f"{m.packed:,}",
        f"{m.packed / m.cost.params:.2f}",
        *(_number(m, m.files, way) for way in (Way.FLOAT, Way.FOLDED, Way.KEPT)),
        *(_number(m, of, way) for way in (Way.XNNPACK, Way.X86) for of in (m.exported, m.files)),
    ]


def _larger(found: Sequence[Measured]) -> str:
    def larger(way: Way) -> str:
        there = (m for m in found if way in m.files)
        return _names(m.name for m in there if m.files[Way.FOLDED] > m.files[way])

    return (
        f"Our int8 ONNX file is larger than float32: {larger(Way.FLOAT)}. Larger than torchao's "
        f"stripped one: {larger(Way.XNNPACK)}."
    )


def _names(names: Iterable[str]) -> str:
    return "; ".join(names) or "none"


def _number(m: Measured, counts: Mapping[str, int], way: str) -> str:
    if way in counts:
        return f"{counts[way]:,}"
    if way in m.failed:
        return "fails"
    return "no sub-bands" if way == Way.KEPT else "not run"


def _kernels(m: Measured) -> Iterator[list[str]]:
    for way, kernels in m.kernels.items():
        pairs = zip(astuple(kernels.integer), astuple(m.there), strict=True)
        counts = (f"{integer} of {there}" for integer, there in pairs)
        floating = listed(f"{count} {kind}" for kind, count in kernels.floating.most_common())
        if way != Way.FLOAT:
            yield [m.name, way, *counts, str(kernels.conversions), floating or "none"]


def _parity(m: Measured) -> Iterator[list[str]]:
    yield [m.name, "int8 file, loaded again", "100", f"{m.unpacked:g}", "", "", "", ""]
    for way, found in m.parity.items():
        share = f"{100 * found.largest / found.extent:.2f} %"
        steps = "" if found.step is None else f", {found.steps:.2f} steps"
        yield [
            m.name,
            way,
            str(found.clips),
            share + steps,
            f"{found.same} of {found.clips}",
            "" if found.close is None else f"{found.close}",
            "" if found.nudged is None else f"{found.nudged / found.step:.0f} steps",
            f"{m.as_float[way]} of {m.clips}",
        ]


def _agreement(found: Sequence[Measured]) -> str:
    ours = {m.name: m.parity[Way.FOLDED] for m in found}
    less = (f"{name} ({p.share:.2%})" for name, p in ours.items() if p.share < AGREE)
    more = (f"{name} ({p.steps:.0f})" for name, p in ours.items() if p.steps > STEPS + 0.5)
    return (
        f"Ours, same class on fewer than {AGREE:.1%} of clips: {_names(less)}. Ours, more than "
        f"{STEPS} steps apart: {_names(more)}."
    )


def _learned(found: Sequence[Measured]) -> str:
    lines = [
        f"Right on {m.name}'s {m.clips} clips of {m.ground}: "
        + ", ".join(f"{way} {count} ({count / m.clips:.2%})" for way, count in m.right.items())
        for m in found
        if m.right
    ]
    return "\n\n".join(lines) or "No network was trained to the end."


def _elsewhere(m: Measured) -> Iterator[list[str]]:
    for way, (share, same, clips) in m.elsewhere.items():
        yield [m.name, way, str(clips), f"{share:.2%}", f"{same} of {clips}"]


def _failures(found: Sequence[Measured]) -> str:
    """List what torchao refuses, and what it changes before anything is rounded."""
    failed = [f"* {m.name}, {way}: {why}" for m in found for way, why in m.failed.items()]
    wrong = [
        f"* {m.name}: wrong without a word. Normalisation, folded by `prepare_pt2e` with a "
        f"quantiser that was told nothing, moves outputs by {100 * m.folding:.0f} % of their "
        "extent: convolutions that share a weight have normalisations of their own, and all are "
        "folded into the one weight. With `prepare_qat_pt2e` it happens at the conversion."
        for m in found
        if m.folding is not None and m.folding > WRONG
    ]
    lines = [*failed, *wrong] or ["* nowhere"]
    return "\n".join(["Where torchao stops or is wrong:", "", *lines])


def _time(m: Measured) -> Iterator[list[str]]:
    for way, seconds in m.seconds.items():
        took = [1000 * s for s in seconds]
        lowest, paired = _against_float(m, way)
        against = [""] * len(TIMES) if way == Way.FLOAT else [f"{lowest:.2f}", quartiles(paired)]
        yield [m.name, way, f"{np.quantile(took, LOWEST):.2f}", quartiles(took), *against]


def _against_float(m: Measured, way: str) -> tuple[float, list[float]]:
    """Seconds against those in floating point: of the lowest tenths, and paired by turn."""
    ours, theirs = m.seconds[way], m.seconds[Way.FLOAT]
    return float(np.quantile(ours, LOWEST) / np.quantile(theirs, LOWEST)), ratios(ours, theirs)


def _verdict(found: Sequence[Measured]) -> str:
    """Say where ours is slower than floating point and where faster: by median and lowest tenth."""
    groups: dict[str, list[str]] = {"slower": [], "about equal": [], "faster": []}
    for m in found:
        lowest, paired = _against_float(m, Way.FOLDED)
        times = lowest, median(paired)
        slower, faster = min(times) > 1 + EQUAL, max(times) < 1 - EQUAL
        groups["slower" if slower else "faster" if faster else "about equal"].append(m.name)
    said = (f"{word} for {_names(names)}" for word, names in groups.items())
    return (
        f"Ours in int8, against floating point, is {', '.join(said)}. Slower or faster: by more "
        f"than {EQUAL:.0%}, in the lowest tenth and the median."
    )
