"""A quasi-uniform grid on the rotations."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from bench.base.errors import BenchError

_PSI = 1.533751168755204288118041  # ψ⁴ = ψ + 4


def rotation_grid(step_in_degrees: float) -> Rotation:
    """Rotations about a step apart: a super-Fibonacci spiral on the unit quaternions (Alexa 2022, CVPR).

    Their number is the volume of SO(3), 8π², in cubes of the step. Raises BenchError for a step outside (0, 180].
    """
    if not 0 < step_in_degrees <= 180:
        raise BenchError(f"step {step_in_degrees:g}°: must be above 0 and at most 180; 15 is common")
    n = round(8 * math.pi**2 / math.radians(step_in_degrees) ** 3)
    s = np.arange(n) + 0.5
    small, large = np.sqrt(s / n), np.sqrt(1 - s / n)
    alpha, beta = 2 * math.pi * s / math.sqrt(2), 2 * math.pi * s / _PSI
    parts = (small * np.sin(alpha), small * np.cos(alpha), large * np.sin(beta), large * np.cos(beta))
    return Rotation.from_quat(np.stack(parts, 1))
