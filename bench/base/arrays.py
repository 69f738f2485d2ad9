"""What arrays are called, and the label of a volume that has none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
StrArray = npt.NDArray[np.str_]
UNLABELLED = -1  # as in scikit-learn
TiltRange = tuple[float, float]  # lowest and highest tilt in degrees; the tilt axis is y, tilts go from x towards z
