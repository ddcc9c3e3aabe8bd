"""Checks of the first batches of data and of `val`, before any training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch, Batches, call, examples, split, tensors
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example
from compressor.inputs.labels import IGNORED, all_ignored, check_labels
from compressor.inputs.losses import Loss, cross_entropy
from compressor.inputs.models import suggested
from compressor.inputs.remedies import called, converting, labelling, otherwise, pairing, shapes
from compressor.wording import kind, line


def first_batch(data: Batches) -> Batch:
    """The first batch of a loader; no random state moves.

    Raises:
        ValueError: If there is none, it cannot be read, or holds no example.
    """
    try:
        with randomness.preserved(data.source):
            found = next(iter(data), _NONE)
    except Exception as error:
        raise ValueError(
            f"the first batch of {data.name} cannot be read from the "
            f"{type(data.source).__name__}: {type(error).__name__}: {line(error)}. Try "
            "next(iter(loader)): the examples of a batch must be alike in shape and kind"
        ) from error
    if found is _NONE:
        raise ValueError(
            f"{data.name} is empty: the {type(data.source).__name__} yields no batch. Check the "
            "data set's path and length, and drop_last=True with fewer examples than one batch"
        )
    if examples(found) == 0:
        raise ValueError(
            f"the first batch of {data.name} is empty: tensors {shapes(found)} hold no "
            "example. Check what the inputs were selected by"
        )
    return found


_NONE = object()


def example_given(
    model: nn.Module, example: Example | None, data: Iterable[Batch] | None, loss: Loss
) -> Example | None:
    """The example as given, else the model's own (None), else one from the data by `shown`."""
    own: object = getattr(model, "example_input_array", None)
    if example is not None or own is not None or data is None:
        return example
    return shown(model, data, loss)


def shown(model: nn.Module, data: Iterable[Batch], loss: Loss) -> tuple[Tensor, ...]:
    """An example input from the data: what the loss calls the model with on their first batch.

    A copy of the model is run, in eval mode. One or several positional arguments, the whole batch.

    Raises:
        ValueError: If the loss fails, does not call the model, or with anything but tensors.
    """
    batch = first_batch(data if isinstance(data, Batches) else Batches(data))
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    scratch = private_copy(model).eval()

    def remember(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append((args, named))

    scratch.register_forward_pre_hook(remember, with_kwargs=True)
    check_loss(scratch, batch, loss, private=True)
    args, named = calls[0] if calls else ((), {})
    if named or not args or not all(isinstance(x, Tensor) for x in args):
        given = [kind(x) for x in args] + [f"{name}={kind(x)}" for name, x in named.items()]
        raise ValueError(
            f"no example input can be taken from the data: the loss calls the "
            f"{type(model).__name__} with {', '.join(given) or 'nothing'}, and an example is one "
            f"tensor or several, without names. Pass {suggested(model)}"
        )
    return tuple(x.detach() for x in args)


def check_classifier(model: nn.Module, batch: Batch, name: str = "data") -> int:
    """Check a first batch for cross entropy against a model; returns the number of classes.

    Args:
        model: A copy of it is run, so that its buffers and whatever it caches stay as they are.
        batch: A pair (inputs, targets).
        name: Where it comes from: ``"data"``, or ``"val"``, on which accuracy alone is measured, so
            that any type of integer will do for its labels.

    Raises:
        ValueError: If the batch is no pair (inputs, targets), its inputs have another data type or
            device than the model, the model does not run on them, or the targets do not fit.
    """
    train = name == "data"
    instead = "loss=, a function of the model and the batch"
    instead = instead if train else "val as a function of the model"
    inputs, targets = _pair(batch, name, instead)
    logits = check_inputs(model, inputs, name)
    if not isinstance(logits, Tensor) or logits.ndim < 2:
        raise ValueError(
            f"{'cross entropy' if train else 'accuracy'} needs logits (batch, classes, ...) and "
            f"the model returns {kind(logits)}: pass {instead}"
        )
    _check_targets(logits, targets, name)
    return logits.shape[1]


def check_inputs(model: nn.Module, inputs: Any, name: str = "data") -> Any:
    """Check that a copy of a model runs on the first inputs; returns its output.

    Raises:
        ValueError: If they have another data type or device, or it does not.
    """
    _check_place(model, inputs, name)
    with torch.no_grad(), randomness.preserved():
        try:
            return call(private_copy(model).eval(), inputs)
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} does not run on the first batch{_of(name)}, inputs "
                f"{shapes(inputs)}: {line(error)}. Batches must look like the example input, the "
                f"batch first{converting(inputs)}"
            ) from error


def check_loss(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    differentiable: bool = False,
    private: bool = False,
) -> None:
    """Check that a loss of the user's own works on a batch.

    Args:
        model: A copy of it is run, so that its buffers and whatever it caches stay as they are.
        batch: Whatever the loss takes.
        loss: Called as ``loss(model, batch)``.
        differentiable: True if gradients of it will be taken.
        private: True if the model is a copy already, to be run itself, hooks and all.

    Raises:
        ValueError: If it fails, returns anything but one number, or has no gradient and needs one.
    """
    scratch = model if private else private_copy(model).eval()
    for p in scratch.parameters():
        if p.is_floating_point():
            p.requires_grad_(differentiable)
    with torch.set_grad_enabled(differentiable), randomness.preserved():
        try:
            value: object = loss(scratch, batch)
        except Exception as error:
            raise ValueError(
                f"{called(loss)} fails on the first batch, tensors {shapes(batch)}: "
                f"{line(error)}{otherwise(loss)}"
            ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(
            f"{called(loss)} must return a tensor with one number, it returns {kind(value)}: "
            f"take the mean over the batch{otherwise(loss)}"
        )
    if differentiable and not value.requires_grad:
        raise ValueError(
            f"the loss returned by {called(loss)} has no gradient: it does not depend on the "
            "model's parameters, or detach(), item(), argmax() or torch.no_grad() cut it off"
        )


def check_data(model: nn.Module, data: Iterable[Batch], loss: Loss) -> None:
    """Check what a session measures importance on; `fit` has checked its `Batches` itself.

    Raises:
        ValueError: If it cannot be read again and again, or its first batch does not fit.
    """
    if not isinstance(data, Batches):
        batch = first_batch(Batches(data))
        if loss is cross_entropy:
            check_classifier(model, batch)
        else:
            check_loss(model, batch, loss)


SINGLE = (
    "a batch of a single example reaches a BatchNorm that then sees one value a channel, which has "
    "no variance: pass drop_last=True to the DataLoader, or another batch size"
)


def check_single(model: nn.Module, data: Batches, batch: Batch, loss: Loss, most: float) -> None:
    """Check that a model in train mode can do with a batch of one example, if there will be one.

    A copy of the model takes the loss on one example of `batch`, the first one, where `data` knows
    its length and has a batch of one among the `most` that are run in train mode.

    Raises:
        ValueError: If there will be one, and a BatchNorm cannot do with it.
    """
    number = data.single
    if number is None or number >= most:
        return
    one = next(split(batch, 1))
    with torch.no_grad(), randomness.preserved():
        try:
            loss(private_copy(model).train(), one)
        except Exception as error:
            if too_few(error):
                raise ValueError(f"batch {number + 1} of {data.name}: {SINGLE}") from error


def too_few(error: Exception) -> bool:
    """True if BatchNorm in train mode refused a single value per channel."""
    return isinstance(error, ValueError) and "more than 1 value per channel" in str(error)


def _pair(batch: Batch, name: str, instead: str) -> tuple[Any, Tensor]:
    pair = cast("list[Any]", batch) if isinstance(batch, (tuple, list)) else []
    if len(pair) != 2 or not isinstance(pair[1], Tensor) or not list(tensors(pair[0])):
        raise ValueError(
            f"a batch must be a pair (inputs, targets) of tensors, {name} yields {kind(batch)}; "
            f"several inputs go into a tuple, ((x1, x2), targets). {pairing(batch)}For anything "
            f"else pass {instead}"
        )
    return pair[0], pair[1]


def _check_place(model: nn.Module, inputs: Any, name: str) -> None:
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is None:
        return
    for x in tensors(inputs):
        if x.device != weight.device:
            raise ValueError(
                f"the batches{_of(name)} are on {x.device} and the model is on {weight.device}: "
                "pass fabric=lightning_fabric.Fabric(), which moves both, or move one of them"
            )
        if x.is_floating_point() and x.dtype != weight.dtype:
            raise ValueError(
                f"the batches{_of(name)} are {x.dtype} and the model is {weight.dtype}: convert "
                f"one of them, inputs.to({weight.dtype}) in the data set or "
                f"model.to({x.dtype}); for mixed precision pass "
                "fabric=lightning_fabric.Fabric(precision='bf16-mixed')"
            )


def _check_targets(logits: Tensor, targets: Tensor, name: str) -> None:
    if targets.is_floating_point() and targets.shape == logits.shape:
        return  # probabilities
    wanted = (logits.shape[0], *logits.shape[2:])
    train = name == "data"
    right = targets.dtype == torch.long if train else not targets.is_floating_point()
    if not right or tuple(targets.shape) != wanted:
        raise ValueError(
            f"targets{_of(name)} are {targets.dtype} {tuple(targets.shape)}; for logits "
            f"{tuple(logits.shape)} {'cross entropy' if train else 'accuracy'} needs torch.int64 "
            f"{wanted}, or probabilities of the logits' shape: "
            f"{labelling(targets, wanted, train=train)}"
        )
    check_labels(targets, logits.shape[1], f"the first batch of {name}", ValueError)
    if train and all_ignored((None, targets)):
        raise ValueError(
            f"all {targets.numel()} labels of the first batch are {IGNORED}, which cross entropy "
            "leaves out, so that its mean is 0 / 0: give every batch at least one label"
        )


def _of(name: str) -> str:
    """Says where a batch comes from, unless that is clear."""
    return "" if name == "data" else f" of {name}"
