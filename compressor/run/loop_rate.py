"""The learning rate for a training loop of one's own.

rate = compressor.rate_of(model, loader, optimizer=torch.optim.AdamW)
print(rate)  # what was tried
optimizer = torch.optim.AdamW(model.parameters(), lr=rate.lr)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from compressor.inputs import randomness
from compressor.inputs.arguments import check_fabric, check_seed
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.checks import check_classifier, check_loss, first_batch
from compressor.inputs.losses import Loss, cross_entropy, loss_of
from compressor.inputs.settings import check_number, check_positive
from compressor.inputs.sources import check_source
from compressor.run.history import Rate
from compressor.run.optimizers import OptimizerFactory, adamw, check_factory, groups, is_scaled
from compressor.run.rate_range import FALLBACK, Trials, measured
from compressor.run.unfinished import check_given

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def rate_of(
    model: nn.Module,
    data: Iterable[Batch],
    *,
    optimizer: OptimizerFactory | Optimizer = adamw,
    loss: Loss | None = None,
    weight_decay: float = 1e-2,
    lr: float | None = None,
    clip: float | None = None,
    fabric: Fabric | None = None,
    seed: int = 0,
    hold: Callable[[nn.Module], None] = lambda _: None,
    start: Callable[[nn.Module], bool] = lambda _: False,
) -> Rate:
    """Find the learning rate for a network as it is now, as `FineTune` does.

    Rates are tried on copies, for 16 steps each (8 and more where an epoch has fewer than 32
    batches). The model, the optimiser and all random states stay as they
    are, and with equal arguments on a CPU the result is equal bit for bit. On a network that
    was just cut, and repaired, short trials ask for too small a rate: there take `Session.rate`,
    which begins at the weights as they were cut.

    Args:
        model: The network to train, on its device.
        data: A loader (or list) of batches; up to 20 of them are held in memory.
        optimizer: What makes one, as for `compressor.fit`; or one that is in use on the model's
            parameters, of which copies are tried, state and all, and around whose rate is looked.
        loss: As for `compressor.fit`.
        weight_decay: For an optimiser that is made; one in use has its own.
        lr: The rate of the dense training, around which is looked; by default that of an optimiser
            in use, else rates from 5e-4 to 8e-3 are the first.
        clip: Largest norm of the gradient; None for no bound.
        fabric: Precision, devices and processes, through Lightning Fabric.
        seed: Seed of all random generators meanwhile.
        hold: Called with the copy after every step, to set what has to stay zero to zero.
        start: Called with every copy before its first step, to put it where trials begin; true if
            that is where it was just cut.

    Returns:
        The rate, `Rate.lr`, with what was tried; of several parameter groups with rates of their
        own it is that of the first, and the others keep their ratio to it. Where nothing could be
        measured `Rate.why` says so.

    Raises:
        ValueError: If an argument is of the wrong kind, the data does not fit the model, or the
            optimiser is one of other parameters.
    """
    check_given(model)
    check_source(data)
    check_fabric(fabric)
    check_seed(seed)
    check_number("rate_of", weight_decay=weight_decay)
    for name, value in {"lr": lr, "clip": clip}.items():
        if value is not None:
            check_positive("rate_of", **{name: value})
    task = loss_of(loss)
    made, used = _maker(optimizer, model, weight_decay)
    scaled = isinstance(optimizer, Optimizer) or is_scaled(optimizer)

    def trials(batches: Sequence[Batch], held: Sequence[Batch], steps: int) -> Trials:
        return Trials(
            model, made, task, batches, held, steps,
            hold=hold, start=start, clip=clip, scaled=scaled, fabric=fabric,
        )  # fmt: skip

    with randomness.preserved():
        randomness.seed_everything(seed)
        batches = Batches(data, fabric)
        if task is cross_entropy:
            batches.classes = check_classifier(model, first_batch(batches))
        else:
            check_loss(model, first_batch(batches), task, differentiable=True)
        return measured(batches, trials, lr or used, type(model).__name__)


def _maker(
    optimizer: OptimizerFactory | Optimizer, model: nn.Module, weight_decay: float
) -> tuple[Callable[[nn.Module, float], Optimizer], float | None]:
    """What makes an optimiser of a copy at a rate, and the rate of the one in use, if there is."""
    if isinstance(optimizer, Optimizer):
        inner: Optimizer = getattr(optimizer, "optimizer", optimizer)  # of one that Fabric set up
        _check_own(inner, model)
        used = _first(inner)

        def copied(twin: nn.Module, lr: float) -> Optimizer:
            return _copied(inner, model, twin, lr / used)

        return copied, used
    if not callable(optimizer):
        raise ValueError(
            f"optimizer is a {type(optimizer).__name__}: pass what makes one, torch.optim.AdamW, "
            "or one that is in use"
        )
    check_factory(optimizer, model, lr=FALLBACK, weight_decay=weight_decay)

    def fresh(twin: nn.Module, lr: float) -> Optimizer:
        return optimizer(groups(twin), lr=lr, weight_decay=weight_decay)

    return fresh, None


def _check_own(optimizer: Optimizer, model: nn.Module) -> None:
    own = set(map(id, model.parameters()))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    strangers = [p for p in held if id(p) not in own]
    if strangers:
        raise ValueError(
            f"the optimiser holds {len(strangers)} parameters that are not the model's (the first "
            f"of shape {tuple(strangers[0].shape)}): pass the model that it is built on"
        )
    if not _first(optimizer) > 0:
        raise ValueError(
            f"the optimiser's rate is {_first(optimizer)}, around which nothing can be looked for: "
            "pass the class of the optimiser, and the rate of the dense training as lr"
        )


def _first(optimizer: Optimizer) -> float:
    """The rate that an optimiser's first group was made with, whatever a scheduler made of it."""
    group = optimizer.param_groups[0]
    return float(group.get("initial_lr", group["lr"]))


def _copied(optimizer: Optimizer, model: nn.Module, twin: nn.Module, factor: float) -> Optimizer:
    """A copy that works on a copy of the model, its rates so many times those it was made with."""
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    # Of an optimiser, state and groups are copied, and not the methods that schedulers replace.
    made = copy.deepcopy(optimizer, {id(old): new for old, new in pairs})
    for group in made.param_groups:
        group["lr"] = float(group.get("initial_lr", group["lr"])) * factor
    return made
