"""Compress an audio transformer to half of its MACs: `fit` beside Torch-Pruning's best attempt.

The networks and clips of `benchmarks.accuracy.keywords`: speech commands, divided by speakers. Both
tools are given the same dense network and the same caps, and their networks the fine-tuning that
`fit` does by default, for half of its epochs. Torch-Pruning makes twelve attempts
(`benchmarks.common.heads`), each as large as the caps allow; the one of least loss on 400 training
clips is fine-tuned. The control is the dense network trained on for as many epochs: else what more
training brings would be booked as pruning's.

    python -m benchmarks.accuracy.transformer --run  # a killed call goes on
    python -m benchmarks.accuracy.transformer        # the table, into transformer.md
"""

from __future__ import annotations

from functools import partial
from time import process_time
from typing import cast

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.accuracy.keywords import (
    ANYTHING,
    DENSE,
    FOLDER,
    batches,
    build,
    clips,
    dense,
    train,
)
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.heads import ATTEMPTS, pruned
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import Budget, FineTune, Prune, Recalibrate, fit, measure
from models import AudioTransformer
from models.audio_transformer import TransformerBlock
from recipes.training.loop import accuracy

SHARES = {
    "half of the MACs": {"macs": 0.5},
    "half of MACs and parameters": {"macs": 0.5, "params": 0.5},
}
"""Caps as shares of the dense network's."""
TOOLS = ("fit", "Torch-Pruning")
TUNE = FineTune(epochs=15, lr=1e-3)
"""Half of the default's epochs."""
WAYS = ("dense", "control", *(f"{caps}: {tool}" for caps in SHARES for tool in TOOLS))
CALIBRATION = 400
"""Training clips for Torch-Pruning's gradients, and for the loss that chooses its attempt."""


def budget_of(caps: str) -> Budget:
    """The caps in absolute numbers."""
    cost = measure(build())
    whole = {"params": cost.params, "macs": cost.macs}
    return Budget(**{name: int(share * whole[name]) for name, share in SHARES[caps].items()})


def calibration(seed: int) -> list[tuple[Tensor, Tensor]]:
    """Clean training batches of 50."""
    x, y = clips("train")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:CALIBRATION]
    return [(x[rows], y[rows]) for rows in order.split(50)]


def rival(model: AudioTransformer, budget: Budget, seed: int) -> tuple[str, AudioTransformer]:
    """Torch-Pruning's attempt of least loss before fine-tuning, with its name."""
    data = calibration(seed)
    made = {a.name: pruned(model, a, lambda m: budget.allows(measure(m)), data) for a in ATTEMPTS}
    found = {name: network for name, network in made.items() if network is not None}
    return min(found.items(), key=lambda one: loss(one[1], data))


@torch.no_grad()
def loss(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> float:
    """Mean cross-entropy."""
    return float(np.mean([functional.cross_entropy(model(x), y).item() for x, y in data]))


def run(way: str, seed: int) -> Record:
    """One network: trained, or compressed and fine-tuned."""
    start, caps, name = process_time(), way.partition(":")[0], ""
    tuned = partial(
        fit, data=batches(100 + seed), seed=100 + seed,
        checkpoint=FOLDER / f"{way.replace(' ', '-').replace(':', '')}-seed{seed}",
    )  # fmt: skip
    if way == "dense":
        model = train(seed)
    elif way == "control":
        model = tuned(dense(seed), budget=ANYTHING, schedule=[TUNE]).model
    elif way.endswith("fit"):
        phases = [Prune(), Recalibrate(), TUNE]
        model = tuned(dense(seed), budget=budget_of(caps), schedule=phases).model
    else:
        name, small = rival(cast("AudioTransformer", dense(seed)), budget_of(caps), seed)
        model = tuned(small.train(), budget=ANYTHING, schedule=[TUNE]).model
    if caps in SHARES and not budget_of(caps).allows(measure(model)):
        raise RuntimeError(f"{way} exceeds {budget_of(caps)}: {measure(model)}")
    model = cast("AudioTransformer", model.eval())
    return {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "macs": macs(model),
        "trunk": model.norm.normalized_shape[0],
        "blocks": [widths(block) for block in model.blocks],
        "attempt": name,
        "validation": accuracy(model, *clips("validation")),
        "test": accuracy(model, *clips("test")),
        "CPU seconds": round(process_time() - start),
        "torch": torch.__version__,
    }


def widths(block: nn.Module) -> list[int]:
    """Heads, columns of a head's queries and keys, of its values, and units of the perceptron."""
    part = cast("TransformerBlock", block)
    attention = part.attention
    return [attention.heads, attention.key_width, attention.value_width, part.mlp[0].out_features]


def macs(model: AudioTransformer) -> int:
    """Multiply-accumulates of one clip by PyTorch's own counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(model.example_input_array)
    return counter.get_total_flops() // 2


HEAD = ("", "validation", "test", "test - dense", "parameters", "MACs", "CPU seconds", "widths")


def row(way: str, found: Records) -> list[str]:
    """One line of the table."""
    points = {part: 100 * found.values(part, way=way) for part in ("validation", "test")}
    behind = points["test"] - 100 * found.values("test", way="dense")
    sizes = [f"{found.values(key, way=way).mean():,.0f}" for key in ("params", "macs")]
    return [
        way,
        *(with_error(values, ".1f") for values in points.values()),
        "" if way == "dense" else with_error(behind),
        *sizes,
        f"{found.values('CPU seconds', way=way).mean():,.0f}",
        shape(found.of(way=way)[0]),
    ]


def shape(record: Record) -> str:
    """Widths of a network in words."""
    blocks = "; ".join(f"{h} x {k}, {v}, {m}" for h, k, v, m in record["blocks"])
    attempt = f" ({record['attempt']})" if record["attempt"] else ""
    return f"{record['trunk']}: {blocks}{attempt}"


def report(found: Records) -> str:
    """The page."""
    about = (
        f"{versions(f'torch-pruning {torch_pruning.__version__}')}. Accuracy in percent on speech "
        "commands, twelve classes, 2,922 clips to train on, 970 to validate and 998 to test on, of "
        f"other speakers each; a split of our own. Mean (standard error) over seeds {listed(SEEDS)}"
        f"; differences in points, paired by seed. Dense: {DENSE.epochs} epochs; {TUNE.epochs} of "
        "fine-tuning, or of training on (control). MACs by PyTorch's counter. Widths, of the first "
        "seed: trunk: heads x columns of queries and keys, columns of values, units of the "
        "perceptron, for every block. CPU seconds on a busy machine, all attempts of Torch-Pruning "
        "included."
    )
    whole = [way for way in WAYS if len(found.of(way=way)) == len(SEEDS)]
    rows = (row(way, found) for way in whole)
    ahead = "; ".join(f"{caps} {difference(caps, found)}" for caps in SHARES)
    return page(
        "# An audio transformer at half of its MACs",
        about,
        table(HEAD, rows),
        f"`fit` ahead of Torch-Pruning on the test, in points, paired by seed: {ahead}. "
        f"{len(SEEDS)} seeds and one network: a direction, not a law.",
    )


def difference(caps: str, found: Records) -> str:
    """Points between the two tools."""
    ours, theirs = (100 * found.values("test", way=f"{caps}: {tool}") for tool in TOOLS)
    return with_error(ours - theirs) if len(ours) == len(theirs) else "-"


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, way=WAYS))
    runs = every(run, options.seed, way=options.way)
    run_or_report(__file__, options, runs, report, hidden=("test",))


if __name__ == "__main__":
    main()
