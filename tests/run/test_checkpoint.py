"""Stopped at any moment, the same call again ends in the same bits; other calls are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, FineTune, Prune, Result, fit, storage
from compressor.errors import ResumeError, TrainingError
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.run.identity import describe
from compressor.run.training import Training
from tests.helpers.killed import CAPS, SCHEDULE, call
from tests.helpers.pulled import Pulled, Stop
from tests.helpers.tiny import Tiny, equal, loader, tiny


def same_run(a: Result, b: Result) -> bool:
    """Whether everything but durations is equal."""
    logs = [[dataclasses.replace(e, seconds=0.0) for e in r.report.log] for r in (a, b)]
    same = logs[0] == logs[1] and a.report.shrinks == b.report.shrinks
    same = same and a.report.rates == b.report.rates
    return same and equal(a.model, b.model) and (a.structure.keep == b.structure.keep).all()


@cache
def whole() -> Result:
    """The run without any interruption."""
    return call(None, Pulled(None))


ENDED = {12, 103, 160, 216}
"""Stopped in an epoch, after a shrink, in the search for a rate and in the fine-tune: unit tests;
the others run later."""


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(n, marks=[] if n in ENDED else pytest.mark.slow)
        for n in (1, 12, 40, 50, 60, 99, 103, 130, 155, 160, 190, 208, 216, 220)
    ],
)
def test_stopped_anywhere_it_ends_in_the_same_bits(after: int, tmp_path: Path) -> None:
    """The loss is called 1 + 3 (16 + 32) + 2 * 4 + 4 + 52 + 12 = 221 times: to check it, for each
    shrink's importance and comparison, in the epoch after two of them, to recalibrate, for five
    trials of a rate (8 + 2 each, and 2 before), and in three epochs of fine-tune.
    """
    with pytest.raises(Stop):
        call(tmp_path, Pulled(after))
    assert same_run(call(tmp_path, Pulled(None)), whole())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run that reached its end, for reading, and what it returned."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, call(folder)


@pytest.fixture
def kept(finished: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of that folder, for writing."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_resuming_a_finished_run_does_nothing_but_return_it(
    finished: tuple[Path, Result], kept: Path
) -> None:
    files = {p.name: p.read_bytes() for p in kept.iterdir()}
    again = call(kept)
    assert same_run(finished[1], again)
    assert files == {p.name: p.read_bytes() for p in kept.iterdir()}
    assert sorted(p.suffix for p in kept.iterdir()) == [".json", ".safetensors"]


def test_a_checkpoint_changes_nothing(finished: tuple[Path, Result]) -> None:
    assert same_run(finished[1], whole())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"budget": Budget(params=800)}, r"budget was params <= 700 .* is now params <= 800"),
        ({"schedule": [Prune()]}, r"schedule was .*steps=3.* is now .*steps=1"),
        ({"seed": 5}, r"seed was 0 and is now 5"),
        ({"keep": ["stem"]}, r"keep was \[\] and is now \['stem'\]"),
        ({"optimizer": torch.optim.SGD}, r"optimizer was compressor\..*adamw and is now torch"),
    ],
    ids=["budget", "schedule", "seed", "keep", "optimizer"],
)
def test_another_run_is_refused_saying_what_differs(
    change: dict[str, Any], match: str, kept: Path
) -> None:
    with pytest.raises(ResumeError, match=match):
        call(kept, **change)


def test_a_run_goes_on_in_a_version_that_keeps_its_functions_elsewhere(
    finished: tuple[Path, Result], kept: Path
) -> None:
    tensors, data = storage.read(kept, "checkpoint")
    for now, then in {"run.rates.cosine": "phases.cosine", "run.optimizers": "optimizers"}.items():
        text = json.dumps(data["identity"])
        assert now in text
        data["identity"] = json.loads(text.replace(now, then))
    storage.write(kept, "checkpoint", tensors, data)
    assert same_run(finished[1], call(kept))


def test_another_model_or_other_data_is_refused(tmp_path: Path) -> None:
    schedule = [Prune()]
    fit(tiny(), loader(), budget=CAPS, schedule=schedule, checkpoint=tmp_path)
    with pytest.raises(ResumeError, match=r"What differs: initial weights\. Make the same call"):
        fit(tiny(seed=1), loader(), budget=CAPS, schedule=schedule, checkpoint=tmp_path)
    match = (
        r"shape of 'stem.weight' was \[8, 1, 3, 3\] and is now \[9, 1, 3, 3\].* more of the shape"
    )
    with pytest.raises(ResumeError, match=match):
        fit(tiny(width=9), loader(), budget=CAPS, schedule=schedule, checkpoint=tmp_path)
    with pytest.raises(ResumeError, match="batches was 3 and is now 2"):
        fit(tiny(), loader(64), budget=CAPS, schedule=schedule, checkpoint=tmp_path)


class Scaled(Tiny):
    """A network whose behaviour hangs on what no tensor says."""

    def __init__(self, act: Any = functional.relu, scale: float = 1.0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(dropout=0.1)
        self.act, self.scales = act, [scale, object()]

    def forward(self, x: Tensor) -> Tensor:
        return self._body(x)

    def _body(self, x: Tensor) -> Tensor:
        return super().forward(self.act(self.scales[0] * x))


class Halved(Scaled):
    def _body(self, x: Tensor) -> Tensor:
        return super()._body(x / 2)


def changed(name: str, **values: object) -> Scaled:
    model = Scaled()
    for key, value in values.items():
        setattr(model.get_submodule(name), key, value)
    return model


Halved.__qualname__ = Scaled.__qualname__  # as if the method had been edited in between


def pruned(model: nn.Module, folder: Path) -> Result:
    return fit(model, loader(), budget=CAPS, schedule=[Prune()], checkpoint=folder)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run with a `Scaled`, for reading, and what it returned."""
    folder = tmp_path_factory.mktemp("scaled")
    return folder, pruned(Scaled(), folder)


def test_another_example_decides_nothing(scaled: tuple[Path, Result]) -> None:
    again = Scaled()
    again.example_input_array = torch.rand(1, 1, 8, 8)
    assert same_run(scaled[1], pruned(again, scaled[0]))


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: changed("dropout", p=0.8), r"of 'dropout': p was 0\.1 and is now 0\.8\. M"),
        (lambda: changed("down", padding_mode="circular"), r"'down': padding_mode was 'zeros' and"),
        (lambda: Scaled(functional.gelu), r"of the model: act was torch.*relu.* and is now .*gelu"),
        (lambda: Scaled(scale=2.0), r"scales was \[1\.0, object\] and is now \[2\.0, object\]\. M"),
        (Halved, r"settings of the model: code was \w{12} and is now \w{12}\. Make"),
        (lambda: changed("dropout", training=False), r"'dropout': training was True and is now F"),
        (lambda: changed("norm").eval(), r"; 6 more of the settings\. Make the same call"),
        (
            lambda: changed("head", weight=nn.Parameter(Scaled().head.weight, requires_grad=False)),
            r"settings of 'head': frozen parameters was \[\] and is now \['weight'\]\. Make",
        ),
    ],
)  # fmt: skip
def test_a_model_that_behaves_otherwise_is_refused(
    other: Callable[[], nn.Module], match: str, scaled: tuple[Path, Result], tmp_path: Path
) -> None:
    shutil.copytree(scaled[0], tmp_path, dirs_exist_ok=True)
    with pytest.raises(ResumeError, match=match) as error:
        pruned(other(), tmp_path)
    assert len(str(error.value)) < 700


class Balanced(nn.Module):
    """A loss that is a module, with what it is given in a list."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1], torch.tensor(self.weights))

    def also(self, model: nn.Module, batch: Batch) -> Tensor:
        return self(model, batch)


@dataclasses.dataclass
class Factor:
    """A loss that is a method of settings."""

    factor: float

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.factor * cross_entropy(model, batch)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: Balanced([x, 1.0, 1.0, 1.0]),
        lambda x: Balanced([x, 1.0, 1.0, 1.0]).also,
        lambda x: Factor(x).loss,
    ],
    ids=["module", "method of a module", "method of a dataclass"],
)
def test_losses_are_known_by_what_they_hold(make: Callable[[float], Any], tmp_path: Path) -> None:
    def run(factor: float) -> Result:
        loss = make(factor)
        return fit(
            tiny(), loader(), budget=CAPS, schedule=[Prune()], loss=loss, checkpoint=tmp_path
        )

    assert same_run(run(1.0), run(1.0))
    with pytest.raises(ResumeError, match=r"loss was .*1\.0.* and is now .*9\.0"):
        run(9.0)


def test_methods_of_other_objects_are_known_by_their_class() -> None:
    assert describe(Pulled(3).__call__) == describe(Pulled(2).__call__)
    assert describe(Pulled(3).__call__).endswith("Pulled.__call__ of Pulled")


@dataclasses.dataclass(frozen=True)
class Idle:
    """A phase that does nothing, with much to say."""

    numbers: tuple[int, ...]
    last: int
    length: int = 1

    def run(self, training: Training, part: int) -> None:
        pass


def test_long_values_are_shown_where_they_part(tmp_path: Path) -> None:
    def run(last: int) -> Result:
        schedule = [Prune(), Idle(tuple(range(500)), last)]
        return fit(tiny(), budget=CAPS, schedule=schedule, checkpoint=tmp_path)

    run(7)
    match = r"was \.\.\..*498, 499\], last=7.* and is now .*last=8"
    with pytest.raises(ResumeError, match=match) as error:
        run(8)
    assert len(str(error.value)) < 900


def weighted(factor: float) -> Any:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return factor * cross_entropy(model, batch)

    return loss


def test_other_contents_of_the_same_form_are_refused(tmp_path: Path) -> None:
    def run(**change: Any) -> Result:
        settings = {"schedule": [Prune()], "loss": weighted(1.0), "val": loader(32)} | change
        data = settings.pop("data", loader())
        return fit(tiny(), data, budget=CAPS, checkpoint=tmp_path, **settings)

    first = run()
    assert same_run(first, run())
    shifted = [(x + 1, y) for x, y in loader()]
    with pytest.raises(ResumeError, match=r"What differs: first batch\. Make the same"):
        run(data=shifted)
    with pytest.raises(ResumeError, match=r"What differs: first batch of val\. Make the same"):
        run(val=[(x + 1, y) for x, y in loader(32)])
    with pytest.raises(ResumeError, match=r"loss was .*factor=1\.0.* and is now .*factor=2\.0"):
        run(loss=weighted(2.0))
    with pytest.raises(ResumeError, match=r"val was 1 and is now .*test_checkpoint.*<lambda>"):
        run(val=lambda _: 1.0)


def test_data_that_differ_each_time_are_known_by_their_shape(tmp_path: Path) -> None:
    class Fresh:
        def __iter__(self) -> Any:
            generator = torch.Generator()
            generator.seed()
            yield torch.randn(8, 1, 8, 8, generator=generator), torch.arange(8) % 4

    fit(tiny(), Fresh(), budget=CAPS, schedule=[Prune()], checkpoint=tmp_path)
    fit(tiny(), Fresh(), budget=CAPS, schedule=[Prune()], checkpoint=tmp_path)


def test_a_checkpoint_that_says_nothing_of_its_run(tmp_path: Path) -> None:
    storage.write(tmp_path, "checkpoint", {}, {"something": 1})
    with pytest.raises(ResumeError, match="says nothing of which run it belongs to"):
        fit(tiny(), budget=CAPS, checkpoint=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "json"])
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    fit(tiny(), budget=CAPS, checkpoint=tmp_path)
    (tensors,) = tmp_path.glob("*.safetensors")
    content = tensors.read_bytes()
    if damage == "cut":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        tensors.unlink()
    else:
        (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(ResumeError, match=r"cannot resume: .* damaged: .* to start over"):
        fit(tiny(), budget=CAPS, checkpoint=tmp_path)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    calls = iter(range(10**6))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        factor = torch.nan if next(calls) >= 40 else 1.0
        return factor * cross_entropy(model, batch)

    schedule = [Prune(), FineTune(epochs=8)]
    with pytest.raises(TrainingError, match=r"the loss is nan at FineTune epoch"):
        fit(tiny(), loader(), budget=CAPS, schedule=schedule, loss=loss, checkpoint=tmp_path)
    tensors, data = storage.read(tmp_path, "checkpoint")
    state = storage.restore(data["state"], tensors)
    assert state["position"][1] >= 1
    assert all(bool(torch.isfinite(t).all()) for t in state["model"].values())


def test_nothing_of_the_files_is_pickled(tmp_path: Path) -> None:
    fit(tiny(), loader(), budget=CAPS, schedule=SCHEDULE[:2], checkpoint=tmp_path)
    (tensors,) = tmp_path.glob("*.safetensors")
    header = int.from_bytes(tensors.read_bytes()[:8], "little")
    json.loads(tensors.read_bytes()[8 : 8 + header])
    json.loads((tmp_path / "checkpoint.json").read_text())


def test_descriptions_are_the_same_in_every_process() -> None:
    assert describe(functional.relu) == "torch.nn.functional.relu(inplace=False)"
    assert describe(partial(torch.optim.SGD, momentum=0.9)) == (
        "partial(torch.optim.sgd.SGD, momentum=0.9)"
    )
    assert describe(Pulled(3)) == "tests.helpers.pulled.Pulled"
    text = describe(SCHEDULE)
    assert " at 0x" not in text
    assert "decay=compressor.run.rates.cosine" in text
    assert "distill=Distill(temperature=3.0, weight=0.7)" in text
