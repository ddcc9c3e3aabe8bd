"""What words name, and the sentences for those that name nothing."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from compressor.commands.words import called, named, read_as, settings_of


def test_a_word_names_what_stands_in_a_module(here: Path) -> None:
    assert Path(named("mine:Net").__module__).name == "mine"
    assert named("os.path:sep")
    assert named("pathlib:Path.cwd")() == here


def test_a_file_is_named_by_its_path(here: Path) -> None:
    (here / "deep").mkdir()
    (here / "deep" / "net.py").write_text("from beside import WIDTH\nclass Net: width = WIDTH\n")
    (here / "deep" / "beside.py").write_text("WIDTH = 3\n")
    before = [*sys.path]
    assert named("deep/net.py:Net").width == 3
    assert sys.path == before
    sys.modules.pop("beside")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("mine", "neither a file that is there nor something in a module: write"),
        ("", "neither a file"),
        (":Net", "neither a file"),
        ("mine:", "neither a file"),
        ("mine:Nett", "mine has no 'Nett': did you mean Net"),
        ("mine:Net.forwards", "did you mean forward"),
        ("mine:xyzzy", "look at how it is spelt"),
        ("mina:Net", "there is no module 'mina', neither in .* nor installed: run the command"),
        ("mine.deep:Net", "there is no module 'mine.deep'|importing mine.deep fails"),
        ("mina.py:Net", "there is no file mina.py"),
        ("mine.py:Nett", "mine.py has no 'Nett': did you mean Net"),
        ("faulty.py:Net", r"running faulty.py fails: ZeroDivisionError: .*faulty.py, line 2\)"),
        ("faulty:Net", r"importing faulty fails: ZeroDivisionError: .*faulty.py, line 2\)"),
        ("needy:Net", "importing needy fails: ModuleNotFoundError: .*not_there_at_all"),
    ],
)
def test_words_that_name_nothing(here: Path, word: str, said: str) -> None:
    del here
    with pytest.raises(ValueError, match=said):
        named(word)


def test_a_function_that_fails_is_told_with_its_place(here: Path) -> None:
    with pytest.raises(ValueError, match=r"mine:broken\(\) fails: KeyError: 'oh' \(.*mine.py, "):
        called("mine:broken", named("mine:broken"), {})
    with pytest.raises(ValueError, match=r"mine:Net\(depth=3\) fails: TypeError: .*'depth'"):
        called("mine:Net", named("mine:Net"), {"depth": 3})
    assert here.is_dir()


def test_an_argument_that_is_missing_has_no_place(here: Path) -> None:
    del here
    with pytest.raises(ValueError, match=r"missing 1 required positional argument: 'path'$"):
        called("mine:wants", lambda path: path, {})


def test_settings_are_literals() -> None:
    words = ["width=1.5", "sizes=(1, 2)", "name='a=b'", "on=True", "none=None"]
    found = settings_of(words)
    assert found == {"width": 1.5, "sizes": (1, 2), "name": "a=b", "on": True, "none": None}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("width", "write name=value"),
        ("=3", "write name=value"),
        ("a-b=3", "write name=value"),
        ("act=relu", """no number, text.*--with "act='relu'\""""),
        ("x=__import__('os').getcwd()", "no number, text, list or other literal"),
        ("x=" + "(" * 300, "no number, text"),
        ("x=", "no number, text"),
        ("x=1 x=2", "--with x=2: x stands there twice"),
    ],
)
def test_settings_that_are_none(word: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings_of(word.split(" "))


def test_a_reader_tells_argparse_what_it_says() -> None:
    assert read_as(int)("3") == 3
    with pytest.raises(ArgumentTypeError, match="invalid literal"):
        read_as(int)("x")
