"""The course of an entry: caps of each year, a teacher's rows, and one network a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from compressor import Budget
from compressor.errors import BudgetError
from compressor.rules import of_year
from models import BCResNetASC
from recipes.data.audio import AudioFormat
from recipes.data.listing import Listing
from recipes.features.logmel import BASELINE_2024
from recipes.judging.system import System
from recipes.running.overrides import override
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part
from recipes.scenes.course import (
    budget_of,
    devices_of,
    fresh,
    lessons,
    of_device,
    schedule,
    shares_by_device,
)
from recipes.scenes.network import Source
from recipes.scenes.settings import of
from recipes.training.teacher import LearnFrom

ASC = Source("models:BCResNetASC", ("channels=40",))
DEVICES = ["a", "b", "a", "s4", "b"]


def part() -> Part:
    files = [f"audio/park-lyon-1-{n}-0-{d}.wav" for n, d in enumerate(DEVICES)]
    table = pd.DataFrame({"file": files, "label": [0, 1, 0, 1, 1], "device": DEVICES})
    x = torch.arange(5.0).reshape(5, 1, 1, 1)
    return Part(x, torch.tensor([0, 1, 0, 1, 1]), Listing(Path(), table, ("park", "tram")))


@pytest.mark.parametrize(
    ("year", "bits", "params"), [(2022, 8, 128_000), (2023, 16, 64_000), (2024, 8, 128_000),
                                 (2024, 16, 64_000), (2025, 16, 64_000)],
)  # fmt: skip
def test_caps_are_the_years_at_the_bits_of_a_weight(year: int, bits: int, params: int) -> None:
    config = replace(of(ASC, year), bits=bits)
    model = BCResNetASC(40, mels=64, frames=34)
    budget = budget_of(config, model)
    assert (budget.params, budget.bytes) == (params, None)
    rule = of_year(year)
    # What NeSsi counts beside convolutions is taken off before.
    assert budget.macs is not None
    assert 30_000_000 - budget.macs == rule.count(model).macs - _macs(model)


def _macs(model: torch.nn.Module) -> int:
    convolutions = 0

    def count(module: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal convolutions
        if isinstance(module, torch.nn.Conv2d):
            convolutions += module.weight.numel() * out.shape[2] * out.shape[3]

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    model.eval()(model.example_input_array)
    for hook in hooks:
        hook.remove()
    return convolutions


def test_a_cap_on_the_whole_file_is_one_on_bytes() -> None:
    config = override(of(ASC, 2024), ["budget.bytes=128000"])
    assert budget_of(config, BCResNetASC(40, mels=64, frames=34)).caps.keys() == {"bytes", "macs"}
    above = replace(config, budget=Budget(macs=31e6))
    with pytest.raises(BudgetError, match="above the rule of 2024"):
        budget_of(above, BCResNetASC(40, mels=64, frames=34))


def test_equal_seeds_begin_with_equal_weights() -> None:
    config = of(ASC, 2024)
    one, two, other = fresh(config, 10), fresh(config, 10), fresh(replace(config, seed=1), 10)
    states = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_schedule_trains_as_long_as_was_asked() -> None:
    config = override(of(ASC, 2024), ["train.epochs=7", "tune.epochs=3", "round.epochs=2"])
    phases = schedule(config, RunFolder(Path("nowhere")))
    assert [type(phase).__name__ for phase in phases] == [
        "Train", "Stage", "Prune", "Recalibrate", "FineTune", "Stage", "Int8"
    ]  # fmt: skip
    assert sum(phase.passes for phase in phases) == 7 + 3 + 2


def test_a_teachers_logits_go_to_their_clips(tmp_path: Path) -> None:
    clips = part()
    names = [Path(name).name for name in clips.listing.table["file"]]
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "teacher.safetensors"
    save_file({"logits": logits.flip(0).contiguous()}, path, {"files": "\n".join(names[::-1])})
    how = lessons(replace(of(ASC, 2024), teacher=str(path)), clips)
    assert isinstance(how["loss"], LearnFrom)
    torch.testing.assert_close(how["teacher"], (logits / 2).softmax(1))
    assert lessons(of(ASC, 2024), clips)["teacher"] is None


def test_devices_are_told_apart_with_their_labels() -> None:
    clips = part()
    assert devices_of(clips) == ["a", "b", "s4"]
    b = of_device(clips, "b")
    assert b.x.flatten().tolist() == [1, 4]
    assert b.y.tolist() == [1, 1]
    assert b.listing.table["device"].tolist() == ["b", "b"]


def test_a_known_devices_network_answers_for_its_clips_alone() -> None:
    clips = part()

    def system(answer: int) -> System:
        logits = torch.eye(2)[answer] * 50
        audio = AudioFormat(seconds=1)
        return System(
            ("park", "tram"), audio, BASELINE_2024, 1, (lambda x: logits.expand(len(x), 2),)
        )

    general = system(0).probabilities(clips.x)
    found = shares_by_device(general, {"b": system(1), "c": system(1)}, clips, DEVICES)
    assert found.argmax(1).tolist() == [0, 1, 0, 0, 1]
    assert np.array_equal(general.argmax(1), np.zeros(5)), "the general answers stay as they are"
