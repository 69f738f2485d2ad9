"""Lengths in Å as a person reads them, None where not known; names of columns with units."""

from __future__ import annotations

MOVES_NO_NUMBER = True
ANGLES = ["rot_in_degrees", "tilt_in_degrees", "psi_in_degrees"]  # a pose as RELION has it, as columns of a table


def in_angstroms(size: float | None) -> str:
    """`13.25` → "13.25 Å"; "unknown size"."""
    return "unknown size" if size is None else f"{size:.4g} Å"
