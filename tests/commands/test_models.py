"""Models as commands name them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import compressor
from compressor import Budget
from compressor.commands.models import add_model, example_of, model_of
from compressor.commands.words import named


def options(*words: str) -> Namespace:
    parser = ArgumentParser()
    add_model(parser)
    return parser.parse_args(words)


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_class_a_function_or_a_model(here: Path) -> None:
    del here
    assert model_of(options("mine:made")) is named("mine:made")
    wide = model_of(options("mine:Net", "--with", "width=5", "--with", "act='gelu'"))
    assert wide[0].out_channels == 5  # type: ignore[index]
    assert isinstance(wide[2], nn.GELU)  # type: ignore[index]
    assert equal(model_of(options("mine:Net")), model_of(options("mine:Net")))


def test_weights_of_a_file(here: Path) -> None:
    other = named("mine:Net")()
    save_file(other.state_dict(), here / "other.safetensors")
    assert not equal(model_of(options("mine:Net")), other)
    assert equal(model_of(options("mine:Net", "--weights", "other.safetensors")), other)


def test_files_that_the_library_wrote(here: Path) -> None:
    made = named("mine:made")
    result = compressor.fit(made, budget=Budget(params=700))
    result.write(here / "small.safetensors")
    result.save(here / "saved")
    small = model_of(options("small.safetensors"))
    assert type(small).__name__ == "Network"
    again = model_of(options("mine:Known", "--weights", "saved"))
    assert equal(again, result.model)
    with pytest.raises(ValueError, match=r"weights of your own class.* --weights saved"):
        model_of(options("saved"))
    with pytest.raises(ValueError, match="is a file, of which --with changes nothing"):
        model_of(options("small.safetensors", "--with", "width=3"))


def test_things_that_are_no_model(here: Path) -> None:
    np.save(here / "x.npy", np.zeros(3))
    for word, said in {
        "mine:loader": "makes a DataLoader and no torch.nn.Module",
        "mine:nothing": "makes a NoneType and no torch.nn.Module",
        "mine:MINE": "has no 'MINE'",
        "torch:float32": "is a dtype, which takes no arguments: name a class or function$",
        "mine.py": "a file of Python: name the class or function in it, such as mine.py:Net",
        "x.npy": "an array of numpy",
    }.items():
        with pytest.raises(ValueError, match=said):
            model_of(options(word))
    with pytest.raises(ValueError, match=r"takes no arguments: name a class .*leave --with out"):
        model_of(options("mine:made", "--with", "width=3"))
    (here / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing was saved there"):
        model_of(options("empty"))


def test_weights_that_are_none(here: Path) -> None:
    other = named("mine:Net")(width=5)
    save_file(other.state_dict(), here / "narrow.safetensors")
    save_file({"0.weight": other[0].weight.data}, here / "part.safetensors")
    torch.save(other.state_dict(), here / "pickle.pt")
    more = named("mine:Net")().state_dict() | {"more": torch.zeros(1)}
    save_file(more, here / "more.safetensors")
    (here / "cut.safetensors").write_bytes((here / "more.safetensors").read_bytes()[:300])
    for file, said in {
        "narrow.safetensors": r"'0.weight' is \(5, 1, 3, 3\) and the model's "
        r"\(8, 1, 3, 3\), and 6 more tensors likewise: build the model as it was .*--with",
        "part.safetensors": r"'0.weight' is \(5, 1, 3, 3\) and the model's \(8, 1, 3, 3\): build",
        "more.safetensors": r"it has, and the model has not, 1 tensor \(more\)",
        "pickle.pt": "is a zip archive, as torch.save.*Nothing is unpickled",
        "cut.safetensors": "holds no weights of this model",
    }.items():
        with pytest.raises(ValueError, match=said):
            model_of(options("mine:Net", "--weights", file))
    with pytest.raises(FileNotFoundError):
        model_of(options("mine:Net", "--weights", "none.safetensors"))


def test_weights_of_a_model_inside_another(here: Path) -> None:
    inner = named("mine:Net")()
    save_file({f"net.{n}": x for n, x in inner.state_dict().items()}, here / "outer.safetensors")
    save_file(inner.state_dict(), here / "inner.safetensors")
    (here / "around.py").write_text(AROUND)
    said = "every name of the file begins with 'net.', and the model's do not: .*inner model"
    with pytest.raises(ValueError, match=said):
        model_of(options("mine:Net", "--weights", "outer.safetensors"))
    said = "every name of the model begins with 'net.', and the file's do not: .*whole model"
    with pytest.raises(ValueError, match=said):
        model_of(options("around.py:Around", "--weights", "inner.safetensors"))
    found = model_of(options("around.py:Around", "--weights", "outer.safetensors"))
    assert equal(found, inner)


AROUND = """
from torch import nn
from mine import Net


class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)
"""


def test_examples(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del here
    net, known = model_of(options("mine:Net")), model_of(options("mine:Known"))
    assert example_of(options("mine:Known"), known) is None
    found = example_of(options("mine:Net", "--input", "1,1,8,8", "--input", "1,16:int64"), net)
    assert found is not None
    assert [(tuple(x.shape), x.dtype) for x in found] == [
        ((1, 1, 8, 8), torch.float32), ((1, 16), torch.int64),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"Net has no example_input_array: .*--input 1,3,32,32"):
        example_of(options("mine:Net"), net)
    for word in ("1,x", "", "1,0,3", "1,2:int7", "1,-2"):
        with pytest.raises(SystemExit):
            options("mine:Net", "--input", word)
    assert "is no shape: write its sizes, the batch first" in capsys.readouterr().err
    for word in ("9" * 12 + ",9999999", "9" * 30):
        with pytest.raises(SystemExit):
            options("mine:Net", "--input", word)
        assert "numbers, for which there is too little memory" in capsys.readouterr().err
