"""Options, devices and errors of the recipes' commands."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

import torch
from rich.console import Console
from torch import nn

from compressor.commands.parser import Parser
from compressor.errors import TrainingError, VerificationError
from recipes.files.lock import locked
from recipes.running.listed import Listing
from recipes.running.overrides import override
from recipes.running.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ROOT = Path(__file__).resolve().parents[2]
STOPPED = 130
"""Exit status of a process that was interrupted."""
UNUSABLE = 2
"""Exit status of a process that cannot do what was asked."""
LOCK = ".lock"
"""File in the folder of a run that keeps a second process from it."""
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
Config = TypeVar("Config")


@dataclass(frozen=True)
class RunContext(Generic[Config]):
    """Settings of a run, and where and how it computes.

    Attributes:
        config: Settings, changed as asked.
        data: Folder of the data set; None to generate scenes.
        folder: Folder of the run.
        device: Device to compute on.
        fabric: Devices, precision and processes; None for one process in single precision.
        console: Output for people.
        fast: True of the settings of minutes.
        compiler: Makes the network that is trained faster; None for nothing.
        precision: Precision of training, as `--precision` has it.
    """

    config: Config
    data: Path | None
    folder: RunFolder
    device: torch.device
    fabric: Fabric | None
    console: Console
    fast: bool
    compiler: Callable[[nn.Module], nn.Module] | None = None
    precision: str = "32"

    def begin(self, data: str) -> None:
        """Claim the folder, in the first process; ValueError if it is another run's."""
        if self.first:
            self.folder.begin(self.config, data, precision=self.precision)

    @property
    def how(self) -> str:
        """Device, processes and precision, for the report."""
        many = "" if self.fabric is None else f", {self.fabric.world_size} processes"
        compiled = "" if self.compiler is None else ", torch.compile"
        return f"{self.device}{many}, precision {self.precision}{compiled}"

    @property
    def first(self) -> bool:
        """True in the process that writes files; the others only train."""
        return self.fabric is None or self.fabric.is_global_zero


@dataclass(frozen=True)
class Options(Generic[Config]):
    """Options that a recipe has beside those of all.

    Attributes:
        add: Adds them to the parser.
        take: Makes settings of the paper's and of what was asked for, before `--fast` is looked at.
        word: Word of these settings that the name of the run's folder begins with.
    """

    add: Callable[[argparse.ArgumentParser], None]
    take: Callable[[Config, argparse.Namespace], Config]
    word: Callable[[Config], str]


def run(
    doc: str | None,
    name: str,
    config: Config,
    fast: Callable[[Config], Config],
    main: Callable[[RunContext[Config]], None],
    variants: Mapping[str, Callable[[Config], Config]] | None = None,
    own: Options[Config] | None = None,
) -> None:
    """Read the command line and run a recipe.

    Args:
        doc: Docstring of the recipe's file.
        name: Name of the folder below `runs/`.
        config: The paper's settings.
        fast: Makes settings of minutes of them.
        main: The recipe.
        variants: Choices of `--variant`: functions that make other settings of the paper's.
        own: Options of this recipe's alone.
    """
    variants = variants or {}
    parser = _parser(doc, config, variants)
    if own is not None:
        own.add(parser)
    options = parser.parse_intermixed_args()  # settings may stand before and after options
    torch.set_num_threads(options.threads)
    try:
        with one_sentence_errors(options.device, ". Try batch=..."):
            if options.variant is not None:
                config = variants[options.variant](config)
            words = [options.variant] * bool(options.variant)
            if own is not None:
                config = own.take(config, options)
                words.insert(0, own.word(config))
            context = _context(options, name, words, config, fast)
            folder = context.folder.path
            doing = f"runs {folder}"
            with (
                _made(folder),
                locked(folder / LOCK, doing) if context.first else nullcontext(),
            ):
                main(context)
    except KeyboardInterrupt:
        leave("Stopped. The same command goes on from the last epoch.", STOPPED)


def leave(message: str, code: int = UNUSABLE) -> NoReturn:
    """End the process with a sentence on standard error."""
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)


@contextmanager
def one_sentence_errors(device: str, advice: str = "") -> Iterator[None]:
    """End the process with one sentence and code 2 where its work ends with an error.

    `advice` ends the sentence where the memory of `device` ran out.
    """
    try:
        yield
    except BrokenPipeError:  # whoever read has enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, ValueError, ImportError, TrainingError, VerificationError) as error:
        leave(str(error) or type(error).__name__)
    except torch.OutOfMemoryError as error:
        leave(f"{device} is out of memory: {str(error).splitlines()[0]}{advice}")


def usable(name: str) -> torch.device:
    """The device of that name; ValueError if nothing can be computed on it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has no one error for it
        first = str(error).splitlines()[0]
        raise ValueError(
            f"--device {name} cannot be used here ({first}). Try --device cpu."
        ) from error
    return device


def check_folder(data: Path | None) -> None:
    """Refuse (FileNotFoundError) a folder of a data set that is not there."""
    if data is not None and not data.is_dir():
        raise FileNotFoundError(f"There is no folder {data}: --data is the data set's.")


def _parser(doc: str | None, config: object, variants: Collection[str]) -> argparse.ArgumentParser:
    parser = Parser(
        description=str(doc),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "settings", nargs="*", help="changed settings, name=value; --settings lists them"
    )
    parser.add_argument(
        "--settings", action=Listing, config=config,
        help="list all settings with their meanings and defaults, and end",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, help="the data set's folder; without, generated scenes"
    )
    parser.set_defaults(variant=None)
    if variants:
        parser.add_argument(
            "--variant", "--ablation", choices=list(variants), help="other settings"
        )
    parser.add_argument("--fast", action="store_true", help="all of it in minutes, on short clips")
    parser.add_argument("--paper", action="store_true", help="full settings on generated scenes")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--name", help="name of the run's folder below runs/<recipe>/")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--devices", type=_count, default=1, help="processes, a device each")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="32")
    parser.add_argument("--compile", action="store_true", help="use torch.compile, for long runs")
    parser.add_argument(
        "--threads", type=_count, default=1, help="CPU threads; one is fastest for small networks"
    )
    return parser


def _context(
    options: argparse.Namespace,
    name: str,
    words: Sequence[str],
    config: Config,
    fast: Callable[[Config], Config],
) -> RunContext[Config]:
    check_folder(options.data)
    console = Console()
    quick = options.fast or (options.data is None and not options.paper)
    if quick and not options.fast:
        console.print("No --data: generated scenes and the settings of --fast (--paper for all).")
    config = override(fast(config) if quick else config, options.settings)
    kind = [*words, "fast" if quick else "paper"]
    named = [options.name] if options.name else [*kind, *options.settings]
    folder = options.out or ROOT / "runs" / name / re.sub(r"[^\w.=+-]+", "_", "-".join(named))
    device = usable(options.device)
    fabric = launched(device, options.devices, options.precision)
    if fabric is not None:
        device = fabric.device
        console.quiet = not fabric.is_global_zero
    compiler = compiled if options.compile else None
    return RunContext(
        config, options.data, RunFolder(folder), device, fabric, console, quick, compiler,
        options.precision,
    )  # fmt: skip


def _count(text: str) -> int:
    """A whole number from 1 on, for the parser."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the folder of the run; of a run that came to nothing no new folder stays empty."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    _make(folder)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # of a folder that is not empty
            if new and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
            for place in new:
                place.rmdir()
        raise


def _make(folder: Path) -> None:
    """Make the folder of the run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{folder} cannot be made the folder of the run ({error.strerror}): name another with "
            "--out"
        ) from error


def compiled(model: nn.Module) -> nn.Module:
    """The network by `torch.compile`, which gives up on code that it has seen in many shapes."""
    torch.compiler.reset()
    return torch.compile(model)


def launched(device: torch.device, devices: int, precision: str) -> Fabric | None:
    """Lightning Fabric, where there is more than one process or another precision to see to.

    Raises:
        ImportError: If it is not installed.
        ValueError: If there are not so many devices.
    """
    if devices == 1 and precision == "32":
        return None
    try:
        from lightning_fabric import Fabric  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ImportError(
            f"several devices and other precisions go through Lightning Fabric ({error}): pip "
            "install -e '.[fabric]' in the checkout, or leave --devices and --precision out"
        ) from error

    found = torch.cuda.device_count() if device.type == "cuda" else devices
    if not 1 <= devices <= found:
        raise ValueError(f"--devices {devices}: there are {found} of {device.type}")
    fabric = Fabric(accelerator=device.type, devices=devices, precision=PRECISIONS[precision])
    fabric.launch()
    return fabric
