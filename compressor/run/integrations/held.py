"""The place of a session's network inside of a larger module, and packages that may be missing."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from compressor.run.own_loop import OwnLoop
from compressor.wording import brief


def package(name: str, extra: str) -> Any:
    """A package that not everybody has.

    Raises:
        ImportError: If it is missing; says which extra brings it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} cannot be imported ({error}): pip install 'compressor-nn[{extra}]'"
        ) from error


class Held:
    """A session's network as a submodule of something that is trained.

    Attributes:
        session: The session, which has a schedule.
        name: Name of the submodule; empty where the whole module is the session's model.
    """

    def __init__(self, session: OwnLoop, name: str) -> None:
        """Nothing is looked at yet.

        Raises:
            ValueError: If the session is none, or has no schedule or nothing to train.
        """
        if not isinstance(session, OwnLoop) or session.lesson is None:
            what = "is over" if isinstance(session, OwnLoop) else f"is {brief(session)}"
            raise ValueError(
                f"the callback drives a session through the epochs of its schedule, and this one "
                f"{what}: pass Session(..., schedule=[Prune(), Recalibrate(), FineTune(epochs=30)])"
            )
        self.session, self.name = session, name

    def put(self, module: nn.Module) -> None:
        """Put the session's model, as it is now, where the module has its network.

        Raises:
            ValueError: If there is no such submodule, or the module is to be the model itself and
                is another one.
        """
        model = self.session.model
        if not self.name:
            if module is not model:
                raise ValueError(
                    f"the {type(module).__name__} that is trained is not session.model, the copy "
                    "that shrinks: train session.model, or hold it in a module and pass the name "
                    "of its place, such as SessionCallback(session, 'network')"
                )
            return
        owner, _, leaf = self.name.rpartition(".")
        try:
            found = module.get_submodule(self.name)
        except AttributeError as error:
            raise ValueError(
                f"the {type(module).__name__} that is trained has no submodule {self.name!r}: pass "
                "the name under which it holds its network"
            ) from error
        if found is not model:
            setattr(module.get_submodule(owner), leaf, model)

    def check_device(self) -> None:
        """Check that the model is where the session measures it.

        Raises:
            ValueError: If the trainer has moved it.
        """
        here, there = (
            next(self.session.model.parameters()).device,
            self.session.example[0].device,
        )
        if here != there:
            raise ValueError(
                f"the trainer has moved the model to {here}, and the session measures on {there}: "
                "make the session of a model and data that are on the trainer's device"
            )
