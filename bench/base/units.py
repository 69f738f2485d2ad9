"""Lengths in Å as a person gives and reads them, None where not given or not known; names of columns with units."""

from __future__ import annotations

import math

from bench.base.errors import BenchError

MOVES_NO_NUMBER = True
ANGLES = ["rot_in_degrees", "tilt_in_degrees", "psi_in_degrees"]  # a pose as RELION has it, as columns of a table


def check_positive(option: str, value: float | None) -> None:
    """Raise BenchError for an option that was given, but is no number above 0."""
    if value is not None and not 0 < value < math.inf:
        raise BenchError(f"--{option.replace('_', '-')} {value:g}: must be above 0; leave it out for the default")


def in_angstroms(size: float | None) -> str:
    """`13.25` → "13.25 Å"; "unknown size"."""
    return "unknown size" if size is None else f"{size:.4g} Å"
