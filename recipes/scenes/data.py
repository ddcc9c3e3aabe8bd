"""Clips of an entry: the year's list or a part of it; and, for a trial, whatever a folder has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recipes.data.listing import Listing
from recipes.data.split import by_location
from recipes.data.tau import Part, read_scenes, read_tau
from recipes.generated.scenes import SCENES
from recipes.running.command import RunContext
from recipes.running.scene_data import Reader, Scenes, load
from recipes.running.splits import WHOLE, absent_lists, need_lists, subset
from recipes.scenes.settings import Config

SHARE = 1 / 3
"""Share of the places that a folder without lists is tested on, under `--fast`."""


def read_any(root: Path, part: Part, *, classes: int, training_list: Path | None = None) -> Listing:
    """As `read_tau`, of any number of classes; of a folder without lists, some of its places.

    For trials alone: such a division is no official one.
    """
    del classes
    if (root / "evaluation_setup").is_dir():
        return read_tau(root, part, training_list=training_list)
    train, test = by_location(read_tau(root, "all"), SHARE)
    return train if part == "train" else test


def reader(context: RunContext[Config]) -> Reader:
    """How lists are read."""
    return read_any if context.fast else read_scenes


def check_lists(context: RunContext[Config]) -> None:
    """Refuse percentages whose list is not there, unless it is a trial."""
    config = context.config
    if context.data is not None and not context.fast:
        need_lists(context.data, config.lists, config.splits)


def tell_lists(context: RunContext[Config]) -> None:
    """Say what a trial does without lists; once all else is known to be right."""
    config = context.config
    if context.data is None or not context.fast:
        return
    if not (context.data / "evaluation_setup").is_dir():
        context.console.print("No lists in the data set: a third of the places is the test part.")
    absent = absent_lists(context.data, Path(config.lists), config.splits)
    if absent:
        context.console.print(f"No {', '.join(absent)}: whole recordings are drawn instead.")


def listed(context: RunContext[Config], percent: int) -> Listing | None:
    """Names and labels of the training list, without sound; None of generated scenes."""
    if context.data is None:
        return None
    lists = _list(context, percent)
    return reader(context)(context.data, "train", classes=len(SCENES), training_list=lists)


def scenes_of(context: RunContext[Config], percent: int, classes: int) -> Scenes:
    """Clips to train on at a percentage, and the test list."""
    config, lists = context.config, _list(context, percent)
    spec = config.data(crop=context.fast, training_list=lists, classes=classes)
    scenes = load(context.data, spec, context.device, context.console, reader=reader(context))
    if percent != WHOLE and lists is None:
        return replace(scenes, train=subset(scenes.train, percent))
    return scenes


def _list(context: RunContext[Config], percent: int) -> Path | None:
    """The list of a percentage; None for all, and where there is none."""
    lists = Path(context.config.lists)
    if context.data is None or percent == WHOLE or absent_lists(context.data, lists, [percent]):
        return None
    return lists / f"split{percent}.csv"
