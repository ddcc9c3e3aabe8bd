"""The errors of this library. Each message says what was asked, what stopped it, what to do."""

from __future__ import annotations


class BudgetError(ValueError):
    """Raised when a budget is malformed, or when no structure of a network can meet it."""


class TraceError(ValueError):
    """Raised when a model cannot be written as a graph of coupled axes."""


class CountError(ValueError):
    """Raised when a model's parameters or multiply-accumulates cannot be counted exactly."""


class VerificationError(RuntimeError):
    """Raised when a compressed model differs from what was planned, in its outputs or its cost."""


class ResumeError(ValueError):
    """Raised when a checkpoint belongs to another model, budget or schedule."""


class TrainingError(RuntimeError):
    """Raised when training cannot go on, for instance because the loss is not finite."""
