"""What an operator of one's own does with dimensions, written with a word for each of them.

    Operation("mylib::snake", "b c ..., c -> b c ...")
    Operation("mylib::dyn_conv", "b c t, o c k, b t k -> b o t")
    Operation("mylib::rms", "b [c] t, c -> b [c] t")

Left of the arrow stands every tensor that the operator takes, right of it every one that it makes.
Dimensions of one word share their units. One that stands on the left alone is summed over, one in
brackets is looked at as a whole. ``_`` is a dimension that nobody may shrink, ``...`` any number of
dimensions that are each on their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.node import map_arg

from compressor.graph.operations import given

Words = tuple[str, ...]
"""A word for every dimension of a tensor, outermost first."""

NONE = "_"
REST = "..."

_WORD = re.compile(r"\.\.\.|_|[A-Za-z]\w*|\[[A-Za-z]\w*\]")
_EXAMPLE = "'b c t, o c k -> b o t'"


@dataclass(frozen=True)
class Operation:
    """An operator that the library does not know, in words.

    Attributes:
        name: Its name in `torch.ops`, as ``mylib::snake``.
        signature: What it does with the dimensions of the tensors that it takes, in the order of
            its schema, and of those that it makes. Units may only be given one word if any of them
            can be left out of all tensors with that word, and the others come out the same; a sum
            must take nothing from entries that are zero, a dimension in brackets is compared over
            the entries that are left. This is tried on the model's own code.
        macs: The multiply-accumulates of one call: products of sizes, ``"b o t c k"``, and sums of
            these, ``"b r c + b o r"``; empty for none. By default, where a tensor behind the first
            has a dimension that is summed over, the sizes of the first result and of all that is
            summed over.
    """

    name: str
    signature: str
    macs: str | None = None

    def __post_init__(self) -> None:
        """Read the signature, so that a mistake in it is told where it is written."""
        if not re.fullmatch(r"\w+::\w+", self.name):
            raise ValueError(
                f"Operation({self.name!r}, ...): a name has the form 'namespace::operator', as in "
                "torch.ops.namespace.operator"
            )
        left, arrow, right = self.signature.partition("->")
        if not arrow or "->" in right or not left.strip() or not right.strip():
            raise self.wrong("needs tensors on either side of one arrow")
        for word in self.signature.replace("->", " ").replace(",", " ").split():
            if not _WORD.fullmatch(word):
                raise self.wrong(f"has {word!r} where a word for a dimension is expected")
        for words in (*self.operands, *self.results):
            named = [word for word in words if word != NONE]
            twice = next((word for word in named if named.count(word) > 1), None)
            if twice:
                raise self.wrong(f"has {twice!r} twice in one tensor, of which no part can be cut")
        for words in self.products(()):
            odd = next((word for word in words if word not in self._words), None)
            if odd:
                raise ValueError(f"{self}: macs={self.macs!r} has {odd!r}, which no tensor has")

    def __str__(self) -> str:
        """The call that makes it."""
        return f"Operation({self.name!r}, {self.signature!r})"

    def wrong(self, what: str) -> ValueError:
        """The error that says what is wrong with the signature."""
        return ValueError(f"{self}: the signature {what}; one that is right looks like {_EXAMPLE}")

    @cached_property
    def operands(self) -> tuple[Words, ...]:
        """The words of every tensor that it takes."""
        return _terms(self.signature.partition("->")[0])

    @cached_property
    def results(self) -> tuple[Words, ...]:
        """The words of every tensor that it makes."""
        return _terms(self.signature.partition("->")[2])

    @cached_property
    def across(self) -> frozenset[str]:
        """Words of dimensions that are looked at as a whole."""
        return frozenset(re.findall(r"\[([\w.]+)\]", self.signature))

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(w for words in (*self.operands, *self.results) for w in words) - {NONE}

    @cached_property
    def summed(self) -> Words:
        """Words on the left alone, but those in brackets."""
        made = {word for words in self.results for word in words} | self.across | {NONE}
        return tuple(dict.fromkeys(w for words in self.operands for w in words if w not in made))

    def products(self, rest: Words) -> tuple[Words, ...]:
        """The products of sizes that its multiply-accumulates are the sum of.

        `rest` are the dimensions that ``...`` stands for.
        """
        if self.macs is not None:
            found = [tuple(product.split()) for product in self.macs.split("+") if product.strip()]
        elif any(word in self.summed for words in self.operands[1:] for word in words):
            found = [tuple(w for w in (*self.results[0], *self.summed) if w != NONE)]
        else:
            found = list[Words]()
        return tuple(_spelled(words, rest) for words in found)


@dataclass(frozen=True)
class Call:
    """One call of an operation: a word for every dimension.

    Attributes:
        operands: The words of every tensor, by its position among the arguments of the schema.
        results: The words of everything that it makes.
        sizes: The size of every word.
        products: See `Operation.products`.
    """

    operation: Operation
    operands: Mapping[int, Words]
    results: tuple[Words, ...]
    sizes: Mapping[str, int]
    products: tuple[Words, ...]

    def of(self, node: Node) -> list[tuple[Node, Words]]:
        """The operands of this call in a program, each with its words."""
        arguments = _arranged(_form(node.target), node.args, node.kwargs)
        return [(arguments[n], words) for n, words in self.operands.items()]

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(prod(self.sizes[word] for word in words) for words in self.products)


def call(operation: Operation, node: Node) -> Call:
    """Read a call in a program by its signature; a ValueError if it is not that of this call."""
    op = _form(node.target)
    made: Any = node.meta.get("val")
    results = [made] if isinstance(made, Tensor) else list(made or ())
    shapes = [shape for shape in map(_shape, results) if shape is not None]
    given = _arranged(op, map_arg(node.args, _value), map_arg(node.kwargs, _value))
    return _call(operation, op, given, shapes)


def flops(operation: Operation, op: OpOverload) -> Callable[..., int]:
    """Twice the multiply-accumulates of a call, in the form that PyTorch's counter takes."""

    def count(*shapes: object, out_shape: Any, **others: object) -> int:
        several = bool(out_shape) and not isinstance(out_shape[0], int)
        made = list(out_shape) if several else [out_shape]
        return 2 * _call(operation, op, _arranged(op, shapes, others), made).macs

    return count


def _form(target: object) -> OpOverload:
    if not isinstance(target, OpOverload):
        raise TypeError(f"{target} is no operator")
    return target


def _value(node: Node) -> Any:
    """The shape of a tensor of a program."""
    return _shape(node.meta.get("val"))


def _shape(value: object) -> Any:
    """The shape in the place of a tensor, also of those in a list; None in that of others."""
    if isinstance(value, Tensor):
        return tuple(int(n) for n in value.shape)
    return None


def _arranged(op: OpOverload, args: Sequence[Any], others: Mapping[str, Any]) -> list[Any]:
    """The arguments of a call in the order of the operator's schema."""
    declared = op._schema.arguments  # noqa: SLF001 - written nowhere else
    return [others.get(a.name, given(op._schema, args, a.name)) for a in declared]  # noqa: SLF001


def _call(
    operation: Operation, op: OpOverload, args: Sequence[Any], made: Sequence[Sequence[int]]
) -> Call:
    """Read a call, with shapes in the place of its tensors."""
    declared = op._schema.arguments  # noqa: SLF001 - written nowhere else
    takes = [n for n, argument in enumerate(declared) if "Tensor" in str(argument.type)]
    if len(takes) < len(operation.operands):
        wanted = ", ".join(declared[n].name for n in takes)
        raise operation.wrong(f"has more tensors than the operator takes ({wanted})")
    terms = dict(zip(takes, operation.operands, strict=False))
    present = [n for n in takes if args[n] is not None]
    unsaid = next((n for n in present if n not in terms), None)
    if unsaid is not None:
        raise operation.wrong(f"says nothing of the tensor {declared[unsaid].name!r}")
    if len(made) != len(operation.results):
        raise operation.wrong(f"makes {len(operation.results)} tensors, the operator {len(made)}")
    sizes, operands = dict[str, int](), dict[int, Words]()
    for n in present:
        operands[n] = _read(operation, terms[n], declared[n].name, args[n], sizes)
    pairs = zip(operation.results, made, strict=True)
    results = tuple(_read(operation, words, "its result", shape, sizes) for words, shape in pairs)
    rest = [len(words) - len(terms[n]) + 1 for n, words in operands.items() if REST in terms[n]]
    products = operation.products(_rest(max(rest, default=0)))
    return Call(operation, operands, results, sizes, products)


def _read(
    operation: Operation, words: Words, what: str, shape: Sequence[int], sizes: dict[str, int]
) -> Words:
    """The word of every dimension; their sizes go into `sizes`."""
    rest = len(shape) - len(words) + 1
    if rest < 0 if REST in words else len(words) != len(shape):
        raise operation.wrong(
            f"says {' '.join(words)!r} of {what}, which has {len(shape)} dimensions here, "
            f"{tuple(shape)}"
        )
    spelled = _spelled(words, _rest(rest))
    for word, size in zip(spelled, shape, strict=True):
        if word == NONE:
            continue
        known = sizes.setdefault(word, size)
        if 1 not in (known, size) and known != size:
            raise operation.wrong(f"calls two sizes {word!r}, {known} and {size}, which differ")
        sizes[word] = max(known, size)
    return spelled


def _rest(count: int) -> Words:
    """Words for the dimensions of ``...``, the last one the same in all tensors."""
    return tuple(f"{REST}{place}" for place in reversed(range(count)))


def _spelled(words: Words, rest: Words) -> Words:
    return tuple(w for word in words for w in (rest if word == REST else (word,)))


def _terms(side: str) -> tuple[Words, ...]:
    return tuple(tuple(word.strip("[]") for word in term.split()) for term in side.split(","))
