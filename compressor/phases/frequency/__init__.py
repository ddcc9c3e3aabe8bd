"""Rows of a model's input, mel bands for one: what in the model is theirs, and doing without some.

    trace      which entries of which weights belong to which row (rules in `rules`)
    select     remove rows, and on how many of them a model runs
    gates      factors on the rows, put where a zero is what removal is; gradients of these
    masks      how it is found which rows to keep
    learning   training with such factors
    removal    all of it for the model of a session, on its way under a budget

`compressor.phases.frequency.phase.FrequencyMask` is the phase that uses them.
"""

from __future__ import annotations

from compressor.phases.frequency.masks import AdmmMask as AdmmMask
from compressor.phases.frequency.masks import Learned as Learned
from compressor.phases.frequency.masks import fisher as fisher
from compressor.phases.frequency.masks import taylor as taylor
from compressor.phases.frequency.select import Rows as Rows
from compressor.phases.frequency.select import allowed as allowed
from compressor.phases.frequency.select import select_rows as select_rows
from compressor.phases.frequency.trace import RowGraph as RowGraph
from compressor.phases.frequency.trace import trace_rows as trace_rows
