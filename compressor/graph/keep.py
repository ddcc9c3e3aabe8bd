"""Axes that a user means by the names of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from compressor.graph.graph import Axis
from compressor.wording import brief


def names_of(keep: Iterable[str], argument: str = "keep") -> tuple[str, ...]:
    """The names given as ``keep=``, or as another argument of lists of layers.

    Raises ValueError if it is a single string, whose letters would be taken for names, or holds
    anything but strings.
    """
    if isinstance(keep, str):
        raise ValueError(
            f"{argument}={keep!r} is a single string: pass a list, {argument}=[{keep!r}]"
        )
    names = tuple(keep) if isinstance(keep, Iterable) else (keep,)
    for name in names:
        if not isinstance(name, str):
            number = f", a {type(name).__name__}" if isinstance(name, (int, float)) else ""
            raise ValueError(
                f"{argument}= holds {brief(name)}{number}: pass names of layers, which "
                "are those of model.named_modules()"
            )
    return names


def named(axes: Sequence[Axis], names: Iterable[str], known: Iterable[str] = ()) -> set[int]:
    """Numbers of the axes that any of these layers, or any layer below them, writes.

    Args:
        axes: The axes of a graph.
        names: Names of axes or of modules; a module stands for all layers inside it.
        known: Further names that are right but have no axis (layers that are whole anyway).

    Raises:
        ValueError: If a name is neither; lists the closest ones. Or if `names` is one string.
    """
    labels = [{axis.name, *axis.layers} for axis in axes]
    found: set[int] = set()
    for name in names_of(names):
        hits = {n for n, layers in enumerate(labels) if any(_inside(x, name) for x in layers)}
        if not hits and not any(_inside(layer, name) for layer in known):
            what = f"keep={name!r} names no layer that writes channels"
            raise _unknown(what, name, {*known, *(x for layers in labels for x in layers)})
        found |= hits
    return found


def released(weights: Iterable[str], modules: Mapping[str, str], names: Iterable[str]) -> set[str]:
    """Those of some weights that are applied by any of these layers, or any layer below them.

    Args:
        weights: Names of weights that stay whole unless released.
        modules: The layer that applies a weight, by weight, of all that are applied.
        names: Names of modules; a module stands for all layers inside it.

    Raises:
        ValueError: If a name is that of no layer; lists the closest ones.
    """
    found: set[str] = set()
    for name in names:
        if not any(_inside(layer, name) for layer in modules.values()):
            what = f"release={name!r} names no layer with a weight"
            raise _unknown(what, name, modules.values())
        found |= {w for w in weights if w in modules and _inside(modules[w], name)}
    return found


def _unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.3) or names[:5]
    return ValueError(
        f"{what}; the closest names are {', '.join(map(repr, close))}. Names are those of "
        "model.named_modules()"
    )


def _inside(layer: str, name: str) -> bool:
    return layer == name or layer.startswith((f"{name}.", f"{name}#"))
