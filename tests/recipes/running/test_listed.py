"""All settings of a recipe are listed, in parts, with meanings and defaults; help is short."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import NoReturn

import pytest

from recipes import dcase2022
from recipes.running.command import run
from recipes.running.listed import WIDE, first_sentence, lines, meanings
from recipes.running.overrides import names, override
from recipes.scenes.settings import Config as Scenes


@dataclass(frozen=True)
class Part:
    """Training of something. It takes long.

    Attributes:
        lr: Highest learning rate, reached after a
            warm-up. Chosen.
        warm: Whether there is one.
    """

    lr: float = 0.01
    warm: bool = True


@dataclass(frozen=True)
class Base:
    """A base.

    Attributes:
        seed: Seed of everything.
    """

    seed: int = 0


@dataclass(frozen=True)
class Toy(Base):
    """A toy.

    Attributes:
        splits: Percentages.
        train: Of the network.
    """

    splits: tuple[int, ...] = (5, 10)
    teacher: str | None = None
    train: Part = field(default_factory=Part)


def test_every_part_has_a_heading_and_every_setting_a_line() -> None:
    assert [*lines(Toy())] == [
        "all: Toy, A toy",
        "  seed=0        Seed of everything",
        "  splits=5,10   Percentages",
        "  teacher=none",
        "",
        "train: Part, Training of something",
        "  train.lr=0.01    Highest learning rate, reached after a warm-up",
        "  train.warm=true  Whether there is one",
        "",
    ]


@pytest.mark.parametrize("config", [Scenes(), dcase2022.Config()])
def test_of_the_recipes_all_are_there_and_can_be_read_back(config: object) -> None:
    listed = [*lines(config)]
    texts = [line.split()[0] for line in listed if line.startswith("  ")]
    assert [text.partition("=")[0] for text in texts] == [*names(config)]
    assert len(texts) > 50
    assert max(map(len, listed)) <= WIDE
    meant = [line for line in listed if line.startswith("  ") and len(line.split()) > 1]
    assert len(meant) > 0.9 * len(texts), "settings with a meaning"
    simple = [text for text in texts if text.split("=")[1] and text.isascii()]
    for text in simple[:20]:
        assert override(config, [text]) == config


def test_the_option_lists_and_help_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> NoReturn:
        raise AssertionError

    for word in ("--settings", "--help"):
        monkeypatch.setattr(sys, "argv", ["toy", word])
        with pytest.raises(SystemExit) as ended:
            run("A toy.", "toy", Toy(), none, none)
        assert ended.value.code == 0
    listed, helped = capsys.readouterr().out.split("usage:")
    assert listed.startswith("all: Toy")
    assert "train.lr" not in helped
    assert "--settings" in helped


def test_sentences_end_where_they_do() -> None:
    assert first_sentence("As CP-JKU 2023, eq. 8: half. More.") == "As CP-JKU 2023, eq. 8: half"
    assert first_sentence("In `dcase.md`; what else.") == "In `dcase.md`; what else"
    assert meanings(int) == {}
