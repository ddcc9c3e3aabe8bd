"""What counts as an example input, and what is said where there is none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compressor.counting.measuring import measure
from compressor.errors import CountError
from compressor.inputs.example import one_input

HUGE = {"vgg11_bn"}  # half a gigabyte, and nothing the others do not show
FUSED = {"conv_attention", "attention"}  # flop_counter alone reads their attention as zero


class TestExample:
    def test_first_item_only(self) -> None:
        x = torch.randn(5, 3)
        assert torch.equal(one_input(nn.Identity(), x)[0], x[:1])

    def test_what_is_no_batch_stays_whole(self) -> None:
        x, mask, scale = torch.randn(8, 10, 4), torch.zeros(10, 10), torch.tensor(2.0)
        cut = one_input(nn.Identity(), (x, mask, scale))
        assert [tuple(t.shape) for t in cut] == [(1, 10, 4), (10, 10), ()]

    def test_default_is_the_models_own(self) -> None:
        model = nn.Linear(6, 2)
        model.example_input_array = torch.zeros(3, 6)
        assert measure(model).macs == 12
        model.example_input_array = (torch.zeros(3, 6),)
        assert measure(model).macs == 12

    def test_none(self) -> None:
        with pytest.raises(ValueError, match=r"Linear has no example input.*example=torch\.zeros"):
            measure(nn.Linear(6, 2))

    def test_a_dictionary_of_arguments_is_taken_apart(self) -> None:
        given = {"x": torch.zeros(1, 3), "y": torch.zeros(1, 3)}
        with pytest.raises(TypeError, match=r"forward's arguments, tuple\(batch\.values\(\)\)\.$"):
            one_input(nn.Bilinear(3, 3, 2), given)

    def test_a_dictionary_that_forward_takes_whole_gets_a_wrapper(self) -> None:
        given = {"features": torch.zeros(1, 3), "a gain": torch.zeros(1)}
        code = r"def forward\(self, features, x1\): return "
        code += r"self\.net\(\{'features': features, 'a gain': x1\}\)"
        with pytest.raises(TypeError, match=f"forward of the Linear takes one .*{code}"):
            one_input(nn.Linear(3, 2), given)

    @pytest.mark.parametrize("wrong", [{"x": torch.zeros(1)}, [torch.zeros(1)], (1,), (), "x"])
    def test_wrong_kind(self, wrong: object) -> None:
        with pytest.raises(TypeError, match="a tensor or a tuple of tensors"):
            measure(nn.Linear(6, 2), wrong)  # pyright: ignore[reportArgumentType]

    def test_empty_batch(self) -> None:
        with pytest.raises(ValueError, match="empty batch"):
            measure(nn.Linear(6, 2), torch.zeros(0, 6))

    def test_wrong_shape_and_dtype(self) -> None:
        with pytest.raises(CountError, match=r"could not be run on.*\(1, 5\).*float32.*float16"):
            measure(nn.Linear(6, 2).half(), torch.zeros(4, 5))

    def test_lazy(self) -> None:
        with pytest.raises(CountError, match=r"'weight'.*Run the model"):
            measure(nn.LazyLinear(3), torch.zeros(1, 6))

    def test_uncopyable(self) -> None:
        model = nn.Linear(6, 2)
        model.stream = (i for i in range(3))
        with pytest.raises(CountError, match=r"Linear cannot be copied.*deepcopy"):
            measure(model, torch.zeros(1, 6))
