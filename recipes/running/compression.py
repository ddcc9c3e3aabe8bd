"""The call of `compressor.fit`, with all that the recipes give it alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

import compressor
from compressor import Result
from recipes.running.command import RunContext
from recipes.running.scene_data import Scenes
from recipes.training.augment import Augmentation
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy


def fit(
    context: RunContext[Any],
    scenes: Scenes,
    model: nn.Module,
    *,
    before: Sequence[Augmentation] = (),
    teacher: Tensor | None = None,
    **how: Any,
) -> Result:
    """A network trained by `config.train` and compressed, in the folder of the run.

    Args:
        context: The run.
        scenes: The data; epochs are watched on their validation part.
        model: The network.
        before: Augmentations before those of `config.train`.
        teacher: A teacher's distribution for each training clip (clips, classes); the loss must
            take both, as `recipes.training.teacher.LearnFrom`.
        how: Budget, schedule, optimiser and loss.
    """
    config, train, validation = context.config, scenes.train, scenes.validation
    return compressor.fit(
        model.to(train.x.device),
        Epochs(
            train.x,
            train.y,
            len(scenes.classes),
            config.train,
            seed=config.seed,
            before=before,
            teacher=teacher,
        ),
        val=None if validation is None else lambda m: accuracy(m, validation.x, validation.y),
        checkpoint=context.folder.checkpoint,
        on_epoch=context.folder.log,
        fabric=context.fabric,
        compiler=context.compiler,
        seed=config.seed,
        **how,
    )
