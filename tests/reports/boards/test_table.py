from __future__ import annotations

from urllib.parse import urlparse

import pytest

from compressor.reports.boards.table import board_of, boards


def test_every_board_says_where_its_figures_are_printed() -> None:
    known = boards()
    assert len({board.name for board in known}) == len(known) >= 10
    for board in known:
        assert board.name == board.name.lower()
        assert board.sources
        assert all(urlparse(source).scheme == "https" for source in board.sources)
        assert 2**17 <= board.ram < board.flash <= 2**23
        assert 64e6 <= board.clock <= 600e6


def test_figures_of_the_reference_board_of_mlperf_tiny() -> None:
    """RIOT's page of it: 640 KiB of RAM, 2 MiB of flash, up to 120 MHz."""
    board = board_of("NUCLEO-L4R5ZI", boards())
    assert (board.ram, board.flash, board.clock) == (655_360, 2_097_152, 120_000_000)


def test_an_unknown_board_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no board 'uno' in the table: choose one of ardu"):
        board_of("uno", boards())
