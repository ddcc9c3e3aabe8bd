"""Counts of a model by other counters: torchinfo (hence NeSsi and the challenge), fvcore, thop.

They disagree by up to 11 % on one network (`docs/counting.md`). The torchinfo 1.8 rule is computed
here, from a list of the calls a network makes. fvcore and thop are called where they are installed.
All of them run a copy of the model for one input, in eval mode.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from compressor.counting.measuring import mask_of, opened, run
from compressor.counting.stored import COUNTED, Compressed
from compressor.inputs import randomness
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example, one_input
from compressor.inputs.process import quiet
from compressor.network import Network
from compressor.network import counting as steps


@dataclass(frozen=True)
class Count:
    """Counts of one counter.

    Attributes:
        params: Parameters.
        macs: Multiply-accumulates for one input ("mult-adds", "flops" of fvcore, "ops" of thop).
    """

    params: int
    macs: int


@dataclass(frozen=True)
class Call:
    """One line of a network's call list: a module, called or only containing what is called.

    Attributes:
        module: Its qualified name.
        module_type: Name of its class; the rule asks whether it contains "Conv".
        depth: How deep it is nested; the model itself is 0.
        leaf: Whether it has no children.
        repeated: Whether the same module stands in the list before.
        parameters: Name and number of entries of its parameters, those of children included;
            a masked parameter counts the ones of its mask where masks are counted.
        output: Shape of what it returned, (batch, channel, …); None where it was not called.
    """

    module: str
    module_type: str
    depth: int
    leaf: bool
    repeated: bool
    parameters: tuple[tuple[str, int], ...]
    output: tuple[int, ...] | None


_Line = tuple[nn.Module, tuple[int, ...] | None]
"""A module and the shape of what it returned; None where it was not called."""


def torchinfo_count(
    model: nn.Module | Compressed, example: Example | None = None, *, masks: bool = True
) -> Count:
    """Parameters and mult-adds as torchinfo 1.8 and therefore NeSsi's torch path count them.

    torchinfo itself sees no layer in a network of data (what a file is loaded as, what `Int8` and
    `Half` leave) and would say zero: there the same rule is read off the steps.

    Args:
        model: Any module, or what `fit` returned; torch.jit modules are not supported.
        example: Input, first item used; by default `model.example_input_array`.
        masks: Whether entries hidden by an active mask of `torch.nn.utils.prune` go uncounted, as
            with torchinfo; without, the count is the one after `prune.remove`.

    Raises:
        CountError: If the model cannot be copied or run.
        ValueError: If there is no example.
    """
    model, example = opened(model, example)
    calls = record_calls(model, example, masks=masks)
    called = [model.get_submodule(call.module) for call in calls if call.output is not None]
    inside = [module for module in called if isinstance(module, Network)]
    stored = {id(s.tensor): s for network in inside for s in network.stored()}.values()
    # Its parameters are in the list as those of any container; what integers hold is not.
    held = (s.tensor for s in stored if s.role in COUNTED)
    buffers = [tensor for tensor in held if not isinstance(tensor, nn.Parameter)]
    return Count(
        params=torchinfo_params(calls) + sum(t.numel() for t in buffers),
        macs=sum(map(torchinfo_macs, calls)) + sum(map(steps.torchinfo_macs, inside)),
    )


def torchinfo_macs(call: Call) -> int:
    """Mult-adds of one call.

    The rule: a module with children has none. In a convolution every entry of weight and bias
    counts once per position of the output; elsewhere weight and bias count once per item of the
    batch. Parameters with "weight" or "bias" inside their name (recurrent layers) count once per
    entry of the output's first two dimensions. Others, and all functional operations, count zero.
    """
    if not call.leaf or call.output is None:
        return 0
    shape = call.output
    positions = prod(shape[:1] + shape[2:]) if "Conv" in call.module_type else prod(shape[:1])
    total = 0
    for name, size in call.parameters:
        if name in {"weight", "bias"}:
            total += size * positions
        elif "weight" in name or "bias" in name:
            total += size * prod(shape[:2])
    return total


def torchinfo_params(calls: Sequence[Call]) -> int:
    """Parameters of a call list: each line's own, once per module.

    A leaf's own are all it has; a container's are what its lines below do not account for, and at
    least none. Without tied parameters this is every distinct parameter once; a parameter tied
    between two modules may count twice, as it does there.
    """
    own = [0] * len(calls)
    for index, call in reversed([*enumerate(calls)]):
        own[index] = sum(size for _, size in call.parameters)
        for line in () if call.leaf else range(index + 1, len(calls)):
            if calls[line].depth <= call.depth:
                break  # the lines before lie in this one
            own[index] -= 0 if calls[line].repeated else own[line]
    return sum(max(n, 0) for n, call in zip(own, calls, strict=True) if not call.repeated)


def record_calls(
    model: nn.Module, example: Example | None = None, *, masks: bool = True
) -> list[Call]:
    """Run a copy of `model` for one input and list the calls of its modules, in order.

    A module registered under several names has the last one and its depth. Containers that are
    never called themselves (ModuleList) are listed before their first called content. Arguments
    and errors as in `torchinfo_count`.
    """
    scratch = private_copy(model).eval()
    named = scratch.named_modules(remove_duplicate=False)
    names = {module: name for name, module in named}  # the last one of several
    recorded, last = list[_Line](), dict[nn.Module, int]()

    def before(module: nn.Module, _: object) -> None:
        last[module] = len(recorded)
        recorded.append((module, None))

    def after(module: nn.Module, _: object, output: object) -> None:
        recorded[last[module]] = (module, _shape(output))

    for module in names:
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    with randomness.preserved(), torch.no_grad():
        run(scratch, one_input(model, example))
    lines = _lines(scratch, names, recorded)
    called, seen = {module for module, _ in recorded}, set[nn.Module]()
    entered = Counter(module for module, output in lines if output is None)
    calls: list[Call] = []
    for module, output in lines:
        # Parameters count once: at the first call of a module; of a container that is only entered
        # at no line as soon as there are two of them (torchinfo lists one object twice).
        again = module in seen if output is not None else module in called or entered[module] > 1
        seen |= {module} if output is not None else set()
        depth = names[module].count(".") + 1 if names[module] else 0
        leaf = not any(module.children())  # an empty Sequential is false, hence no child
        sizes = tuple(_parameter_sizes(module, masks=masks))
        calls.append(Call(names[module], type(module).__name__, depth, leaf, again, sizes, output))
    return calls


def _lines(
    model: nn.Module, names: Mapping[nn.Module, str], recorded: Iterable[_Line]
) -> list[_Line]:
    """List what was recorded, each after the containers it lies in."""
    lines: list[_Line] = []
    inside: list[nn.Module] = []  # what the last line lies in, itself included, model excluded
    for module, output in recorded:
        parts = names[module].split(".")
        parents = [model.get_submodule(".".join(parts[:n])) for n in range(1, len(parts))]
        for depth, parent in enumerate(parents):
            if inside[depth : depth + 1] != [parent]:
                lines.append((parent, None))
                inside[depth:] = [parent]
        lines.append((module, output))
        inside[len(parents) :] = [] if module is model else [module]
    return lines


def _parameter_sizes(module: nn.Module, *, masks: bool) -> Iterator[tuple[str, int]]:
    for name, parameter in module.named_parameters():
        holder, _, own_name = name.rpartition(".")
        mask = mask_of(module.get_submodule(holder), own_name)
        if mask is None:
            yield name, parameter.numel()
        else:
            yield name.removesuffix("_orig"), int(mask.sum()) if masks else parameter.numel()


def _shape(output: Any, start: int = -1) -> tuple[int, ...]:
    """Shape of the tensor that stands for `output`: the last of a dict, the first within."""
    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, Mapping):
        output = list(output.values())[start:]
    return _shape(output[0], 0) if isinstance(output, (list, tuple)) and output else ()


def thop_count(model: nn.Module, example: Example | None = None) -> Count | None:
    """Count with thop (None where it is not installed); arguments as in `torchinfo_count`.

    It misses functional operations and parameters held by a module that has children.
    """
    thop = _installed("thop")
    if thop is None:
        return None
    inputs = one_input(model, example)
    with quiet(), randomness.preserved():
        macs, params = thop.profile(private_copy(model), inputs=inputs, verbose=False)
    return Count(params=round(params), macs=round(macs))


def fvcore_count(model: nn.Module, example: Example | None = None) -> Count | None:
    """Count with fvcore (None where it is not installed); arguments as in `torchinfo_count`.

    It counts operations it does not know, recurrent layers among them, as zero.
    """
    fvcore = _installed("fvcore.nn")
    if fvcore is None:
        return None
    scratch = private_copy(model).eval()
    # With gradients, as it is run by default: without, attention is fused and lost.
    with quiet(), randomness.preserved():
        analysis = fvcore.FlopCountAnalysis(scratch, one_input(model, example))
        analysis = analysis.unsupported_ops_warnings(enabled=False)
        macs = analysis.uncalled_modules_warnings(enabled=False).total()
        params = fvcore.parameter_count(scratch)[""]
    return Count(params=int(params), macs=int(macs))


def _installed(name: str) -> ModuleType | None:
    """The optional package `name`, or None."""
    with quiet():
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
