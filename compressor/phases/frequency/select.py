"""Remove rows of a model's input (mel bands), and from the model what only served them.

Removed rows need not be computed by the front end, and MACs fall with them; no layer changes but
those that read rows one by one (a linear layer over moments, a normalisation of every band).
Convolutions along the rows see other neighbours than with masked rows, so that whatever is trained
last must be trained on the removed form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree  # the only way to see tensors in any output

from compressor.graph.program import example_of
from compressor.graph.structure import Structure
from compressor.inputs import randomness
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.example import Example, Inputs
from compressor.phases.frequency.trace import RowGraph, trace_rows
from compressor.surgery.cutting import cut


class Rows(nn.Module):
    """A network for some rows of the input, made to take all of them.

    Attributes:
        network: Takes the shorter input; run it directly where the front end computes these rows
            alone.
        rows: Rows that it sees, in order: a buffer (kept,).
        dim: The dimension that holds them.
        example_input_array: An input of full length, if the network has an example; neither
            parameter nor buffer.
    """

    rows: Tensor

    def __init__(self, network: nn.Module, rows: Sequence[int] | Tensor, *, dim: int = 2) -> None:
        super().__init__()
        self.network = network
        self.dim = dim
        self.register_buffer("rows", torch.as_tensor(rows, dtype=torch.int64))

    def forward(self, x: Tensor, *others: Tensor) -> Any:
        """Inputs (batch, channel, frequency, time) of full length -> what the network says."""
        return self.network(x.index_select(self.dim, self.rows), *others)

    def extra_repr(self) -> str:
        """Text that `print(model)` shows."""
        return f"{len(self.rows)} rows of dimension {self.dim}"


def select_rows(
    model: nn.Module,
    example: Example | None,
    keep: Iterable[int],
    *,
    dim: int = 2,
    graph: RowGraph | None = None,
) -> Rows:
    """A copy of a model that sees some rows of its input only.

    Args:
        model: Any traceable model, itself perhaps a `Rows`, of whose rows some are then kept.
        example: An input of full length, batch first; None for `model.example_input_array`.
        keep: Numbers of the rows to keep, counted in the full input.
        dim: The dimension that holds the rows.
        graph: What `trace_rows` found in the model (in the network inside of a `Rows`), if known.

    Returns:
        The smaller network inside a module that picks its rows; mode, device and types are those
        of the model.

    Raises:
        ValueError: If a row is not there, or the model does not run on so many of them.
        TraceError: If the model does not export.
    """
    inputs = example_of(model, example)
    network, short, seen = inside(model, inputs, dim)
    kept = _checked(model, keep, seen)
    graph = graph or trace_rows(network, short, dim=dim)
    places = np.flatnonzero(np.isin(seen, kept)).tolist()
    smaller = private_copy(network)
    cut_rows(smaller, graph, places)
    failure = _trial(network, graph, short)(len(places))
    if failure is not None:
        raise ValueError(_refusal(network, graph, short, len(places), failure))
    device = inputs[0].device
    picked = short[0].index_select(dim, torch.tensor(places, device=device))
    if hasattr(network, "example_input_array"):
        _show(smaller, (picked, *short[1:]))
    rows = Rows(smaller, torch.tensor(kept, device=device), dim=dim)
    _show(rows, inputs)
    rows.training = model.training
    return rows


def nested(
    model: nn.Module,
    example: Example | None,
    keep: Iterable[int],
    *,
    dim: int = 2,
    graph: RowGraph | None = None,
) -> Rows:
    """As `select_rows`, with every name of the model found below ``network``.

    What `select_rows` makes of a `Rows` has its names, not those of another level.
    """
    flat = select_rows(model, example, keep, dim=dim, graph=graph)
    network: nn.Module = flat.network
    while isinstance(model, Rows):
        network, model = Rows(network, range(len(flat.rows)), dim=dim), model.network
        network.to(flat.rows.device)
    found = Rows(network, flat.rows, dim=dim)
    _show(found, example_of(flat, None))
    found.training = flat.training
    return found


def _show(model: nn.Module, inputs: Inputs) -> None:
    holder: Any = model
    holder.example_input_array = inputs[0] if len(inputs) == 1 else inputs


def allowed(
    model: nn.Module,
    example: Example | None = None,
    *,
    dim: int = 2,
    counts: Iterable[int] | None = None,
    graph: RowGraph | None = None,
) -> list[int]:
    """Numbers of rows that a model can run on, with outputs of the same shape as ever.

    Strides, sub-bands and flattened sizes ask for certain multiples; which is found by trying, with
    shapes alone (on the meta device) where the model's code allows it.

    Args:
        model: Any traceable model.
        example: An input of full length, batch first; None for `model.example_input_array`.
        dim: The dimension that holds the rows.
        counts: Numbers of rows to try; all by default.
        graph: What `trace_rows` found in the model, if known.

    Returns:
        The numbers that work, in rising order; that of the model as it is always does.
    """
    network, short, seen = inside(model, example_of(model, example), dim)
    graph = graph or trace_rows(network, short, dim=dim)
    trial = _trial(network, graph, short)
    tried = range(1, len(seen) + 1) if counts is None else sorted(set(counts))
    return [n for n in tried if n == len(seen) or (0 < n < len(seen) and trial(n) is None)]


def inside(model: nn.Module, inputs: Inputs, dim: int) -> tuple[nn.Module, Inputs, list[int]]:
    """The network that sees rows, what it is given, and which of the full input's rows these are.

    Raises:
        ValueError: If the model already lost rows of another dimension.
    """
    if not 0 < dim < inputs[0].ndim:
        raise ValueError(
            f"rows of dimension {dim} were asked of an input of shape {tuple(inputs[0].shape)}: "
            f"choose one from 1 to {inputs[0].ndim - 1}, 2 for (batch, channel, frequency, time)"
        )
    seen = torch.arange(inputs[0].shape[dim], device=inputs[0].device)
    while isinstance(model, Rows):
        if model.dim != dim:
            raise ValueError(
                f"rows of dimension {dim} were asked of a model that already picks rows of "
                f"dimension {model.dim}: remove more of those, or work on its .network"
            )
        inputs = (inputs[0].index_select(dim, model.rows), *inputs[1:])
        seen, model = seen[model.rows], model.network
    return model, inputs, seen.tolist()


def cut_rows(model: nn.Module, graph: RowGraph, places: Sequence[int]) -> None:
    """Slice in place whatever belongs to single rows: of the graph's own model, or of a copy.

    `places` are the rows to keep, counted in the model's own input.
    """
    structure = Structure(graph.graph, np.isin(np.arange(graph.count), list(places)))
    if not structure.keep.all():
        cut(model, graph.graph, structure)
        for name, place in graph.normalised.items():
            norm: Any = model.get_submodule(name)
            shape = list(norm.normalized_shape)
            shape[place] = len(places)
            norm.normalized_shape = tuple(shape)
        for module in model.modules():
            if isinstance(module, nn.PReLU):
                module.num_parameters = module.weight.numel()


def _checked(model: nn.Module, keep: Iterable[int], seen: Sequence[int]) -> list[int]:
    """The rows to keep in rising order, every one of them there."""
    kept = sorted({int(row) for row in keep})
    gone = [row for row in kept if row not in set(seen)]
    if gone or not kept:
        what = f"row {gone[0]} was" if gone else "no row at all was"
        raise ValueError(
            f"{what} asked of a {type(model).__name__} that sees {len(seen)} rows, numbers "
            f"{seen[0]} to {seen[-1]}: keep some of those"
        )
    return kept


Trial = Callable[[int], str | None]
"""Of a number of rows: why the model does not run on so many, None where it does."""


def _trial(model: nn.Module, graph: RowGraph, inputs: Inputs) -> Trial:
    """Find a way to try a model: with shapes alone if it survives that at full length."""
    pair = tuple(x.repeat(2, *[1] * (x.ndim - 1)) if x.shape[:1] == (1,) else x for x in inputs)
    scratch = private_copy(model)
    kinds: list[tuple[nn.Module, Inputs]] = []
    try:
        meta = copy.deepcopy(scratch).to("meta")
        kinds.append((meta, tuple(x.to("meta") for x in pair)))
    except Exception:  # noqa: BLE001, S110 - then with values
        pass
    kinds += [(scratch, pair), (scratch, inputs)]
    for candidate, given in kinds:
        shapes = _shapes(candidate, given)
        if not isinstance(shapes, str):
            return partial(_try, candidate, graph, given, shapes)
    raise ValueError(
        f"{type(model).__name__} does not run in eval mode on its example: "
        f"{_shapes(scratch, inputs)}"
    )


def _try(
    model: nn.Module, graph: RowGraph, inputs: Inputs, wanted: list[Any], count: int
) -> str | None:
    """Run a copy on the first rows; why it fails, if it does."""
    smaller = copy.deepcopy(model, _unsliced(model, graph))
    cut_rows(smaller, graph, range(count))
    found = _shapes(smaller, (inputs[0].narrow(graph.dim, 0, count), *inputs[1:]))
    if isinstance(found, str) or found == wanted:
        return found if isinstance(found, str) else None
    return f"its output has the shapes {found} in the place of {wanted}"


def _unsliced(model: nn.Module, graph: RowGraph) -> dict[int, Any]:
    """Modules that no row owns a part of: a copy may share them, which is what takes time."""
    touched = {w.name for w in graph.graph.weights.values() if not all(d.fixed for d in w.dims)}
    touched |= {*graph.graph.channels, *graph.normalised}
    return {
        id(module): module
        for name, module in model.named_modules()
        if name and not any(t == name or t.startswith(f"{name}.") for t in touched)
    }


def _shapes(model: nn.Module, inputs: Inputs) -> list[Any] | str:
    """Shapes of all outputs, or what stopped the forward pass."""
    try:
        with randomness.preserved(), evaluating(model), torch.no_grad():
            leaves = pytree.tree_leaves(model(*inputs))
    except Exception as error:  # noqa: BLE001 - any failure of user code is the answer here
        return f"{type(error).__name__}: {(str(error).strip() or 'without a word').splitlines()[0]}"
    return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)]


def _refusal(model: nn.Module, graph: RowGraph, inputs: Inputs, count: int, failure: str) -> str:
    """Say why a model does not run on so many rows, and on how many it does."""
    trial = _trial(model, graph, inputs)
    below = next((n for n in range(count - 1, 0, -1) if trial(n) is None), None)
    above = next((n for n in range(count + 1, graph.count) if trial(n) is None), graph.count)
    others = f"{above}" if below is None else f"{below} or {above}"
    only = " and on no fewer" if below is None and above == graph.count else ""
    return (
        f"{type(model).__name__} does not run on {count} of its {graph.count} rows ({failure}). "
        f"Ask for {others} rows{only}; layers behind a flattened convolution, for one, need all "
        "of the size they were built for"
    )
