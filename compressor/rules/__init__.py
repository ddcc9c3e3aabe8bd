"""The complexity rules of DCASE Challenge Task 1 (low-complexity scenes), 2020 to 2025, as data.

`compressor.budget.Limits` says what counts and what the caps are; `Rule.count` goes by it. A rule
may be given to `compressor.fit` as a budget, which counts as `measure` does: zeros included,
BatchNorm included, running statistics not, MACs without biases. The report then ends in the verdict
by the year's own counting, which `Rule.check` gives of any network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the one class of all BatchNorm layers

from compressor import budget
from compressor.budget import YEARS, Cost, Limits
from compressor.counting.measuring import (
    check_model,
    described,
    multiply_accumulates,
    nonzero,
    opened,
    undescribed,
)
from compressor.counting.stored import Compressed, Role, floating
from compressor.inputs.example import Example
from compressor.rules.counters import torchinfo_count
from compressor.rules.folding import folded


class Rule(Limits):
    """The limits of a year with the counting that goes by them; attributes as in `Limits`."""

    def count(self, model: nn.Module | Compressed, example: Example | None = None) -> Cost:
        """Count the cost of `model` by this rule.

        A network of integers (after `Int8`) is counted as the folded network that it is: weights
        and biases, at the bits they are stored with unless the rule says how many. Scales are part
        of how integers are written: they are no parameters, and are charged where bits are those
        of storage, not where the rule says them, as in the official count of an int8 file (2022).
        What was left in floating point beside integers has the bits that it is stored with, always.

        Args:
            model: Any module, or what `fit` returned.
            example: Input, first item used; by default `model.example_input_array`.

        Returns:
            `params`: the entries that count; `nonzero`: those not zero; `macs`: for one input;
            `bytes`: of all entries that count, or of the non-zero ones where zeros are free.

        Raises:
            CountError: If the MACs cannot be counted, or BatchNorm cannot be folded.
            ValueError: If there is no model or no example.
        """
        model, example = opened(model, example)
        check_model(model)
        counted = folded(model, example) if self.folded else model
        entries = list(self._entries(counted))
        charged = sum((n if self.zeros else alive) * bits for n, alive, bits in entries)
        charged += sum(alive for _, alive, _ in entries) * self.index_bits
        if self.weight_bits is None:
            scales = (s.tensor for s in described(counted) if s.role is Role.SCALE)
            charged += sum(8 * scale.nbytes for scale in scales)
        # An active pruning mask saves no operation, though torchinfo would say so.
        if self.torchinfo_macs:
            macs = torchinfo_count(counted, example, masks=False).macs
        else:
            macs = multiply_accumulates(counted, example)
        return Cost(
            params=sum(n for n, _, _ in entries),
            nonzero=sum(alive for _, alive, _ in entries),
            macs=macs,
            bytes=-(-charged // 8),
        )

    def check(self, model: nn.Module | Compressed, example: Example | None = None) -> Verdict:
        """Check `model` against this rule, counted as the rule counts; arguments as in `count`."""
        model, example = opened(model, example)
        return self.judged(self.count(model, example), model)

    def judged(self, cost: Cost, *models: nn.Module) -> Verdict:
        """The verdict on a cost by this rule, and on the type that the models are stored in."""
        each = [floating(model) for model in models] if self.type_bits else []
        return Verdict(self, cost, {name: n for found in each for name, n in found.items()})

    def _entries(self, model: nn.Module) -> Iterator[tuple[int, int, int]]:
        """(entries, non-zero entries, bits of one) of every tensor that counts."""
        mixed = bool(floating(model))
        for role, tensor, alive in _tensors(model):
            counts = {
                Role.WEIGHT: True,
                Role.BIAS: self.biases,
                Role.NORM: self.norm_affine,
                Role.STATISTICS: self.norm_statistics,
            }
            if counts.get(role, False):
                said = self.bias_bits if role is Role.BIAS else self.weight_bits
                said = None if mixed and isinstance(tensor, nn.Parameter) else said
                yield tensor.numel(), alive, said or 8 * tensor.itemsize


@dataclass(frozen=True)
class Verdict:
    """Verdict on a network by a rule; as text, every cap with what is spent of it.

    Attributes:
        rule: The rule.
        cost: Cost of the network by it.
        wider: Weights of a network of integers that are left in floating point, by module, where
            the rule fixes the type (`type_bits`).
    """

    rule: Rule
    cost: Cost
    wider: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def met(self) -> bool:
        """True if no cap is exceeded, and no weight is of another type than the rule's."""
        return self.rule.budget.allows(self.cost) and not self.wider

    def data(self) -> dict[str, Any]:
        """As plain data: year, caps, what is spent of them, what is wider, whether it is met."""
        caps, cost = self.rule.budget.caps, asdict(self.cost)
        wider = dict(self.wider)
        return {"year": self.rule.year, "caps": caps, "cost": cost, "wider": wider, "met": self.met}

    def __str__(self) -> str:
        """One line for people."""
        spent = [self._spent(name, cap) for name, cap in self.rule.budget.caps.items()]
        if self.wider:
            each = ", ".join(f"{name} ({n:,} weights)" for name, n in self.wider.items())
            spent.append(f"{each} in floating point, not in {self.rule.type_bits} bits")
        verdict = "meets" if self.met else "exceeds"
        return f"DCASE {self.rule.year} Task 1: {'; '.join(spent)}: {verdict} the rule"

    def _spent(self, name: str, cap: int) -> str:
        used: int = getattr(self.cost, name)
        text = f"{used:,} of {cap:,} {name}"
        if name != "bytes":
            return text
        kilobyte = self.rule.kilobyte
        return text + f" ({used / kilobyte:.2f} of {cap / kilobyte:g} KB of {kilobyte} bytes)"


def rule_of(limits: Limits) -> Rule:
    """The rule that counts by some limits."""
    return limits if isinstance(limits, Rule) else Rule(**asdict(limits))


def of_year(year: int) -> Rule:
    """The rule of `year`; a BudgetError if there was no such challenge, or it is not known here."""
    return rule_of(budget.of_year(year))


def _tensors(model: nn.Module) -> Iterator[tuple[Role, Tensor, int]]:
    """Every tensor that may count, with its role and its entries that are not zero."""
    for module, name, parameter in undescribed(model):
        bias = Role.BIAS if name.removesuffix("_orig") == "bias" else Role.WEIGHT
        role = Role.NORM if isinstance(module, _BatchNorm) else bias
        yield role, parameter, nonzero(module, name, parameter)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.running_mean, module.running_var):
                if tensor is not None:
                    yield Role.STATISTICS, tensor, int(torch.count_nonzero(tensor))
    for stored in described(model):
        yield stored.role, stored.tensor, int(torch.count_nonzero(stored.tensor))


DCASE2020, DCASE2021, DCASE2022, DCASE2023, DCASE2024, DCASE2025 = RULES = tuple(
    map(rule_of, YEARS)
)
DCASE2022_TFLITE = rule_of(budget.DCASE2022_TFLITE)
