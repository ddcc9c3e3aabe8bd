"""Networks for TensorFlow Lite Micro: bytes, working memory, agreement of runtimes.

    python -m benchmarks.microcontroller --run [--net DS-CNN]  # a killed call goes on
    python -m benchmarks.microcontroller                       # the page, microcontroller.md

Random weights. tflite-micro is needed; LiteRT (ai-edge-litert) and vela (ethos-u-vela, which has an
environment of its own: `--vela .../bin/vela`) are asked where they are installed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from benchmarks.common.command import recording, started
from benchmarks.common.records import Record, every, make, read
from benchmarks.common.tables import publish
from benchmarks.microcontroller.nets import NETS, inputs, integers
from benchmarks.microcontroller.page import report
from benchmarks.microcontroller.runtimes import agreement, estimate, litert, micro, recorded
from compressor.export.micro.arena import plan, ram
from compressor.export.micro.thrift import frugal
from compressor.export.micro.writing import written
from compressor.export.reading.contents import unpack
from compressor.export.reading.needs import tail

RECORDS = Path(__file__).with_name("microcontroller.jsonl")

COMPARED = 60
"""Random inputs whose outputs are compared."""

SEEDS = (0,)


def run(net: str, seed: int, vela: str | None = None, compared: int = COMPARED) -> Record:
    """Everything about one network."""
    torch.manual_seed(seed)
    model = NETS[net]()
    whole = integers(model, seed)
    program = frugal(whole)
    plain, content = written(program), written(program, plan(program))
    x = inputs(model, compared, seed + 1)
    given = [program.encoded([example[None].numpy()])[0] for example in x]
    with torch.no_grad():
        answers = (whole(example[None]).numpy() for example in x)
        wanted = [program.expected([answer])[0] for answer in answers]
    other = litert(content, given)
    contents = unpack(content)
    head, kept = recorded(content)
    cycles = estimate(plain, vela)
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "file": len(content),
        "operators": len(program.operators),
        "floating": len(program.floating()),
        "greedy": recorded(plain)[0],
        "planned": head,
        "bound": ram(program),
        "tail here": kept,
        "tail": tail(contents),
        "TFLM": agreement(micro(content, given), wanted),
        "LiteRT": None if other is None else agreement(other, wanted),
        "cycles": None if cycles is None else cycles.cycles,
        "vela": None if cycles is None else cycles.version,
    }


def main() -> None:
    """Make the runs that are missing, or write the page."""
    made = recording(__doc__, net=NETS)
    made.add_argument("--vela", help="the program, where it is not on the path")
    made.set_defaults(seed=list(SEEDS))
    options = started(made)
    if options.run:
        make(RECORDS, every(partial(run, vela=options.vela), options.seed, net=options.net))
    else:
        publish(report(read(RECORDS, SEEDS)), RECORDS.with_suffix(".md"))


if __name__ == "__main__":
    main()
