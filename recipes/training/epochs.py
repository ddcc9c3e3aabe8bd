"""Batches of clips that fit on the device: shuffled and augmented anew in every pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from recipes.training import augment
from recipes.training.augment import Augmentation
from recipes.training.training_plans import Plan


class Epochs:
    """A loader over clips in memory.

    A last batch of one clip joins the batch before it: batch normalisation of a linear model has
    nothing to compare a single clip with, mixing has no partner for it.

    Attributes:
        generator: The only source of its randomness; checkpoints of `compressor.fit` keep it.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        classes: int,
        plan: Plan,
        *,
        seed: int,
        before: Sequence[Augmentation] = (),
        teacher: Tensor | None = None,
    ) -> None:
        """Take log-mels (clips, channels, mels, frames), and labels (clips,) on the same device.

        Args:
            x: The log-mels.
            y: The labels.
            classes: Number of classes.
            plan: The training.
            seed: Seed of order and augmentation.
            before: Augmentations before the plan's.
            teacher: A teacher's distribution for each clip (clips, classes), which is mixed as the
                labels are and stands behind them in the targets: (batch, 2 * classes).

        Raises:
            ValueError: If there is not a label for each clip, a label is not below `classes`, or
                the clips or the teacher's distributions are not of the type said above.
        """
        if not x.is_floating_point() or x.ndim != 4:
            raise ValueError(
                f"Epochs got clips of {x.dtype} and shape {tuple(x.shape)}: it takes float "
                "log-mels (clips, channels, mels, frames)."
            )
        _check_labels(y, len(x), classes)
        if teacher is not None and teacher.shape != (len(x), classes):
            raise ValueError(
                f"Epochs got {len(x)} clips and a teacher's distributions of shape "
                f"{tuple(teacher.shape)}: it takes ({len(x)}, {classes})."
            )
        self.x, self.y, self.classes, self.plan = x, y.long(), classes, plan
        self._before, self._teacher = tuple(before), teacher
        self._rank, self._world = 0, 1
        self.generator = torch.Generator(x.device).manual_seed(seed)

    def share(self, rank: int, world: int) -> Epochs:
        """Part of every batch that one of several processes takes, and augments by itself.

        All of them together take the plan's steps: a batch of 64 clips is one of 16 in each of
        four. Up to `world - 1` clips of a pass are left out, others in every pass, so that no
        process waits for a batch that another has not. The generator stays the same in all; `rank`
        counts from 0.

        Raises:
            ValueError: If a batch cannot be divided so.
        """
        if self.plan.batch % world or len(self.x) < world:
            raise ValueError(
                f"{world} processes cannot divide batches of {self.plan.batch} of {len(self.x)} "
                f"clips evenly: ask for a batch that is a multiple of {world}, or for fewer."
            )
        part = copy.copy(self)
        part._rank, part._world = rank, world  # noqa: SLF001 - its own class
        return part

    def __len__(self) -> int:
        """Batches in a pass."""
        return len(self._sizes())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (batch, channels, mels, frames) and label distributions (batch, classes).

        With a teacher its distributions follow those of the labels, (batch, 2 * classes).
        """
        order = torch.randperm(len(self.x), generator=self.generator, device=self.x.device)
        order = order[self._rank :: self._world][: len(self.x) // self._world]
        augmentations = (*self._before, *self.plan.augmentations())
        generator = self._own_generator()
        for rows in order.split(self._sizes()):
            x = self.x[rows]
            # A distribution in sixteen bits would not sum to one.
            kind = torch.promote_types(x.dtype, torch.float32)
            targets = functional.one_hot(self.y[rows], self.classes).to(kind)
            if self._teacher is not None:
                targets = torch.cat([targets, self._teacher[rows].to(targets)], dim=1)
            yield augment.apply(augmentations, x, targets, generator)

    def _own_generator(self) -> Generator:
        """Generator of a pass's augmentation; each of several processes has its own."""
        if self._world == 1:
            return self.generator
        device = self.x.device
        drawn = torch.randint(2**48, (1,), generator=self.generator, device=device)
        return torch.Generator(device).manual_seed(int(drawn) + self._rank)

    def _sizes(self) -> list[int]:
        batch = self.plan.batch // self._world
        whole, rest = divmod(len(self.x) // self._world, batch)
        sizes = [batch] * whole + [rest] * (rest > 0)
        if rest == 1 and whole:
            sizes[-2:] = [sum(sizes[-2:])]
        return sizes


def _check_labels(y: Tensor, clips: int, classes: int) -> None:
    """A whole number below `classes` for each of at least one clip."""
    whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if y.shape != (clips,) or not clips or not whole or int(y.min()) < 0 or int(y.max()) >= classes:
        known = f", {int(y.min())} to {int(y.max())}," if whole and y.numel() else ""
        raise ValueError(
            f"Epochs got {clips} clips and labels of {y.dtype} and shape {tuple(y.shape)}{known} "
            f"for {classes} classes: a label from 0 to {classes - 1} is needed for each of at "
            "least one clip."
        )
