"""Operators of one's own that look at a dimension as a whole, run over its kept entries only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.fx.node import Argument

from compressor.graph.signature import Call, Operation, call


@dataclass(frozen=True)
class Whole:
    """A call that looks at some dimensions as a whole.

    Attributes:
        call: Its words.
        alive: The entries that are kept, by word.
    """

    call: Call
    alive: Mapping[str, Tensor]

    def run(self, node: Node, args: Sequence[Argument], kwargs: Mapping[str, Argument]) -> Any:
        """Run the operator on the kept entries of all that it takes, and put its results back."""
        declared = node.target._schema.arguments  # type: ignore[union-attr]  # noqa: SLF001
        places = {argument.name: n for n, argument in enumerate(declared)}
        small = [self._cut(n, value) for n, value in enumerate(args)]
        named = {key: self._cut(places[key], value) for key, value in kwargs.items()}
        made: Any = node.target(*small, **named)  # type: ignore[operator]
        if isinstance(made, Tensor):
            return self._put_back(made, self.call.results[0])
        pairs = zip(made, self.call.results, strict=True)
        return type(made)(self._put_back(result, words) for result, words in pairs)

    def _cut(self, place: int, value: Any) -> Any:
        words = self.call.operands.get(place)
        if words is None or not isinstance(value, Tensor):
            return value
        for dim, word in enumerate(words):
            if word in self.alive and value.shape[dim] == len(self.alive[word]):
                value = value.index_select(dim, self._kept(word, value))
        return value

    def _put_back(self, result: Tensor, words: Sequence[str]) -> Tensor:
        for dim, word in enumerate(words):
            if word in self.alive:
                shape = [*result.shape]
                shape[dim] = len(self.alive[word])
                full = result.new_zeros(shape)
                result = full.index_copy(dim, self._kept(word, result), result)
        return result

    def _kept(self, word: str, near: Tensor) -> Tensor:
        return self.alive[word].nonzero().flatten().to(near.device)


def looked_at(
    operation: Operation | None,
    node: Node,
    alive: Mapping[str, tuple[tuple[int, Tensor], ...]],
) -> Whole | None:
    """A call that looks across removed entries; None for any other.

    `alive` are the entries of every activation that are kept, by dimension.
    """
    if operation is None or not operation.across:
        return None
    read, found = call(operation, node), dict[str, Tensor]()
    arguments = read.of(node)
    for source, words in arguments:
        for dim, kept in alive.get(source.name, ()):
            if words[dim] in operation.across and not bool(kept.all()):
                found[words[dim]] = kept
    return Whole(read, found) if found else None
