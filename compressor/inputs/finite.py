"""Numbers that are not finite, found where they arise and named: the batch, and the layer.

One NaN goes on in silence: comparisons with it are false, and `argmax` of it is a class. So what is
measured on data is checked batch by batch, and what is returned as a whole. What the model given
already held or answered (masks of minus infinity) is not held against its result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from compressor.errors import TrainingError, VerificationError
from compressor.inputs import randomness
from compressor.inputs.batches import Batch, tensors
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.tensors import named_tensors
from compressor.wording import listed

Call = Callable[[nn.Module], object]
"""Runs a model on something."""


def on(loss: Callable[[nn.Module, Batch], Tensor], batch: Batch) -> Callable[[nn.Module], Tensor]:
    """The run of a model that takes a loss on a batch."""
    return lambda model: loss(model, batch)


def is_finite(tensor: Tensor) -> bool:
    """True if no entry is NaN or infinite; whole numbers never are."""
    counts = tensor.is_floating_point() or tensor.is_complex()
    # A sum is finite only if all entries are, and is ten times faster to take than to ask them all.
    return not counts or bool(torch.isfinite(tensor.sum()) or torch.isfinite(tensor).all())


def odd(model: nn.Module) -> list[str]:
    """Names of a model's parameters and buffers that hold NaN or infinity."""
    return [name for name, tensor in named_tensors(model) if not is_finite(tensor)]


def where(model: nn.Module, run: Call, batch: Batch = ()) -> str:
    """The origin of a number that is not finite, as the end of a sentence.

    A copy of the model is run as it was, in eval mode; the batch may hold such numbers itself.
    """
    if not all(map(is_finite, tensors(batch))):
        said = "the batch itself holds NaN or infinity, and the first layer that gives it on is "
    else:
        said = "the first layer to give NaN or infinity is "
    scratch, found = private_copy(model), list[str]()  # the modules, in order of execution

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: object, output: object) -> None:
            if not found and not all(map(is_finite, tensors(output))):
                found.append(f"{name or 'the model'!r}, a {type(module).__name__}")

        return hook

    for name, module in scratch.named_modules():
        module.register_forward_hook(look(name))
    with suppress(Exception), evaluating(scratch), torch.no_grad(), randomness.preserved():
        run(scratch)  # it serves to explain another error
    return said + (found or ["none of its modules: look at the loss, and at a teacher"])[0]


def not_finite(model: nn.Module, run: Call, what: str, at: str, batch: Batch = ()) -> TrainingError:
    """The error for `what` ("the loss"), not finite in a run of a model `at` a time, on a batch."""
    return TrainingError(
        f"{what} is not finite {at}: {where(model, run, batch)}. Look for NaN or infinity in the "
        "data and in the weights; in training, lower the learning rate. Nothing was returned"
    )


def spoilt(model: nn.Module, given: nn.Module) -> list[str]:
    """Names of tensors that are not finite in a model, and were in what it was made of.

    A network that is data, or one in a wrapper, has other stems before the last part of a name, and
    holds constants of the code as tensors, which may be infinite.
    """
    before, known = set(map(_leaf, odd(given))), {_leaf(name) for name, _ in named_tensors(given)}
    return [
        name
        for name, tensor in named_tensors(model)
        if not is_finite(tensor)
        and _leaf(name) not in before
        and (_leaf(name) in known or bool(tensor.isnan().any()))
    ]


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _named(names: list[str]) -> str:
    return listed(map(repr, names), len(names), 3)


def check_tensors(model: nn.Module, given: nn.Module, at: str) -> None:
    """Raise a TrainingError if tensors of a model are not finite that were in the one given."""
    if wrong := spoilt(model, given):
        raise TrainingError(
            f"{_named(wrong)} of the {type(model).__name__} hold NaN or infinity {at}: look for "
            "NaN or infinity in the data, or lower the learning rate. A checkpoint, if there is "
            "one, holds the last whole epoch and is good"
        )


def check_result(model: nn.Module, given: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """Hold a result to what the model given was: finite in tensors, and in outputs on its example.

    Returns:
        Whether both are finite in all tensors and in their outputs.

    Raises:
        VerificationError: If the model given was finite and the result is not.
    """
    if new := spoilt(model, given):
        raise VerificationError(
            f"{_named(new)} of the smaller {type(given).__name__} hold NaN or infinity, and those "
            "of the model given do not: look for NaN or infinity in the data, or lower the "
            "learning rate. Nothing was returned"
        )
    fine = not odd(given) and answers(given, example)
    if fine and not answers(model, example):
        cause = where(model, lambda m: m(*(x.clone() for x in example)))
        raise VerificationError(
            f"the smaller {type(given).__name__} answers its example with NaN or infinity, and the "
            f"model given does not: {cause}. Look at the data, or lower the learning rate. "
            "Nothing was returned"
        )
    return fine and not odd(model)


def answers(model: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """True if a model's outputs for an input are finite, in eval mode."""
    scratch = private_copy(model)
    with evaluating(scratch), torch.no_grad(), randomness.preserved():
        return all(map(is_finite, tensors(scratch(*(x.detach().clone() for x in example)))))


def check_stored(model: nn.Module) -> None:
    """Raise a VerificationError before a tensor is written that is not finite any more."""
    if wrong := odd(model):
        raise VerificationError(
            f"{_named(wrong)} hold NaN or infinity, and the model was finite when it was "
            "compressed: what was done to it since has spoilt it. Nothing was written"
        )
