"""What compression costs by mechanism, and by how far one goes: of networks that have learned.

From the committed records of other tables, nothing is run: speech commands and ESC-50 (`claims`,
`folds`), a keyword network (`untrained`, `defaults`), an audio transformer (`transformer`), pitch
networks that somebody else trained (`pitch`). A network is in where its control, trained on, gains
less than half a point; those of `pitch` came trained.

    python -m benchmarks.accuracy.summary  # the table, into summary.md, and docs/cost.png
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.accuracy.claim_sound import GROUNDS
from benchmarks.accuracy.claims_page import LEARNED, RESULT, devices_of, gain, level
from benchmarks.accuracy.cost_picture import draw
from benchmarks.accuracy.grounds import dense_seed
from benchmarks.accuracy.papers import DENSE, NETS, RECIPE
from benchmarks.common.command import parser, started
from benchmarks.common.records import Record, Records, read
from benchmarks.common.tables import page, publish, table, with_error
from compressor.storage import write_bytes
from recipes.folds.settings import CONTROL as FOLDS_CONTROL
from recipes.folds.settings import GOALS

FOLDER = Path(__file__).parent
SOURCES = ("claims", "folds", "pitch", "untrained", "defaults", "transformer", "grounds")
SEEDS = range(10)
"""Of any table."""
WIDTH, REPAIRED, CUT = "width, fine-tuned", "width, repaired without labels", "width, cut alone"
INT8, BITS = "int8 alone", "width, density and bits"
ROADS = {
    ("Shared-ResNet", RECIPE): "60 % zero, 16 bits",
    ("ASC", RECIPE): "89 % zero, int8, teacher",
    ("ASC", "no teacher"): "89 % zero, int8",
    ("ASC", "gradual"): "89 % zero gradually, int8, teacher",
    ("ASC", "int8 alone"): INT8,
    ("tandem", RECIPE): "rows, filters, int8",
}
"""Roads of `claims` by what is done on them."""
FEW = 2
"""Networks that a sentence of advice takes."""


@dataclass(frozen=True)
class Cost:
    """What a mechanism cost one network.

    Attributes:
        mechanism: What was done.
        network: To which.
        left: Share of the dense network's bytes that is left.
        drops: Points below the dense network, a seed or fold each.
        table: Whose records say so.
    """

    mechanism: str
    network: str
    left: float
    drops: tuple[float, ...]
    table: str


@dataclass(frozen=True)
class Found:
    """The records of all tables, by name."""

    folder: Path = FOLDER

    @cached_property
    def tables(self) -> dict[str, Records]:
        return {name: read(self.folder / f"{name}.jsonl", SEEDS) for name in SOURCES}

    def __getitem__(self, name: str) -> Records:
        """Records of a table."""
        return self.tables[name]


def costs(found: Found) -> list[Cost]:
    """All of them, by mechanism and then from the mildest on."""
    every = [
        *of_claims(found["claims"]),
        *of_folds(found["folds"]),
        *of_pitch(found["pitch"]),
        *of_keywords(found),
        *of_transformer(found["transformer"]),
    ]
    return sorted(every, key=lambda one: (one.mechanism, -one.left, one.network))


def of_claims(records: Records) -> Iterator[Cost]:
    """Roads of networks that have learned, on both grounds."""
    for ground in GROUNDS:
        for (net, road), mechanism in ROADS.items():
            gains = gain(records, ground, net, "validation")
            whole = records.of(ground=ground, net=net, road=DENSE)
            gone = records.of(ground=ground, net=net, road=road)
            if gone and whole and gains and np.mean(gains) < LEARNED:
                left = float(np.mean([one["bytes"] for one in gone])) / whole[0]["bytes"]
                name = f"{net} ({ground})"
                yield Cost(mechanism, name, left, tuple(_drop(ground, r) for r in gone), "claims")


def _drop(ground: str, record: Record) -> float:
    names = devices_of(ground, record)
    return level(record, DENSE, names) - level(record, RESULT, names)


def of_folds(records: Records) -> Iterator[Cost]:
    """Small networks of the five folds, if their dense ones gain little by training on."""
    control = records.of(stage=FOLDS_CONTROL)
    if not control or np.mean([one["accuracy"] - one["dense"] for one in control]) >= LEARNED:
        return
    whole = records.of(stage=DENSE)
    for stage, goal in GOALS.items():
        made = records.of(stage=stage)
        if made and whole:
            left = max(one["bytes"] for one in made) / whole[0]["bytes"]
            drops = tuple(one["dense"] - one["accuracy"] for one in made)
            yield Cost(BITS if goal.bytes else WIDTH, f"ESC-50 {stage}", left, drops, "folds")


def of_pitch(records: Records) -> Iterator[Cost]:
    """CREPE's networks: raw pitch accuracy, the mean of clean and noisy tones.

    What has learned from tones is compared with the dense network after as many epochs of them, as
    it did not come trained on tones alone.
    """
    ways = {"cut": CUT, "repaired": REPAIRED, "ten epochs": WIDTH}
    for network in ("tiny", "full"):
        for whole in records.of(network=network, way="dense"):
            name = f"CREPE {network} (tones)"
            yield Cost(INT8, name, 1 / 4, (_pitch(whole) - _pitch(whole, "int8 "),), "pitch")
            for share in ("1/2", "1/4", "1/8"):
                for way, mechanism in ways.items():
                    made = records.of(network=network, share=share, way=way)
                    longer = records.of(network=network, share="1", way=way)
                    if made and (longer or mechanism != WIDTH):
                        left = made[0]["params"] / whole["params"]
                        start = _pitch((longer or [whole])[0])
                        drops = tuple(start - _pitch(one) for one in made)
                        yield Cost(mechanism, name, left, drops, "pitch")


def _pitch(record: Record, kind: str = "") -> float:
    return (record[f"{kind}clean"] + record[f"{kind}noisy"]) / 2


def of_keywords(found: Found) -> Iterator[Cost]:
    """TC-ResNet, which has learned by its own table, at two budgets."""
    net = "TC-ResNet"
    whole = {one["seed"]: one for one in found["grounds"].of(net=net, way="dense")}
    for name, mechanism in (("untrained", REPAIRED), ("defaults", WIDTH)):
        for budget in ("mild", "deep"):
            made = [
                (one, whole[seed])
                for one in found[name].of(net=net, budget=budget, way="fit")
                if (seed := dense_seed(net, one["seed"])) in whole
            ]
            if made:
                left = made[0][0]["params"] / made[0][1]["params"]
                drops = tuple(100 * (dense["test"] - one["test"]) for one, dense in made)
                yield Cost(mechanism, f"{net} (speech)", left, drops, name)


def of_transformer(records: Records) -> Iterator[Cost]:
    """The audio transformer at half of its MACs and parameters."""
    whole = {one["seed"]: one for one in records.of(way=DENSE)}
    control = [100 * (r["test"] - whole[r["seed"]]["test"]) for r in records.of(way="control")]
    made = records.of(way="half of MACs and parameters: fit")
    if made and control and np.mean(control) < LEARNED:
        left = made[0]["params"] / whole[made[0]["seed"]]["params"]
        drops = tuple(100 * (whole[one["seed"]]["test"] - one["test"]) for one in made)
        yield Cost(WIDTH, "audio transformer (speech)", left, drops, "transformer")


def advice(every: Sequence[Cost]) -> str:
    """A sentence a mechanism that at least `FEW` networks have gone through; the rest by name."""
    said, unsaid = list[str](), list[str]()
    for mechanism in dict.fromkeys(one.mechanism for one in every):
        of = [one for one in every if one.mechanism == mechanism]
        if len({one.network for one in of}) < FEW:
            unsaid.append(mechanism)
            continue
        mean = sorted((float(np.mean(one.drops)), one) for one in of if one.drops)
        (least, mild), (most, deep) = mean[0], mean[-1]
        said.append(
            f"{mechanism.capitalize()} cost {least:+.1f} points at the least ({mild.network}, "
            f"{mild.left:.0%} of the bytes) and {most:+.1f} at the most ({deep.network}, "
            f"{deep.left:.0%})."
        )
    if unsaid:
        said.append(f"Of fewer than {FEW} networks, so no advice: {', '.join(unsaid)}.")
    return " ".join(said)


def report(found: Found) -> str:
    """The page."""
    every = costs(found)
    counts = ", ".join(f"{name} {len(found[name].found)}" for name in SOURCES)
    left_out = sum(1 for net in NETS for g in GROUNDS if not found["claims"].of(ground=g, net=net))
    about = (
        "Points of accuracy on test clips below the dense network that was compressed; raw pitch "
        "accuracy for CREPE. Only networks that gain less than half a point when they are trained "
        "on; what CREPE learned from tones is held against its dense network trained on them as "
        "long. What is left is a share of the dense network's bytes: of parameters where they stay "
        f"in floating point. Records read: {counts}. Of the networks of `claims`, {left_out} of "
        f"{len(NETS) * len(GROUNDS)} have no records yet."
    )
    rows = (
        [
            one.mechanism, one.network, f"{one.left:.1%}", with_error(one.drops),
            f"{len(one.drops)}", one.table,
        ]
        for one in every
    )  # fmt: skip
    head = ("mechanism", "network", "bytes left", "points lost", "n", "table")
    return page("# What compression costs, by mechanism", about, table(head, rows), advice(every))


def main() -> None:
    """Write the page and the picture."""
    options = parser(__doc__)
    started(options)
    found = Found()
    publish(report(found), FOLDER / "summary.md")
    picture = FOLDER.parents[1] / "docs" / "cost.png"
    shown = [(one.mechanism, one.left, float(np.mean(one.drops))) for one in costs(found)]
    write_bytes(picture, draw(shown))
    print(picture.name)


if __name__ == "__main__":
    main()
