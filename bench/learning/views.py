"""Views of a volume that leave its missing wedge where it is."""

from __future__ import annotations

import torch
from torch import Tensor

# Turns by 180° about x, y and z map a single-axis missing wedge onto itself (it is symmetric in the sign of each
# frequency) and keep the handedness; 90° turns and mirrors do not.
_FLIPPED_AXES: tuple[tuple[int, ...], ...] = ((), (-3, -2), (-3, -1), (-2, -1))


def wedge_preserving_views(volumes: Tensor, generator: torch.Generator) -> Tensor:
    """Turn each volume by 180° about none or one of its axes, drawn at random.

    volumes: (b, 1, d, h, w); returns the same shape, a new tensor.
    """
    draws = torch.randint(len(_FLIPPED_AXES), (len(volumes),), generator=generator)
    views = volumes.clone()
    for turn, axes in enumerate(_FLIPPED_AXES):
        if axes:
            chosen = (draws == turn).nonzero().flatten().to(volumes.device)
            views[chosen] = volumes[chosen].flip(axes)
    return views
