"""The page: what a file takes, how runtimes agree, and what other converters made once."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from benchmarks.common.records import Record, Records
from benchmarks.common.tables import page, table, versions
from benchmarks.microcontroller.nets import NETS
from benchmarks.microcontroller.runtimes import NPU

THEIRS = (
    ("a prototype of this writer", "0.3 MB (flatbuffers)", "121,248", "1.39", "135,232",
     "33", "as trained: no second calibration"),
    ("onnx2tf 1.29.24", "2.6 GB, 79 packages", "153,112", "1.76", "139,520",
     "33", "quantises the float network anew; arena: its bound"),
    ("litert-torch 0.10.0", "2.1 GB, 72 packages", "164,496", "1.89", "139,520",
     "34, one a TRANSPOSE", "quantises anew; equal to XNNPACK in TFLM on 10 % of outputs"),
)  # fmt: skip
"""Measured once, by hand, on a network like MobileNetV2 of 87,210 parameters, 3 x 64 x 64. The
arenas are TensorFlow Lite Micro's own plans, where nothing else is said."""


def report(found: Records) -> str:
    """The page of the records that there are."""
    known = [record for name in NETS for record in found.of(net=name)]
    sizes = ("network", "parameters", "file, bytes", "bytes a parameter", "operators",
             "arena, its own planner", "arena, our plan", "saved", "bound", "stays, here",
             "stays, estimate for 32 bits")  # fmt: skip
    agree = ("network", "TFLM: equal", "LiteRT: equal", "most steps", "same largest output",
             f"vela, {NPU}: cycles")  # fmt: skip
    theirs = ("converter", "to install", "file, bytes", "bytes a parameter", "arena, bytes",
              "operators", "")  # fmt: skip
    arm = {f"vela {record['vela']}" for record in known if record["vela"]}
    packages = (*map(_installed, ("tflite-micro", "ai-edge-litert")), *sorted(arm))
    return page(
        "# Networks for TensorFlow Lite Micro",
        f"{versions(*packages, threads='')}. Random weights, statistics of normalisation from "
        "random inputs, `Int8` with the preset `TFLM` and no training: what a file takes does not "
        "depend on weights, and agreement is the worse for them, as margins between outputs are "
        "small.",
        "## Memory",
        "Arena: bytes of activations that TensorFlow Lite Micro itself recorded, with its own "
        "planner and with the plan that the file has. Bound: the largest set of tensors that are "
        "needed at one time. What stays beside it was recorded on this machine, of 64 bits.",
        table(sizes, map(_sizes, known)),
        "## Agreement with the integer reference",
        "Shares of single outputs, of 60 random inputs each. LiteRT (XNNPACK) rounds once where "
        "TensorFlow Lite Micro rounds twice: it is no judge of a device.",
        table(agree, map(_agreement, known)),
        "## Other converters",
        "Not run here: measured once, apart, on a network like MobileNetV2 of 87,210 parameters "
        "for pictures of 64 x 64, with a prototype of this writer, before plans of our own and "
        "padding by kernels, which brought its arena to 81,920 bytes. All three in integers "
        "throughout.",
        table(theirs, THEIRS),
    )


def _installed(name: str) -> str:
    """A package with its version; nothing where it is not installed."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _sizes(record: Record) -> list[str]:
    saved = 100 * (1 - record["planned"] / record["greedy"])
    floats = f", {record['floating']} float" if record["floating"] else ""
    return [
        record["net"],
        f"{record['params']:,}",
        f"{record['file']:,}",
        f"{record['file'] / record['params']:.2f}",
        f"{record['operators']}{floats}",
        *(f"{record[key]:,}" for key in ("greedy", "planned")),
        f"{saved:.0f} %",
        *(f"{record[key]:,}" for key in ("bound", "tail here", "tail")),
    ]


def _agreement(record: Record) -> list[str]:
    other = record["LiteRT"]
    shown = ["not installed", "", ""]
    if other is not None:
        shown = [_percent(other["equal"]), str(other["steps"]), _percent(other["classes"])]
    cycles = "not installed" if record["cycles"] is None else f"{record['cycles']:,}"
    return [record["net"], _percent(record["TFLM"]["equal"]), *shown, cycles]


def _percent(share: float) -> str:
    """Never 100 % for less than all."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"
