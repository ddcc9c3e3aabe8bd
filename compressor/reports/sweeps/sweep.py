"""The rows of a sweep as tables, and its front as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor import storage
from compressor.budget import RESOURCES
from compressor.reports.grids import Grid, text
from compressor.reports.sweeps.failures import DONE
from compressor.reports.sweeps.front import draw
from compressor.reports.sweeps.pareto import dominators, standard_error
from compressor.wording import brief

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """What came of methods at several budgets; print it.

    Attributes:
        rows: One for every budget, method and seed, and one a seed of the network given (method
            "dense"), each plain data: what was asked, `state` ("done"; "refused" by this library
            or "failed" by an error in other code, with a reason, `why`), `value` (what `evaluate`
            says), the costs, `bytes` being those of the file where they have a cap, the caps, the
            `gap` of our widths, and wall `seconds`.
    """

    rows: tuple[Mapping[str, Any], ...]

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs that any budget caps."""
        return tuple(n for n in RESOURCES if any(row[f"cap_{n}"] for row in self.rows))

    def frame(self) -> pd.DataFrame:
        """One row for every budget, method and seed."""
        import pandas as pd  # noqa: PLC0415 - slow to import, and only wanted here

        return pd.DataFrame(map(dict, self.rows)).convert_dtypes()

    def means(self) -> list[dict[str, Any]]:
        """One row for every budget and method, over the seeds that were made.

        `value` is a mean, `error` its standard error (None for one seed); costs are means as well;
        `front` says that no other is as good in value and in every cost that a budget caps, and
        better in one. `seeds` were made, `refused` were not (or failed), for the reason `why`.
        """
        keys = dict.fromkeys((row["budget"], row["method"]) for row in self.rows)
        found = [self._mean(*key) for key in keys]
        valued = [one for one in found if one["value"] is not None]
        points = [[one["value"], *(-one[n] for n in self._counted(valued))] for one in valued]
        for one, better in zip(valued, dominators(np.array(points)) if points else [], strict=True):
            one["front"] = better is None
        return found

    def table(self) -> pd.DataFrame:
        """`means` as a DataFrame."""
        import pandas as pd  # noqa: PLC0415 - slow to import, and only wanted here

        return pd.DataFrame(self.means()).convert_dtypes()

    def csv(self, path: str | os.PathLike[str]) -> None:
        """Write `table` as CSV, in one step."""
        storage.write_bytes(storage.path_of(path), self.table().to_csv(index=False).encode())

    def front(self, path: str | os.PathLike[str], costs: Sequence[str] | None = None) -> None:
        """Draw value against cost, with the front marked, as PNG.

        Args:
            path: Of the file, put in place in one step.
            costs: Names of costs, a panel each; by default those that any budget caps.

        Raises:
            ImportError: Without matplotlib (extra ``plot``).
            ValueError: If nothing was evaluated, or there is no such cost.
        """
        wanted = list(self.costs if costs is None else costs)
        wrong = [name for name in wanted if name not in RESOURCES]
        if wrong or not wanted or isinstance(costs, str):
            raise ValueError(
                f"front(costs={brief(costs)}): give names of costs, some of {', '.join(RESOURCES)}"
            )
        means = [one for one in self.means() if one["value"] is not None]
        if not means:
            raise ValueError(
                "front draws what networks are worth against what they cost, and none was made, or "
                "nothing was evaluated: pass sweep(..., evaluate=val)"
            )
        draw(means, wanted, storage.path_of(path))

    def grid(self) -> Grid:
        """`table` for people."""
        found = self.means()
        costs = [n for n in ("params", "macs") if n not in self.costs] + list(self.costs)
        head = ("method", "budget", "value", *costs, "seeds", "")
        return Grid("Sweep", head, tuple(_cells(one, costs) for one in found))

    def markdown(self) -> str:
        """`table` in Markdown."""
        return self.grid().markdown() + "\n"

    def latex(self) -> str:
        """`table` in LaTeX, a ``tabular`` of the package ``booktabs``, for a paper.

        A row for every budget and method: value with its standard error, costs, seeds.
        """
        return self.grid().latex() + "\n"

    def _repr_html_(self) -> str:
        """`table` for notebooks."""
        return self.grid().html()

    def __str__(self) -> str:
        """`table` as text, and why some rows were refused."""
        return text("", [self.grid()], _reasons(self.means()))

    def __repr__(self) -> str:
        """One line."""
        refused = sum(row["state"] != DONE for row in self.rows)
        return f"<Sweep of {len(self.rows)} rows, {refused} refused>"

    def _mean(self, budget: str, method: str) -> dict[str, Any]:
        every = [r for r in self.rows if (r["budget"], r["method"]) == (budget, method)]
        made = [row for row in every if row["state"] == DONE]
        values = [row["value"] for row in made if row["value"] is not None]
        error = standard_error(values) if values else math.nan
        return {
            "budget": budget,
            "method": method,
            "seeds": len(made),
            "refused": len(every) - len(made),
            "value": float(np.mean(values)) if values else None,
            "error": None if math.isnan(error) else error,
            **{name: _average([row[name] for row in made]) for name in RESOURCES},
            "gap": _average([row["gap"] for row in made]),
            "seconds": _average([row["seconds"] for row in every]),
            "front": False,
            "why": next((row["why"] for row in every if row["why"]), ""),
        }

    def _counted(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """The capped costs that all rows have; RAM is not counted of every network."""
        return [n for n in self.costs or ("params", "macs") if all(r[n] is not None for r in rows)]


def _average(values: Sequence[float | None]) -> float | None:
    """The mean; whole where all are the same; None where one is not known."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return known[0] if len(set(known)) == 1 else float(np.mean(known))


def _reasons(means: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why rows were refused, each sentence once, after all that it was said of."""
    said: dict[str, dict[str, list[str]]] = {}
    for one in means:
        if one["why"]:
            said.setdefault(one["why"], {}).setdefault(one["budget"], []).append(one["method"])
    return [f"{'; '.join(starmap(_places, at.items()))}: {why}" for why, at in said.items()]


def _places(budget: str, methods: Sequence[str]) -> str:
    """Several methods at a budget, by their names."""
    return ", ".join(methods) + (f" at {budget}" if budget else "")


def _cells(one: Mapping[str, Any], costs: Sequence[str]) -> tuple[str, ...]:
    spread = "" if one["error"] is None else f" ± {one['error']:.2g}"
    value = "-" if one["value"] is None else f"{one['value']:.4g}{spread}"
    sizes = ("-" if one[name] is None else f"{one[name]:,.0f}" for name in costs)
    seeds = f"{one['seeds']}" + (f" of {one['seeds'] + one['refused']}" if one["refused"] else "")
    return (one["method"], one["budget"], value, *sizes, seeds, "front" if one["front"] else "")
