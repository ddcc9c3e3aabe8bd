"""Scores of units: functions of tensors that give one score per unit of a graph.

A unit is scored over the weights that *write* it: its rows of convolutions and linear layers, and
its entries of biases, norm scales and norm shifts. Every function here has the form

    importance(graph, tensors, evidence) -> scores of shape (graph.units,), float64

with `tensors` by parameter name, so that anything of the weights' shapes can be scored, a module's
weights as well as the ``w + u`` of an ADMM step. `evidence` is an iterable with one mapping (name
-> gradient) per micro-batch; `frobenius` and `l1` never touch it. Where a phase asks, it is an
`Evidence`, which has activations as well: `residual` goes by these.

Scores of different axes are not comparable as they come: a depthwise row holds 9 weights, a
pointwise one hundreds. They are therefore divided by their axis' mean (`normalise=True`), which
says how much a unit matters among its like and leaves the widths to the allocator.

One of your own is made of three: `writers` says which parameters write units and along which
dimension, `per_unit` sums what you have for the rows of each, `normalised` makes axes comparable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.graph.graph import Graph, Weight
from compressor.inputs import randomness
from compressor.inputs.batches import Batch, first_examples
from compressor.inputs.gradients import gradient_of, micro_batches
from compressor.inputs.losses import Loss, cross_entropy
from compressor.inputs.scores import one_each
from compressor.repair.activations import Reading, activations_of
from compressor.repair.applied import Key
from compressor.repair.prices import residuals, unseen
from compressor.surgery.attention import opened
from compressor.wording import brief, line

Scores = NDArray[np.float64]
Tensors = Mapping[str, Tensor]
Gradients = Iterable[Tensors]
Importance = Callable[[Graph, Tensors, Gradients], Scores]
Size = Callable[[Scores], float | np.floating[Any]]


def frobenius(
    graph: Graph,
    tensors: Tensors,
    gradients: Gradients = (),  # noqa: ARG001 - one form for all
    *,
    normalise: bool = True,
) -> Scores:
    """Frobenius norm of the weights that write a unit: ``sqrt(sum w^2)``.

    Source: the FAU submission to DCASE 2022 Task 1, section 2.3, which takes filters alone, over
    the inputs still reachable (`compressor.phases.filters.ranking`).

    Args:
        graph: The network as coupled axes.
        tensors: Weights by name, each of the shape that `graph` says.
        gradients: Not used.
        normalise: Divide by the mean of the unit's axis.

    Returns:
        Scores of shape (units,).

    Raises:
        ValueError: If a tensor is missing, has another shape, or a score is not finite.
    """
    squares = _total(graph, tensors, torch.square)
    return _finish(graph, np.sqrt(squares), normalise=normalise)


def l1(
    graph: Graph,
    tensors: Tensors,
    gradients: Gradients = (),  # noqa: ARG001 - one form for all
    *,
    normalise: bool = True,
) -> Scores:
    """Sum of the magnitudes of the weights that write a unit (Li et al. 2017, section 3.1).

    Arguments, result and errors as in `frobenius`.
    """
    return _finish(graph, _total(graph, tensors, torch.abs), normalise=normalise)


def fisher(
    graph: Graph, tensors: Tensors, gradients: Gradients, *, normalise: bool = True
) -> Scores:
    """Expected squared first-order change of the loss when a unit is removed.

    Per micro-batch m and weight W, ``s = sum of w * dL_m/dw`` over the unit's entries of W; the
    score is the sum over W of the mean over m of ``s^2``. Theis et al. 2018 (arXiv:1801.05787),
    equation 8, with weights in the place of activations and micro-batches in that of examples.

    Arguments, result and errors as in `frobenius`, but for `gradients`: at least one mapping from
    name to gradient per micro-batch, as `gradients` in this module makes them; a weight that is
    missing counts as having no gradient.
    """
    return _finish(graph, _saliency(graph, tensors, gradients, torch.square), normalise=normalise)


def taylor(
    graph: Graph, tensors: Tensors, gradients: Gradients, *, normalise: bool = True
) -> Scores:
    """Expected absolute first-order change of the loss when a unit is removed.

    As `fisher` with ``|s|`` in the place of ``s^2`` (Molchanov et al. 2019, arXiv:1906.10771,
    whose equation 8 squares instead).
    """
    return _finish(graph, _saliency(graph, tensors, gradients, torch.abs), normalise=normalise)


def residual(graph: Graph, tensors: Tensors, evidence: Gradients) -> Scores:
    """Error that removing a unit leaves in the layers that read it, once these are repaired.

    In parts of what the outputs of a layer vary by, in sum over the layers: scores of different
    axes compare, so that nothing is normalised. See `compressor.repair.prices`, which has the
    sources. Inputs alone are needed, no labels. For every layer that reads an axis and is not seen
    (a recurrent one, one of computed weights, a product of activations) all of its units together
    cost 1, each as large a part as it is of the squared norm of what writes them.

    Args:
        graph: The network as coupled axes.
        tensors: Weights by name; the activations are those of the model's own.
        evidence: An `Evidence`.

    Returns:
        Scores of shape (units,).

    Raises:
        ValueError: If the evidence holds gradients alone, or a score is not finite.
    """
    if not isinstance(evidence, Evidence):
        raise ValueError(
            f"residual is measured on activations and got {brief(evidence)}: pass "
            "compressor.importance.Evidence(model, batches)"
        )
    readings = evidence.activations
    scores = np.nan_to_num(residuals(graph, readings))
    energy = frobenius(graph, tensors, normalise=False) ** 2
    for axis in graph.axes:
        part = energy[axis.units]
        share = part / part.sum() if part.sum() > 0 else np.full(axis.size, 1 / max(axis.size, 1))
        scores[axis.units] += unseen(graph, axis, readings) * share
    return _finish(graph, scores, normalise=False)


class Evidence:
    """What a model does on data: gradients by micro-batch when iterated, and activations.

    Both are measured when they are first asked for, on a model that stays as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Batch],
        loss: Loss = cross_entropy,
        *,
        clips: int = 4,
        inputs: int = 256,
    ) -> None:
        """Be ready to measure.

        Args:
            model: Any model.
            batches: Batches as the loss wants them; none makes for no gradients.
            loss: Called as ``loss(model, batch)``.
            clips: Examples per micro-batch of gradients.
            inputs: Examples that activations are measured on, at most.
        """
        self._model, self._batches, self._loss = model, batches, loss
        self._clips, self._inputs = clips, inputs

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Gradients of the loss by parameter name, one mapping per micro-batch."""
        return gradients(self._model, self._batches, self._loss, clips=self._clips)

    @cached_property
    def activations(self) -> Mapping[Key, Reading]:
        """Products of what every layer reads and writes, by weight."""
        model = opened(self._model)
        batches = list(first_examples(self._batches, self._inputs))
        with randomness.preserved():
            return activations_of(model, batches, self._loss) if batches else {}


def gradients(
    model: nn.Module, batches: Iterable[Batch], loss: Loss = cross_entropy, *, clips: int = 4
) -> Iterator[dict[str, Tensor]]:
    """Gradients of the loss by parameter name, one mapping per micro-batch.

    The model is in eval mode (running statistics, no dropout) while a gradient is taken, and is
    left as it was: modes, `requires_grad` flags and ``.grad`` untouched. Parameters that the
    caller froze get a gradient too: they can be pruned like all others.

    Args:
        model: Any model.
        batches: Batches as the loss wants them.
        loss: Called as ``loss(model, batch)``.
        clips: Examples per micro-batch: few, because the squared mean of many is not the mean of
            squares that the Fisher information asks for.

    Raises:
        TrainingError: If the loss is not finite or has no gradient.
    """
    for part, where in micro_batches(batches, loss, clips):
        yield gradient_of(model, part, loss, f"{where} while measuring importance")


def writers(graph: Graph) -> dict[str, tuple[Weight, int]]:
    """The parameters that write units, by name, with the dimension that they write them along.

    A weight applied as a convolution or matrix product says so itself; any other (bias, norm scale
    or shift, layer scale) acts entry by entry, on whatever dimension has owners.
    """
    applied = {site.weight for site in graph.sites}
    found: dict[str, tuple[Weight, int]] = {}
    for weight in graph.weights.values():
        dim = weight.out_dim
        if dim is None and weight.name not in applied:
            dim = next((i for i, d in enumerate(weight.dims) if not d.fixed), None)
        if weight.trainable and dim is not None and not weight.dims[dim].fixed:
            found[weight.name] = weight, dim
    return found


def per_unit(graph: Graph, rows: Mapping[str, Tensor | NDArray[np.float64]]) -> Scores:
    """Sum of what every unit has in the rows of the parameters that write it.

    Args:
        graph: The network as coupled axes.
        rows: By name of a parameter one number for each of its rows, shape (rows,), along the
            dimension that `writers` names. Parameters that are missing add nothing. A row that
            several units own (a channel of attention belongs to a head and to a place in it) counts
            for each.

    Returns:
        Scores of shape (graph.units,).

    Raises:
        ValueError: If a parameter writes no units, or has another number of rows.
    """
    scores, writing = np.zeros(graph.units), writers(graph)
    for name, given in rows.items():
        if name not in writing:
            raise ValueError(
                f"per_unit: {name!r} writes no units that can go: give rows of what "
                "importance.writers(graph) names"
            )
        dim = writing[name][0].dims[writing[name][1]]
        values = torch.as_tensor(given).detach().double().cpu().numpy()
        if values.shape != (dim.size,):
            raise ValueError(
                f"per_unit: {name!r} needs one number for each of its rows, shape "
                f"({dim.size},), not {values.shape}: sum over its other dimensions"
            )
        for owner in dim.owners:
            owned = owner >= 0
            scores += np.bincount(owner[owned], weights=values[owned], minlength=len(scores))
    return scores


def normalised(graph: Graph, scores: Scores, by: Size = np.mean) -> Scores:
    """Divide the scores of every axis by one number of theirs: their mean, unless said.

    Args:
        graph: The network as coupled axes.
        scores: One for each unit, shape (graph.units,).
        by: A function of the scores of one axis, such as `numpy.mean`, `numpy.max`, `numpy.median`
            or `numpy.linalg.norm`. An axis of zeros says nothing of its units: each gets 1.

    Returns:
        New scores of the same shape.

    Raises:
        ValueError: If a score, or what `by` gives of other scores than zeros, is not fit for it.
    """
    found = _checked(graph, np.array(scores, dtype=np.float64))
    for axis in graph.axes:
        part = found[axis.units]
        found[axis.units] = part / _size(part, axis.name, by) if part.any() else 1.0
    return found


def _size(part: Scores, axis: str, by: Size) -> float:
    """What the scores of one axis, not all zero, are divided by."""
    try:
        size, more = float(by(part)), ""
    except (TypeError, ValueError) as error:
        size, more = math.nan, f" ({line(error)})"
    if 0 < size < math.inf:
        return size
    raise ValueError(
        f"normalised(by={brief(by)}) gives {size:g}{more} of the scores of {axis!r}, and they are "
        "divided by it: it must give one finite number above zero, as numpy.mean or numpy.max does"
    )


def squared(gradients: Gradients, names: Container[str]) -> tuple[dict[str, Tensor], int]:
    """Sums of squared gradients of the parameters `names`, entry by entry, in float64.

    The Fisher diagonal times the number of micro-batches, which is returned beside them.
    """
    sums, count = dict[str, Tensor](), 0
    for count, gradient in enumerate(gradients, start=1):  # noqa: B007 - needed after
        for name in filter(names.__contains__, gradient):
            square = gradient[name].detach().double().square()
            sums[name] = sums[name] + square if name in sums else square
    return sums, count


def _total(graph: Graph, tensors: Tensors, entrywise: Callable[[Tensor], Tensor]) -> Scores:
    """Sum of ``entrywise(w)`` over the weights that write each unit."""
    rows = {
        name: _reduce(entrywise(_tensor(weight, tensors).detach().double()), dim)
        for name, (weight, dim) in writers(graph).items()
    }
    return per_unit(graph, rows)


def _saliency(
    graph: Graph, tensors: Tensors, grads: Gradients, entrywise: Callable[[Tensor], Tensor]
) -> Scores:
    """Mean over micro-batches of ``entrywise(sum of w * g)`` per unit and weight, summed."""
    writing = writers(graph).values()
    sums, count = dict[tuple[str, int], Tensor](), 0
    for count, gradient in enumerate(grads, start=1):  # noqa: B007 - the number is needed after
        for weight, dim in writing:
            if weight.name in gradient:
                product = _tensor(weight, tensors).detach() * gradient[weight.name].detach()
                rows = _reduce(product.double(), dim)
                for place, owner in enumerate(weight.dims[dim].owners):
                    owned = torch.from_numpy(owner >= 0).to(product.device)
                    change = entrywise(by_owner(rows[owned], owner[owner >= 0]))
                    sums[weight.name, place] = sums.get((weight.name, place), 0) + change
    if count == 0:
        raise ValueError(
            "this importance is measured on data and got no gradients: pass data, or use "
            "compressor.importance.frobenius, which needs none"
        )
    scores = np.zeros(graph.units)
    for weight, dim in writing:
        for place, owner in enumerate(weight.dims[dim].owners):
            if (weight.name, place) in sums:
                found = sums[weight.name, place].cpu().numpy() / count
                scores[np.unique(owner[owner >= 0])] += found
    return scores


def _tensor(weight: Weight, tensors: Tensors) -> Tensor:
    shape = tuple(d.size for d in weight.dims)
    if weight.name not in tensors:
        raise ValueError(f"no tensor for weight {weight.name!r} of shape {shape}: pass all weights")
    tensor = tensors[weight.name]
    if tuple(tensor.shape) != shape:
        raise ValueError(
            f"tensor {weight.name!r} has shape {tuple(tensor.shape)} where the graph has {shape}: "
            "trace the model again after changing it"
        )
    return tensor


def _reduce(values: Tensor, dim: int) -> Tensor:
    """Sum over every dimension but `dim`."""
    others = [i for i in range(values.ndim) if i != dim]
    return values.sum(others) if others else values


def by_owner(rows: Tensor, owner: NDArray[np.int64]) -> Tensor:
    """Sums of the rows that have one owner, by owner in ascending order."""
    units, place = np.unique(owner, return_inverse=True)
    index = torch.from_numpy(place.reshape(-1)).to(rows.device)
    return rows.new_zeros(len(units), *rows.shape[1:]).index_add_(0, index, rows)


def _finish(graph: Graph, scores: Scores, *, normalise: bool) -> Scores:
    """Check the scores, and bring each axis to mean 1 if that is asked for."""
    return normalised(graph, scores) if normalise else _checked(graph, scores)


def _checked(graph: Graph, scores: Scores) -> Scores:
    """The scores, if there is a finite one for every unit."""
    if scores.shape != (graph.units,):
        raise ValueError(f"scores are {one_each(graph.units, str(scores.shape))}")
    for axis in graph.axes:
        if lost := int((~np.isfinite(scores[axis.units])).sum()):
            raise ValueError(
                f"the importance of {lost} of {axis.size} units of "
                f"{axis.name!r} is not finite: the weights or gradients hold NaN or infinity"
            )
    return scores
