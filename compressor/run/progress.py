"""A progress bar in the terminal; nothing anywhere else (see `compressor.run.telling`)."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class Count(MofNCompleteColumn):
    """How much of how much is done, where that is known."""

    def render(self, task: Task) -> Text:
        """Nothing where it is not."""
        return Text() if task.total is None else super().render(task)


class Bar:
    """One bar on stderr for the phase at hand, removed at the end.

    Args:
        enabled: Show anything where stderr is a terminal, or in a notebook.

    Attributes:
        shown: It shows anything.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        console = Console(stderr=True)
        self.shown = enabled and (console.is_terminal or console.is_jupyter)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            Count(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not self.shown,
        )
        self._task = self._progress.add_task("", total=None, note="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._progress.stop()

    def begin(self, text: str, total: int | None) -> None:
        """Start over: `total` steps (None when unknown) of what `text` says."""
        # A new one, as rich keeps the total of a task that is told there is none.
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=total, note="")

    def advance(self, note: str = "") -> None:
        """One step done."""
        self._progress.update(self._task, advance=1, note=note)
