"""A run of two processes, for `test_fabric`: each writes what it has come to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from compressor import Budget, FineTune, FrequencyMask, Int8, Joint, Prune, Recalibrate, fit
from compressor.phases import Phase
from tests.helpers.tiny import scenes, tiny

ROADS: dict[str, tuple[Budget, list[Phase]]] = {
    "caps": (
        Budget(params=700, macs="30k"),
        [
            Prune(steps=2, epochs=1),
            Recalibrate(),
            FineTune(epochs=2, clip=1.0, ema=0.9, smoothing=0.1),
            Int8(epochs=1),
        ],
    ),
    "bytes": (Budget(bytes=2200), [Joint(), FineTune(epochs=1), Int8(epochs=1)]),
    "rows": (Budget(macs="60k"), [FrequencyMask(keep=4, epochs=1, fine_tune=1)]),
}


class Clips:
    """A loader that knows how to be divided; noise of its own in every process."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        self.clips, self.labels = scenes(64).tensors

    def share(self, rank: int, world: int) -> Clips:
        """Every so many clips."""
        return Clips(rank, world)

    def __len__(self) -> int:
        """Batches."""
        return 4

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Of 16 clips, or a part of them."""
        for first in range(0, 64, 16):
            mine = slice(first + self.rank, first + 16, self.world)
            noise = torch.Generator().manual_seed(self.rank)
            clips = self.clips[mine]
            yield clips + 0.1 * torch.randn(clips.shape, generator=noise), self.labels[mine]


def main() -> None:
    """Every road twice, written by every process under its number."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    fabric = Fabric(accelerator="cpu", devices=2)
    fabric.launch()
    for turn in range(2):  # the second one goes on from what the first one has left
        for name, (budget, schedule) in ROADS.items():
            result = fit(
                tiny(), Clips(), budget=budget, schedule=schedule, fabric=fabric,
                checkpoint=folder / name,
            )  # fmt: skip
            result.write(folder / f"{name}-{turn}-{fabric.global_rank}.safetensors")
        fabric.barrier()


if __name__ == "__main__":
    main()
