"""A callback by which a Lightning `Trainer` drives a session.

session = Session(module.network, budget=budget, data=loader, schedule=[...])
callback = SessionCallback(session, "network")
trainer = lightning.Trainer(max_epochs=session.passes, callbacks=[callback])
trainer.fit(module, loader)
result = session.finish()
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from compressor.run.integrations.held import Held, package
from compressor.run.own_loop import OwnLoop

_pytorch = package("lightning.pytorch", "lightning")


class SessionCallback(_pytorch.Callback):
    """Lets a session follow a training by Lightning: its steps, its epochs, its optimisers.

    An epoch of the trainer is one of the schedule; a step is one of the optimisers, so that batches
    may be accumulated. The rates, schedulers, precision and logging are Lightning's. Where the
    schedule is over the trainer is told to stop. One process; a run that was killed goes on by
    `Session(checkpoint=...)`, not by Lightning's checkpoints, whose tensors have the shapes of the
    moment.

    Args:
        session: A session with a schedule and without optimisers: those of the module are followed.
        name: Name under which the module holds its network: `session.model` is put there.
        monitor: Metric of the trainer that is logged as accuracy, higher being better; without, the
            session's own `val` decides.
    """

    def __init__(self, session: OwnLoop, name: str = "model", monitor: str | None = None) -> None:
        super().__init__()
        self._held, self._monitor = Held(session, name), monitor
        self._steps = 0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Put the session's model into the module, before optimisers are made of it."""
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise ValueError(
                f"SessionCallback follows one process and the trainer has {trainer.world_size}: "
                "pass devices=1, or train several processes with compressor.fit(fabric=...)"
            )
        self._held.put(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Have the optimisers follow."""
        del pl_module
        self._held.check_device()
        for optimizer in trainer.optimizers:
            self._held.session.follow(optimizer)
        self._held.session.take_up()
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the session of a step, if one was made."""
        del pl_module, batch, batch_idx
        if trainer.global_step == self._steps:
            return  # batches are accumulated
        self._steps = trainer.global_step
        loss: Any = outputs["loss"] if isinstance(outputs, dict) and "loss" in outputs else outputs
        self._held.session.step(loss if isinstance(loss, Tensor) else None)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Tell the session that an epoch is over; it may remove channels, or end the training."""
        session = self._held.session
        found = None if self._monitor is None else trainer.callback_metrics.get(self._monitor)
        session.end_epoch(None if found is None else float(found))
        self._held.put(pl_module)
        if session.lesson is None:
            trainer.should_stop = True
