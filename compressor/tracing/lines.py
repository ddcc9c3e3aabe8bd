"""The lines of the model's own code that called the operations of a program.

`torch.export` can note them, which takes a third of its time. Few are ever read: those of
operations that hold something. So the model is run once more where a reason names one, and calls
are told by what the export notes anyway: the function and how often it had been called. A call in
another module, or with a result of another shape, would be another one, and has no line.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from compressor.graph.graph import Graph
from compressor.graph.program import Program, module_of
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Inputs
from compressor.inputs.lines import Line, calling, shown
from compressor.inputs.process import quiet

_KEY = "compressor.lines"
_MARK = re.compile(r"\0(\w+)\0")


class Lines:
    """The lines of one program, found when the first of them is asked for."""

    def __init__(self, program: Program, model: nn.Module, inputs: Inputs) -> None:
        """Those of a program that was exported from a model for these inputs."""
        self._model: nn.Module | None = model
        self._inputs = inputs
        self._calls: dict[tuple[str, str], tuple[Line, str, list[tuple[int, ...]]]] = {}
        self._nodes = {node.name: node for node in program.graph.nodes}
        for node in self._nodes.values():
            node.meta[_KEY] = self

    def of(self, node: Node) -> str:
        """The line that called an operation; empty where it is not known."""
        if self._model is not None:
            self._calls = _calls(self._model, self._inputs)
            self._model, self._inputs = None, ()
        function, kind = node.meta.get("torch_fn") or ("", "")
        line, module, shapes = self._calls.get((function, kind), _NOTHING)
        value: Any = node.meta.get("val")
        made = [tuple(x.shape) for x in _tensors(value)]
        open_ = any(not isinstance(size, int) for shape in made for size in shape)
        same = module == module_of(node) and (open_ or len(made) != 1 or made == shapes)
        return shown(line) if line is not None and same else ""

    def told(self, graph: Graph) -> Graph:
        """A graph whose reasons have lines in the place of the marks of their operations."""
        frozen = {layer: self._told(why) for layer, why in graph.frozen.items()}
        axes = tuple(replace(axis, frozen=self._told(axis.frozen)) for axis in graph.axes)
        return replace(graph, frozen=frozen, axes=axes)

    def _told(self, reason: str) -> str:
        return _MARK.sub(lambda found: self._inserted(found[1]), reason)

    def _inserted(self, name: str) -> str:
        line = self.of(self._nodes[name])
        return f" ({line})" if line else ""

    def close(self) -> None:
        """Let go of the model and of its operations: no line is looked for any more."""
        self._model, self._inputs = None, ()
        for node in self._nodes.values():
            node.meta.pop(_KEY, None)


_NOTHING: tuple[Line | None, str, list[tuple[int, ...]]] = (None, "", [])


@contextmanager
def remembered_lines(program: Program, model: nn.Module, inputs: Inputs) -> Generator[Lines]:
    """Have the lines of a program found, by running the model, inside this block."""
    lines = Lines(program, model, inputs)
    try:
        yield lines
    finally:
        lines.close()


def line_of(node: Node) -> str:
    """The line of own code that called an operation, as ``net.py:41: x = x.roll(1, 1)``."""
    lines = node.meta.get(_KEY)
    return lines.of(node) if isinstance(lines, Lines) else ""


def mark_of(node: Node) -> str:
    """A mark in a reason, in whose place `Lines.told` puts the line; empty where none is found.

    Most reasons are never shown: what they would hold has no channels.
    """
    return f"\0{node.name}\0" if isinstance(node.meta.get(_KEY), Lines) else ""


class _Recorder(TorchFunctionMode):
    """Notes the line of every call of a function of PyTorch, as the export numbers them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[tuple[str, str], tuple[Line, str, list[tuple[int, ...]]]] = {}
        self.counts: Counter[Any] = Counter()
        self.modules = [""]

    def enter(self, name: str, *_: object) -> None:
        """Come into a module."""
        self.modules.append(name)

    def leave(self, *_: object) -> None:
        """Go back to the one that called it."""
        self.modules.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func] += 1
        name = getattr(func, "__name__", "")
        key = (f"{name}_{self.counts[func]}", f"{func.__class__.__name__}.{name}")
        line = calling(sys._getframe(1))  # noqa: SLF001 - the only way to see who calls
        result = func(*args, **(kwargs or {}))
        if line is not None:
            self.calls[key] = (line, self.modules[-1], [tuple(x.shape) for x in _tensors(result)])
        return result


def _calls(
    model: nn.Module, inputs: Inputs
) -> dict[tuple[str, str], tuple[Line, str, list[tuple[int, ...]]]]:
    """Run a copy of a model and note the line of every call; none if it does not run."""
    recorder = _Recorder()
    try:
        twin = private_copy(model)
        for name, module in twin.named_modules():
            module.register_forward_pre_hook(partial(recorder.enter, name))
            module.register_forward_hook(recorder.leave)
        with quiet(), evaluating(twin), torch.no_grad(), recorder:
            twin(*(x.clone() for x in inputs))
    except Exception:  # noqa: BLE001 - a line is a help, and nothing depends on it
        return {}
    return recorder.calls


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [x for x in value if isinstance(x, Tensor)] if isinstance(value, list | tuple) else []
