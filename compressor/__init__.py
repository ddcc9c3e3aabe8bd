"""Bring convolutional networks under hard budgets of parameters, MACs and bytes."""

from __future__ import annotations

from compressor import importance, rules
from compressor.allocation import Allocation, allocate
from compressor.budget import Budget, Cost
from compressor.errors import (
    BudgetError,
    CountError,
    ResumeError,
    TraceError,
    TrainingError,
    VerificationError,
)
from compressor.filters import FilterPruning
from compressor.fit import fit
from compressor.frequency import FrequencyMask
from compressor.graph import Graph
from compressor.half import Half
from compressor.joint import Joint
from compressor.losses import Criterion, Distill
from compressor.measure import measure
from compressor.phases import FineTune, Prune, Recalibrate, Train
from compressor.quantization.phase import Int8
from compressor.report import Report
from compressor.result import Result, load
from compressor.session import Session
from compressor.structure import Structure
from compressor.surgery import shrink
from compressor.trace import trace
from compressor.unstructured import Unstructured

__all__ = [
    "Allocation",
    "Budget",
    "BudgetError",
    "Cost",
    "CountError",
    "Criterion",
    "Distill",
    "FilterPruning",
    "FineTune",
    "FrequencyMask",
    "Graph",
    "Half",
    "Int8",
    "Joint",
    "Prune",
    "Recalibrate",
    "Report",
    "Result",
    "ResumeError",
    "Session",
    "Structure",
    "TraceError",
    "Train",
    "TrainingError",
    "Unstructured",
    "VerificationError",
    "allocate",
    "fit",
    "importance",
    "load",
    "measure",
    "rules",
    "shrink",
    "trace",
]
