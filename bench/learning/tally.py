"""What a trial's trainings took, and their learning curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class ValidationPoint(NamedTuple):
    """One point of a learning curve."""

    step: int  # optimiser steps of the trial up to here
    training_loss: float  # mean since the point before
    validation_loss: float
    stage: str  # which of the trial's trainings


@dataclass
class Tally:
    """What the trainings of a trial took so far, and how they went."""

    seconds: float = 0.0
    steps: int = 0
    volumes_seen: int = 0
    history: list[ValidationPoint] = field(default_factory=list)
    runs: int = 0  # trainings begun
