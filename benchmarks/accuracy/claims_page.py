"""The tables of `benchmarks.accuracy.claims`, and what its records say of every claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.claim_sound import GROUNDS
from benchmarks.accuracy.papers import CONTROL, DENSE, NETS, RECIPE, seeds_of
from benchmarks.common.records import Record, Records
from benchmarks.common.tables import page, table, versions, with_error

LEARNED = 0.5
"""Points that a network that has learned gains at most when it is trained on."""
RESULT = "result"


class Point(NamedTuple):
    """A network at a stage of a road."""

    net: str
    road: str
    stage: str = RESULT


@dataclass(frozen=True)
class Claim:
    """A difference in points between two networks, and where a paper prints which.

    Attributes:
        what: What is done.
        paper: The paper's difference on TAU; "-" where it prints none.
        where: Of the paper.
        after: The network that it was done to.
        before: The one that it is compared with.
        unheard: True where the claim is about devices that training has not heard.
    """

    what: str
    paper: str
    where: str
    after: Point
    before: Point
    unheard: bool = False

    @property
    def least(self) -> float | None:
        """The lowest of the paper's differences; None where it prints none."""
        return None if self.paper == "-" else float(self.paper.split()[0])


def of_dense(net: str, road: str, stage: str = RESULT) -> tuple[Point, Point]:
    """A road's stage against its own dense network."""
    return Point(net, road, stage), Point(net, road, DENSE)


SHARED, ASC, NARROW, PLAIN = "Shared-ResNet", "ASC", "ASC, narrow", "ASC, narrow, no ResidualNorm"
TANDEM, ALONE = "tandem", "ASC of the tandem, alone"
CLAIMS = (
    Claim("60 % zero and 16 bits", "-0.2 to 0.0", "2020, Table 4", *of_dense(SHARED, RECIPE)),
    Claim("60 % zero", "-", "", *of_dense(SHARED, RECIPE, "pruned")),
    Claim(
        "16 bits on top", "-", "", Point(SHARED, RECIPE), Point(SHARED, RECIPE, "pruned")
    ),
    Claim("60 % zero in four steps, 16 bits", "0.0", "2020, C", *of_dense(SHARED, "four steps")),
    Claim("89 % zero, int8, teacher", "-1.0", "2021, Table 4", *of_dense(ASC, RECIPE)),
    Claim("89 % zero, int8", "-1.2", "2021, Table 4", *of_dense(ASC, "no teacher")),
    Claim("89 % zero", "-", "", *of_dense(ASC, "no teacher", "pruned")),
    Claim("int8 alone", "-", "", *of_dense(ASC, "int8 alone")),
    Claim("teacher alone", "-", "", *of_dense(ASC, "teacher alone")),
    Claim(
        "the teacher on top", "+0.2", "2021, Table 4", Point(ASC, RECIPE), Point(ASC, "no teacher")
    ),
    Claim("the same, gradually", "-", "", *of_dense(ASC, "gradual")),
    Claim("the same, three times as long", "-", "", *of_dense(ASC, "three times as long")),
    Claim("the same, four times the rate", "-", "", *of_dense(ASC, "four times the rate")),
    Claim("the same, 16 channels instead of 40", "-", "", *of_dense(NARROW, RECIPE)),
    Claim(
        "ResidualNorm, unheard devices", "+11.7", "2021, Table 3, S4 to S6",
        Point(NARROW, DENSE, DENSE), Point(PLAIN, DENSE, DENSE), unheard=True,
    ),
    Claim(
        "ResidualNorm, all devices", "+6.9", "2021, Table 3",
        Point(NARROW, DENSE, DENSE), Point(PLAIN, DENSE, DENSE),
    ),
    Claim("3/4 of the rows by ADMM", "0.0", "2022, section 3.4", *of_dense(TANDEM, RECIPE, "rows")),
    Claim(
        "3/4 of the rows by Fisher scores", "-", "", *of_dense(TANDEM, "rows by Fisher", "rows")
    ),
    Claim(
        "filters by ADMM, threshold, reachability", "-0.76", "2022, Table 2",
        Point(TANDEM, RECIPE, "pruned"), Point(TANDEM, RECIPE, "rows"),
    ),
    Claim(
        "the same filters at once", "-", "",
        Point(TANDEM, "filters at once", "pruned"), Point(TANDEM, "filters at once", "rows"),
    ),
    Claim(
        "int8", "-1.70", "2022, Table 2", Point(TANDEM, RECIPE), Point(TANDEM, RECIPE, "pruned")
    ),
    Claim("rows, filters and int8", "-", "", *of_dense(TANDEM, RECIPE)),
    Claim(
        "tandem against its linear model", "+11.6", "2022, Table 1, with 3/4 of the rows",
        Point(TANDEM, DENSE, DENSE), Point(TANDEM, DENSE, "linear"),
    ),
    Claim(
        "tandem against its network alone", "-", "",
        Point(TANDEM, DENSE, DENSE), Point(ALONE, DENSE, DENSE),
    ),
)  # fmt: skip
"""What three papers say, and roads that differ from theirs in one thing."""


WHYS = {
    "89 % zero, int8, teacher": "as the recipe has it",
    "the same, gradually": "in five steps",
    "the same, three times as long": "three times as long",
    "the same, four times the rate": "at four times the rate",
    "the same, 16 channels instead of 40": "with 16 channels instead of 40",
}
"""Claims that differ from the first in one thing, in words."""


def level(record: Record, stage: str, devices: Sequence[str]) -> float:
    """Mean accuracy over some devices."""
    return float(np.mean([record["accuracy"][stage][name] for name in devices]))


def devices_of(ground: str, record: Record, *, unheard: bool = False) -> Sequence[str]:
    """Devices that a claim is about: those unheard in training, or all of the test."""
    if unheard:
        return GROUNDS[ground].unheard
    parts = next(iter(record["accuracy"].values()))
    return [name for name in parts if name not in ("train", "validation")]


def differences(
    found: Records, ground: str, after: Point, before: Point, *, unheard: bool = False
) -> dict[int, float]:
    """Points between two networks, for every seed that has both."""
    chosen: dict[int, float] = {}
    for one in found.of(ground=ground, net=after.net, road=after.road):
        others = found.of(ground=ground, net=before.net, road=before.road, seed=one["seed"])
        stages = one["accuracy"]
        if not others or after.stage not in stages or before.stage not in others[0]["accuracy"]:
            continue
        names = devices_of(ground, one, unheard=unheard)
        if names:
            gap = level(one, after.stage, names) - level(others[0], before.stage, names)
            chosen[one["seed"]] = gap
    return chosen


def against_control(found: Records, ground: str, claim: Claim) -> dict[int, float]:
    """The same against the dense network trained on, where the claim begins with a dense one."""
    if claim.before.stage != DENSE or claim.after.stage == DENSE:
        return {}
    return differences(found, ground, claim.after, Point(claim.before.net, CONTROL))


def split(values: Sequence[float]) -> tuple[str, str]:
    """Mean, and standard error where there are several values."""
    mean, _, error = with_error(values).partition(" (")
    return mean, error.rstrip(")") or "-"


def holds(found: Records, ground: str, claim: Claim, gaps: Sequence[float]) -> str:
    """Whether a claim holds to two standard errors, of a network that has learned."""
    if claim.least is None or len(gaps) < 2:
        return "-"
    nets = {claim.after.net, claim.before.net}
    if any(learned(gain(found, ground, net, "validation")) != "yes" for net in nets):
        return "not learned"
    error = float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5
    return "yes" if float(np.mean(gaps)) + 2 * error >= claim.least else "no"


def why(found: Records) -> Iterator[str]:
    """A sentence a ground on what the road of 2021 costs if one thing about it is another."""
    ways = [one for one in CLAIMS if one.what in WHYS]
    for ground in GROUNDS:
        means = {
            WHYS[one.what]: float(np.mean(list(gaps.values())))
            for one in ways
            if (gaps := differences(found, ground, one.after, one.before))
        }
        if len(means) > 1:
            said = "; ".join(f"{way} {points:+.1f}" for way, points in means.items())
            yield f"89 % zero, int8 and a teacher on {ground}, points against dense: {said}."


def claim_rows(found: Records) -> Iterator[list[str]]:
    """A line for every claim and ground that has records."""
    for claim in CLAIMS:
        for ground in GROUNDS:
            gaps = differences(found, ground, claim.after, claim.before, unheard=claim.unheard)
            if gaps:
                control = with_error(list(against_control(found, ground, claim).values()))
                values = split(list(gaps.values()))
                held = holds(found, ground, claim, list(gaps.values()))
                yield [
                    claim.what,
                    claim.paper,
                    claim.where,
                    ground,
                    *values,
                    control,
                    held,
                    f"{len(gaps)}",
                ]


def gain(found: Records, ground: str, net: str, part: str) -> list[float]:
    """Points that training on brings, by seed."""
    return [
        one["accuracy"][RESULT][part] - one["accuracy"][DENSE][part]
        for one in found.of(ground=ground, net=net, road=CONTROL)
    ]


def learned(gains: Sequence[float]) -> str:
    """Whether a network has converged, as far as its control says."""
    return "-" if not gains else "yes" if np.mean(gains) < LEARNED else "no"


def net_rows(found: Records) -> Iterator[list[str]]:
    """A line for every dense network that has records."""
    for ground in GROUNDS:
        for net in NETS:
            records = found.of(ground=ground, net=net, road=DENSE)
            if not records:
                continue
            levels = [
                with_error([one["accuracy"][DENSE][part] for one in records], ".1f")
                for part in ("train", "validation", "a")
            ]
            overall = [level(one, DENSE, devices_of(ground, one)) for one in records]
            gains = gain(found, ground, net, "validation")
            control = found.of(ground=ground, net=net, road=CONTROL)
            first, more = records[0], f"{control[0]['epochs']}" if control else "-"
            yield [
                ground, net, f"{first['params']:,}", f"{first['macs']:,}", f"{first['epochs']}",
                *levels, with_error(overall, ".1f"), more, with_error(gains), learned(gains),
                f"{len(records)}",
            ]  # fmt: skip


def missing(found: Records) -> dict[str, tuple[int, int]]:
    """Records that are there, and all that there are to be, by ground."""
    whole: dict[str, tuple[int, int]] = {}
    for name, ground in GROUNDS.items():
        every = [
            (net, road, seed)
            for net in NETS
            for road in (DENSE, *NETS[net].roads)
            for seed in seeds_of(ground, NETS[net], road)
        ]
        there = {(r["net"], r["road"], r["seed"]) for r in found.of(ground=name)}
        whole[name] = (len(there & set(every)), len(every))
    return whole


NET_HEAD = (
    "ground", "network", "parameters", "MACs", "epochs", "train", "validation", "test, device a",
    "test, all devices", "epochs of the control", "its gain, validation", "learned", "seeds",
)  # fmt: skip
CLAIM_HEAD = (
    "", "paper (TAU)", "where", "ground", "ours", "standard error", "against the control", "holds",
    "seeds",
)  # fmt: skip


def hours(found: Records) -> str:
    """CPU hours of the records whose whole training was seen."""
    seen = [r["CPU seconds"] for r in found.found if r["CPU seconds"] is not None]
    return f"{sum(seen) / 3600:.1f} CPU hours for {len(seen)} records seen from start to end."


def report(found: Records) -> str:
    """The page: how many records there are, whether networks have learned, and the claims."""
    counts = "; ".join(f"{name}: {n} of {m}" for name, (n, m) in missing(found).items())
    about = (
        f"{versions(threads='one CPU thread')}. The recipes' roads on networks of less width. "
        "Speech commands: 2,922 clips to train on and 200 of them by each of five devices, 970 to "
        "validate on, 998 of other speakers by nine devices to test on, three of them unheard in "
        "training. ESC-50: folds 1 to 3, 4, and 5. A network counts as having learned if the "
        f"control, trained on for as long as the road takes, gains less than {LEARNED} points on "
        "the validation clips. ESC-50's 400 clips have a standard error of two points, which seeds "
        "do not show."
    )
    claims = (
        "Differences in points on the test clips of all devices (but where it says unheard), "
        "paired by seed; the control is the dense network trained on for as many epochs. A claim "
        "holds if ours, two standard errors added, is not below the lowest of the paper's:"
    )
    nets, rows = list(net_rows(found)), list(claim_rows(found))
    tables = (table(NET_HEAD, nets), claims, table(CLAIM_HEAD, rows), *why(found)) if nets else ()
    state = f"Records: {counts}. {hours(found)}" if nets else f"No records yet ({counts})."
    return page("# What compression costs: papers and ours", about, state, *tables)
