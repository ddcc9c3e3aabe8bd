"""What an entry says of itself: figures beside the baseline's, and the year's form filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compressor.budget import Cost
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.inputs.copies import private_copy
from compressor.network import Network
from recipes.data.listing import Listing
from recipes.judging.memory import peak_entries
from recipes.running.conclusion import Outcome, Row, sizes
from recipes.running.splits import BASELINES
from recipes.running.year_caps import told
from recipes.scenes.settings import Config
from recipes.submission.forms import FORM2022, FORM2023, FORM2024, SCENES, Form
from recipes.submission.metadata import Description, Energy, Submission

SIZES = {
    2022: ("46,512, 29,234,920", "46,512"),
    2023: ("-", "-"),
    2024: ("61,148, 29,419,156", "122,296"),
    2025: ("61,148, 29,419,156", "122,296"),
}
"""Official baselines: parameters (2022: bytes) and MACs; bytes."""
LONGEST = 10
"""Characters of a submission's short name."""


def form_of(config: Config, classes: tuple[str, ...]) -> tuple[Form | None, str]:
    """The form that can be filled in; without one, why."""
    if classes != SCENES:
        return None, f"the forms are about {len(SCENES)} scenes, the data have {len(classes)}"
    if config.year == 2022:
        return FORM2022, ""
    if config.year == 2023 and config.energy:
        return FORM2023, ""
    if config.year == 2024 and config.splits == FORM2024.splits:
        return FORM2024, ""
    return None, {
        2023: "the form of 2023 asks for energy that was measured: energy=... in kWh",
        2024: f"the form of 2024 asks for a network for each of splits={FORM2024.splits}",
        2025: "what is handed in in 2025 is a Python package",
    }[config.year]


def method(network: Network) -> str:
    """The kind of a network, by its operations."""
    kinds = {operation_of(step.op).kind for step in network.steps}
    return "CRNN" if Kind.RECURRENT in kinds else "CNN"


def description(config: Config, network: Network) -> Description:
    """The entry in general tags; a starting point, as little is known here of the network."""
    plan = config.train
    augmented = [
        word
        for word, used in {
            "time rolling": plan.roll,
            "frequency masking": plan.bands,
            "freq-mixstyle": plan.mixstyle,
            "mixup": plan.mixup,
            "dir augmentation": config.responses,
        }.items()
        if used
    ]
    stored = "weight quantization" if config.bits == 8 else "precision_16"
    taught = ["knowledge distillation"] * bool(config.teacher)
    return Description(
        input_sampling_rate=f"{config.mels.sample_rate / 1000:g}kHz",
        acoustic_features="log-mel energies",
        machine_learning_method=method(network),
        data_augmentation=", ".join(augmented) or None,
        decision_making="maximum likelihood",
        complexity_management=", ".join(["pruning", stored, *taught]),
        pipeline="training, pruning, fine-tuning"
        + (", quantization-aware training" if config.bits == 8 else "")
        + (", device-specific end-to-end fine-tuning" if config.devices else ""),
        framework="pytorch",
        split_adaptations="none",
        system_adaptations="none",
    )


def facts_of(config: Config, outcome: Outcome, cost: Cost) -> Submission:
    """Facts that the year's form asks for; memory of values of one byte, without the weights."""
    form, _ = form_of(config, outcome.scenes.classes)
    names = ("training", "inference", "baseline_inference")
    spent = dict(zip(names, config.energy, strict=False))
    called = config.source.name.rpartition(":")[2]
    network = private_copy(outcome.results[0].network).cpu()
    return Submission(
        form=form, name=called, abbreviation=called[:LONGEST],
        description=description(config, network),
        cost=cost, memory_use=peak_entries(network), energy=Energy(**spent) if spent else None,
    )  # fmt: skip


def table(outcome: Outcome, config: Config, percent: int, cost: Cost) -> list[Row]:
    """Figures beside those of the official baseline."""
    why, baseline = outcome.why, BASELINES[config.year].get(percent)
    beside = "the official baseline's, another network"
    dense, pruned = outcome.counts["dense"][0], outcome.counts["pruned"][0]
    stored = outcome.results[0].report.accounted
    known, in_bytes = SIZES[config.year]
    small = "int8" if config.bits == 8 else "16 bits"
    floating = outcome.results[0].report.floating
    taught = [Row("teacher, by its logits", "-", Path(config.teacher).name)]
    wider = [Row("not rounded, in floating point", "-", told(floating), "counted so")]
    return [
        Row("dense: parameters, MACs", "-", sizes(dense.rule)),
        Row("pruned: parameters, MACs", known, sizes(cost), beside),
        Row("the same with norms folded", "-", sizes(pruned.fused)),
        Row("bytes of parameters by the counter", in_bytes, f"{cost.bytes:,}", beside),
        *(wider if floating else ()),
        Row(
            "bytes with scales and 32-bit biases; of the file", "-",
            f"{stored[1] if stored else 0:,}; {outcome.files[0]:,}", "the counter sees neither",
        ),
        Row(
            f"accuracy, {small}, {percent} %", f"{baseline} %" if baseline else "-",
            outcome.percent(), why,
        ),
        Row("log loss", "-", outcome.loss(), why),
        Row("accuracy, dense", "-", outcome.percent("dense"), why),
        *(taught if config.teacher else ()),
        Row("pruned against dense", "-", outcome.drop("dense", "pruned")),
        Row(f"{small} against pruned", "-", outcome.drop("pruned", "result")),
    ]  # fmt: skip


def without_package(rows: list[Row], config: Config, listing: Listing) -> list[Row]:
    """The rows, and why nothing is handed in, where that is so."""
    _, missing = form_of(config, listing.classes)
    return [*rows, Row("submission", "", "not written", missing)] if missing else rows


def with_devices(rows: list[Row], general: Outcome, heard: Outcome) -> list[Row]:
    """The rows, and what networks of single devices change (2025)."""
    told = replace(general, final=heard.final)
    return [
        *rows,
        Row("accuracy, a network a device", "51.89 %", told.percent(), general.why),
        Row("log loss, a network a device", "-", told.loss(), general.why),
        Row("accuracy by device, general network", "-", general.by_device),
        Row("accuracy by device, a network a device", "-", told.by_device),
    ]
