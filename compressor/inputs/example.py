"""An example input of a model: what it may be, and one input of it."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from compressor.inputs.models import as_example, check_model, suggested
from compressor.wording import kind

Inputs = tuple[Tensor, ...]
"""Positional arguments of a model."""

Example = Tensor | Inputs
"""Input of a model: one tensor, or a tuple of positional arguments, batch first."""


def one_input(model: nn.Module, example: Example | None = None) -> tuple[Tensor, ...]:
    """The positional arguments of one input: copies of `example` cut to its first item.

    Args:
        model: Whose `example_input_array` is used where `example` is None.
        example: A tensor or a tuple of tensors, batch first. The first tensor's dimension 0 is the
            batch; a tensor whose dimension 0 differs is no batch and stays whole.

    Raises:
        ValueError: If there is no model or no example, or an empty one.
        TypeError: If the example is neither a tensor nor a tuple of tensors.
    """
    check_model(model)
    given: object = example if example is not None else getattr(model, "example_input_array", None)
    if given is None:
        raise ValueError(
            f"{type(model).__name__} has no example input to run it on. Pass one of your inputs, "
            f"batch first, or zeros of its shape, for instance {suggested(model)}, or set the "
            "model's example_input_array."
        )
    inputs = cast("tuple[object, ...]", given) if isinstance(given, tuple) else (given,)
    tensors = tuple(x for x in inputs if isinstance(x, Tensor))
    if not tensors or len(tensors) < len(inputs):
        raise TypeError(
            "an example is a tensor or a tuple of tensors (positional arguments), not "
            f"{kind(given)}{as_example(given, model)}."
        )
    if not tensors[0].ndim:
        raise ValueError(
            f"the example is a single number, without a batch: pass for instance {suggested(model)}"
        )
    batch = tensors[0].shape[:1]
    if batch == (0,):
        raise ValueError("the example is an empty batch; one input is needed to count its MACs.")
    # Clones: a forward pass may write into its input.
    return tuple((x[:1] if x.shape[:1] == batch else x).detach().clone() for x in tensors)
