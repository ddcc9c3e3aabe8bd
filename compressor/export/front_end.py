"""A front end before a network: a waveform goes in, and only the rows that the network reads.

A network that `FrequencyMask` took rows from (mel bands) is given the whole spectrogram and picks
its rows first. A front end that computes those rows alone saves the work; what picks is then left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.inputs.copies import private_copy
from compressor.inputs.tensors import device_of
from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.integer import Requantise
from compressor.quantization.layers import ActivationQuantiser

aten = torch.ops.aten

ROWS = 2
"""The dimension of frequency in (batch, channel, frequency, time)."""

Shape = tuple[int, ...]


class FrontEnd(nn.Module):
    """A front end and the network behind it, both in evaluation mode.

    It has the `example_input_array`, `example`, `inputs` and `open` of a network with one input,
    the waveform.
    """

    inputs = ("waveform",)
    open = ((0,),)

    def __init__(self, front_end: nn.Module, network: Network, waveform: Tensor) -> None:
        super().__init__()
        self.front_end = front_end.eval()
        self.network = network.eval()
        self.example_input_array = waveform
        self.example = (waveform,)

    def forward(self, waveform: Tensor) -> Any:
        """(batch, samples) or (batch, channel, samples) -> what the network says."""
        return self.network(self.front_end(waveform))


Whole = Network | FrontEnd
"""A network to export, behind a front end or alone."""


def parts(
    network: Network, front_end: nn.Module | None, waveform: Tensor | None
) -> tuple[Network, Callable[[Network], Whole]]:
    """The network that a format rewrites, and what puts the rewritten one in its place.

    The place is evaluation mode, behind the front end if there is one; arguments and errors are
    those of `joined`.
    """
    if front_end is None:
        return network, lambda made: made.eval()
    whole = joined(network, front_end, waveform)
    return whole.network, lambda made: FrontEnd(whole.front_end, made, whole.example_input_array)


def joined(network: Network, front_end: nn.Module, waveform: Tensor | None = None) -> FrontEnd:
    """A network behind a front end, without what picks rows if the front end makes no others.

    Args:
        network: With one input, (batch, channel, frequency, time).
        front_end: Any module from waveforms, (batch, samples) or (batch, channel, samples), to the
            network's input, or to the rows of it that the network reads (see `rows_read`). Copied.
        waveform: One example, batch first; None for `front_end.example_input_array`.

    Raises:
        ValueError: If there is no waveform, the network has several inputs, or the front end makes
            another shape than the network takes.
    """
    if not isinstance(front_end, nn.Module):
        raise ValueError(
            f"a front end in a file is a module from waveforms to features, and this is a "
            f"{type(front_end).__name__}: settings alone are for .tflite files"
        )
    if len(network.inputs) != 1:
        names = ", ".join(network.inputs)
        raise ValueError(
            f"a front end was asked for, and the network has {len(network.inputs)} inputs "
            f"({names}): leave it out, or make a model of one input"
        )
    one = _example(front_end, waveform)
    device = device_of(network)
    twin = private_copy(front_end).eval().to(device)
    with torch.no_grad():
        made: object = twin(one.to(device))
    found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
    short = without_rows(network)
    for takes in (network, short):
        if found == _shape(takes):
            return FrontEnd(twin, takes, one)
    wanted = f"{_shape(network)}"
    if short is not network:
        wanted += f", or {_shape(short)} for the rows that it reads alone"
    raise ValueError(
        f"the front end makes {found} of a waveform {tuple(one.shape)}, and the network takes "
        f"{wanted}: give the front end the settings that the network was trained with, and as "
        "waveform= a clip of the length that it was trained on"
    )


def rows_read(network: Network) -> tuple[int, ...] | None:
    """Rows of its input that a network reads, counted in the full input; None if all of them."""
    seen: Tensor | None = None
    for step in _selections(network):
        picked = network.tensor(cast("Weight", step.args[2])).cpu()
        seen = picked if seen is None else seen[picked]
    return None if seen is None else tuple(int(row) for row in seen)


def without_rows(network: Network) -> Network:
    """The network behind what picks rows of its input; the network itself if nothing does."""
    found = _selections(network)
    if not found:
        return network
    rewrite = Rewrite(network)
    for step in reversed(found):
        rewrite.redirect(step.name, cast("Ref", step.args[0]).name)
    built = rewrite.build()
    built.example_input_array = torch.zeros(network.shapes[found[-1].name])
    return built.train(network.training)


def _selections(network: Network) -> list[Step]:
    """The steps that pick rows before anything else looks at the input, in order."""
    found: list[Step] = []
    name = network.inputs[0]
    while True:
        readers = [s for s in network.consumers(name) if packet(s) is not aten.sym_size]
        reader = readers[0] if len(readers) == 1 else None
        if reader is None or not (_picks(reader) or _rounds(network, reader)):
            return found
        found += [reader] if _picks(reader) else []
        name = reader.name


def _picks(step: Step) -> bool:
    """True if a step picks rows by a list that the network holds."""
    picks = packet(step) is aten.index_select and step.args[1] == ROWS
    return picks and isinstance(step.args[2], Weight)


def _rounds(network: Network, step: Step) -> bool:
    """True if a step rounds values one by one, so that rows may be picked before as well."""
    return isinstance(network.called(step), Requantise | ActivationQuantiser)


def _example(front_end: nn.Module, waveform: Tensor | None) -> Tensor:
    """One waveform, given or the front end's own."""
    own: object = getattr(front_end, "example_input_array", None)
    given = own if waveform is None else waveform
    if not isinstance(given, Tensor) or given.dim() not in (2, 3) or not len(given):
        what = tuple(given.shape) if isinstance(given, Tensor) else given
        raise ValueError(
            f"a front end needs the shape of a waveform, (batch, samples) or (batch, channel, "
            f"samples), and was given {what}: pass waveform=, one clip of the length that the "
            f"network was trained on, or let {type(front_end).__name__} have it as "
            "example_input_array"
        )
    return given[:1].detach()


def _shape(network: Network) -> Shape:
    return tuple(cast("Tensor", network.example_input_array).shape)
