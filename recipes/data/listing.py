"""The clips of a data set as a table: what the readers give and everything later selects from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

Missing = Literal["refuse", "skip", "unchecked"]
"""Treatment of clips that are not on disk: an error, a warning, or none looks for them."""


@dataclass(frozen=True)
class Listing:
    """Some clips, in the order of their list. No sound is decoded here.

    Attributes:
        root: The data set's folder.
        table: One row a clip, numbered from zero, with the columns `file` (path below `root`),
            `scene` (class name), `label` (int64, position in `classes`), and what the data set
            says of its recordings: `device`, `city`, `location` ("city-location") in TAU, `fold`
            in ESC-50.
        classes: Class names by label.
    """

    root: Path
    table: pd.DataFrame
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.table)

    @property
    def paths(self) -> list[Path]:
        return [self.root / name for name in self.table["file"]]

    @property
    def labels(self) -> np.ndarray:
        """int64 (clips,), positions in `classes`; a copy."""
        return self.table["label"].to_numpy(np.int64, copy=True)

    def select(self, mask: pd.Series | np.ndarray) -> Listing:
        """The clips where a boolean mask (clips,) is true, in order; another is a ValueError."""
        chosen = np.asarray(mask)
        if chosen.dtype != np.bool_ or chosen.shape != (len(self),):
            raise ValueError(
                f"A listing of {len(self)} clips was asked for a selection by a mask of "
                f"{chosen.dtype} {chosen.shape}: give a boolean for every clip."
            )
        return replace(self, table=self.table[chosen].reset_index(drop=True))


def first_of(names: list[str], most: int = 5) -> str:
    """Some names for a message, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse (ValueError) a setting that is none of the words allowed."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: it must be one of {', '.join(map(repr, allowed))}.")


def need_file(path: Path, advice: str) -> None:
    """Refuse a path where nothing is (FileNotFoundError), or no file (ValueError), with advice."""
    if path.is_file():
        return
    if path.exists():
        raise ValueError(f"{path} is no file but a folder or a device. {advice}")
    raise FileNotFoundError(f"There is no {path}. {advice}")


def read_table(path: Path, advice: str, kind: str, **form: Any) -> pd.DataFrame:
    """A table of texts, read by pandas in that form; the names of its columns are stripped.

    Raises:
        FileNotFoundError: If there is no such file; `advice` ends the message.
        ValueError: If it is no table of that kind.
    """
    need_file(path, advice)
    try:
        table = pd.read_csv(path, dtype=str, na_filter=False, encoding="utf-8-sig", **form)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not {kind} ({error}).") from error
    table.columns = [str(column).strip() for column in table.columns]
    return table


def refuse_rows(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str, kind: str) -> None:
    """Refuse a table with wrong rows, by a mask (rows,), and show the first (ValueError)."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{path} has {wrong.sum()} rows with {what}, the first is row {row + 1}: "
            f"{table.iloc[row].to_dict()}. Take the {kind} from the data set again."
        )


def refuse_absent(missing: Missing, text: str, absent: list[str], advice: str) -> None:
    """Refuse clips that are not on disk (FileNotFoundError), or warn of them."""
    if missing == "refuse":
        raise FileNotFoundError(f"{text}, the first is {absent[0]}. {advice}")
    warnings.warn(f"{text} and are left out: {first_of(absent)}", stacklevel=4)


def plain_names(names: pd.Series) -> pd.Series:
    """Paths as `audio/x.wav`, also where another program wrote backslashes, `./` or `//`."""
    return names.str.replace(r"[\\/]+", "/", regex=True).str.replace(
        r"(^|/)(?:\./)+", r"\1", regex=True
    )
