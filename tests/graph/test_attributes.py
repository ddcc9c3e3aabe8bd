"""Sizes among a module's attributes, by name, read and written."""

from __future__ import annotations

from torch import nn

from compressor.graph.attributes import element, set_size, size_at, sizes_of


class Sizes(nn.Module):
    """Whole numbers in all forms, and what is none."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.flag, self.share = 8, True, 0.5
        self.few, self.many, self.mixed = (3, 5), [2, 6, 8], [1, "a"]


def test_numbers_are_found_where_they_are() -> None:
    found = {name: n for name, n in sizes_of(Sizes()).items() if not name.startswith("_")}
    assert found == {
        "width": 8, "few[0]": 3, "few[1]": 5, "many[0]": 2, "many[1]": 6, "many[2]": 8,
    }  # fmt: skip


def test_a_number_is_changed_in_its_place() -> None:
    module = Sizes()
    few = module.few
    set_size(module, "width", 7)
    set_size(module, element("few", 1), 4)
    set_size(module, element("many", 0), 1)
    assert (module.width, module.few, module.many) == (7, (3, 4), [1, 6, 8])
    assert few == (3, 5)
    assert (size_at(module, "few[1]"), size_at(module, "few[2]")) == (4, None)
    assert (size_at(module, "width"), size_at(module, "flag")) == (7, None)
