"""Accuracy and log loss of a classifier, by class, device and city.

The challenge's accuracy is the mean over classes of the accuracy in each class (README of the
official baselines, 2020 to 2025); its log loss is the mean over all clips, and over the clips of a
class or a device in the tables of 2021 and 2022. scikit-learn is the oracle of the tests.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from compressor.reports.grids import Grid
from recipes.judging.confusion import plot_confusion

NORMAL_95 = 1.96
"""Standard deviations on either side of a normal distribution's mean that hold 95 % of it."""

SMALLEST = float(np.finfo(np.float64).eps)
"""Least probability that counts as it is: a sure mistake costs 36.04, not infinity. This is
scikit-learn's choice since 1.3; the baselines of 2020 to 2022 ran older ones, which took 1e-15."""

TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of a clip's probabilities: half precision rounds that much."""


@dataclass(frozen=True)
class Score:
    """Scores of some clips.

    Attributes:
        clips: Number of clips; where it is 0, the other figures are not a number.
        accuracy: Share of right answers, 0 to 1.
        half_width: Half the 95 % interval of the accuracy, in the same unit.
        log_loss: Mean of -log p(true class), in nats.
    """

    clips: int
    accuracy: float
    half_width: float
    log_loss: float


def half_width(accuracy: float, clips: int) -> float:
    """Half the 95 % interval of an accuracy: 1.96 sqrt(p (1 - p) / N), a binomial made normal.

    It gives the official results of 2021: 0.94 for 76.1 % and 1.10 for 45.6 % of 7,920 clips. It
    takes clips for independent, which those cut from one recording are not, and is 0 where every
    clip is right or every one wrong.
    """
    return NORMAL_95 * math.sqrt(accuracy * (1 - accuracy) / clips)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a classifier on a set of clips; print it.

    Attributes:
        classes: Names of the classes.
        overall: All clips together.
        class_wise: Score of the clips of each class; a class without clips has none and is left
            out of `macro`.
        device_wise: Score of the clips of each device; empty if no devices were given.
        city_wise: Likewise for cities.
        confusion: int64 (classes, classes), clips by true class (row) and answer (column).
    """

    classes: tuple[str, ...]
    overall: Score
    class_wise: Mapping[str, Score]
    device_wise: Mapping[str, Score]
    city_wise: Mapping[str, Score]
    confusion: np.ndarray

    @property
    def macro(self) -> Score:
        """Mean over classes: its accuracy is the challenge's figure."""
        return _mean(self.class_wise.values())

    @property
    def accuracy(self) -> float:
        """The challenge's figure, 0 to 1: the mean over classes of the accuracy in each."""
        return self.macro.accuracy

    @property
    def log_loss(self) -> float:
        """Multiclass log loss of all clips, in nats."""
        return self.overall.log_loss

    def table(self) -> pd.DataFrame:
        """One row a score: by, name, clips, accuracy, half_width, log_loss."""
        rows = [("overall", "class mean", self.macro), ("overall", "all clips", self.overall)]
        for by, scores in self._groups().items():
            rows += [(by, name, score) for name, score in scores.items()]
        return pd.DataFrame([{"by": by, "name": name, **vars(score)} for by, name, score in rows])

    def data(self) -> dict[str, Any]:
        """All scores as plain data that JSON can hold, None in place of not a number."""
        groups = {f"{by}_wise": found for by, found in self._groups().items()}
        return {
            "classes": list(self.classes),
            "macro": _plain(self.macro),
            "overall": _plain(self.overall),
            **{by: {n: _plain(s) for n, s in found.items()} for by, found in groups.items()},
            "confusion": self.confusion.tolist(),
        }

    def grid(self) -> Grid:
        """The same as a table for people."""
        lines = [("mean over the classes", self.macro), ("all clips", self.overall)]
        for by, scores in self._groups().items():
            lines += [(f"{by} {name}", score) for name, score in scores.items()]
        rows = tuple((name, *_cells(score)) for name, score in lines)
        return Grid("Scores", ("", "accuracy", "log loss", "clips"), rows)

    def plot(self, path: Path) -> None:
        title = f"{_line(self.macro)} (class mean), log loss {self.log_loss:.3f}"
        plot_confusion(Path(path), self.confusion, self.classes, title)

    def _groups(self) -> dict[str, Mapping[str, Score]]:
        return {"class": self.class_wise, "device": self.device_wise, "city": self.city_wise}

    def __str__(self) -> str:
        """The challenge's figures, then a line a class, device and city."""
        figures = f"accuracy {_line(self.macro)} (mean over classes)"
        lines = [f"{figures}, log loss {self.log_loss:.3f}, {self.overall.clips:,} clips"]
        for by, scores in self._groups().items():
            for name, score in scores.items():
                what = f"{_line(score):>16}  log loss {score.log_loss:.3f}"
                found = f"{what}  {score.clips:,} clips" if score.clips else "no clips"
                lines.append(f"  {by:6} {name:18} {found}")
        return "\n".join(lines)


def _cells(score: Score) -> tuple[str, str, str]:
    if not score.clips:
        return ("-", "-", "0")
    return (_line(score), f"{score.log_loss:.3f}", f"{score.clips:,}")


def _line(score: Score) -> str:
    return f"{100 * score.accuracy:.2f} % ± {100 * score.half_width:.2f}"


def evaluate(
    probabilities: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    classes: Sequence[str],
    *,
    devices: Sequence[str] | None = None,
    cities: Sequence[str] | None = None,
) -> Evaluation:
    """Score a classifier's probabilities; of equally probable classes the first is its answer.

    Args:
        probabilities: (clips, classes), each row summing to 1 within 0.001; a tensor of any type
            and device, or anything that numpy reads. Rows are not scaled to sum to 1 exactly; an
            entry that rounding put above 1 counts as 1.
        labels: Integers (clips,), positions in `classes`.
        classes: Names of the classes.
        devices: Recording device of each clip.
        cities: City of each clip.

    Raises:
        ValueError: If there are no clips, lengths differ, a label is no class, a row is no
            distribution, or a device or city is no text.
    """
    classes = tuple(classes)
    shares = checked_distributions(probabilities, classes)
    truth = _checked_labels(_array(labels), len(shares), classes)
    answers = shares.argmax(1)
    losses = -np.log(np.maximum(shares[np.arange(len(shares)), truth], SMALLEST))

    def score(mask: np.ndarray) -> Score:
        return _score(answers[mask] == truth[mask], losses[mask])

    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    return Evaluation(
        classes=classes,
        overall=score(np.full(len(shares), fill_value=True)),
        class_wise={name: score(truth == place) for place, name in enumerate(classes)},
        device_wise=_by_name("devices", devices, len(shares), score),
        city_wise=_by_name("cities", cities, len(shares), score),
        confusion=confusion,
    )


def _score(hits: np.ndarray, losses: np.ndarray) -> Score:
    if not len(hits):
        return Score(0, math.nan, math.nan, math.nan)
    accuracy = float(hits.mean())
    return Score(len(hits), accuracy, half_width(accuracy, len(hits)), float(losses.mean()))


def _mean(scores: Iterable[Score]) -> Score:
    """Average groups that weigh the same; of independent groups, the variances add up."""
    found = [score for score in scores if score.clips]
    return Score(
        clips=sum(score.clips for score in found),
        accuracy=sum(score.accuracy for score in found) / len(found),
        half_width=math.hypot(*(score.half_width for score in found)) / len(found),
        log_loss=sum(score.log_loss for score in found) / len(found),
    )


def _by_name(
    what: str, names: Sequence[str] | None, clips: int, score: Callable[[np.ndarray], Score]
) -> dict[str, Score]:
    """The score of each name's clips; short names first, so that s10 follows s9."""
    if names is None:
        return {}
    strange = [name for name in names if not isinstance(name, str)]
    if isinstance(names, str) or strange:
        shown = reprlib.repr(strange[0] if strange else names)
        raise ValueError(f"{what} must be a sequence of texts, one for each clip: got {shown}.")
    if len(names) != clips:
        raise ValueError(
            f"There are {clips} clips and {len(names)} {what}: give one for each clip, in order."
        )
    found = np.asarray(names, dtype=np.str_)
    order = sorted(
        set(found.tolist()), key=lambda name: (len(name) if what == "devices" else 0, name)
    )
    return {name: score(found == name) for name in order}


def _array(values: ArrayLike | torch.Tensor) -> np.ndarray:
    """Values as an array: numpy has no bfloat16 and takes no tensor that asks for gradients."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def checked_distributions(
    probabilities: ArrayLike | torch.Tensor, classes: tuple[str, ...]
) -> np.ndarray:
    """The probabilities as float64, if every row sums to 1 within `TOLERANCE`.

    An entry above 1, which is rounding where the row sums to 1 so nearly, is returned as 1.

    Raises:
        ValueError: If one does not, or there are not as many columns as classes, or no clips.
    """
    shares = _array(probabilities).astype(np.float64)
    if shares.ndim != 2 or shares.shape[1] != len(classes) or not shares.size:
        raise ValueError(
            f"Probabilities must be (clips, {len(classes)}) for the classes {_listed(classes)}, "
            f"with at least one clip: got {shares.shape}."
        )
    if len(set(classes)) != len(classes):
        raise ValueError(f"A class is named twice in {_listed(classes)}. Give each its own name.")
    with np.errstate(invalid="ignore"):  # infinities of both signs have no sum: refused below
        sums = shares.sum(1)
    right = (shares >= 0).all(1) & (np.abs(sums - 1) <= TOLERANCE)  # false where not a number
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise ValueError(
            f"{np.count_nonzero(~right)} of {len(shares)} rows are no distribution over classes: "
            f"row {row} sums to {sums[row]:g} and its least entry is {shares[row].min():g}. Pass "
            "softmax outputs, not logits; not-a-number points at a diverged network."
        )
    return np.minimum(shares, 1)


def _checked_labels(labels: np.ndarray, clips: int, classes: tuple[str, ...]) -> np.ndarray:
    if labels.shape != (clips,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"There are probabilities of {clips} clips; labels must be ({clips},) integers: got "
            f"{labels.shape} of {labels.dtype}."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {clips} labels are no position among {len(classes)} classes: label "
            f"{labels[wrong[0]]} of clip {wrong[0]} is the first. Is the order of classes that of "
            "training?"
        )
    return labels


def _plain(score: Score) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in vars(score).items()}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
