"""What the recipes' commands have in common: options, devices, and errors as one sentence."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from rich.console import Console
from torch import nn

from compressor.errors import TrainingError, VerificationError
from recipes.alone import alone
from recipes.overrides import names, override
from recipes.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ROOT = Path(__file__).resolve().parents[1]
STOPPED = 130
"""What a process that was interrupted ends with."""
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
Config = TypeVar("Config")


@dataclass(frozen=True)
class Call(Generic[Config]):
    """What was asked for.

    Attributes:
        config: The settings, changed as asked.
        data: The data set's folder; None to generate scenes.
        folder: Of the run.
        device: Where to compute.
        fabric: Devices, precision and processes; None for one process in single precision.
        console: What is said to people.
        fast: Whether the settings are those of minutes.
        compiler: What makes the network that is trained faster; None for nothing.
        precision: Of training, as `--precision` has it.
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
        """Claim the folder for these settings, data and precision; the first process does.

        Raises:
            ValueError: If it belongs to another run.
        """
        if self.first:
            self.folder.begin(self.config, data, precision=self.precision)

    @property
    def how(self) -> str:
        """What computes, for the report."""
        many = "" if self.fabric is None else f", {self.fabric.world_size} processes"
        compiled = "" if self.compiler is None else ", torch.compile"
        return f"{self.device}{many}, precision {self.precision}{compiled}"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files; the others only train."""
        return self.fabric is None or self.fabric.is_global_zero


def run(
    doc: str | None,
    name: str,
    config: Config,
    fast: Callable[[Config], Config],
    road: Callable[[Call[Config]], None],
    variants: Mapping[str, Callable[[Config], Config]] | None = None,
) -> None:
    """Read the command line and run a recipe.

    Args:
        doc: Of the recipe's file.
        name: Of the folder below `runs/`.
        config: The paper's settings.
        fast: What makes settings of minutes of them.
        road: The recipe.
        variants: What `--variant` offers: functions that make other settings of the paper's.
    """
    variants = variants or {}
    options = _parser(doc, config, variants).parse_args()
    torch.set_num_threads(options.threads)
    try:
        if options.variant is not None:
            config = variants[options.variant](config)
        call = _call(options, name, config, fast)
        _make(call.folder.path)
        if not call.first:
            road(call)
            return
        with alone(call.folder.path / ".lock", f"runs {call.folder.path}"):
            road(call)
    except (OSError, ValueError, ImportError, TrainingError, VerificationError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last epoch.", file=sys.stderr)
        sys.exit(STOPPED)
    except torch.OutOfMemoryError as error:
        sys.exit(f"{options.device} is out of memory: {str(error).splitlines()[0]}. Try batch=...")


def usable(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: If nothing can be computed on it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has no one error for it
        first = str(error).splitlines()[0]
        message = f"--device {name} cannot be used here ({first}). Try --device cpu."
        raise ValueError(message) from error
    return device


def _parser(doc: str | None, config: object, variants: Collection[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=str(doc),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"settings: {', '.join(names(config))}",
    )
    parser.add_argument("settings", nargs="*", help="changed settings, name=value")
    parser.add_argument(
        "--data", type=Path, help="the data set's folder; without, generated scenes"
    )
    parser.add_argument("--variant", "--ablation", choices=list(variants), help="other settings")
    parser.add_argument("--fast", action="store_true", help="all of it in minutes, on short clips")
    parser.add_argument("--paper", action="store_true", help="full settings on generated scenes")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--name", help="of the run, below runs/<recipe>/")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--devices", type=_count, default=1, help="processes, a device each")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="32")
    parser.add_argument("--compile", action="store_true", help="with torch.compile, for long runs")
    parser.add_argument(
        "--threads", type=_count, default=1, help="of a CPU; one is fastest for small networks"
    )
    return parser


def _call(
    options: argparse.Namespace, name: str, config: Config, fast: Callable[[Config], Config]
) -> Call[Config]:
    console = Console()
    quick = options.fast or (options.data is None and not options.paper)
    if quick and not options.fast:
        console.print("No --data: generated scenes and the settings of --fast (--paper for all).")
    config = override(fast(config) if quick else config, options.settings)
    kind = [options.variant] * bool(options.variant) + ["fast" if quick else "paper"]
    words = [options.name] if options.name else [*kind, *options.settings]
    folder = options.out or ROOT / "runs" / name / re.sub(r"[^\w.=+-]+", "_", "-".join(words))
    device = usable(options.device)
    fabric = _fabric(device, options.devices, options.precision)
    if fabric is not None:
        device = fabric.device
        console.quiet = not fabric.is_global_zero
    compiler = compiled if options.compile else None
    return Call(
        config, options.data, RunFolder(folder), device, fabric, console, quick, compiler,
        options.precision,
    )  # fmt: skip


def _count(text: str) -> int:
    """A whole number from 1 on, for the parser."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _make(folder: Path) -> None:
    """The folder of the run.

    Raises:
        OSError: If there can be none.
    """
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


def _fabric(device: torch.device, devices: int, precision: str) -> Fabric | None:
    """Lightning Fabric, where there is more than one process or another precision to see to.

    Raises:
        ValueError: If there are not as many devices.
    """
    if devices == 1 and precision == "32":
        return None
    from lightning_fabric import Fabric  # noqa: PLC0415 - optional

    found = torch.cuda.device_count() if device.type == "cuda" else devices
    if not 1 <= devices <= found:
        raise ValueError(f"--devices {devices}: there are {found} of {device.type}")
    fabric = Fabric(accelerator=device.type, devices=devices, precision=PRECISIONS[precision])
    fabric.launch()
    return fabric
