"""The penalty of ADMM as a number, for a solver that takes its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.phases.admm import State, Tensors


def penalty(state: State, v: Tensors) -> Tensor:
    """``rho / 2 * ||v - z + u||_H^2``: the term to add to the loss, with a gradient in v.

    Args:
        state: Of the last update.
        v: What is trained, by the names of `State.z`.
    """
    terms = [
        (state.metric[name] * (v[name] - z + state.u[name]).square()).sum()
        for name, z in state.z.items()
    ]
    return 0.5 * state.rho * torch.stack(terms).sum()
