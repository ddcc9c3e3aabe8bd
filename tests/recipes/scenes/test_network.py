"""A network by its name: found, built, tried, and every way in which that fails in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recipes.scenes.network import Source, find

NET = """
import torch
from torch import nn

from beside import WIDTH


class Net(nn.Module):
    def __init__(self, labels, width=WIDTH, scale=1.0):
        super().__init__()
        self.scale, self.width = scale, width
        convolutions = nn.Conv2d(1, width, 3, 4), nn.Conv2d(width, labels, 1)
        self.layers = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1])

    def forward(self, x):
        return self.scale * self.layers(x).mean((2, 3))


    @classmethod
    def small(cls, classes):
        return cls(classes, width=2)


class Told(Net):
    def __init__(self, width, num_classes, frames, mels):
        super().__init__(num_classes, width)
        self.told = frames, mels


def made(classes, **more):
    return Net(classes, **more)


def nothing():
    return Net(10)


def number(classes):
    return 7


class Flat(Net):
    def forward(self, x):
        return super().forward(x).flatten()


class Two(Net):
    def forward(self, x):
        return super().forward(x), x


class Narrow(Net):
    def forward(self, x):
        return super().forward(x.view(len(x), 1, 40, 51))


class Broken(Net):
    def forward(self, x):
        return super().forward(x) / 0 * 0


CONSTANT = 3
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "beside.py").write_text("WIDTH = 6\n")
    path = tmp_path / "own.py"
    path.write_text(NET)
    return str(path)


def test_a_class_in_a_file_is_built_and_tried(net: str) -> None:
    model = Source(f"{net}:Net").tried(10, 40, 51)
    assert model.width == 6
    assert torch.equal(model.example_input_array, torch.zeros(1, 1, 40, 51))
    assert model.training


def test_constructors_are_told_what_they_ask_for(net: str) -> None:
    model = Source(f"{net}:Told", ("width=5",)).build(3, 40, 51)
    assert (model.told, model.width) == ((51, 40), 5)
    assert Source(f"{net}:Net", ("width=4", "scale=0.5")).build(10, 40, 51).scale == 0.5
    assert Source(f"{net}:Net.small").tried(10, 40, 51).width == 2
    assert Source(f"{net}:made", ("width=4",)).tried(10, 40, 51).width == 4


def test_a_class_in_a_package_is_found() -> None:
    model = Source("models:BCResNetASC", ("channels=8", "residual_norm=none")).tried(10, 64, 34)
    assert model(torch.zeros(2, 1, 64, 34)).shape == (2, 10)
    assert find("models.bcresnet:BCResNetASC") is type(model)


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("Net", (), "write package.module:Name or net.py:Name"),
        ("{net}", (), "write package.module:Name or net.py:Name"),
        ("{net}:Nett", (), r"own\.py has no 'Nett': did you mean Net"),
        ("{net}:Net.tiny", (), r"own\.py has no 'tiny'"),
        ("{net}:CONSTANT", (), "an? int is no class or function"),
        ("{net}:nothing", (), r"nothing\(\) takes no argument: it must take the number of classes"),
        ("{net}:number", (), "makes a int and no torch.nn.Module"),
        (
            "{net}:Net",
            ("widht=3",),
            r"no argument 'widht': did you mean width\? It has width, scale",
        ),
        ("{net}:Net", ("zzz=3",), r"has no argument 'zzz'\. It has width, scale"),
        ("{net}:Net", ("width=3", "width=4"), "--with width=4: width stands there twice"),
        ("{net}:Net", ("width",), "write name=value, an argument of"),
        ("{net}:Net", ("train.epochs=3",), "Settings of the run, such as .* stand before --with"),
        ("{net}:Net", ("width=many",), r"Net\(10, width='many'\) cannot be built \(TypeError"),
        ("{net}:Flat", (), r"answers \(20,\): it must be a tensor of logits \(2, 10\)"),
        ("{net}:Two", (), r"answers tuple: it must be a tensor of logits \(2, 10\)"),
        ("{net}:Narrow", (), r"log-mels \(2, 1, 40, 65\).*and failed \(RuntimeError.*--front-end"),
        ("{net}:Broken", (), "no finite number before any training"),
    ],
)
def test_what_is_no_network_is_refused(
    net: str, name: str, given: tuple[str, ...], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        Source(name.format(net=net), given).tried(10, 40, 65)


def test_what_cannot_be_imported_is_told(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import no_such_package_of_anybody\n")
    with pytest.raises(ValueError, match=r"running .*wrong\.py fails: .*no_such_package"):
        find(f"{wrong}:Net")
    with pytest.raises(ValueError, match=r"there is no file .*none\.py"):
        find(f"{tmp_path / 'none.py'}:Net")
    with pytest.raises(ValueError, match="there is no module 'no_such_package_of_anybody'"):
        find("no_such_package_of_anybody:Net")
