"""Moving averages whose memory is a share of the training, however many steps that has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATISTICS = 1 / 20  # of the training: the memory of averages of predictions


def rate(step: int, progress: float, memory: float) -> float:
    """How far a moving average goes towards what is new, from 0 to 1; its memory is shorter at the beginning.

    step: of the training, from 1; progress: from 0 to 1; memory: as a share of the training, 0 for none. In a training
    of T = step / progress steps: max(1 / (step + 1), 1 / (memory · T)).
    """
    return 1.0 if memory == 0 else min(1.0, max(1 / (step + 1), progress / (memory * step)))


class MovingAverage(nn.Module):
    """A moving average of what a training sees, kept with the weights of its network."""

    value: Tensor
    steps: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", start)
        self.register_buffer("steps", torch.tensor(0))

    def update(self, new: Tensor, progress: float) -> None:
        """Move towards `new`, of the shape of the start, at this progress of the training."""
        self.steps += 1
        self.value.lerp_(new, rate(int(self.steps), progress, STATISTICS))
