"""Half precision: every weight is stored in 16 bits, and computed with in 32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressor.network import Network, Ref, Rewrite, Step, Weight, to_network
from compressor.network.steps import mapped
from compressor.run.later import EntryBits
from compressor.run.phase import Phase

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

SETTLED = "its weights are stored in 16 bits by Half(), which must be the last phase"


@dataclass(frozen=True)
class Half(Phase):
    """Store parameters and running statistics as 16-bit floating point numbers.

    The 2020 report (section 3.3) and the 2021 one (section 2.3, for all that is no convolution)
    count two bytes a parameter. The result is a `compressor.network.Network`: it takes and gives
    32-bit numbers, and each weight is widened when it is read, so that it runs wherever the model
    did. It is the last phase: nothing is trained afterwards.
    """

    lowers = frozenset({"bytes"})
    final = fixed = stores_network = True

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out whether the model can be written as a network at all.

        Raises:
            TraceError: If it cannot.
        """
        del earlier
        to_network(session.model, session.example)

    def network_after(self, network: Network, bits: Mapping[str, int]) -> Network:  # noqa: ARG002
        """The same network on weights of 16 bits."""
        return halved(network)

    def bits_after(self, network: Network) -> EntryBits:  # noqa: ARG002
        """Two bytes, or fewer."""
        return lambda _, bits: min(bits, Fraction(16))

    def run(self, training: Training, part: int) -> None:
        """Round the weights."""
        del part
        training.session.record({})
        self.redo(training.session, {})
        training.refresh()

    def redo(self, session: Compression, change: Any) -> None:
        """Round the weights."""
        del change
        session.replace(halved(to_network(session.model, session.example)), settled=SETTLED)


def halved(whole: Network) -> Network:
    """The same network on weights of 16 bits, widened before they are used.

    Args:
        whole: Any network; not touched.

    Raises:
        ValueError: If a weight is too large for 16 bits, 65,504.
    """
    tensors = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
    wide = {name: t for name, t in tensors.items() if t.is_floating_point() and t.itemsize > 2}
    change = Rewrite(whole)
    wider: dict[str, str] = {}
    for step in whole.steps:
        for name in step.weights:
            if name in wide and name not in wider:
                wider[name] = f"wide_{len(wider)}"
                to, args = torch.ops.aten.to.dtype, (Weight(name), wide[name].dtype)
                change.insert_before(step.name, Step(wider[name], to, args))

    def refer(leaf: Any) -> Any:
        named = isinstance(leaf, Weight) and leaf.name in wider
        return Ref(wider[leaf.name]) if named else leaf

    for step in whole.steps:
        change.edit(step.name, args=mapped(step.args, refer), kwargs=mapped(step.kwargs, refer))
    made = change.build()
    for name in wider:
        _store(made, name, _rounded(name, wide[name]))
    return made


def _rounded(name: str, tensor: Tensor) -> Tensor:
    small = tensor.detach().half()
    if not bool(torch.isfinite(small).all()) and bool(torch.isfinite(tensor).all()):
        raise ValueError(
            f"Half() cannot store {name!r}: its largest entry is {float(tensor.abs().max()):.4g}, "
            "and a number of 16 bits is at most 65,504. Normalise the layer before it, or leave "
            "Half() out"
        )
    return small


def _store(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer, under all its names."""
    old = model.get_parameter(name) if name in dict(model.named_parameters()) else None
    new = tensor if old is None else nn.Parameter(tensor, requires_grad=False)
    held = model.get_buffer(name) if old is None else old
    for owner in model.modules():
        for tensors in (owner._parameters, owner._buffers):  # noqa: SLF001 - all names of a tied one
            for leaf, value in list(tensors.items()):
                if value is held:
                    tensors[leaf] = new  # pyright: ignore[reportArgumentType]
