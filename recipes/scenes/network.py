"""The network of an entry: found by its name, built for the year's classes, and tried once.

A name is ``package.module:Name`` or ``folder/net.py:Name``: a class, a function, or a class's own
method (``Name.small``), that makes an `nn.Module`. The number of classes is passed as `num_classes`
or `classes` where it has an argument of such a name, else as the first argument; `mels` and
`frames`, the front end's, where it has arguments of these names; then what `--with` says. The
module takes log-mels (batch, 1, mels, frames) and answers with logits (batch, classes).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.commands.words import named
from compressor.inputs.evaluation import evaluating
from compressor.wording import kind, line
from recipes.running.overrides import literal

CLASSES = ("num_classes", "classes")
"""Arguments by which the number of classes is given; else it is the first."""
FORM = "--model package.module:Name or --model net.py:Name"
CLIPS = 2
"""Clips that a network is tried on."""

Make = Callable[..., nn.Module]


@dataclass(frozen=True)
class Source:
    """Whose network an entry is, and what it is built with.

    Attributes:
        name: `package.module:Name` or `net.py:Name`.
        given: Its constructor's further arguments, each `name=value`, Python literals.
    """

    name: str
    given: tuple[str, ...] = ()

    def build(self, classes: int, mels: int, frames: int) -> nn.Module:
        """A fresh network with `example_input_array` (1, 1, mels, frames).

        Raises:
            ValueError: If the name is none, or building fails or gives no `nn.Module`.
        """
        make = find(self.name)
        known = _arguments(self.name, make)
        words = _given(self.given, self.name, known)
        sizes = {"mels": mels, "frames": frames}
        words = {n: size for n, size in sizes.items() if known and n in known} | words
        called = next((n for n in CLASSES if known and n in known), None)
        first = () if called else (classes,)
        words = ({called: classes} if called else {}) | words
        try:
            model = make(*first, **words)
        except Exception as error:
            said = ", ".join([*map(str, first), *(f"{n}={v!r}" for n, v in words.items())])
            raise ValueError(
                f"{self.name}({said}) cannot be built ({_line(error)}). Its other arguments "
                "can be given by --with name=value, its front end by --front-end."
            ) from error
        if not isinstance(model, nn.Module):
            raise ValueError(
                f"{self.name} makes a {type(model).__name__} and no torch.nn.Module. {FORM}"
            )
        model.example_input_array = torch.zeros(1, 1, mels, frames)
        return model

    def tried(self, classes: int, mels: int, frames: int) -> nn.Module:
        """The same, and it answers clips with finite logits.

        Raises:
            ValueError: As `build`, or if it does not.
        """
        model = self.build(classes, mels, frames)
        x = torch.randn(CLIPS, 1, mels, frames, generator=torch.Generator().manual_seed(0))
        asked = f"{self.name} was asked about log-mels {tuple(x.shape)} (batch, 1, mels, frames)"
        try:
            with evaluating(model), torch.no_grad():
                found: object = model(x)
        except Exception as error:
            raise ValueError(
                f"{asked} and failed ({_line(error)}). Give it the front end that "
                "it was made for, --front-end or mels.mels=..., mels.hop=..."
            ) from error
        if not isinstance(found, Tensor) or tuple(found.shape) != (CLIPS, classes):
            answer = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"{asked} and answers {answer}: it must be a tensor of logits ({CLIPS}, {classes})."
            )
        if not bool(found.isfinite().all()):
            raise ValueError(f"{asked} and answers what is no finite number before any training.")
        return model


def _line(error: Exception) -> str:
    """An error's kind, and its first line without a full stop."""
    return f"{type(error).__name__}: {line(error).rstrip('.')}"


def find(name: str) -> Make:
    """The class or function of a name.

    Raises:
        ValueError: If there is none: the name has another form, its module cannot be imported, or
            has nothing callable of that name.
    """
    try:
        found = named(name)
    except ValueError as error:
        raise ValueError(f"--model: {error}") from error
    if not callable(found):
        raise ValueError(f"--model {name}: {kind(found)} is no class or function. {FORM}")
    return found


def _arguments(name: str, make: Make) -> list[str] | None:
    """Names of the arguments; None where any are taken or none are told."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return None
    if not parameters:
        raise ValueError(f"{name}() takes no argument: it must take the number of classes, first.")
    any_word = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return None if any_word else [p.name for p in parameters]


def _given(texts: Sequence[str], name: str, known: Sequence[str] | None) -> dict[str, object]:
    """Arguments of texts `name=value`."""
    words: dict[str, object] = {}
    for text in texts:
        word, sign, value = text.partition("=")
        if not sign or not word.isidentifier():
            raise ValueError(
                f"--with {text}: write name=value, an argument of {name}. Settings of the run, "
                "such as train.epochs=10, stand before --with."
            )
        if known is not None and word not in known:
            filled = next((n for n in CLASSES if n in known), known[0])  # not to be given
            free = [one for one in known if one != filled]
            near = difflib.get_close_matches(word, free, n=1, cutoff=0.4)
            guess = f": did you mean {near[0]}?" if near else "."
            raise ValueError(
                f"--with {text}: {name} has no argument {word!r}{guess} It has "
                f"{', '.join(free) or 'no other'}. Settings of the run stand before --with."
            )
        if word in words:
            raise ValueError(f"--with {text}: {word} stands there twice: leave one out.")
        words[word] = literal(value)
    return words
