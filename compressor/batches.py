"""Batches of data: (inputs, targets) pairs of tensors, moved to their device and cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.utils.data import DataLoader

from compressor.labels import check_labels

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = Any
"""What a loader yields: for the default loss a pair (inputs, targets), where inputs is a tensor
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
        """With several processes a DataLoader is made to give each its share.

        Raises:
            ValueError: If the source cannot be read, or only once.
        """
        self.name = name
        self.classes: int | None = None
        if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
            raise ValueError(
                f"{name} is a {type(source).__name__} and yields no batches: pass a DataLoader or "
                "a list of batches"
            )
        if isinstance(source, Iterator):
            raise ValueError(
                f"{name} is a {type(source).__name__}, which can be read only once, and training "
                "reads it every epoch: pass a DataLoader or a list of batches"
            )
        self.source = self._loader = source
        self._fabric = fabric
        if fabric is not None and isinstance(source, DataLoader):
            self._loader = cast("Iterable[Batch]", fabric.setup_dataloaders(source))

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch.

        Raises:
            TrainingError: If a label is not one of the classes.
        """
        for number, batch in enumerate(self._loader, start=1):
            if self.classes is not None:
                check_labels(batch[1], self.classes, f"batch {number} of {self.name}")
            yield batch if self._fabric is None else self._fabric.to_device(batch)

    @property
    def length(self) -> int | None:
        """How many batches; None where the loader does not know."""
        try:
            return len(cast("Any", self._loader))
        except TypeError:
            return None


def call(model: nn.Module, inputs: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Any:
    """The model's output for one tensor or for several positional ones."""
    return model(inputs) if isinstance(inputs, Tensor) else model(*inputs)


def tensors(batch: Batch) -> Iterator[Tensor]:
    """Every tensor of a batch, depth first."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        yield from chain.from_iterable(map(tensors, cast("Mapping[str, Batch]", batch).values()))
    elif isinstance(batch, (tuple, list)):
        yield from chain.from_iterable(map(tensors, cast("list[Batch]", batch)))


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into parts of at most `size` examples along the first dimension.

    Every tensor whose first dimension is the batch's is cut; everything else goes to every part.
    """
    first = next((t for t in tensors(batch) if t.ndim), None)
    length = 0 if first is None else first.shape[0]
    for start in range(0, length, size):
        yield _part(batch, slice(start, start + size), length)


def _part(batch: Batch, where: slice, length: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[where] if batch.ndim and batch.shape[0] == length else batch
    if isinstance(batch, Mapping):
        items = cast("Mapping[str, Batch]", batch).items()
        return {key: _part(value, where, length) for key, value in items}
    if isinstance(batch, (tuple, list)):
        parts = [_part(item, where, length) for item in cast("list[Batch]", batch)]
        return tuple(parts)
    return batch
