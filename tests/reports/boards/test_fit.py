from __future__ import annotations

import pytest

from compressor.export.reading.contents import unpack
from compressor.reports.boards.fit import fits, need
from compressor.reports.boards.table import Board
from tests.helpers.tflite_files import recorded, residual


def board(flash: int, ram: int, clock: int = 1_000_000) -> Board:
    return Board("one", "chip", flash, ram, clock, "", ())


def test_need_is_the_file_the_arena_and_the_products() -> None:
    data = residual()
    found = need(unpack(data))
    assert found.flash == len(data)
    assert found.arena.head == recorded(data)["head"]
    assert found.ram == found.arena.head + found.arena.tail
    assert found.macs == 80 * 8 * 27 + 4 * 80 * 8 * 12 + 12 * 16 * 72 + 16 * 5


@pytest.mark.parametrize(("flash", "ram"), [(0, 0), (1, 0), (0, -1), (-1, 5)])
def test_a_byte_decides(flash: int, ram: int) -> None:
    needed = need(unpack(residual()))
    (found,) = fits(needed, [board(needed.flash + flash, needed.ram + ram)])
    assert (found.flash, found.ram) == (flash, ram)
    assert found.fits == (min(flash, ram) >= 0)


def test_time_is_products_over_cycles() -> None:
    needed = need(unpack(residual()))
    (found,) = fits(needed, [board(1, 1, clock=2_000_000)])
    assert found.seconds == needed.macs / 2e6
