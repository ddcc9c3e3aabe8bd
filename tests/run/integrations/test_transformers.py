"""The trainer of Hugging Face drives a session, on the real package."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, FineTune, Int8, Prune, Session
from compressor.importance import frobenius
from compressor.network import Network
from tests.helpers.tiny import loader, refuses, scenes, tiny

reason = "178 MB: pip install 'compressor-nn[transformers]'"
transformers = pytest.importorskip("transformers", reason=reason)
pytest.importorskip("accelerate", reason=reason)

from compressor.run.integrations.transformers import SessionCallback  # noqa: E402 - as above

GRADUAL = Prune(method="uniform", importance=frobenius, repair=False, fold=False, steps=2, epochs=1)


class Classifier(nn.Module):
    """A network in the manner of these models: named inputs, a dictionary with the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.network: nn.Module = tiny()

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(pixels)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture(autouse=True)
def _calm() -> Iterator[None]:
    with warnings.catch_warnings():  # of the package's own deprecations
        warnings.simplefilter("ignore")
        yield


def trainer(folder: Path, model: nn.Module, callback: object, epochs: int) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=16,
        gradient_accumulation_steps=2, use_cpu=True, report_to=[], save_strategy="no",
        learning_rate=1e-2, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    clips, labels = scenes(64).tensors
    data = [{"pixels": x, "labels": y} for x, y in zip(clips, labels, strict=True)]
    return transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback])


def session_of(model: nn.Module, budget: Budget, *schedule: Any) -> Session:
    return Session(model, budget=budget, data=loader(64), schedule=schedule, verify=False)


def test_a_trainer_goes_through_a_schedule_into_int8(tmp_path: Path) -> None:
    model = Classifier()
    schedule = (GRADUAL, FineTune(epochs=1), Int8(epochs=1))
    session = session_of(model.network, Budget(bytes=6000), *schedule)
    run = trainer(tmp_path, model, SessionCallback(session, "network"), epochs=9)
    run.train()
    assert run.state.global_step == 6  # the schedule ends it; 4 batches an epoch, two a step
    assert model.network is session.model
    assert isinstance(session.model, Network)
    result = session.finish()
    assert [e.phase for e in result.report.log] == ["Prune", "FineTune", "Int8"]
    assert all(0.1 < e.loss < 3 for e in result.report.log)
    assert result.report.files is not None
    assert result.report.files[1] <= 6000
    assert not model._forward_hooks


def test_misuse(tmp_path: Path) -> None:
    model = Classifier()
    session = session_of(model.network, Budget(params=700), GRADUAL)
    with refuses("Classifier that is trained has no submodule 'model'"):
        trainer(tmp_path, model, SessionCallback(session), epochs=1)
    assert all(torch.isfinite(p).all() for p in model.parameters())
