"""Alternating direction method of multipliers (ADMM), whatever it is that is constrained.

To minimise a loss f(v) subject to v in a set Z, a copy z of v is held in Z and the two are pulled
together (S. Boyd et al., "Distributed Optimization and Statistical Learning via the Alternating
Direction Method of Multipliers", 2011, section 3.1.1, scaled form; the DCASE 2022 report of the
FAU, sections 2.2 and 2.3, for masks and filters of networks):

    v  <- some steps of an optimiser on  f(v) + rho / 2 * ||v - z + u||_H^2
    z  <- nearest point of Z to v + u, in the norm ||x||_H^2 = sum of H * x^2
    u  <- u + dual_step * (v - z)

All three are mappings from name to tensor; `project`, a function that is passed in, knows the set.
For a network nothing is proven to converge, so the pieces here are built around what goes wrong:

| what goes wrong | what is done | where |
|---|---|---|
| a mask of ones ties, and the first support is arbitrary | ties go by saliency | `cardinality` |
| `abs(v)` is no importance | H, the Fisher diagonal, in penalty and projection | `State.metric` |
| a norm behind v makes f flat in its size | v stands after the norm | `phases.frequency.gates` |
| rho too small to be felt | rho = pull / (lr * steps between updates) | `tied` |
| u winds up while v cannot move | u is clipped to a few times v | `clipped` |
| rho changes and u does not | u <- u * rho_old / rho_new | `rescaled` |
| a fixed threshold meets no budget | `project` meets it at every update | `Projection` |
| when to stop | small relative residual and no flips, or the end | `Admm.stops` |
| the end is worse than the start | the best feasible point is kept, the start among them | `Best` |
"""

from __future__ import annotations

from compressor.phases.admm.projections import Projection as Projection
from compressor.phases.admm.projections import Tensors as Tensors
from compressor.phases.admm.projections import cardinality as cardinality
from compressor.phases.admm.projections import largest as largest
from compressor.phases.admm.pull import balanced as balanced
from compressor.phases.admm.pull import clipped as clipped
from compressor.phases.admm.pull import implicit as implicit
from compressor.phases.admm.pull import rescaled as rescaled
from compressor.phases.admm.pull import tied as tied
from compressor.phases.admm.solver import Admm as Admm
from compressor.phases.admm.solver import start as start
from compressor.phases.admm.solver import update as update
from compressor.phases.admm.state import Best as Best
from compressor.phases.admm.state import State as State
from compressor.phases.admm.state import Update as Update
from compressor.phases.admm.state import flips as flips
