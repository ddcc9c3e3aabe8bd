"""What a GPU would still settle: questions, their commands, and the minutes to expect.

Nothing here has run on a GPU. The minutes follow from what a training has to multiply: thrice the
multiply-accumulates of a forward pass, for every clip of every epoch, at a rate that is assumed.
`python -m benchmarks.speed.recipes --device cuda` measures the rate of each recipe in minutes; give
what it finds as `--rate`.

    python -m benchmarks.speed.unsettled             # into unsettled.md
    python -m benchmarks.speed.unsettled --rate 4e12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import compressor
from benchmarks.common.command import parser, started
from benchmarks.common.tables import page, publish, table, versions
from models import BCResNetASC, SharedResNet, Tandem
from recipes import dcase2020, dcase2021, dcase2022

RATE = 1e12
"""Multiply-accumulates a second in training; depthwise layers are bound by memory, not by this."""
STEP = 3
"""Forward passes that a step of training costs: one forward, two backward."""
C20, C21, C22 = dcase2020.Config(), dcase2021.Config(), dcase2022.Config()
GPU = "--device cuda --precision bf16"


@dataclass(frozen=True)
class Question:
    """Something that a run on a GPU would answer.

    Attributes:
        what: The question.
        command: That answers it.
        needs: Data.
        network: Makes the network that is trained.
        clips: Of an epoch.
        epochs: Of all phases, all networks.
    """

    what: str
    command: str
    needs: str
    network: Callable[[], nn.Module]
    clips: int
    epochs: int

    def minutes(self, rate: float) -> float:
        """At so many multiply-accumulates a second."""
        macs = compressor.measure(self.network()).macs
        return STEP * macs * self.clips * self.epochs / rate / 60


def _shared() -> nn.Module:
    return SharedResNet(C20.channels, 3, 2, mels=C20.mels.mels, frames=C20.frames)


def _asc(channels: int) -> Callable[[], nn.Module]:
    return lambda: BCResNetASC(channels, mels=C21.mels.mels, frames=C21.frames)


def _tandem() -> nn.Module:
    return Tandem(C22.mels.mels, C22.channels, frames=C22.frames)


FILTERS_2022 = C22.filters.epochs + C22.tune.epochs
TAU_2020_3 = "TAU-urban-acoustic-scenes-2020-3class-development"
TAU_2020 = "TAU-urban-acoustic-scenes-2020-mobile-development"
TAU_2022 = "TAU-urban-acoustic-scenes-2022-mobile-development"
QUESTIONS = (
    Question(
        "60 % zero and 16 bits at the report's width and length",
        f"python -m recipes.dcase2020 --data {TAU_2020_3} {GPU}",
        "TAU 2020 3Class", _shared, 9_185, C20.train.epochs + C20.tune.epochs,
    ),
    Question(
        "89 % zero, int8 and a teacher, two networks",
        f"python -m recipes.dcase2021 --data {TAU_2020} {GPU}",
        "TAU 2020 Mobile", _asc(80), 13_962,
        C21.members * (C21.train.epochs + C21.tune + C21.round),
    ),
    Question(
        "the same without the teacher, from the same dense networks",
        "python -m recipes.dcase2021 --variant no-teacher dense=runs/dcase2021/paper "
        f"--data {TAU_2020} {GPU}",
        "TAU 2020 Mobile", _asc(80), 13_962, C21.members * (C21.tune + C21.round),
    ),
    Question(
        "Residual Normalization, BC-ResNet-ASC-1, one network; and asc-1-baseline without it",
        f"python -m recipes.dcase2021 --variant asc-1 members=1 --data {TAU_2020} {GPU}",
        "TAU 2020 Mobile", _asc(10), 13_962, 2 * (100 + C21.tune + C21.round),
    ),
    Question(
        "rows, filters by ADMM and int8 of the tandem",
        f"python -m recipes.dcase2022 --data {TAU_2022} {GPU}",
        "TAU 2022 Mobile", _tandem, 139_620,
        C22.train.epochs + C22.rows.epochs + C22.rows.fine_tune + FILTERS_2022 + C22.round.epochs,
    ),
    Question(
        "our own way to the caps of 2022",
        f"python -m recipes.dcase2022 --variant ours --data {TAU_2022} {GPU}",
        "TAU 2022 Mobile", _tandem, 139_620, C22.train.epochs + 30 + 7 + C22.round.epochs,
    ),
)  # fmt: skip


def report(rate: float) -> str:
    """The table."""
    rows = (
        [one.what, f"`{one.command}`", one.needs, f"{one.epochs:,}", f"{one.minutes(rate):,.0f}"]
        for one in QUESTIONS
    )
    about = (
        f"{versions()}. No GPU has run any of these, and none of the data are here. Minutes: "
        f"{STEP} forward passes a clip and epoch at an assumed {rate:.0e} multiply-accumulates a "
        "second; reading and augmentation are extra. `python -m benchmarks.speed.recipes --device "
        "cuda --clips 4096 --precision bf16 --compile` measures the rate of every recipe. The "
        "claims on sound that is here, beside those on a CPU: `python -m "
        "benchmarks.accuracy.claims --run --device cuda`."
    )
    head = ("question", "command", "data", "epochs", "minutes, expected")
    return page("# What a GPU would still settle", about, table(head, rows))


def main() -> None:
    """Write the table."""
    made = parser(__doc__)
    made.add_argument("--rate", type=float, default=RATE, help="multiply-accumulates a second")
    options = started(made)
    torch.manual_seed(0)
    publish(report(options.rate), Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
