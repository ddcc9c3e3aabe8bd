"""DCASE Task 1 of 2023 to 2025: the system of 2022 under the later rules.

    python -m recipes.dcase_next --data TAU-urban-acoustic-scenes-2022-mobile-... lists=LISTS
    python -m recipes.dcase_next --variant 2025 --data ...     # or 2023, 2024-ours and so on
    python -m recipes.dcase_next                      # the same run on generated scenes, minutes

What changed: in 2023 energy is reported beside 128,000 parameters and 30 million MACs; in 2024 the
parameters may take 128,000 bytes at any precision, and a system is trained on 5, 10, 25, 50 and
100 % of the training list, its score the mean of the five; in 2025 25 % alone are left, and devices
may have networks of their own, which is not done here. The lists are split5.csv to split50.csv of
the official baseline of 2024, in LISTS or in the data set's `evaluation_setup`.

The official counter of 2024 divides 128,000 bytes by the parameters and says how many bits each may
have: 8, where there are at most 128,000. That is the reading here. Scales and 32-bit biases, which
it does not see, are told beside it. "-ours" holds the whole file below 128,000 bytes instead, with
all of that and the description of the network; for single filters the bound on a file before it is
trained is too loose for that, 61,466 of 128,000 bytes were used.

On TAU: no paper handed this system in, so that the official baselines stand beside it; ours not yet
run, as the data are not here. Submissions of 2025 were Python packages: `recipes.scenes`, an entry
with a network of one's own, writes one, this recipe none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from compressor import Budget
from compressor.budget import Cost
from recipes import dcase2022
from recipes.dcase2022 import DESCRIPTION, STAGES, compress, linear_model
from recipes.running.command import RunContext, run
from recipes.running.conclusion import Outcome, Row, finish, judge, sizes
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Scenes, load
from recipes.running.splits import (
    BASELINES,
    SPLITS,
    WHOLE,
    Trained,
    check_energy,
    check_splits,
    conclude,
    need_lists,
    subset,
)
from recipes.running.year_caps import cost_by_rule
from recipes.submission.forms import FORM2023, FORM2024, Form
from recipes.submission.metadata import Energy, Submission

YEARS = (2023, 2024, 2025)
"""Years whose rules are meant."""
BASELINE_SIZES = ("61,148, 29,419,156", "59,794, 30,216,768", "122,296")
"""Baseline of 2024 and 2025: parameters and MACs, the same with norms folded, bytes."""
BESIDE = "not a paper's but the official baseline's, another network"


def under(year: int, system: dcase2022.Config, *, strict: bool = False) -> dcase2022.Config:
    """The system under the caps of a year; strictly, with a cap on bytes for the whole file."""
    budget = Budget.dcase(year)
    if budget.bytes is not None and not strict:
        budget = Budget(params=budget.bytes, macs=budget.macs)  # 8 bits each
    return replace(system, year=year, budget=budget)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The system and what it is trained on.

    Attributes:
        system: That of 2022, with the year and its caps.
        splits: Percentages of the training list, a network each.
        lists: Folder of their lists; empty for the data set's `evaluation_setup`. Of generated
            scenes, which have none, whole recordings are drawn.
        energy: Energy of training, of inference on the test list and of the baseline's, in kWh,
            where it was measured; the form of 2023 cannot be filled in without it.
    """

    system: dcase2022.Config = field(default_factory=lambda: under(2024, dcase2022.Config()))
    splits: tuple[int, ...] = SPLITS[2024]
    lists: str = ""
    energy: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse percentages without a list, and energy that is not three numbers."""
        check_splits(self.splits)
        check_energy(self.energy)


def fast(config: Config) -> Config:
    """Minutes: as `dcase2022.fast`, and the smallest of several percentages alone.

    A few clips cannot be divided into training and validation, nor tell many features apart.
    """
    system = replace(dcase2022.fast(config.system), kept=0.05, validation=0.0)
    return replace(config, system=system, splits=config.splits[:2])


def _variant(config: Config, year: int, *, ours: bool) -> Config:
    system = dcase2022.ours(config.system) if ours else config.system
    system = under(year, system, strict=ours)
    return replace(config, system=system, splits=SPLITS[year])


VARIANTS = {
    f"{year}{'-ours' * ours}": partial(_variant, year=year, ours=ours)
    for ours in (False, True)
    for year in YEARS
}


# ----------------------------------------------------------------------------------------- training


def data(context: RunContext[Config], percent: int) -> Scenes:
    """Clips to train on at a percentage, and the test list."""
    config, lists = context.config, None
    if context.data is not None and percent != WHOLE:
        lists = Path(config.lists) / f"split{percent}.csv"
    spec = config.system.data(crop=context.fast, training_list=lists)
    scenes = load(context.data, spec, context.device, context.console)
    if scenes.generated and percent != WHOLE:
        return replace(scenes, train=subset(scenes.train, percent))
    return scenes


def train(context: RunContext[Config], percent: int) -> Trained | None:
    """The run of 2022 at a percentage; None in a process that writes no files."""
    settings, folder = context.config, context.folder
    if len(settings.splits) > 1:
        context.console.rule(f"{percent} % of the training list")
        folder = RunFolder(folder.path / f"split_{percent}")
    scenes, config = data(context, percent), settings.system
    context = replace(context, config=config, folder=folder)
    context.begin(scenes.digest)
    linear = linear_model(config, scenes, folder, writes=context.first)
    result = compress(context, scenes, linear)
    if not context.first:
        return None
    cost = cost_by_rule(config.year, config.budget, folder, result)
    outcome = judge(context, scenes, [result], STAGES)
    facts = submission_facts(outcome, settings, cost)
    finish(context, outcome, table(outcome, settings, percent, cost), facts, config.year)
    return Trained(percent, outcome, facts)


# ------------------------------------------------------------------------------------------ results


def form_of(config: Config) -> tuple[Form | None, str]:
    """The form that can be filled in; without one, why."""
    year = config.system.year
    if year == 2023 and config.energy:
        return FORM2023, ""
    if year == 2024 and config.splits == FORM2024.splits:
        return FORM2024, ""
    return None, {
        2023: "the form of 2023 asks for energy that was measured: energy=... in kWh",
        2024: f"the form of 2024 asks for a network for each of splits={FORM2024.splits}",
        2025: "what was handed in in 2025 was a Python package: recipes.scenes writes one",
    }.get(year, f"dcase_next is about 2023 to 2025, not {year}")


def submission_facts(outcome: Outcome, config: Config, cost: Cost) -> Submission:
    """Facts that the forms ask for: those of 2022, and what was added."""
    names = ("training", "inference", "baseline_inference")
    spent = dict(zip(names, config.energy, strict=False))
    return replace(
        dcase2022.submission_facts(outcome, cost),
        form=form_of(config)[0],
        description=replace(DESCRIPTION, split_adaptations="none", system_adaptations="none"),
        energy=Energy(**spent) if spent else None,
    )


def table(outcome: Outcome, config: Config, percent: int, cost: Cost) -> list[Row]:
    """Figures beside those of the official baseline."""
    why, year, fused = outcome.why, config.system.year, outcome.counts["pruned"][0].fused
    baseline = BASELINES[year].get(percent)
    official = ("-", "-", "-") if year == 2023 else BASELINE_SIZES
    _, missing = form_of(config)
    lines = [
        Row("parameters, MACs", official[0], sizes(cost), BESIDE),
        Row("the same with norms folded", official[1], sizes(fused), BESIDE),
        Row("bytes of parameters by the counter", official[2], f"{cost.bytes:,}", BESIDE),
        Row("bytes with scales and 32-bit biases; of the file", "-", _bytes(outcome)),
        Row(f"accuracy, {percent} %", f"{baseline} %" if baseline else "-", outcome.percent(), why),
        Row("accuracy, linear model alone", "-", outcome.percent("linear"), why),
        Row("accuracy, dense", "-", outcome.percent("dense"), why),
        Row("pruned against dense", "-", outcome.drop("dense", "pruned")),
        Row("int8 against pruned", "-", outcome.drop("pruned", "result")),
    ]
    return [*lines, Row("submission", "", "not written", missing)] if missing else lines


def _bytes(outcome: Outcome) -> str:
    stored = outcome.results[0].report.accounted
    return f"{stored[1] if stored else 0:,}; {outcome.files[0]:,}"


def main(context: RunContext[Config]) -> None:
    """Every percentage, and one submission of all."""
    config = context.config
    dcase2022.check(config.system, context.folder)
    if context.data is not None:
        need_lists(context.data, config.lists, config.splits)
    trained = [train(context, percent) for percent in config.splits]
    found = [one for one in trained if one is not None]
    if len(found) > 1:
        conclude(context, config.system.year, found, form_of(config)[1])


if __name__ == "__main__":
    run(__doc__, "dcase_next", Config(), fast, main, VARIANTS)
