"""Arguments of `fit` and `Session` that are checked by themselves, before anything is run."""

from __future__ import annotations

import inspect
import os
import tempfile
from functools import partial
from pathlib import Path

from compressor.wording import brief

SEEDS = 2**64
"""The number of seeds that torch's generators take."""


def check_functions(
    on_epoch: object, compiler: object, val: object = None, on_step: object = None
) -> None:
    """Check that the watchers of epochs and steps, the compiler and a function `val` can be called.

    Raises:
        ValueError: If one cannot.
    """
    functions = {"on_epoch": on_epoch, "on_step": on_step, "compiler": compiler, "val": val}
    for name, function in functions.items():
        if not takes(function):
            raise ValueError(
                f"{name}={brief(function)} does not take one argument, and fit calls it with "
                f"{_GIVEN[name]} alone: functools.partial fills in the others"
            )
    told = {
        "on_epoch": (on_epoch, "the log, a sequence of compressor.run.history.Epoch"),
        "on_step": (on_step, "the step, a compressor.run.history.Step"),
    }
    for name, (function, what) in told.items():
        if function is not None and not callable(function):
            raise ValueError(
                f"{name}={brief(function)} is a {type(function).__name__}: pass a function of "
                f"{what}"
            )
    if compiler is not None and not callable(compiler):
        raise ValueError(
            f"compiler={brief(compiler)} is a {type(compiler).__name__}: pass a function of the "
            "network that returns a faster one, such as torch.compile"
        )


_GIVEN = {
    "on_epoch": "the log",
    "on_step": "the step",
    "compiler": "the network",
    "val": "the model",
}
"""The argument of functions that are passed to `fit`, by name."""


def takes(function: object, count: int = 1) -> bool:
    """True if something can be called with so many arguments, as far as its signature is known."""
    if isinstance(function, type) or not callable(function):
        return True  # another matter
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # it has no signature, as some that are written in C
        return True
    return True


def check_form(call: str, function: object, form: str) -> None:
    """Check that a function of the user's takes the arguments of a form.

    Args:
        call: How it was passed, such as ``"Prune(importance=mine)"``.
        function: What was passed.
        form: How it is called and what it returns, such as ``"f(a, b) -> a number"``.

    Raises:
        ValueError: If it does not.
    """
    count = form[: form.index(")")].count(",") + 1
    if callable(function) and not takes(function, count):
        raise ValueError(
            f"{call} must be {form}, and takes {inspect.signature(function)}: functools.partial "
            "fills in others"
        )


def name_of_function(function: object) -> str:
    """A function by its name, settings left out; anything else that is called by its class."""
    bare: object = function.func if isinstance(function, partial) else function  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return str(getattr(bare, "__name__", type(bare).__name__))


def check_follower(optimizer: object, *, later: bool = False) -> None:
    """Check that the optimiser given to a session is one, or None.

    Args:
        optimizer: What was given.
        later: It was given to a session that there is, and not to `Session` itself.

    Raises:
        ValueError: If it is not.
    """
    made = hasattr(optimizer, "param_groups") and not isinstance(optimizer, type)
    if optimizer is not None and not made:
        what = brief(optimizer)
        call = f"session.optimizer = {what}" if later else f"Session(optimizer={what})"
        model, its = ("session.model",) * 2 if later else ("the model given", "model")
        raise ValueError(
            f"{call}: must be an optimiser built on {model}, such as "
            f"torch.optim.SGD({its}.parameters(), lr=0.1), or None"
        )


def check_fabric(fabric: object) -> None:
    """Check that `fabric=` is one, or None.

    Raises:
        ValueError: If it is not.
    """
    known = all(hasattr(fabric, name) for name in ("to_device", "setup", "backward", "autocast"))
    if fabric is not None and (isinstance(fabric, type) or not known):
        raise ValueError(
            f"fabric={brief(fabric)} is no Fabric: pass lightning_fabric.Fabric(...), or "
            "None; it comes with pip install 'compressor-nn[fabric]'"
        )


def check_seed(seed: object) -> None:
    """Check that a seed is one.

    Raises:
        ValueError: If it is no whole number from 0 to 2**64 - 1.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise ValueError(f"fit(seed={brief(seed)}): must be a whole number from 0 to 2**64 - 1")


def check_directory(path: str | os.PathLike[str]) -> None:
    """Make sure that `checkpoint=` is a directory that files can be written to.

    Raises:
        ValueError: If it is empty, a file, or below a file, or nothing can be written there.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"checkpoint={path!r} names no directory: pass one, or None for none")
    folder = Path(path)
    try:
        _check_no_file(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"checkpoint={str(folder)!r} cannot be written to ({error.strerror or error}): pass "
            "another path, or None for no checkpoint"
        ) from error


def _check_no_file(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists() or place.is_symlink():
            below = "" if place == folder else f" lies below {str(place)!r}, which"
            raise ValueError(
                f"checkpoint={str(folder)!r}{below} is a file, and a checkpoint is a directory of "
                "several: pass another path"
            )
