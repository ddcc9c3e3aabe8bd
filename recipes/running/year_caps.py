"""Caps by which a year's rule is met, and what its counter says of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

import compressor
from compressor import Budget, Result
from compressor.budget import Cost
from compressor.counting.stored import by_module
from compressor.errors import BudgetError, VerificationError
from compressor.inputs.example import Example
from compressor.network import to_network
from compressor.quantization.rounded import rounded_weights
from compressor.reports.render import WIDER
from compressor.rules import of_year
from recipes.running.run_folder import RunFolder
from recipes.running.stages import read_counts


def caps(
    year: int, asked: Budget, model: nn.Module, example: Example | None = None, *, bits: int = 8
) -> Budget:
    """Caps for `fit` by which the rule is met as the year counts it.

    NeSsi counts every parameter of a normalisation and, once per position, every bias as a MAC;
    `compressor.measure` counts neither. What it counts more can only fall as the network shrinks,
    so that the dense network's is a margin that is always enough. A rule about bytes (from 2024 on)
    is one about so many parameters of `bits` each, unless bytes are asked for.

    Args:
        year: Year whose rule counts.
        asked: Caps, none above those of the rule.
        model: The dense network.
        example: An input; by default `model.example_input_array`.
        bits: Bits that a parameter is stored in.

    Raises:
        BudgetError: If a cap is above the rule's, or the rule fixes 8 bits and the network has
            weights that cannot be rounded to them.
        TraceError: If it cannot be written as a network.
    """
    rule = of_year(year)
    allowed, wanted = rule.budget.caps, asked.caps
    floating = not_rounded(model, example) if bits == 8 else {}
    if floating and rule.type_bits:
        unsure = "" if rule.weight_bits else ", or may have: the wording is not established"
        raise BudgetError(
            f"{told(floating)} cannot be rounded to the {rule.type_bits} bits that the rule of "
            f"{year} has{unsure}. {WIDER}"
        )
    if "bytes" not in wanted and not floating:
        allowed["params"] = 8 * allowed.pop("bytes", allowed.get("params", 0)) // bits
    above = [f"{name} <= {cap:,}" for name, cap in wanted.items() if cap > allowed.get(name, cap)]
    if above:
        raise BudgetError(
            f"{' and '.join(above)} was asked for, above the rule of {year}: {rule.budget}. "
            "Ask for less, or for year=... of another rule"
        )
    margin = rule.count(model, example).macs - compressor.measure(model, example).macs
    together = allowed | wanted
    return Budget(**together | {"macs": together["macs"] - margin})


def not_rounded(model: nn.Module, example: Example | None = None) -> dict[str, int]:
    """Entries of the weights that `Int8` leaves in floating point, by module.

    Raises:
        TraceError: If the model cannot be written as a network.
    """
    network = to_network(model, example)
    rounded = rounded_weights(network)
    return by_module((n, p) for n, p in network.named_parameters() if n not in rounded)


def told(floating: Mapping[str, int]) -> str:
    """Weights in floating point, for messages."""
    return " and ".join(f"{name} ({count:,} weights)" for name, count in floating.items())


def cost_by_rule(
    year: int, asked: Budget, folder: RunFolder, result: Result, *, bits: int = 8
) -> Cost:
    """Cost by the year's rule: of the network before its norms are folded and its weights rounded.

    That is what NeSsi is run on, as it sees no parameters in a network of integers. Every parameter
    counts as `bits` bits, and with the bits that it is stored in where these are more. Where bytes
    are asked for, they are those of the integers, with 32-bit biases and scales.

    Raises:
        VerificationError: If the rule is not met.
    """
    cost, rule = read_counts(folder.stages, "pruned").rule, of_year(year)
    wider = sum(p.numel() * max(8 * p.itemsize - bits, 0) for p in result.model.parameters())
    stored = result.report.accounted if asked.bytes is not None else None
    cost = replace(cost, bytes=stored[1] if stored else -(-(cost.params * bits + wider) // 8))
    verdict = rule.judged(cost, result.model)
    if not verdict.met:
        raise VerificationError(f"{verdict}. Please report it")
    return cost
