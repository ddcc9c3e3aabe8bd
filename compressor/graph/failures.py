"""Reasons why a model could not be exported: the line of its own code, and what to do."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from compressor.graph.packed import packing
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.lines import raised_at, shown
from compressor.inputs.process import quiet
from compressor.wording import line

_BY_VALUES = (
    GuardOnDataDependentSymNode,
    DataDependentOutputException,
    DynamicOutputShapeException,
)


def failure(model: nn.Module, example: tuple[Tensor, ...], error: Exception) -> str:
    """Explain why a model could not be exported: its line that stopped it, and the remedy."""
    packed = packing(error)
    if packed:
        return (
            f"{type(model).__name__} packs sequences (pack_padded_sequence) for a recurrent layer "
            f"at {packed}, which has as many steps as data say: give the layer the padded tensor, "
            "and mask or pick its results by their lengths"
        )
    text = line(error).rstrip(".") or type(error).__name__
    if any(isinstance(module, torch.fx.GraphModule) for module in model.modules()):
        return (
            f"{_begun(model, example)}it holds operations that were traced or exported before, for "
            f"inputs of one shape ({type(error).__name__}: {text}). Pass the module that they were "
            "exported from, and export what comes out"
        )
    returned = re.match(r"Found <class '(?:.*\.)?(\w+)'> in output", text)
    if returned:
        code = type(model).forward.__code__
        start = shown((code.co_filename, code.co_firstlineno))
        return (
            f"{_begun(model, example)}its forward ({start}) returns a {returned[1]}. Return "
            "tensors, in tuples, lists or dictionaries, or make the class known by "
            "torch.export.register_dataclass"
        )
    at = raised_at(error)
    where = f"{_culprit(model, error)}{f' at {at}' if at else ''}"
    return f"{_begun(model, example)}it stopped in {where}{_why(model, example, error, text)}"


def without_result(model: nn.Module, example: tuple[Tensor, ...]) -> str:
    """Explain that a forward pass returns no tensor."""
    return f"{_begun(model, example)}its forward returns no tensor. Return what it computes"


def _begun(model: nn.Module, example: tuple[Tensor, ...]) -> str:
    shapes = ", ".join(str(tuple(x.shape)) for x in example)
    return f"{type(model).__name__} could not be exported for an input of shape {shapes}: "


def _why(model: nn.Module, example: tuple[Tensor, ...], error: Exception, text: str) -> str:
    """The rest of the sentence."""
    if isinstance(error, _BY_VALUES):
        return (
            ", which goes by the values of a tensor, and a graph is the same for all of them. Let "
            "torch.where choose between results, take sizes and positions from shapes, or "
            "decide by an argument of the constructor"
        )
    if isinstance(error, UnsupportedOperatorException):
        return (
            f" with an operator that has no form without values, {text}: give it one with "
            "torch.library.register_fake"
        )
    if not _runs(model, example):
        return (
            f" with {type(error).__name__}: {text}. Without the export it does not run for this "
            "input either: pass an example that model.eval()(example) accepts"
        )
    return (
        f" with {type(error).__name__}: {text}. It runs, but torch.export cannot follow it there: "
        "keep to PyTorch's operations on tensors, without numpy, text made of values, or gradients"
    )


def _runs(model: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """True if a plain forward pass raises no error."""
    try:
        twin = private_copy(model)
        with quiet(), evaluating(twin), torch.no_grad():
            twin(*(x.clone() for x in example))
    except Exception:  # noqa: BLE001 - any failure of user code is the answer here
        return False
    return True


def _culprit(model: nn.Module, error: BaseException) -> str:
    """The innermost module on the traceback's stack."""
    names = {id(module): name for name, module in model.named_modules()}
    found = "its own forward"
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        name = names.get(id(owner))
        if name:
            found = f"module '{name}' ({type(owner).__name__})"
        trace = trace.tb_next
    return found
