"""A callback by which the `Trainer` of Hugging Face drives a session.

session = Session(module.network, budget=budget, data=loader, schedule=[...])
callback = SessionCallback(session, "network")
arguments = TrainingArguments(num_train_epochs=session.passes, ...)
Trainer(module, arguments, train_dataset=data, callbacks=[callback]).train()
result = session.finish()
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from compressor.run.integrations.held import Held, package
from compressor.run.own_loop import OwnLoop

_transformers = package("transformers", "transformers")
_accelerate = package("accelerate.optimizer", "transformers")


class SessionCallback(_transformers.TrainerCallback):
    """Lets a session follow a training by Hugging Face: its steps, its epochs, its optimiser.

    An epoch of the trainer is one of the schedule; a step is one of the optimiser, so that batches
    may be accumulated. Rates, schedulers, precision and logging are the trainer's. Where the
    schedule is over the trainer is told to stop. One process; a run that was killed goes on by
    `Session(checkpoint=...)`, not by the trainer's checkpoints, whose tensors have the shapes of
    the moment.

    Args:
        session: A session with a schedule and without optimisers: that of the trainer is followed.
        name: Name under which the trainer's model holds its network: `session.model` is put there.
            Empty where `session.model` itself is trained, which int8 training does not allow.
    """

    def __init__(self, session: OwnLoop, name: str = "model") -> None:
        super().__init__()
        self._held = Held(session, name)
        self._losses: list[Tensor] = []
        self._hook: Any = None

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Put the session's model into the trainer's, before an optimiser is made of it."""
        del state, control
        if args.world_size > 1:
            raise ValueError(
                f"SessionCallback follows one process and the trainer has {args.world_size}: train "
                "several processes with compressor.fit(fabric=...)"
            )
        self._held.put(model)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Have the optimiser follow."""
        del args, state, control
        model, optimizer = given["model"], given["optimizer"]
        self._held.put(model)
        self._held.check_device()
        wrapped = isinstance(optimizer, _accelerate.AcceleratedOptimizer)
        self._held.session.follow(optimizer.optimizer if wrapped else optimizer)
        self._held.session.take_up()
        self._hook = model.register_forward_hook(self._heard)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the session of a step."""
        del args, state, control
        found = [float(loss) for loss in self._losses]
        self._losses.clear()
        self._held.session.step(sum(found) / len(found) if found else math.nan)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:
        """Tell the session that an epoch is over; it may remove channels, or end the training."""
        del args, state
        self._held.session.end_epoch()
        self._held.put(model)
        if self._held.session.lesson is None:
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Listen no more."""
        del args, state, control
        if self._hook is not None:
            self._hook.remove()

    def _heard(self, module: nn.Module, _: Any, output: Any) -> None:
        """Remember the loss that the model gives beside its logits, as these models do."""
        loss: Any = output.get("loss") if isinstance(output, dict) else None
        if module.training and isinstance(loss, Tensor):
            self._losses.append(loss.detach())
