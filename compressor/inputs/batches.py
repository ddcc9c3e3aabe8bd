"""Batches of data: (inputs, targets) pairs of tensors, moved to their device and cut."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.utils.data import DataLoader

from compressor.inputs.labels import check_labels
from compressor.inputs.sources import check_source

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = Any
"""One item of a loader: for the default loss a pair (inputs, targets), where inputs is a tensor
(batch, ...) or a tuple of them; for another loss whatever it takes."""


class Batches:
    """A loader that can be read again and again, its batches on the device that Fabric chose.

    Attributes:
        source: The loader as given.
        name: What it is called in errors.
        classes: Number of classes that labels are held to, batch by batch; None for no check, as
            under a loss of the user's own.
    """

    def __init__(
        self, source: Iterable[Batch], fabric: Fabric | None = None, *, name: str = "data"
    ) -> None:
        """With several processes each reads its share.

        Fabric divides a DataLoader. Another loader is asked for ``share(rank, world)``, the loader
        of one of so many processes, of as many batches in each; one that has no such method is read
        whole by all of them, which is right where its batches differ from process to process.

        Raises:
            ValueError: If the source cannot be read, or only once.
        """
        self.name = name
        self.classes: int | None = None
        check_source(source, name)
        self.source = self._loader = source
        self._fabric = fabric
        if fabric is not None and isinstance(source, DataLoader):
            self._loader = cast("Iterable[Batch]", fabric.setup_dataloaders(source))
        elif fabric is not None and fabric.world_size > 1 and hasattr(source, "share"):
            share = cast("Any", source).share(fabric.global_rank, fabric.world_size)
            self._loader = cast("Iterable[Batch]", share)

    @property
    def whole(self) -> Batches:
        """All of it in every process: what is measured there, and so decided, is the same."""
        if self._loader is self.source:
            return self
        whole = Batches(self.source, name=self.name)
        whole.classes, whole._fabric = self.classes, self._fabric
        return whole

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch; a TrainingError if a label is not one of the classes."""
        for number, batch in enumerate(self._loader, start=1):
            if self.classes is not None:
                check_labels(batch[1], self.classes, f"batch {number} of {self.name}")
            yield batch if self._fabric is None else self._fabric.to_device(batch)

    @property
    def length(self) -> int | None:
        """Number of batches; None where the loader does not know."""
        try:
            return len(cast("Any", self._loader))
        except TypeError:
            return None

    @property
    def single(self) -> int | None:
        """Number of the first batch of a single example; None if there is none or it is unknown."""
        source = self.source
        if isinstance(source, DataLoader):
            try:
                total, size = len(cast("Any", source.sampler)), source.batch_size or 0
            except TypeError:
                return None  # a stream
            last = size > 1 and total % size == 1 and not source.drop_last
            return 0 if size == 1 else total // size if last else None
        batches = cast("list[Batch]", source) if isinstance(source, (list, tuple)) else []
        return next((n for n, batch in enumerate(batches) if examples(batch) == 1), None)


def call(model: nn.Module, inputs: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Any:
    """The model's output for one tensor or for several positional ones."""
    return model(inputs) if isinstance(inputs, Tensor) else model(*inputs)


def tensors(batch: Batch) -> Iterator[Tensor]:
    """Every tensor of a batch, depth first."""
    if isinstance(batch, Tensor):
        yield batch
    else:
        yield from chain.from_iterable(map(tensors, _items(batch).values()))


def examples(batch: Batch) -> int | None:
    """Examples in a batch, by its first tensor; None where there is no such tensor."""
    return next((tensor.shape[0] for tensor in tensors(batch) if tensor.ndim), None)


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into parts of at most `size` examples along the first dimension.

    Every tensor whose first dimension is the batch's is cut; everything else goes to every part.
    The parts and what lies in them are of the batch's own types.

    Raises:
        ValueError: If no tensor is found in the batch, or it cannot be made anew.
    """
    length = examples(batch)
    if length is None:
        raise ValueError(
            f"a batch is a {type(batch).__name__}, in which no tensor with examples along its "
            f"first dimension is found, so that it cannot be cut into parts of {size}: {_KNOWN}"
        )
    for start in range(0, length, size):
        yield _part(batch, slice(start, start + size), length)


def first_examples(batches: Iterable[Batch], most: int) -> Iterator[Batch]:
    """The first batches up to so many examples, the last of them cut; whole where it cannot be."""
    left = most
    for batch in batches:
        length = examples(batch)
        if length is not None and length > left:
            try:
                part = next(split(batch, left))
            except ValueError:  # of a class that is not made anew from its parts
                part = batch
            yield part
            return
        yield batch
        left -= length or 1
        if left <= 0:
            return


_KNOWN = (
    "give batches that are tuples, lists, mappings or dataclasses of tensors, or choose widths "
    "without data, Prune(importance=frobenius)"
)


def _items(batch: Batch) -> dict[Any, Batch]:
    """Items of a container, by key, place or field; nothing for anything else."""
    if isinstance(batch, Mapping):
        return dict(cast("Mapping[Any, Batch]", batch))
    if isinstance(batch, (tuple, list)):
        return dict(enumerate(cast("list[Batch]", batch)))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {}


def _part(batch: Batch, where: slice, length: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[where] if batch.ndim and batch.shape[0] == length else batch
    items = _items(batch)
    parts = {key: _part(value, where, length) for key, value in items.items()}
    if all(parts[key] is value for key, value in items.items()):
        return batch
    try:
        made = _like(batch, parts)
    except Exception as error:
        raise _uncut(batch, str(error)) from error
    found = _items(made)
    if type(made) is not type(batch) or any(found.get(k) is not v for k, v in parts.items()):
        raise _uncut(batch, "what its class makes of its parts is something else")
    return made


def _like(batch: Batch, parts: dict[Any, Batch]) -> Batch:
    kind = cast("Any", type(batch))
    if isinstance(batch, Mapping):
        return kind(parts)
    if isinstance(batch, (tuple, list)):
        return (kind._make if hasattr(kind, "_make") else kind)(list(parts.values()))
    made = copy.copy(batch)
    for name, value in parts.items():
        object.__setattr__(made, name, value)  # a frozen one can be filled in no other way
    return made


def _uncut(batch: Batch, why: str) -> ValueError:
    kind = type(batch).__name__
    return ValueError(f"a batch holds a {kind}, which cannot be cut into parts: {why}; {_KNOWN}")
