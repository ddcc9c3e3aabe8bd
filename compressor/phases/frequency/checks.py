"""Requirements on a loss and its data for rows to be removed: said before it costs a training."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from compressor.inputs.batches import Batches
from compressor.inputs.checks import check_loss, first_batch

if TYPE_CHECKING:
    from compressor.run.compression import Compression


@contextmanager
def of_one_height(session: Compression, dim: int) -> Generator[None]:
    """While inside, a session's model refuses inputs with more or fewer rows than its example.

    Rows are removed by number, and a factor stands at every one of them; in a longer input the
    others would be passed over without a word.
    """
    check = partial(_check_height, count=session.example[0].shape[dim], dim=dim)
    handle = session.model.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def check_rows(session: Compression, smaller: nn.Module, dim: int) -> None:
    """Find out with the first batch of a session whether the loss works with fewer rows.

    Raises:
        ValueError: If the inputs have another number of rows than the example, or the loss fails.
    """
    data = session.data
    if data is None:
        return
    batch = first_batch(data if isinstance(data, Batches) else Batches(data))
    with of_one_height(session, dim):
        check_loss(session.model, batch, session.loss)
    try:
        check_loss(smaller, batch, session.loss)
    except ValueError as error:
        name = type(session.given).__name__
        raise ValueError(
            f"FrequencyMask leaves a Rows, which picks rows of the input and calls the {name} with "
            f"them, and {error}. Call the model itself, model(inputs), in the loss: what calls "
            "its layers one by one passes the choice of rows by"
        ) from error


def _check_height(
    module: nn.Module,  # noqa: ARG001 - a hook
    args: tuple[Any, ...],
    named: dict[str, Any],
    *,
    count: int,
    dim: int,
) -> None:
    given = next((x for x in (*args, *named.values()) if isinstance(x, Tensor)), None)
    if given is not None and given.ndim > dim and given.shape[dim] != count:
        raise ValueError(
            f"FrequencyMask removes rows by their numbers, of which the example has {count}, and "
            f"the data yield an input {tuple(given.shape)} with {given.shape[dim]} in dimension "
            f"{dim}: give all inputs {count} rows, or pass an example of the data's size"
        )
