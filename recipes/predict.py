"""Probabilities of every class in audio files, by the system of a run.

    python -m recipes.predict runs/dcase2021/paper street.wav park.flac call.mp3
    python -m recipes.predict runs/dcase2021/paper day.wav --every        # every clip of it
    python -m recipes.predict runs/dcase2021/paper *.wav > answers.tsv    # a line a file

Any rate, length, number of channels and format that libsndfile reads. A file is cut into clips of
the system's length, whose probabilities are averaged, a second counting as much as any other;
`data/clips.py` says what happens to what is shorter than a clip. On a terminal tables are drawn;
elsewhere lines with tabs are printed, under a heading. Files that cannot be read are named on the
error output, the others are predicted all the same, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compressor.commands.parser import Parser
from recipes.data.audio import TOLERANCE
from recipes.data.clips import cut
from recipes.judging.system import BATCH, System, read
from recipes.running.command import one_sentence_errors, usable

IN_FULL = 4
"""Files of which a terminal shows every class; of more, each has one line."""
BEST = 3
"""Classes that such a line names."""
BAR = 24
"""Characters of a probability of 1."""


@dataclass(frozen=True)
class Prediction:
    """Probabilities of classes in the clips of a file.

    Attributes:
        path: The file.
        starts: float64 (clips,), where they begin, in s.
        new: float64 (clips,), seconds of each that no clip before has.
        each: float64 (clips, classes), probabilities.
        clip: Length of a clip, in s.
    """

    path: Path
    starts: np.ndarray
    new: np.ndarray
    each: np.ndarray
    clip: float

    @property
    def mean(self) -> np.ndarray:
        """float64 (classes,), the mean over the seconds of the file."""
        return self.new @ self.each / self.new.sum()

    @property
    def seconds(self) -> float:
        """Seconds of the file that clips were cut from."""
        return float(self.new.sum())

    @property
    def title(self) -> str:
        """Name of the file, with its length in clips."""
        if self.seconds < (1 - TOLERANCE) * self.clip:
            return f"{self.path}: {self.seconds:.2f} s, repeated to fill a clip of {self.clip:g} s"
        number = "1 clip" if len(self.each) == 1 else f"{len(self.each)} clips"
        return f"{self.path}: {self.seconds:.1f} s, {number} of {self.clip:g} s"


def predict_file(system: System, path: Path, device: torch.device | None = None) -> Prediction:
    """Probabilities for a file of any rate, length and number of channels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or the system does not work.
    """
    sound = cut(path, system.audio, system.mels.window)
    starts, new, each = list[float](), list[float](), list[np.ndarray]()
    while batch := list(islice(sound, BATCH)):  # no more of them are in memory
        audio = torch.from_numpy(np.stack([clip.audio for clip in batch]))
        each.append(system.classify(audio, device))
        starts += [clip.start for clip in batch]
        new += [clip.new for clip in batch]
    return Prediction(
        path, np.array(starts), np.array(new), np.concatenate(each), system.audio.seconds
    )


def lines(found: Prediction, classes: Sequence[str], *, every: bool) -> Iterator[list[str]]:
    """A prediction as fields: file, start and end in s, answer, probabilities."""
    whole = [(0.0, found.seconds, found.mean)]
    ends = found.starts + np.minimum(found.clip, found.seconds)
    for start, end, shares in zip(found.starts, ends, found.each, strict=True) if every else whole:
        answer = classes[int(shares.argmax())]
        yield [str(found.path), f"{start:.2f}", f"{end:.2f}", answer, *(f"{p:.4f}" for p in shares)]


def table(found: Prediction, classes: Sequence[str]) -> Table:
    """Every class, the most probable first."""
    drawn = Table(title=escape(found.title), title_justify="left")
    drawn.add_column("class")
    drawn.add_column("probability", justify="right")
    drawn.add_column("", min_width=BAR)
    shares = found.mean
    for place in np.argsort(-shares, kind="stable"):
        share = float(shares[place])
        drawn.add_row(escape(classes[place]), f"{100 * share:.1f} %", "█" * round(BAR * share))
    return drawn


def short_table(
    rows: Sequence[tuple[str, np.ndarray]], first: str, classes: Sequence[str]
) -> Table:
    """A row for each of several files or clips, with the most probable classes."""
    drawn = Table()
    drawn.add_column(first, overflow="fold")
    for number in range(min(BEST, len(classes))):
        drawn.add_column("answer" if number == 0 else f"{number + 1}.")
        drawn.add_column("%", justify="right")
    for name, shares in rows:
        best = np.argsort(-shares, kind="stable")[:BEST]
        cells = ((escape(classes[k]), f"{100 * shares[k]:.1f}") for k in best)
        drawn.add_row(escape(name), *chain.from_iterable(cells))
    return drawn


def show(
    console: Console, found: Sequence[Prediction], classes: Sequence[str], *, every: bool
) -> None:
    """Tables for people."""
    if every:
        for one in found:
            console.print(one.title, markup=False, highlight=False)
            rows = [(f"{start:.2f} s", p) for start, p in zip(one.starts, one.each, strict=True)]
            console.print(short_table(rows, "from", classes))
    elif len(found) <= IN_FULL:
        for one in found:
            console.print(table(one, classes))
    else:
        console.print(short_table([(str(one.path), one.mean) for one in found], "file", classes))


def answer(
    system: System, paths: Sequence[Path], console: Console, device: torch.device, *, every: bool
) -> int:
    """Predict files and print; return the number of files that could not be read."""
    found: list[Prediction] = []
    bad = 0
    plain = (
        None if console.is_terminal else csv.writer(sys.stdout, "excel-tab", lineterminator="\n")
    )
    if plain is not None:
        plain.writerow(["file", "start", "end", "answer", *system.classes])
    for path in paths:
        try:
            one = predict_file(system, path, device)
        except (OSError, ValueError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            bad += 1
            continue
        if plain is None:
            found.append(one)
        else:
            plain.writerows(lines(one, system.classes, every=every))
            sys.stdout.flush()  # a long list can be watched
    show(console, found, system.classes, every=every)
    if bad:
        print(f"{bad} of {len(paths)} files could not be heard.", file=sys.stderr)
    return bad


def main() -> None:
    """Read the command line, predict, print."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("files", type=Path, nargs="+", metavar="file", help="audio files")
    parser.add_argument("--every", action="store_true", help="every clip of a file, not their mean")
    parser.add_argument("--onnx", action="store_true", help="use the ONNX files")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with one_sentence_errors(options.device):
        device = usable(options.device)
        system = read(options.run, onnx=options.onnx, device=device)
        bad = answer(system, options.files, Console(), device, every=options.every)
        sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
