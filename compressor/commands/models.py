"""The model that a command is about: a class or function, or a file that was written before."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import Tensor, nn

from compressor.commands.words import called, named, read_as, settings_of
from compressor.inputs import randomness
from compressor.inputs.models import check_model
from compressor.network.file.values import type_of
from compressor.reports.found import kind_of
from compressor.reports.result import NETWORK, load
from compressor.wording import kind, many


def add_model(parser: ArgumentParser, *, seeded: bool = False) -> None:
    """Declare a model, and what is said of it; `seeded` where a run has a seed of its own."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="package.module:Name or net.py:Name, a class or function of your code, or a model "
        "there; or a file of Result.write, or the folder of a result",
    )
    parser.add_argument(
        "--with",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a keyword argument of the class or function, a literal of Python; several times",
    )
    parser.add_argument(
        "--input",
        action="append",
        type=read_as(_zeros),
        metavar="SHAPE",
        help="shape of an input, the batch first, as 1,3,32,32, or 1,16:int64 where it takes whole "
        "numbers; once for each input; by default the model's example_input_array",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="state dict in a .safetensors file, or a folder of Result.save",
    )
    if not seeded:
        parser.set_defaults(seed=0)


def model_of(options: Namespace) -> nn.Module:
    """The model that was asked for, with its weights.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If there is no such model, it cannot be made, or the weights are another's.
    """
    model = _made(options.model, options.settings, options.seed)
    check_model(model)
    return model if options.weights is None else _weighted(model, options.weights)


def example_of(options: Namespace, model: nn.Module) -> tuple[Tensor, ...] | None:
    """The example that was given, or None where the model has one.

    Raises:
        ValueError: If there is neither.
    """
    if not options.input and getattr(model, "example_input_array", None) is None:
        raise ValueError(
            f"the {type(model).__name__} has no example_input_array: give the shape of one input, "
            "the batch first, such as --input 1,3,32,32"
        )
    return tuple(options.input) if options.input else None


def _made(word: str, words: list[str], seed: int) -> nn.Module:
    place = Path(word)
    settings = settings_of(words)
    if not word or not place.exists():
        # So that a fresh network is the same in every process: what the module itself makes first.
        randomness.seed_everything(seed)
        found = named(word)
        randomness.seed_everything(seed)
        if isinstance(found, nn.Module) and not settings:
            return found
        if isinstance(found, nn.Module) or not callable(found):
            what = f"a {type(found).__name__}, which takes no arguments"
            other = ", or leave --with out" if isinstance(found, nn.Module) else ""
            raise ValueError(f"{word} is {what}: name a class or function{other}")
        made = called(word, found, settings)
        if not isinstance(made, nn.Module):
            raise ValueError(f"{word} makes {kind(made)} and no torch.nn.Module: name what does")
        return made
    if place.suffix == ".py":
        raise ValueError(
            f"{word} is a file of Python: name the class or function in it, such as {word}:Net"
        )
    if settings:
        raise ValueError(f"{word} is a file, of which --with changes nothing: leave it out")
    if (place / "model.json").is_file() and not (place / NETWORK).is_file():
        raise ValueError(
            f"{word} holds weights of your own class and no network: name the class, and give "
            f"--weights {word}"
        )
    return load(place)


def _weighted(model: nn.Module, path: Path) -> nn.Module:
    if path.is_dir():
        return load(path, model)
    with path.open("rb") as file:
        other = kind_of(path, file.read(32))
    if other:
        raise ValueError(
            f"{path} is {other}, and --weights takes a state dict in the safetensors format, as "
            "safetensors.torch.save_file(model.state_dict(), path) writes. Nothing is unpickled"
        )
    none = f"{path} holds no weights of this {type(model).__name__}"
    as_it_was = "build the model as it was when they were saved, see --with"
    try:
        _check_tensors(model, path, none, as_it_was)
        missing, more = load_model(model, path, strict=False)
    except (SafetensorError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} holds no weights of this model: {said}") from error
    for names, fault in ((missing, "lacks"), (more, "has, and the model has not,")):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise ValueError(
                f"{none}: it {fault} {many(len(names), 'tensor')} ({shown}): {as_it_was}"
            )
    return model


def _check_tensors(model: nn.Module, path: Path, none: str, remedy: str) -> None:
    """Check the names of a file's tensors, and their shapes where the model has such a name.

    Raises:
        SafetensorError: If it is no such file.
        ValueError: If all names differ by what they begin with, or a shape is another one.
    """
    with safe_open(path, "pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if prefix := _prefix(own.keys() - stored.keys(), stored.keys() - own.keys()):
        raise ValueError(f"{none} under its names: {prefix}")
    odd = [name for name in own if stored.get(name, own[name]) != own[name]]
    if odd:
        others = f", and {many(len(odd) - 1, 'more tensor')} likewise" if len(odd) > 1 else ""
        raise ValueError(
            f"{none}: its {odd[0]!r} is {stored[odd[0]]} and the model's {own[odd[0]]}{others}: "
            f"{remedy}"
        )


def _prefix(own: set[str], stored: set[str]) -> str:
    """What stands before all names of one side alone; empty where it is not that."""
    if not own or len(own) != len(stored):
        return ""
    for some, others, said in (
        (own, stored, "every name of the file begins with {!r}, and the model's do not: {}"),
        (stored, own, "every name of the model begins with {!r}, and the file's do not: {}"),
    ):
        first = min(some)
        for other in others:
            before = other.removesuffix(first)
            if before != other and {before + name for name in some} == others:
                inner = "name the class that was saved, or save the state dict of "
                which = "its inner model" if some is own else "the whole model"
                return said.format(before, f"{inner}{which}")
    return ""


def _zeros(word: str) -> Tensor:
    """Zeros of a shape such as ``1,3,32,32``, or ``1,16:int64``."""
    sizes, _, dtype = word.partition(":")
    try:
        shape = [int(size) for size in sizes.split(",")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        raise ValueError(f"{word!r} is no shape: write its sizes, the batch first, as 1,3,32,32")
    kind_of_number = type_of(dtype or "float32")
    try:
        return torch.zeros(shape, dtype=kind_of_number)
    except (MemoryError, RuntimeError, TypeError, OverflowError) as error:  # torch has no one error
        raise ValueError(
            f"{word!r} has {math.prod(shape):.3g} numbers, for which there is too little memory: "
            "name a smaller one"
        ) from error
