"""A parser that loses nothing that was said."""

from __future__ import annotations

import pytest

from compressor.commands.parser import Parser

Capture = pytest.CaptureFixture[str]


def parser() -> Parser:
    made = Parser("tool")
    made.add_argument("--size", type=int, default=3)
    made.add_argument("--many", nargs="+", default=[])
    made.add_argument("--all", action="append", default=[])
    made.add_argument("--loud", action="store_true")
    pair = made.add_mutually_exclusive_group()
    pair.add_argument("--one")
    pair.add_argument("--other")
    inner = made.add_subparsers().add_parser("inner")
    inner.add_argument("--depth")
    return made


def test_what_is_said_once_is_stored() -> None:
    words = "--size 4 --many a b --all a --all b --loud --loud --one x inner --depth y"
    found = parser().parse_args(words.split())
    told = (found.size, found.many, found.all, found.loud, found.one, found.depth)
    assert told == (4, ["a", "b"], ["a", "b"], True, "x", "y")
    assert parser().parse_args([]).size == 3
    again = parser()
    assert [again.parse_args(["--size", n]).size for n in "12"] == [1, 2], "no state is kept"


@pytest.mark.parametrize(
    "words",
    ["--size 4 --size 4", "--size=4 --si 5", "--many a --many b", "--one a --one b",
     "inner --depth 1 --depth 2"],
)  # fmt: skip
def test_what_would_be_lost_is_refused_in_one_line(words: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(words.split())
    assert caught.value.code == 2
    err = capsys.readouterr().err
    advice = "write all after the first" if "--many" in words else "leave one out"
    assert f"stands there twice: {advice}" in err
    assert err.count("\n") == 1
