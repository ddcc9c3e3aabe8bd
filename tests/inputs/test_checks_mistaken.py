"""What newcomers pass in the place of a loader, and batches that fit nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from compressor import Budget, fit
from tests.helpers.tiny import loader, refuses, scenes, tiny

CAPS = Budget(params=700)
INPUTS, LABELS = scenes(8).tensors


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(INPUTS[0], 3)])


class Ragged(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 8, 8 + number), 0


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (scenes(8), r"data is a TensorDataset, a data set of single examples: pass torch.*Loader"),
        (
            Stream(),
            r"a tuple of 2 \(a tensor of shape \(1, 8, 8\), an int\).*Single examples become",
        ),
        (INPUTS[0, 0, 0], r"of shape .*DataLoader\(torch.utils.data.TensorDataset\(inputs, targ"),
        (
            (INPUTS, LABELS),
            r"data is a tuple that holds a tensor .*TensorDataset\(inputs, targets\)",
        ),
        (INPUTS.numpy(), r"a numpy array of shape .*made tensors by torch.from_numpy"),
        ([(INPUTS.numpy(), LABELS.numpy())], r"a numpy array .* torch.from_numpy\(array\)"),
        ([(INPUTS, list(range(8)))], r"\(a tensor of shape .*, a list of 8\)"),
        ([(INPUTS.double(),)], r"the batches are torch.float64 and the model is torch.float32"),
        (INPUTS.expand(-1, 3, -1, -1), r"does not run on the first batch, inputs \(8, 3, 8, 8\)"),
        ([{"image": INPUTS, "label": LABELS}], r"a dict with 'image', 'label'.*loss=lambda model"),
        ({"x": INPUTS}, r"data is a dict with 'x', of which only the keys would be read"),
        (["a.wav"], r"data yields a str"),
        ("folder", r"data is 'folder', a path or name: load"),
        (CAPS, r"data is a Budget, which goes by its name: fit\(model, loader, budget="),
        (tiny(), r"data is a Tiny, a model, which is the first argument"),
        (DataLoader, r"data is the class DataLoader: make one"),
        (loader, r"data is a function and yields no batches.*call it"),
        ((b for b in loader()), r"a generator, which can be read only once"),
        (iter(loader()), r"which can be read only once"),
        (3, r"an int and yields no batches"),
        ([(INPUTS, LABELS.float())], r"values and no classes, pass loss=torch.nn.MSELoss\(\)"),
        ([(INPUTS, LABELS.int())], r"convert them with targets.long\(\)"),
        ([(INPUTS, LABELS[:, None])], r"targets.reshape\(8\).long\(\)"),
        ([(INPUTS.double(), LABELS)], r"inputs.to\(torch.float32\) in the data set"),
        ([(INPUTS.byte(), LABELS)], r"no indices are converted by inputs.float\(\)"),
        (DataLoader(Ragged(), batch_size=4), r"the first batch of data cannot be read .*alike in"),
    ],
)
def test_what_is_no_loader(data: object, match: str) -> None:
    with refuses(match) as caught:
        fit(tiny(), data, budget=CAPS)
    assert len(str(caught.value)) < 600


def test_val_is_looked_at_in_the_same_way() -> None:
    for wrong, match in [
        (scenes(8), "val is a TensorDataset, a data set"),
        (tiny(), "val is a Tiny, a model"),
        (INPUTS, "val is a tensor of shape"),
    ]:
        with refuses(match):
            fit(tiny(), loader(8), budget=CAPS, val=wrong)
