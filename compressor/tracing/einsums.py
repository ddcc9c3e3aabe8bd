"""Products by letters for dimensions: ``einsum`` of up to three tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from compressor.graph.program import shape_of
from compressor.tracing.contraction import Letters, Operand, contract, count, entries, meeting
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Labelled


@dataclass(frozen=True)
class Between(Operand):
    """What the first two tensors of three have made, which is no tensor of the program."""

    entries: Mapping[Hashable, int]
    owned: Mapping[Hashable, Ids]

    @property
    def sizes(self) -> dict[Hashable, int]:
        """Entries by letter."""
        return {letter: self.entries[letter] for letter in self.letters}

    def ids(self, flow: Flow) -> dict[Hashable, Ids]:
        """Ids by letter, of the dimensions that may shrink."""
        del flow
        return {letter: self.owned[letter] for letter in self.letters if letter in self.owned}


def einsum(flow: Flow, node: Node) -> Labelled:
    """``einsum`` of up to three tensors, the first two multiplied first, as PyTorch does.

    Of more the order is not known, which matters where they sum over anything; nor is it where
    `opt_einsum` is installed, which chooses one by the sizes.
    """
    operands, out = lettered(node)
    twice = any(len(set(operand.letters)) < len(operand.letters) for operand in operands)
    if twice:
        return contract(flow, node, operands, out)
    if len(operands) == 3 and not _chosen():
        first, second, third = operands
        kept = [
            x
            for x in dict.fromkeys((*first.letters, *second.letters))
            if x in third.letters or x in out
        ]
        _leave_two(flow, node, [first, second], kept)
        ids = meeting(flow, node, [first, second])
        count(flow, node, [first, second], kept, ids)
        operands = [Between(node, kept, entries([first, second]), ids), third]
    _leave_two(flow, node, operands, out)
    return contract(flow, node, operands, out)


def _chosen() -> bool:
    """True if the order of the products is chosen by the sizes."""
    backend = torch.backends.opt_einsum
    return bool(backend.is_available() and backend.enabled)


def lettered(node: Node) -> tuple[list[Operand], Letters]:
    """The operands of an ``einsum``, and the letters of its result."""
    equation, tensors = str(node.args[0]).replace(" ", ""), list(node.args[1])  # type: ignore[arg-type]
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    operands = [
        Operand(x, _spelled(term, len(shape_of(x))))  # type: ignore[arg-type]
        for x, term in zip(tensors, terms, strict=True)
    ]
    rest = sorted({x for operand in operands for x in operand.letters if isinstance(x, int)})
    if not arrow:
        once = Counter(left.replace("...", "").replace(",", ""))
        right = "..." * ("..." in left) + "".join(sorted(x for x, n in once.items() if n == 1))
    out = _spelled(right, len(right.replace("...", "")) + len(rest) * ("..." in right))
    return operands, out


def _leave_two(flow: Flow, node: Node, operands: Sequence[Operand], out: Letters) -> None:
    """Keep two entries of what is summed over: of one alone PyTorch makes no matrix product."""
    if len(operands) != 2:
        return
    first, second = operands
    summed = [x for x in first.letters if x in second.letters and x not in out]
    ids = {**first.ids(flow), **second.ids(flow)}
    if any(x not in ids and first.sizes[x] > 1 for x in summed):
        return
    for letter in sorted((x for x in summed if x in ids), key=lambda x: -len(ids[x]))[:1]:
        why = f"{place(node)} would multiply no matrices with one entry to sum over"
        flow.couplings.freeze(ids[letter][:2], why)


def _spelled(term: str, rank: int) -> list[Hashable]:
    """A letter for each dimension; dimensions behind an ellipsis are numbers, the last -1."""
    before, dots, after = term.partition("...")
    more = rank - len(before) - len(after) if dots else 0
    return [*before, *range(-more, 0), *after]
