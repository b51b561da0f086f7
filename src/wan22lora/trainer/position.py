"""Where a training is. Standard library only: rehearsals count in the same way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """How far a training has come."""

    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """Whole epochs done, the work at their ends included."""
    batch: int = 0
    """Batches of the current epoch done."""
    batches: int = 0
    """Batches of all epochs done."""
