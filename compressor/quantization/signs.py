"""Values of a network that can never be negative, by what made them.

A quantiser chooses its grid by the values that it sees, and a description of the network says
which. How long that description will be has to be known before any value was seen.
"""

from __future__ import annotations

from compressor.graph.kinds import Sign
from compressor.graph.operations import operation_of
from compressor.network import Network, Ref, Step
from compressor.network.steps import Value
from compressor.quantization.layers import ActivationQuantiser
from compressor.quantization.place import only_moves
from compressor.quantization.pools import windows


def never_negative(network: Network, value: Value) -> bool:
    """True if a result cannot be negative, whatever the inputs and weights are.

    The network may be prepared or not; of a value that is no result nothing is known.
    """
    seen, waiting = set[str](), [value]
    while waiting:
        step = network.producer(waiting.pop())
        if step is None:
            return False
        if step.name in seen or _positive(step):
            continue
        seen.add(step.name)
        before = _before(network, step)
        if not before:
            return False
        waiting += before
    return True


def _positive(step: Step) -> bool:
    sign = operation_of(step.op).sign
    least = step.args[1] if sign is Sign.LIMITED and len(step.args) > 1 else -1
    return sign is Sign.NEVER or (isinstance(least, int | float) and least >= 0)


def _before(network: Network, step: Step) -> list[Value]:
    """Values that a result's sign depends on; none where that is not known."""
    called = network.called(step)
    kept = only_moves(step) or windows(network, step) is not None
    if kept or isinstance(called, ActivationQuantiser):
        return list(step.args[:1])
    if operation_of(step.op).sign is not Sign.KEPT:
        return []
    first = step.args[0]
    parts = list(first) if isinstance(first, list | tuple) else list(step.args[:2])
    return parts if all(isinstance(part, Ref) for part in parts) else []
