"""`parameter`: a hyperparameter of a method or a parameter of a data set, declared with its help text."""

from __future__ import annotations

from dataclasses import field
from typing import TypeVar

MOVES_NO_NUMBER = True

T = TypeVar("T")


def parameter(default: T, help: str) -> T:
    """A field of a frozen dataclass: `alpha: float = parameter(1.0, "weight of the reconstruction loss")`."""
    return field(default=default, metadata={"help": help})
