"""Training on log-mels that fit on the device: batches, loop, accuracy.

What the recipes and the benchmarks share, so that a dense network is trained in one way only. How
is said by a plan: settings that name their batches, their augmentation, their optimiser and their
learning rate. `Training` is ours; those of the papers are in `recipes.papers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from compressor.losses import Loss, cross_entropy
from recipes import augment
from recipes.audio import FULL_SCALE
from recipes.augment import Augmentation, Mixup, Roll, SpecAugment
from recipes.features import LogMel
from recipes.responses import DeviceResponse


class Plan(Protocol):
    """What a way of training says; every settings class here and in `recipes.papers` is one."""

    @property
    def batch(self) -> int:
        """Clips in a step."""
        ...

    def augmentations(self) -> tuple[Augmentation, ...]:
        """What happens to every batch, in order."""
        ...

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """A fresh optimiser; its learning rate is set before every step."""
        ...

    def rate(self, progress: float) -> float:
        """Learning rate after a share of all steps, 0 to 1."""
        ...


def warmup_cosine(progress: float, warmup: float, peak: float, last: float = 0.0) -> float:
    """Learning rate that rises linearly from 0 to its peak, then falls along half a cosine.

    I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, equation 5, for the fall.

    Args:
        progress: Share of all steps that are done, 0 to 1.
        warmup: Share of all steps in which the rate rises, below 1.
        peak: Its highest value.
        last: Its value at the end.
    """
    if progress < warmup:
        return peak * progress / warmup
    over = (progress - warmup) / (1 - warmup)
    return last + (peak - last) * (1 + math.cos(math.pi * over)) / 2


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained: AdamW, one warm-up, then a cosine to zero.

    Attributes:
        batch: Clips in a step.
        lr: Learning rate at its peak.
        warmup: Share of all steps in which the rate rises from 0.
        weight_decay: Of AdamW.
        mixup: Alpha of the Beta distribution; 0 for none.
        bands: Widest frequency mask, in mel bands; two are drawn.
        frames: Widest time mask, in frames; two are drawn.
    """

    batch: int = 32
    lr: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.02
    mixup: float = 0.3
    bands: int = 8
    frames: int = 16

    def augmentations(self) -> tuple[Augmentation, ...]:
        """Roll, mask, blend."""
        blending = (Mixup(self.mixup),) if self.mixup > 0 else ()
        return (Roll(), SpecAugment(self.bands, self.frames, fill=0.0), *blending)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """AdamW."""
        return AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def rate(self, progress: float) -> float:
        """Linear warm-up, then half a cosine."""
        return warmup_cosine(progress, self.warmup, self.lr)


class Listen:
    """What a batch of waveforms sounds like to a network: devices drawn at random, then log-mels.

    Ten hours of 16 kHz are 1.2 GB as int16 and fit on the device that trains, where both steps then
    happen for a whole batch at once, differently in every epoch.
    """

    def __init__(self, front_end: LogMel, responses: DeviceResponse | None = None) -> None:
        """Take the steps.

        Args:
            front_end: On the device of the waveforms.
            responses: Which other devices record some of the clips; None for none.
        """
        self.front_end, self.responses = front_end, responses

    @torch.no_grad()
    def __call__(self, audio: Tensor, generator: Generator) -> Tensor:
        """int16 (batch, samples), full scale 32,768 -> log-mels (batch, 1, mels, frames)."""
        heard = audio.to(self.front_end.window.dtype) / FULL_SCALE
        if self.responses is not None:
            heard = self.responses(heard, generator)
        return self.front_end(heard)


class Epochs:
    """A loader over clips in memory: every pass is shuffled and augmented anew.

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
        listen: Listen | None = None,
    ) -> None:
        """Take the data.

        Args:
            x: Log-mels (clips, channels, mels, frames), or with `listen` waveforms, int16
                (clips, samples).
            y: Labels (clips,), below `classes`, on the same device.
            classes: Number of classes.
            plan: Batch size and augmentation.
            seed: Of `generator`.
            listen: Makes log-mels of waveforms, batch by batch.

        Raises:
            ValueError: If there is not a label for each clip, or a label is not below `classes`.
        """
        if len(x) != len(y) or not len(y) or int(y.min()) < 0 or int(y.max()) >= classes:
            known = f"{int(y.min())} to {int(y.max())}" if len(y) else "none"
            msg = (
                f"Epochs got {len(x)} clips and {len(y)} labels ({known}) of {classes} classes: a "
                f"label from 0 to {classes - 1} is needed for each of at least one clip."
            )
            raise ValueError(msg)
        self.x, self.y, self.classes, self.plan = x, y, classes, plan
        self.listen = listen
        self.generator = torch.Generator(x.device).manual_seed(seed)

    def __len__(self) -> int:
        """Batches in a pass."""
        return math.ceil(len(self.x) / self.plan.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (batch, channels, mels, frames) and label distributions (batch, classes)."""
        order = torch.randperm(len(self.x), generator=self.generator, device=self.x.device)
        augmentations = self.plan.augmentations()
        for rows in order.split(self.plan.batch):
            x = self.x[rows] if self.listen is None else self.listen(self.x[rows], self.generator)
            targets = functional.one_hot(self.y[rows], self.classes).to(x.dtype)
            yield augment.apply(augmentations, x, targets, self.generator)


def train(
    model: nn.Module,
    batches: Epochs,
    epochs: int,
    *,
    loss: Loss = cross_entropy,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network by the plan of its batches and leave it in evaluation mode.

    Args:
        model: The network.
        batches: What a pass over the data yields, and the plan.
        epochs: Passes over the data.
        loss: Of the model and a batch; `compressor.Distill(...).of(cross_entropy, teacher)` for
            knowledge distillation.
        on_epoch: Called with the epoch, from 1, and its mean loss.
    """
    plan = batches.plan
    optimizer = plan.optimizer(model.parameters())
    steps, step = epochs * len(batches), 0
    model.train()
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), dtype=torch.float64, device=batches.x.device)
        for x, targets in batches:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step / steps)
            value = loss(model, (x, targets))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.detach() * len(x)  # a number asked for here would make a GPU wait
            step += 1
        if on_epoch is not None:
            on_epoch(epoch, float(total) / len(batches.x))
    model.eval()


@torch.no_grad()
def logits(model: nn.Module, x: Tensor, batch: int = 50) -> Tensor:
    """What a model says of clips (clips, channels, mels, frames) in evaluation mode, in batches.

    Returns:
        Logits (clips, classes); the model's mode is put back.
    """
    was_training = model.training
    model.eval()
    out = torch.cat([model(part) for part in x.split(batch)])
    model.train(was_training)
    return out


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of clips classified right, in evaluation mode; the model's mode is put back."""
    return int((logits(model, x).argmax(1) == y).sum()) / len(x)
