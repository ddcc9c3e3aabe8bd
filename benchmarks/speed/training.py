"""Front end, training step, epoch and cache building beside the straightforward way.

The rival is `benchmarks.speed.plain`. Both get the same sound, batch, optimiser and device, and run
in turn (`benchmarks.common.contest`).

    python -m benchmarks.speed.training                # tables into training.md
    python -m benchmarks.speed.training --device cuda  # into training-cuda.md
    python -m benchmarks.speed.training --quick        # tiny, shows that it runs; writes nothing

On a CPU: one thread, CPU seconds of the process. On an accelerator: seconds until it is done, for
every combination of bfloat16, channels-last and compilation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.common.command import device, parser, started
from benchmarks.common.contest import HEAD, Call, Contest, measure
from benchmarks.common.sound import data_root, has_esc50
from benchmarks.common.tables import page, publish, table, versions
from benchmarks.speed import caching, plain
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from models import BCResNetASC
from recipes.data.audio import AudioFormat, decode
from recipes.data.esc50 import FORMAT, read_esc50
from recipes.features.logmel import FULL_SCALE, MELS_2020, MELS_2021, MelSettings, log_mels
from recipes.training.epochs import Epochs
from recipes.training.loop import train
from recipes.training.paper_plans import Training2021

CLASSES = 10
PLAN = Training2021(bands=40, frames=8)
"""With the masks of the paper's large network; 8 of 34 frames for its 80 of 334."""

Network = Callable[[int], nn.Module]
"""Makes a network of a width."""
Compiler = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Option:
    """A way to train a network on an accelerator: mixed precision, layout in memory, compiler."""

    bfloat16: bool = False
    channels_last: bool = False
    compiled: str = ""
    compiler: Compiler | None = None

    def __str__(self) -> str:
        """For a table: empty if nothing is chosen."""
        chosen = (self.bfloat16 * "bfloat16", self.channels_last * "channels-last", self.compiled)
        return "".join(f", {name}" for name in chosen if name)

    def prepare(self, network: nn.Module, device: torch.device) -> nn.Module:
        """On its device, laid out and compiled."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        network = network.to(device, memory_format=layout)
        return network if self.compiler is None else self.compiler(network)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy."""
        with torch.autocast(batch[0].device.type, torch.bfloat16, enabled=self.bfloat16):
            return cross_entropy(model, batch)


PLAIN = Option()
COMPILERS = (
    ("", None),
    ("compiled", torch.compile),
    ("compiled to a CUDA graph", partial(torch.compile, mode="reduce-overhead")),
)
TRACER = ("traced", partial(torch.compile, backend="eager"))
"""As compiling does it, without the minute that a C++ compiler then takes."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Extent of a measurement: n rounds of timings that last at least so many seconds each.

    Batches are clips of the front end and of a step, networks have so many channels, files of
    ESC-50 and generated wavs are cached, and networks compiled in each of these ways.
    """

    n: int = 7
    least: float = 0.2
    batch: int = 64
    stereo: int = 8
    narrow: int = 10
    wide: int = 80
    wide_batch: int = 16
    steps: int = 2
    files: int = 2000
    wavs: int = 2800
    compilers: Sequence[tuple[str, Compiler | None]] = COMPILERS


QUICK = Sizes(
    n=1, least=0.0, batch=4, stereo=1, narrow=2, wide=4, wide_batch=2, steps=1, files=4, wavs=4,
    compilers=(("", None), TRACER),
)  # fmt: skip


@cache
def sound(clips: int, seconds: int, rate: int, channels: int) -> np.ndarray:
    """ESC-50's clips end to end, cut anew: int16 (clips, channels, samples); or noise."""
    samples = seconds * rate
    if not has_esc50():
        rng = np.random.default_rng(0)
        return rng.integers(-3000, 3000, (clips, channels, samples), dtype=np.int16)
    wanted = AudioFormat(rate=rate, channels=channels, seconds=FORMAT.seconds)
    paths = read_esc50(data_root() / "esc50").paths[: math.ceil(clips * seconds / FORMAT.seconds)]
    stream = np.concatenate([decode(path, wanted) for path in paths], axis=1)
    cut = stream[:, : clips * samples].reshape(channels, clips, samples)
    return np.ascontiguousarray(cut.transpose(1, 0, 2))


def second(clips: int) -> np.ndarray:
    """One-second clips, mono at 16 kHz: int16 (clips, 1, 16000)."""
    return sound(clips, 1, MELS_2021.sample_rate, 1)


def labels(clips: int) -> np.ndarray:
    """A class for every clip."""
    return np.random.default_rng(0).integers(0, CLASSES, clips)


def as_librosa_loads(audio: np.ndarray) -> np.ndarray:
    """float32 between -1 and 1; one channel less where there is one."""
    return (audio.astype(np.float32) / FULL_SCALE).squeeze(1 if audio.shape[1] == 1 else ())


def our_front_end(
    clips: int, *, settings: MelSettings, seconds: int, channels: int, device: torch.device
) -> Call:
    """All clips at once."""
    audio = torch.from_numpy(sound(clips, seconds, settings.sample_rate, channels))
    return lambda: log_mels(audio, settings, device)


def their_front_end(
    clips: int, *, settings: MelSettings, seconds: int, channels: int, kept: bool
) -> Call:
    """Clip by clip; `kept` says whether the mel filters are made once."""
    audio = as_librosa_loads(sound(clips, seconds, settings.sample_rate, channels))
    fresh = partial(plain.log_mel, settings=settings)
    log_mel = plain.KeptFilters(settings).log_mel if kept else fresh
    return lambda: np.stack([log_mel(clip) for clip in audio])


def network_step(
    clips: int,
    *,
    network: Network,
    width: int,
    device: torch.device,
    option: Option = PLAIN,
) -> Call:
    """Forward, backward and SGD on one batch."""
    model = option.prepare(network(width), device)
    optimizer = PLAN.optimizer(model.parameters())
    batch = _features(clips, device), torch.from_numpy(labels(clips)).to(device)

    def step() -> None:
        optimizer.zero_grad()
        option.loss(model, batch).backward()
        optimizer.step()

    return step


def our_training(
    clips: int, *, batch: int, width: int, device: torch.device, option: Option = PLAIN
) -> Call:
    """A pass over log-mels on the device."""
    model = option.prepare(BCResNetASC(width), device)
    y = torch.from_numpy(labels(clips)).to(device)
    batches = Epochs(_features(clips, device), y, CLASSES, replace(PLAN, batch=batch), seed=0)
    return lambda: train(model, batches, 1, loss=option.loss)


def their_training(clips: int, *, batch: int, width: int, device: torch.device) -> Call:
    """A pass over log-mels made beforehand."""
    data = plain.Spectrograms(_their_features(clips), labels(clips), PLAN)
    return _their_pass(data, batch, width, device)


def our_epoch(clips: int, *, batch: int, width: int, device: torch.device) -> Call:
    """A pass over waveforms: front end, augmentation, steps."""
    model = BCResNetASC(width).to(device)
    y = torch.from_numpy(labels(clips)).to(device)
    audio, plan = torch.from_numpy(second(clips)), replace(PLAN, batch=batch)
    return lambda: train(
        model, Epochs(log_mels(audio, MELS_2021, device), y, CLASSES, plan, seed=0), 1
    )


def their_epoch(clips: int, *, batch: int, width: int, device: torch.device) -> Call:
    """A pass over waveforms, the log-mel made whenever a clip is asked for."""
    recordings = as_librosa_loads(second(clips))
    data = plain.Recordings(recordings, labels(clips), PLAN, MELS_2021)
    return _their_pass(data, batch, width, device)


def _their_pass(data: plain.Spectrograms, batch: int, width: int, device: torch.device) -> Call:
    model = plain.PlainBCResNetASC(width).to(device)
    optimizer = PLAN.optimizer(model.parameters())
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    return lambda: plain.train_epoch(model, loader, optimizer, PLAN, device)


@cache
def _their_features(clips: int) -> list[np.ndarray]:
    return [plain.log_mel(clip, MELS_2021) for clip in as_librosa_loads(second(clips))]


def _features(clips: int, device: torch.device) -> Tensor:
    return log_mels(torch.from_numpy(second(clips)), MELS_2021, device)


def front_ends(sizes: Sizes, device: torch.device) -> Iterator[Contest]:
    """int16 clips to log-mels."""
    for name, clips, settings, seconds, channels, goal in (
        ("1 s, 16 kHz, 256 bands", sizes.batch, MELS_2021, 1, 1, 20.0),
        ("10 s, 16 kHz, 256 bands", sizes.batch, MELS_2021, 10, 1, None),
        ("10 s, 48 kHz, stereo, 256 bands", sizes.stereo, MELS_2020, 10, 2, None),
    ):
        what = {"settings": settings, "seconds": seconds, "channels": channels}
        rivals = {
            "librosa": partial(their_front_end, kept=False, **what),
            "librosa, filters kept": partial(their_front_end, kept=True, **what),
        }
        ours = partial(our_front_end, device=device, **what)
        yield Contest(f"front end, {name}", clips, ours, rivals, goal)


def steps(sizes: Sizes, device: torch.device, ways: Sequence[Option]) -> Iterator[Contest]:
    """The network alone and with augmentation, on log-mels of one second."""
    goal = 1.0 if device.type == "cpu" else 1.5
    widths = ((sizes.narrow, sizes.batch), (sizes.wide, sizes.wide_batch))
    for (width, batch), option in product(widths, ways):
        about = f"{width} channels, batch {batch}{option}"
        what = {"width": width, "device": device}
        yield Contest(
            f"network step, {about}",
            batch,
            partial(network_step, network=BCResNetASC, option=option, **what),
            {"plain": partial(network_step, network=plain.PlainBCResNetASC, **what)},
            goal,
        )
        yield Contest(
            f"step with augmentation, {about}",
            sizes.steps * batch,
            partial(our_training, batch=batch, option=option, **what),
            {"plain": partial(their_training, batch=batch, **what)},
            goal,
        )


def epochs(sizes: Sizes, device: torch.device) -> Iterator[Contest]:
    """From waveforms."""
    what = {"batch": sizes.batch, "width": sizes.narrow, "device": device}
    yield Contest(
        f"epoch from waveforms, {sizes.narrow} channels, batch {sizes.batch}",
        sizes.steps * sizes.batch,
        partial(our_epoch, **what),
        {"librosa and plain": partial(their_epoch, **what)},
    )


def options(sizes: Sizes) -> list[Option]:
    """Every combination."""
    flags = product((False, True), (False, True), sizes.compilers)
    return [Option(bfloat16, last, *compiler) for bfloat16, last, compiler in flags]


def report(
    sizes: Sizes, device: torch.device, ways: Sequence[Option], *, memory: bool, only: str
) -> str:
    """Measure the contests with `only` in their name; gives the page, prints rows as they come."""
    rows: list[list[str]] = []
    every = (*front_ends(sizes, device), *steps(sizes, device, ways), *epochs(sizes, device))
    for one in (one for one in every if only in one.name):
        torch.compiler.reset()  # it compiles the same code for some networks only
        found = measure(one, n=sizes.n, least=sizes.least, device=device, memory=memory).rows()
        rows += found
        print(*map(" | ".join, found), sep="\n", flush=True)
    cached = [] if only else caching.section(sizes.files, sizes.wavs, sizes.n)
    title = "# Training beside the straightforward way"
    return page(title, *_about(sizes, device), table(HEAD, rows), *cached)


def _about(sizes: Sizes, device: torch.device) -> tuple[str, str]:
    """Say what was measured, on what and how."""
    gpu = device.type != "cpu"
    packages = (f"{m.__name__} {m.__version__}" for m in (librosa, soundfile, soxr))
    made_on = (
        f"{versions(*packages, threads='one CPU thread')}"
        f"{f' and {torch.cuda.get_device_name(device)}' if gpu else ''}. Sound: "
        f"{'ESC-50, end to end, cut anew' if has_esc50() else 'noise, ESC-50 is not there'}. "
        f"n = {sizes.n} rounds. Clips/s are medians; times faster are rival / ours in "
        f"{'seconds until the device is done' if gpu else 'CPU seconds'}, paired in a round, min / "
        "median / max."
    )
    measured = (
        "Front end: int16 clips to log-mels; `log_mels` on a batch beside a loop over librosa's "
        "`melspectrogram` and `power_to_db`. Filters kept: librosa's mel filters made once, not "
        "for every clip. Step: forward, backward and SGD of BC-ResNet-ASC on 256 bands x 34 frames "
        f"(1 s); with augmentation: {sizes.steps} batches rolled, masked and mixed, all at once "
        "beside example by example. Epoch: from waveforms of 1 s. MiB: what the work adds at its "
        f"peak to {'the device' if gpu else 'a process'} that holds data and weights."
    )
    return made_on, measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the tables."""
    made = device(parser(__doc__))
    made.add_argument("--n", type=int, help="rounds")
    made.add_argument("--quick", action="store_true", help="tiny sizes, no file")
    made.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("--only", default="", help="contests with this in their name; no file")
    given = started(made, arguments)
    on_cpu = given.device.type == "cpu"
    sizes = QUICK if given.quick else Sizes(steps=2 if on_cpu else 20)
    sizes = replace(sizes, n=given.n or sizes.n)
    every = options(sizes)
    ways = every[:: len(every) - 1] if given.quick else every[:1] if on_cpu else every
    text = report(sizes, given.device, ways, memory=given.memory, only=given.only)
    name = "training.md" if on_cpu else f"training-{given.device.type}.md"
    publish(text, None if given.quick or given.only else Path(__file__).with_name(name))


if __name__ == "__main__":
    main()
