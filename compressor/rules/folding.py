"""BatchNorm folded into the layers before it, in a copy that is only counted."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the one class of all BatchNorm layers
from torch.nn.modules.conv import _ConvNd  # and of all convolutions, transposed or not
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from compressor.counting.measuring import described, run
from compressor.counting.stored import Role
from compressor.errors import CountError
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example, one_input


def folded(model: nn.Module, example: Example | None = None) -> nn.Module:
    """A copy of `model`, in eval mode, with BatchNorm folded into convolutions and linear layers.

    A BatchNorm is folded where its input is the output of such a layer and both run once. In a
    network of integers none is left, and there is nothing to fold.

    Raises:
        CountError: If the copy then computes something else, because a convolution's output is
            also used elsewhere, or if the norms are in a network of data.
    """
    held = list(described(model))
    if any(stored.role is Role.STATISTICS for stored in held):
        raise CountError(
            f"BatchNorm of the {type(model).__name__} cannot be folded for counting: it is a list "
            "of operations and has no layers. Count the module that it was written from"
        )
    scratch = private_copy(model).eval()
    inputs = one_input(model, example)
    with torch.no_grad():
        before, pairs = _run_and_pair(scratch, inputs)
        for norm, layer in pairs.items():
            if isinstance(layer, nn.Linear):
                _replace(scratch, layer, fuse_linear_bn_eval(layer, norm))
            else:
                fused = fuse_conv_bn_eval(layer, norm, transpose=layer.transposed)
                _replace(scratch, layer, fused)
            _replace(scratch, norm, _neutral(norm))
        after = run(scratch, inputs)
    try:
        torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-2)
    except AssertionError as error:
        message = f"BatchNorm of {type(model).__name__} cannot be folded: the output changes. "
        raise CountError(message + "Is a convolution read before its BatchNorm?") from error
    return scratch


def _run_and_pair(
    model: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[object, dict[_BatchNorm, _ConvNd | nn.Linear]]:
    """Output of `model`, and for each BatchNorm that can be folded the layer it follows."""
    made: list[tuple[Tensor, _ConvNd | nn.Linear]] = []  # held, so that no identity comes again
    read: list[tuple[Tensor, _BatchNorm]] = []

    def after(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, (_ConvNd, nn.Linear)):
            made.append((output, layer))

    def before(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(norm, _BatchNorm):
            read.append((arguments[0], norm))

    for module in model.modules():
        if isinstance(module, (_ConvNd, nn.Linear)):
            module.register_forward_hook(after)
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(before)
    output = run(model, inputs)
    writers = {id(tensor): layer for tensor, layer in made}
    pairs = {norm: writers[id(tensor)] for tensor, norm in read if id(tensor) in writers}
    calls = Counter(module for _, module in (*made, *read))
    return output, {norm: x for norm, x in pairs.items() if calls[norm] == calls[x] == 1}


def _neutral(norm: _BatchNorm) -> nn.Module:
    """Make what stays of a folded norm: nothing, or what its class does beside normalising."""
    if type(norm).forward is _BatchNorm.forward:
        return nn.Identity()
    left = copy.deepcopy(norm)  # of a slim layer, which also spreads its channels
    left.register_parameter("weight", None)
    left.register_parameter("bias", None)
    left.affine = False
    if left.running_mean is not None and left.running_var is not None:
        left.running_mean.zero_()
        left.running_var.fill_(1 - left.eps)
    return left


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                parent.add_module(name, new)
