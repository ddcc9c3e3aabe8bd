"""The loop that trains a network by a plan, and the logits that it then gives.

What the recipes and the benchmarks share, so that a dense network is trained in one way only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.inputs.evaluation import evaluating
from compressor.inputs.losses import Loss, cross_entropy
from recipes.training.epochs import Epochs


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
        batches: Batches of a pass over the data, and the plan.
        epochs: Passes over the data. The stages of a plan's learning rate keep their shares: a plan
            for 100 epochs with 5 of warm-up has half an epoch of it in 10.
        loss: Loss of the model and a batch; for knowledge distillation
            `compressor.Distill(...).of(cross_entropy, teacher)`.
        on_epoch: Called with the epoch, from 1, and its mean loss.

    Raises:
        TrainingError: If the loss of an epoch is not finite.
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
        mean = float(total) / len(batches.x)
        if not math.isfinite(mean):
            raise TrainingError(
                f"The loss of epoch {epoch} of {epochs} is {mean}, at a learning rate up to "
                f"{plan.rate(step / steps):.3g}: training cannot go on. Lower the rate, or look "
                "for features or targets that are not finite."
            )
        if on_epoch is not None:
            on_epoch(epoch, mean)
    model.eval()


@torch.no_grad()
def logits(model: nn.Module, x: Tensor, batch: int = 50) -> Tensor:
    """Logits of clips (clips, channels, mels, frames), in evaluation mode and in batches.

    Returns:
        Logits (clips, classes); the mode of every module is put back.
    """
    with evaluating(model):
        return torch.cat([model(part) for part in x.split(batch)])


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of clips (clips, channels, mels, frames) classified as their labels (clips,) say."""
    if y.shape != (len(x),) or not len(x):
        raise ValueError(
            f"accuracy() got {len(x)} clips and labels of shape {tuple(y.shape)}: a label for each "
            "of at least one clip is needed."
        )
    return int((logits(model, x).argmax(1) == y).sum()) / len(x)
