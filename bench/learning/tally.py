"""What a trial's trainings took, and their learning curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bench.base.json_files import NUMBER, TEXT, WHOLE, Schema, listing, record


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


_POINT: Schema = {"type": "array", "prefixItems": [WHOLE, NUMBER, NUMBER, TEXT], "minItems": 4, "maxItems": 4}
TALLY = record(seconds=NUMBER, steps=WHOLE, volumes_seen=WHOLE, history=listing(_POINT), runs=WHOLE)  # as JSON
