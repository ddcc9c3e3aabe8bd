"""Costs of the seeds' networks, beside what their papers print and what other counters say.

    python -m benchmarks.counting.counts  # tables into counts.md

Ours are exact integers of `compressor.measure`: every distinct parameter once, one multiply-add of
a convolution or matrix product, for one input. Others' rules are in docs/counting.md.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn
from torch.nn.utils import prune

import models
from benchmarks.common.command import parser, started
from benchmarks.common.tables import page, publish, table, versions
from compressor import measure
from compressor.rules.counters import Count, fvcore_count, thop_count, torchinfo_count


@dataclass(frozen=True)
class Network:
    """One network, what its paper prints of it and where, and why a number departs."""

    name: str
    build: Callable[[], nn.Module]
    params: str = "not printed"
    macs: str = "not printed"
    note: str = ""


NETWORKS = (
    Network(
        "Shared-ResNet, 3 classes", models.SharedResNet, "601K (2020, Table 4)",
        note="cut off, not rounded; thop loses the shared affine of SubSpectralNorm, which a "
        "module with children holds",
    ),
    Network(
        "Shared-ResNet, 10 classes", partial(models.SharedResNet, num_classes=10),
        "604K (2020, Table 3)",
        note="thop as above; 431 frames are an assumption, the paper gives no hop",
    ),
    Network(
        "its unshared twin, 10 classes",
        partial(models.SharedResNet, num_classes=10, shared=False),
        note="sharing saves 35.2 % (paper: more than 30 %) and no multiplication",
    ),
    Network(
        "CP-ResNet, 3 classes", models.CPResNet, "887K (2020, Table 4)",
        note="misprint of 897K: its 3,588 KB are 4 x 897",
    ),
    Network(
        "CP-ResNet, 10 classes", partial(models.CPResNet, num_classes=10), "899K (2020, Table 3)",
        note="rho = 5, the authors' default",
    ),
    Network("BC-ResNet-ASC-1", partial(models.BCResNetASC, 10), "8.1k (2021, Table 3)"),
    Network("BC-ResNet-ASC-8", models.BCResNetASC, "315k (2021, Table 2)"),
    Network(
        "BC-ResNet-ASC-8, learned lambda", partial(models.BCResNetASC, learned=True),
        note="five parameters more (2021, future work); thop misses them",
    ),
    Network("BC-ResNet-8", models.BCResNet, "317k (2021, Table 2)", note="cut off, not rounded"),
    Network(
        "linear moments", models.LinearMoments, "12.81k (2022, Table 2)",
        "0.01281 M (2022, Table 2)",
        note="the paper's figure is torchinfo's, with 10 biases; fvcore and thop add the "
        "standardisation of 1,280 features",
    ),
    Network(
        "tandem, 256 bands", models.Tandem,
        note="over both limits of 2022: it needs the paper's feature selection and pruning",
    ),
    Network(
        "tandem, 192 bands", partial(models.Tandem, 192),
        note="after feature selection; 127.84k and 17.383 M once pruned (2022, Table 2)",
    ),
    Network(
        "DCASE 2020 baseline", partial(models.DCASEBaseline, 2020), "116K (2020, Table 4)",
        note="115,219 and 96 of normalisation; 450.1 KB are 4 x 115,219 / 1024; 116K are the "
        "116,118 of the README's summary: 10 classes, running statistics",
    ),
    Network(
        "DCASE 2021 baseline", partial(models.DCASEBaseline, 2021), "46,246 (README)",
        note="128 running statistics are in the printed number",
    ),
    Network(
        "DCASE 2022 baseline", partial(models.DCASEBaseline, 2022), "46,512 (README)",
        "29,234,920 (README)",
        note="bytes, not parameters; NeSsi's TFLite path adds pooling (34,560) and halves the "
        "first dense layer (-3,200)",
    ),
)  # fmt: skip

TEN_SECONDS = (
    Network("BC-ResNet-ASC-1", partial(models.BCResNetASC, 10, frames=334)),
    Network("BC-ResNet-ASC-8", partial(models.BCResNetASC, frames=334)),
    Network("BC-ResNet-8", partial(models.BCResNet, frames=334)),
)
"""The 2021 networks at the length they were made for."""


@dataclass(frozen=True)
class Counted:
    """A network, its input, and what every counter says of it; None where one is not installed."""

    network: Network
    shape: str
    counts: tuple[Count | None, ...]

    def numbers(self, field: str) -> list[str]:
        """Parameters or multiply-accumulates, counter by counter."""
        found = (count and getattr(count, field) for count in self.counts)
        return ["not installed" if number is None else f"{number:,}" for number in found]


def counted(network: Network) -> Counted:
    """Build it and ask everyone."""
    model = network.build()
    cost = measure(model)
    shape = " x ".join(map(str, model.example_input_array.shape[1:]))
    others = (torchinfo_count(model), fvcore_count(model), thop_count(model))
    return Counted(network, shape, (Count(cost.params, cost.macs), *others))


def kept(model: nn.Module, amount: float) -> tuple[int, int]:
    """Convolution weights and other parameters left by global pruning of `amount` of the former."""
    weights = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)]
    other = measure(model).params - sum(m.weight.numel() for m, _ in weights)
    prune.global_unstructured(weights, prune.L1Unstructured, amount=amount)
    return sum(int(m.weight_mask.sum()) for m, _ in weights), other


def sizes() -> list[list[str]]:
    """The compressed sizes that two papers print."""
    conv, other = kept(models.SharedResNet(), 0.6)
    shared = [
        "Shared-ResNet, 60 % of convolutions pruned, all in 16 bits",
        "246K, 491KB (2020, Table 4)",
        f"{conv:,} + {other:,} = {conv + other:,}",
        f"{2 * (conv + other):,} = {2 * (conv + other) / 1000:.1f} KB of 1000",
    ]
    conv, other = kept(models.BCResNetASC(), 0.89)
    size = conv + 2 * other
    asc = [
        "BC-ResNet-ASC-8, 89 % of convolutions pruned, these in 8 bits, the rest in 16",
        "33K + 15K, 61.0KB (2021, abstract), 61.5kB (section 3.3)",
        f"{conv:,} + {other:,} = {conv + other:,}",
        f"{size:,} = {size / 1024:.2f} KB of 1024",
    ]
    return [shared, asc]


def report() -> str:
    """The three tables."""
    found = [counted(network) for network in (*NETWORKS, *TEN_SECONDS)]
    params = (
        [one.network.name, one.network.params, *one.numbers("params"), one.network.note]
        for one in found[: len(NETWORKS)]
    )
    macs = ([c.network.name, c.shape, c.network.macs, *c.numbers("macs")] for c in found)
    counters = ("ours", "torchinfo rule", "fvcore", "thop")
    packages = (f"{name} {importlib.metadata.version(name)}" for name in ("fvcore", "thop"))
    return page(
        "# The seeds' networks, counted",
        f"{versions(*packages, threads='')}. Years are those of the seed reports. The torchinfo "
        "rule (1.8) is also NeSsi's for PyTorch. Ours: every distinct parameter once; "
        "multiply-adds of convolutions and matrix products for one input. `docs/counting.md` says "
        "why counters differ.",
        "## Parameters",
        table(("network", "printed", *counters, "note"), params),
        "## Multiply-accumulates",
        "fvcore adds one or two operations an element of a normalisation, thop two or four, "
        "torchinfo the biases at every position and one an entry of a normalisation.",
        table(("network", "input", "printed", *counters), macs),
        "## Compressed",
        "A KB is 1000 bytes in the 2020 report and 1024 in 2021; 61.5 kB is arithmetic on the "
        "rounded 33K and 15K.",
        table(("network", "printed", "parameters left", "bytes"), sizes()),
    )


def main() -> None:
    """Count, print and write."""
    started(parser(__doc__))
    publish(report(), Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
