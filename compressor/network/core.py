"""A model as data: a straight list of operations that runs, trains, and can be rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from compressor.counting.stored import Described, Stored
from compressor.inputs import randomness
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Example
from compressor.inputs.tensors import device_of, leaves
from compressor.network.follow import adapted, counter, learns, switch
from compressor.network.roles import described
from compressor.network.steps import Ref, Step, Value, Weight
from compressor.network.tree import Holder, adopt, planted

Shape = tuple[int, ...]

Guard = Callable[["Network", tuple[Tensor, ...]], None]
"""Looks at a network and its inputs before it runs on them; a ValueError stops it."""

_SHAPES = 256
"""Shapes of inputs that a guard has looked at, as many as are remembered."""


class Network(Described):
    """A model as a straight list of operations, on its own parameters.

    Parameters and buffers have the names they had in the user's model, so that its `state_dict`
    fits. `train()` and `eval()` act on the modules' names: batch normalisation, dropout and
    recurrent layers run as their module's mode says, those that looked at no mode do not. A network
    takes any batch size, and one shape for the rest of its input unless it was asked to leave more
    dimensions open (`varying` of `compressor.network.to_network`).

    Attributes:
        steps: The operations, in order. Never changed: `compressor.network.Rewrite` makes another
            network of them.
        inputs: Names of the inputs, in order.
        outputs: What `forward` returns: a `Ref`, or tuples, lists and dictionaries of such.
        example_input_array: Zeros of the shape and type of one input, batch of one.
        open: For every input the dimensions that may have another size than in the example: 0, the
            batch, if it has one, and those that were asked for.
        frees: For every step the results that nobody reads after it, its own among them.
        guard: Asked before inputs of a new shape, where the steps come from a file (see
            `compressor.network.file.guard`); None where they come from a model.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        inputs: Iterable[str],
        outputs: Value,
        tree: nn.Module,
        example: tuple[Tensor, ...],
        opened: Sequence[Sequence[int]] | None = None,
        guard: Guard | None = None,
    ) -> None:
        """A network of these steps.

        `tree` gives its children, parameters and buffers, which are shared and not copied. Of
        `example`, one input each with a batch of one, only shape and type count. `opened` becomes
        `open`; None for the batch of every input that begins with a one.

        Raises:
            ValueError: If a step reads what does not exist, two results have one name, or an input
                has no such dimension.
        """
        super().__init__()
        self.steps = tuple(steps)
        self.inputs = tuple(inputs)
        self.outputs = outputs
        zeros = tuple(torch.zeros(x.shape, dtype=x.dtype) for x in example)
        self.example_input_array: Example = zeros[0] if len(zeros) == 1 else zeros
        self.open = _opened(zeros, opened)
        self._places: dict[str, tuple[nn.Module, str]] = {}
        self.frees = _last_reads(self.steps, self.outputs)
        self.guard = guard
        self._seen: set[Any] = set()
        self._writes = any(step.writes or learns(step) for step in self.steps)
        adopt(self, tree)  # after all attributes: a layer may have the name of one
        self._check()

    def forward(self, *inputs: Tensor) -> Any:
        """Run the operations; ValueError if sizes that are not `open` differ from the example."""
        if len(inputs) != len(self.inputs):
            raise ValueError(f"the network takes {len(self.inputs)} inputs, not {len(inputs)}")
        for name, x, like, opened in zip(self.inputs, inputs, self.example, self.open, strict=True):
            if not _fits(tuple(x.shape), tuple(like.shape), opened):
                raise ValueError(
                    f"the network was made for inputs {name!r} of the shape "
                    f"{_written(tuple(like.shape), opened)} and got {tuple(x.shape)}: give it that "
                    "shape, or make a network with that dimension open (varying=...) if the model "
                    "takes other sizes"
                )
        values = self._given(inputs)
        for step, done in zip(self.steps, self.frees, strict=True):
            values[step.name] = self.result(step, values)
            for name in done:
                del values[name]
        return self._found(self.outputs, values)

    def results(self, *inputs: Tensor) -> dict[str, Any]:
        """The result of every step, by name, beside the inputs."""
        values = self._given(inputs)
        for step in self.steps:
            values[step.name] = self.result(step, values)
        return values

    def _given(self, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
        """The inputs by name, in memory of their own where a step writes into what it is given.

        A guard is asked first, once for all that decides which sizes occur.
        """
        # What exports or compiles this network runs nothing, and its sizes are no numbers yet.
        if self.guard is not None and not torch.compiler.is_compiling():
            kind = tuple((x.shape, x.stride(), x.dtype) for x in inputs)
            if kind not in self._seen:
                self.guard(self, inputs)
                if len(self._seen) >= _SHAPES:
                    self._seen.clear()
                self._seen.add(kind)
        own = (x.clone() for x in inputs) if self._writes else inputs
        return dict(zip(self.inputs, own, strict=True))

    @property
    def example(self) -> tuple[Tensor, ...]:
        """`example_input_array`, one tensor for each input."""
        given = self.example_input_array
        return given if isinstance(given, tuple) else (given,)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every result that is a tensor, for the example: a batch of one."""
        return {name: all_of[0] for name, (alone, all_of) in self._sized.items() if alone}

    @cached_property
    def firsts(self) -> dict[str, Shape]:
        """The same of the first tensor of a result, where an operation has several, read or not."""
        return {name: all_of[0] for name, (_, all_of) in self._sized.items() if all_of}

    @cached_property
    def _sized(self) -> dict[str, tuple[bool, tuple[Shape, ...]]]:
        """Whether a result is one tensor, and the shapes of all that are in it."""
        device = device_of(self)
        with evaluating(self), torch.no_grad(), randomness.preserved():
            found = self.results(*(x.to(device) for x in self.example))
        return {
            name: (
                isinstance(value, Tensor),
                tuple(tuple(leaf.shape) for leaf in leaves(value) if isinstance(leaf, Tensor)),
            )
            for name, value in found.items()
        }

    def stored(self) -> Sequence[Stored]:
        """Every tensor once, with what it is for."""
        return described(self.steps, self, self.producer)

    def step(self, name: str) -> Step:
        """The step whose result has this name; KeyError if there is none."""
        return self._by_name[name]

    def producer(self, value: Value) -> Step | None:
        """The step that makes a result; None for an input and for what is no `Ref`."""
        return self._by_name.get(value.name) if isinstance(value, Ref) else None

    def called(self, step: Step | None) -> nn.Module | None:
        """The submodule that a step calls; None for an operation, and for no step."""
        return self.get_submodule(step.op) if step and isinstance(step.op, str) else None

    def consumers(self, name: str) -> tuple[Step, ...]:
        """The steps that read a result or input, in order."""
        return tuple(self._readers.get(name, ()))

    def tensor(self, weight: str | Weight) -> Tensor:
        """A parameter or buffer by its dotted name; AttributeError if there is none."""
        name = weight.name if isinstance(weight, Weight) else weight
        if name not in self._places:
            owner, _, leaf = name.rpartition(".")
            self._places[name] = (self.get_submodule(owner), leaf)
        place, leaf = self._places[name]
        found = planted(place, leaf)
        if found is None:
            raise AttributeError(f"{name!r} is no parameter and no buffer of the network")
        return found

    def get_submodule(self, target: str) -> nn.Module:
        """A submodule by its dotted name, also where it is that of an attribute, as `steps` is.

        Raises AttributeError if there is none, as the two below.
        """
        found: nn.Module = self
        for part in target.split(".") if target else ():
            below = found._modules.get(part)  # noqa: SLF001 - what is asked for is no attribute
            if below is None:
                raise AttributeError(f"the network has no submodule {target!r}")
            found = below
        return found

    def get_parameter(self, target: str) -> nn.Parameter:
        """A parameter by its dotted name, likewise."""
        found = self.tensor(target)
        if not isinstance(found, nn.Parameter):
            raise AttributeError(f"{target!r} is no parameter of the network")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """A buffer by its dotted name, likewise."""
        found = self.tensor(target)
        if isinstance(found, nn.Parameter):
            raise AttributeError(f"{target!r} is no buffer of the network")
        return found

    def owner(self, step: Step) -> nn.Module:
        """The branch that stands for the user's module which ran a step, the nearest there is."""
        found: nn.Module = self
        for part in step.module.split(".") if step.module else ():
            below = found._modules.get(part)  # noqa: SLF001 - absent is no error here
            if not isinstance(below, Holder):
                break
            found = below
        return found

    def extra_repr(self) -> str:
        """Text for `print(network)`."""
        return f"{len(self.steps)} steps, inputs: {', '.join(self.inputs)}"

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    @cached_property
    def _readers(self) -> dict[str, list[Step]]:
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in step.refs:
                found.setdefault(name, []).append(step)
        return found

    def result(self, step: Step, values: Mapping[str, Any]) -> Any:
        """The result of one step, from earlier results and inputs by name."""
        args, kwargs = (self._found(v, values) for v in (step.args, step.kwargs))
        if isinstance(step.op, str):
            return self.get_submodule(step.op)(*args, **kwargs)
        if isinstance(step.op, OpOverload) and switch(step.op):
            training = self.owner(step).training
            count = self._counted(step) if training else None
            return adapted(step, args, kwargs, training=training, count=count)
        return cast("Callable[..., Any]", step.op)(*args, **kwargs)

    def _counted(self, step: Step) -> Tensor | None:
        """The buffer that counts the batches a step has learned from, if there is one."""
        try:
            return self.tensor(name) if (name := counter(step)) else None
        except AttributeError:  # a call of `functional.batch_norm`, which counts nothing
            return None

    def _found(self, value: Value, values: Mapping[str, Any]) -> Any:
        """Plain values in the place of what a structure names."""
        # Asked thousands of times in a forward pass: the type is compared, nothing is called.
        kind = type(value)
        if kind is Ref:
            return values[value.name]
        if kind is Weight:
            return self.tensor(value)
        if kind is tuple or kind is list:
            return kind(self._found(item, values) for item in value)
        if kind is dict:
            return {key: self._found(item, values) for key, item in value.items()}
        # Where the export wrote down the device it ran on, the input's is meant.
        return self._device(values) if kind is torch.device else value

    def _device(self, values: Mapping[str, Any]) -> torch.device:
        """Device of an input that some step still has to read, or else of the weights."""
        given = (v.device for v in values.values() if isinstance(v, Tensor))
        return next(given, None) or device_of(self)

    def _check(self) -> None:
        known = set(self.inputs)
        for step in self.steps:
            for name in step.refs:
                if name not in known:
                    raise ValueError(
                        f"step {step.name!r} reads {name!r}, which no step before it makes"
                    )
            if step.name in known:
                raise ValueError(f"two results of the network are named {step.name!r}")
            known.add(step.name)
            for name in step.weights:
                self.tensor(name)
            if isinstance(step.op, str):
                self.get_submodule(step.op)
        for leaf in leaves(self.outputs):
            if isinstance(leaf, Ref) and leaf.name not in known:
                raise ValueError(f"the network returns {leaf.name!r}, which no step makes")


def _opened(
    example: Sequence[Tensor], given: Sequence[Sequence[int]] | None
) -> tuple[tuple[int, ...], ...]:
    if given is None:
        return batch_dimensions(example)
    found = tuple(tuple(sorted(set(dims))) for dims in given)
    for x, dims in zip(example, found, strict=True):
        if any(not 0 <= d < x.dim() for d in dims):
            raise ValueError(f"an input of {x.dim()} dimensions has none of the numbers {dims}")
    return found


def batch_dimensions(example: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """The batch of every input that begins with a one, and of no other."""
    return tuple((0,) if x.shape[:1] == (1,) else () for x in example)


def _fits(shape: Shape, like: Shape, opened: Sequence[int]) -> bool:
    """True if a shape is another one but where it is open."""
    # Sizes that are open are not looked at: an export would take what it saw for a fact.
    return len(shape) == len(like) and all(
        d in opened or size == like[d] for d, size in enumerate(shape)
    )


def _written(shape: Shape, opened: Sequence[int]) -> str:
    """A shape with words for the sizes that are open."""
    names = {d: "batch" if d == 0 else "any" for d in opened}
    sizes = ", ".join(str(names.get(d, size)) for d, size in enumerate(shape))
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def _last_reads(steps: tuple[Step, ...], outputs: Value) -> tuple[tuple[str, ...], ...]:
    needed = {leaf.name for leaf in leaves(outputs) if isinstance(leaf, Ref)}
    frees: list[tuple[str, ...]] = []
    for step in reversed(steps):
        done = [name for name in dict.fromkeys((*step.refs, step.name)) if name not in needed]
        needed.update(done)
        frees.append(tuple(done))
    return tuple(reversed(frees))
