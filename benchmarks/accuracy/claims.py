"""Cost of compression in accuracy, as the reports of 2020 to 2022 claim it and as we find it.

Dense networks that have learned, on two grounds (`benchmarks.accuracy.claim_sound`), go the
recipes' own roads and some that differ in one thing (`benchmarks.accuracy.papers`). A network has
learned if it gains less than half a point when it is trained on for as many epochs as the road
takes, at the road's rate: that control stands beside every claim, as what training longer brings
would be booked as pruning's. Every piece is one training and one record; trained weights lie in
`runs/claims`, and where they are missing a dense network is trained again, which is said.

    python -m benchmarks.accuracy.claims --run [--ground speech]  # a killed call goes on
    python -m benchmarks.accuracy.claims --expected      # CPU minutes of every piece, measured
    python -m benchmarks.accuracy.claims --run --fast    # every road in minutes; no records
    python -m benchmarks.accuracy.claims                 # the tables, into claims.md

Two processes share the machine best by ground; the longest pieces come first.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time

import torch
from torch import nn

import compressor
from benchmarks.accuracy.claim_sound import GROUNDS, Heard, heard, need
from benchmarks.accuracy.claims_page import report
from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.accuracy.papers import DENSE, FAST, LENGTHS, NETS, Length, Net, budget_of, seeds_of
from benchmarks.common.command import device, recording, run_or_report, started
from benchmarks.common.records import Record, Run
from benchmarks.common.sound import RUNS
from benchmarks.common.weights import filled, keep
from compressor.phases import Phase
from models import Tandem
from recipes.running.run_folder import RunFolder
from recipes.running.stages import Stage, read_network
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy

CPU = torch.device("cpu")
FEW = 48
"""Clips of every part in a fast run."""


@dataclass(frozen=True)
class Setting:
    """How long everything takes, on how many clips, where networks lie, and on what they train."""

    lengths: dict[str, Length]
    clips: int | None
    folder: Path
    device: torch.device = CPU

    def place(self, ground: str, net: str, seed: int) -> RunFolder:
        """The folder of a dense network."""
        name = net.replace(",", "").replace(" ", "-")
        return RunFolder(self.folder / ground / f"{name}-seed{seed}")


FULL = Setting(LENGTHS, None, RUNS / "claims")
QUICK = Setting(dict.fromkeys(LENGTHS, FAST), FEW, RUNS / "claims-fast")


@dataclass(frozen=True)
class Piece:
    """A network on a ground with a seed: its dense training, and what becomes of it."""

    ground: str
    net: str
    seed: int
    setting: Setting = FULL

    @property
    def of(self) -> Net:
        return NETS[self.net]

    @property
    def folder(self) -> RunFolder:
        return self.setting.place(self.ground, self.net, self.seed)

    @property
    def length(self) -> Length:
        return self.setting.lengths[self.ground]

    def heard(self) -> Heard:
        """Clips of the ground by the network's front end."""
        whole = heard(self.ground, self.of.bands, scaled=self.of.scaled)
        return whole.first(self.setting.clips).on(self.setting.device)

    def fresh(self, clips: Heard | None = None) -> nn.Module:
        """The network before training; without clips nothing in it is fitted to them."""
        torch.manual_seed(self.seed)
        ground = GROUNDS[self.ground]
        config = self.of.settings(ground, self.length)
        model = self.of.build(ground, config, None if clips is None else clips.train)
        return model.to(self.setting.device)

    def fit(
        self, model: nn.Module, clips: Heard, road: str, phases: list[Phase]
    ) -> compressor.Result:
        """Train, or go a road; a killed call goes on."""
        net, ground, (x, y) = self.of, GROUNDS[self.ground], clips.train
        number = 0 if road == DENSE else 1 + list(net.roads).index(road)
        plan = net.settings(ground, self.length).train
        budget = ANYTHING if road == DENSE else budget_of(net, road, model)
        return compressor.fit(
            model.train(), Epochs(x, y, ground.classes, plan, seed=1000 * number + self.seed),
            budget=budget, schedule=phases, loss=net.loss(y, ground.classes),
            optimizer=net.optimizer, checkpoint=self.way(road).checkpoint, seed=self.seed,
        )  # fmt: skip

    def way(self, road: str) -> RunFolder:
        """The folder of a road."""
        return RunFolder(self.folder.path / road.replace(" ", "-"))

    def trained(self, clips: Heard) -> nn.Module:
        """The dense network: of this machine, or trained now."""
        file = self.folder.path / "dense.safetensors"
        if not file.is_file():
            print(f"{self.ground}, {self.net}, seed {self.seed}: training the dense network")
            phase = self.of.training(GROUNDS[self.ground], self.length, self.folder)
            keep(self.fit(self.fresh(clips), clips, DENSE, [phase]).model, file)
        return filled(self.fresh(), file).to(self.setting.device).eval()

    def run(self, road: str) -> Record:
        """The record of a road, or of the dense training."""
        clips, resumed = self.heard(), self.way(road).checkpoint.exists()
        start = process_time()
        dense = self.trained(clips)
        if road == DENSE:
            stages = {**before(self.fresh(clips)), DENSE: dense}
            cost = compressor.measure(dense)
        else:
            start = process_time()
            stages, cost = self.gone(dense, clips, road)
        length = self.of.epochs(road, GROUNDS[self.ground], self.length, self.way(road))
        return {
            "accuracy": {name: judged(model, clips) for name, model in stages.items()},
            "params": cost.params,
            "nonzero": cost.nonzero,
            "macs": cost.macs,
            "bytes": cost.bytes,
            "epochs": length,
            "CPU seconds": None if resumed else round(process_time() - start),
            "torch": torch.__version__,
            "device": str(self.setting.device),
        }

    def gone(
        self, dense: nn.Module, clips: Heard, road: str
    ) -> tuple[dict[str, nn.Module], compressor.Cost]:
        """Networks on a road by stage, the dense one first, and the cost of the last."""
        folder = self.way(road)
        phases = self.of.phases(road, GROUNDS[self.ground], self.length, folder)
        result = self.fit(dense, clips, road, phases)
        between = [phase.name for phase in phases if isinstance(phase, Stage)]
        stages: dict[str, nn.Module] = {DENSE: dense.eval()}
        device = self.setting.device
        stages |= {name: read_network(folder.stages, name).to(device) for name in between}
        return {**stages, "result": result.model}, result.report.after


def before(model: nn.Module) -> dict[str, nn.Module]:
    """What of a tandem is there before it is trained: the linear model alone."""
    return {"linear": model.linear.eval()} if isinstance(model, Tandem) else {}


def judged(model: nn.Module, clips: Heard) -> dict[str, float]:
    """Accuracy in percent on the training and validation clips, and on the test by every device."""
    parts = {"train": clips.train, "validation": clips.validation, **clips.test}
    return {name: 100 * accuracy(model.eval(), *part) for name, part in parts.items()}


def pieces(options: Namespace, setting: Setting = FULL) -> Iterator[Run]:
    """Runs that the options name, every dense network before its roads, seed by seed."""
    for ground in options.ground:
        usual = GROUNDS[ground].seeds
        for seed in options.seed or usual:
            for net in options.net:
                one = Piece(ground, net, seed, setting)
                for road in (DENSE, *NETS[net].roads):
                    if seed in usual and seed not in seeds_of(GROUNDS[ground], NETS[net], road):
                        continue
                    key = {"ground": ground, "net": net, "road": road, "seed": seed}
                    yield Run(key, partial(one.run, road))


def expected(options: Namespace, batches: int = 3) -> Iterator[str]:
    """CPU minutes of every piece, from a few batches of its dense network."""
    for ground in options.ground:
        every = 0.0
        for net in options.net:
            one = Piece(ground, net, 0)
            by_road = minutes(one, batches)
            seeds = {road: len(seeds_of(GROUNDS[ground], one.of, road)) for road in by_road}
            hours = sum(seeds[road] * spent for road, spent in by_road.items()) / 60
            every += hours
            said = ", ".join(f"{road} {spent:.0f}" for road, spent in by_road.items())
            yield f"{ground}, {net}: CPU minutes a seed: {said}; all seeds {hours:.1f} hours"
        yield f"{ground}: {every:.1f} CPU hours"


def minutes(one: Piece, batches: int) -> dict[str, float]:
    """Of the dense training and of every road; a teacher or rounding makes an epoch longer."""
    clips, ground = one.heard(), GROUNDS[one.ground]
    x, y = clips.train
    config = one.of.settings(ground, one.length)
    model = one.fresh().train()
    loader = Epochs(x, y, ground.classes, config.train, seed=0)
    loss, source = one.of.loss(y, ground.classes), iter(loader)
    loss(model, next(source)).backward()
    start = process_time()
    for _ in range(batches):
        loss(model, next(source)).backward()
    epoch = (process_time() - start) / batches * len(loader)
    return {
        road: epoch * one.of.epochs(road, ground, one.length, one.folder) / 60
        for road in (DENSE, *one.of.roads)
    }


def main() -> None:
    """Run, say how long it takes, or print the tables."""
    made = device(recording(__doc__, ground=GROUNDS, net=NETS))
    made.set_defaults(seed=[])
    made.add_argument("--fast", action="store_true", help="an epoch of everything on few clips")
    made.add_argument("--expected", action="store_true", help="CPU minutes, from a few batches")
    options = started(made)
    try:
        if options.run or options.expected:
            need(options.ground)
        if options.expected:
            for line in expected(options):
                print(line, flush=True)
        elif options.fast:
            for one in pieces(options, replace(QUICK, device=options.device)):
                print(one.name, one.make(), flush=True)
        else:
            seeds = {seed for ground in GROUNDS.values() for seed in ground.seeds}
            runs = pieces(options, replace(FULL, device=options.device))
            run_or_report(__file__, options, runs, report, seeds=seeds)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
