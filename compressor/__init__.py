"""Bring convolutional networks under hard budgets of parameters, MACs, bytes and RAM."""

from __future__ import annotations

from compressor import importance, rules
from compressor.allocation import Allocation, allocate
from compressor.budget import Budget, Cost
from compressor.counting.measuring import measure
from compressor.errors import (
    BudgetError,
    CountError,
    ResumeError,
    TraceError,
    TrainingError,
    VerificationError,
)
from compressor.fitting import fit, sweep
from compressor.graph.graph import Graph
from compressor.graph.signature import Operation
from compressor.graph.structure import Structure
from compressor.inputs.losses import Criterion, Distill
from compressor.inputs.moved import answer_to_old_names
from compressor.inputs.unlabelled import Unlabelled
from compressor.phases import FineTune, Prune, Recalibrate, Repair, Train
from compressor.phases.filters import FilterPruning
from compressor.phases.frequency.phase import FrequencyMask
from compressor.phases.half import Half
from compressor.phases.int8 import Int8
from compressor.phases.joint import Joint
from compressor.phases.unstructured import Unstructured
from compressor.reports.arena import working_memory
from compressor.reports.comparing import Comparison, compare
from compressor.reports.report import Report
from compressor.reports.result import Result, load
from compressor.reports.sweeps.sweep import Sweep
from compressor.run.history import Rate
from compressor.run.loop_rate import rate_of
from compressor.run.onnx_size import Onnx
from compressor.run.tflite_size import Tflite
from compressor.session import Session
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "Budget",
    "BudgetError",
    "Comparison",
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
    "Onnx",
    "Operation",
    "Prune",
    "Rate",
    "Recalibrate",
    "Repair",
    "Report",
    "Result",
    "ResumeError",
    "Session",
    "Structure",
    "Sweep",
    "Tflite",
    "TraceError",
    "Train",
    "TrainingError",
    "Unlabelled",
    "Unstructured",
    "VerificationError",
    "allocate",
    "compare",
    "fit",
    "importance",
    "load",
    "measure",
    "rate_of",
    "rules",
    "shrink",
    "sweep",
    "trace",
    "working_memory",
]

answer_to_old_names()
