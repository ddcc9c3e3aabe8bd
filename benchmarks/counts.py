"""What the seeds' networks cost, beside what their papers print and what other counters say.

    python -m benchmarks.counts         # tables into benchmarks/counts.md

Parameters and multiply-accumulates are exact integers of `compressor.measure`: every distinct
parameter once, and one multiply-add of a convolution or matrix product, for one input. The rules of
the other counters are in docs/counting.md.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import prune

from compressor import measure
from compressor.rules.counters import Count, fvcore_count, thop_count, torchinfo_count
from compressor.storage import write_bytes
from models import (
    BCResNet,
    BCResNetASC,
    CPResNet,
    DCASEBaseline,
    LinearMoments,
    SharedResNet,
    Tandem,
)

TABLE = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Network:
    """One network and what its paper prints of it.

    Attributes:
        name: Name in the table.
        build: Makes it.
        params: Parameters as printed, and where.
        macs: Multiply-accumulates as printed, and where.
        note: Why a number departs.
    """

    name: str
    build: Callable[[], nn.Module]
    params: str = "not printed"
    macs: str = "not printed"
    note: str = ""


NETWORKS = (
    Network(
        "Shared-ResNet, 3 classes",
        SharedResNet,
        params="601K (2020, Table 4)",
        note="cut off, not rounded; thop loses the shared affine of SubSpectralNorm, which a "
        "module with children holds",
    ),
    Network(
        "Shared-ResNet, 10 classes",
        lambda: SharedResNet(num_classes=10),
        params="604K (2020, Table 3)",
        note="thop as above; 431 frames are an assumption, the paper gives no hop",
    ),
    Network(
        "its unshared twin, 10 classes",
        lambda: SharedResNet(num_classes=10, shared=False),
        note="sharing saves 35.2 % (paper: more than 30 %) and no multiplication",
    ),
    Network(
        "CP-ResNet, 3 classes",
        CPResNet,
        params="887K (2020, Table 4)",
        note="misprint of 897K: its 3,588 KB are 4 x 897",
    ),
    Network(
        "CP-ResNet, 10 classes",
        lambda: CPResNet(num_classes=10),
        params="899K (2020, Table 3)",
        note="rho = 5, the authors' default",
    ),
    Network("BC-ResNet-ASC-1", lambda: BCResNetASC(10), params="8.1k (2021, Table 3)"),
    Network("BC-ResNet-ASC-8", BCResNetASC, params="315k (2021, Table 2)"),
    Network(
        "BC-ResNet-ASC-8, learned lambda",
        lambda: BCResNetASC(learned=True),
        note="five parameters more (2021, future work); thop misses them",
    ),
    Network("BC-ResNet-8", BCResNet, params="317k (2021, Table 2)", note="cut off, not rounded"),
    Network(
        "linear moments",
        LinearMoments,
        params="12.81k (2022, Table 2)",
        macs="0.01281 M (2022, Table 2)",
        note="the paper's figure is torchinfo's, with 10 biases; fvcore and thop add the "
        "standardisation of 1,280 features",
    ),
    Network(
        "tandem, 256 bands",
        Tandem,
        note="over both limits of 2022: it needs the paper's feature selection and pruning",
    ),
    Network(
        "tandem, 192 bands",
        lambda: Tandem(192),
        note="after feature selection; 127.84k and 17.383 M once pruned (2022, Table 2)",
    ),
    Network(
        "DCASE 2020 baseline",
        lambda: DCASEBaseline(2020),
        params="116K (2020, Table 4)",
        note="115,219 and 96 of normalisation; 450.1 KB are 4 x 115,219 / 1024; 116K are the "
        "116,118 of the README's summary: 10 classes, running statistics",
    ),
    Network(
        "DCASE 2021 baseline",
        lambda: DCASEBaseline(2021),
        params="46,246 (README)",
        note="128 running statistics are in the printed number",
    ),
    Network(
        "DCASE 2022 baseline",
        lambda: DCASEBaseline(2022),
        params="46,512 (README)",
        macs="29,234,920 (README)",
        note="bytes, not parameters; NeSsi's TFLite path adds pooling (34,560) and halves the "
        "first dense layer (-3,200)",
    ),
)

TEN_SECONDS = (
    Network("BC-ResNet-ASC-1", lambda: BCResNetASC(10, frames=334)),
    Network("BC-ResNet-ASC-8", lambda: BCResNetASC(frames=334)),
    Network("BC-ResNet-8", lambda: BCResNet(frames=334)),
)
"""The 2021 networks at the length they were made for."""


@dataclass(frozen=True)
class Counted:
    """A network and what every counter says of it; None where one is not installed."""

    network: Network
    shape: str
    ours: Count
    others: tuple[Count | None, ...]


def counted(network: Network) -> Counted:
    """Build it and ask everyone."""
    model = network.build()
    cost = measure(model)
    shape = " x ".join(map(str, model.example_input_array.shape[1:]))
    others = (torchinfo_count(model), fvcore_count(model), thop_count(model))
    return Counted(network, shape, Count(cost.params, cost.macs), others)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    first, *rest = ("| " + " | ".join(line) + " |" for line in (head, *rows))
    return "\n".join([first, "|" + "---|" * len(head), *rest])


def number(count: int | None) -> str:
    """With separators, or that it is not installed."""
    return "not installed" if count is None else f"{count:,}"


def params_row(found: Counted) -> list[str]:
    """One line of the first table."""
    network = found.network
    others = [number(count and count.params) for count in found.others]
    return [network.name, network.params, number(found.ours.params), *others, network.note]


def macs_row(found: Counted) -> list[str]:
    """One line of the second table."""
    network = found.network
    others = [number(count and count.macs) for count in found.others]
    return [network.name, found.shape, network.macs, number(found.ours.macs), *others]


def kept(model: nn.Module, amount: float) -> tuple[int, int]:
    """Convolution weights and other parameters left by global pruning of `amount` of the former."""
    weights = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)]
    other = measure(model).params - sum(m.weight.numel() for m, _ in weights)
    prune.global_unstructured(weights, prune.L1Unstructured, amount=amount)
    return sum(int(m.weight_mask.sum()) for m, _ in weights), other


def sizes() -> list[list[str]]:
    """The compressed sizes that two papers print."""
    conv, other = kept(SharedResNet(), 0.6)
    shared = [
        "Shared-ResNet, 60 % of convolutions pruned, all in 16 bits",
        "246K, 491KB (2020, Table 4)",
        f"{conv:,} + {other:,} = {conv + other:,}",
        f"{2 * (conv + other):,} = {2 * (conv + other) / 1000:.1f} KB of 1000",
    ]
    conv, other = kept(BCResNetASC(), 0.89)
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
    networks = [counted(network) for network in NETWORKS]
    long = [counted(network) for network in TEN_SECONDS]
    others = ("torchinfo rule", "fvcore", "thop")
    params = table(["network", "printed", "ours", *others, "note"], [*map(params_row, networks)])
    macs = table(
        ["network", "input", "printed", "ours", *others], [*map(macs_row, [*networks, *long])]
    )
    compressed = table(["network", "printed", "parameters left", "bytes"], sizes())
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("fvcore", "thop"))
    return (
        "# The seeds' networks, counted\n\n"
        f"torch {torch.__version__}, {found}, Python {platform.python_version()}. Years are those "
        "of the seed reports. The torchinfo rule (1.8) is also NeSsi's for PyTorch. Ours: every "
        "distinct parameter once; multiply-adds of convolutions and matrix products for one input. "
        "`docs/counting.md` says why counters differ.\n\n"
        f"## Parameters\n\n{params}\n\n"
        "## Multiply-accumulates\n\n"
        "fvcore adds one or two operations an element of a normalisation, thop two or four, "
        "torchinfo the biases at every position and one an entry of a normalisation.\n\n"
        f"{macs}\n\n"
        "## Compressed\n\n"
        "A KB is 1000 bytes in the 2020 report and 1024 in 2021; 61.5 kB is arithmetic on the "
        f"rounded 33K and 15K.\n\n{compressed}\n"
    )


def main() -> None:
    """Count, print and write."""
    torch.set_num_threads(1)
    text = report()
    write_bytes(TABLE, text.encode())
    print(text)


if __name__ == "__main__":
    main()
