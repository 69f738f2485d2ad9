"""The order in which volumes are drawn."""

from __future__ import annotations

import torch
from torch import Tensor


class Stream:
    """Endless shuffled passes over some indices."""

    def __init__(self, indices: Tensor, generator: torch.Generator) -> None:
        self.indices = indices
        self.generator = generator
        self.rest = indices[:0]

    def take(self, n: int) -> Tensor:
        """The next `n` indices; a new shuffled pass begins where one ends."""
        while len(self.rest) < n:
            order = torch.randperm(len(self.indices), generator=self.generator)
            self.rest = torch.cat([self.rest, self.indices[order]])
        taken, self.rest = self.rest[:n], self.rest[n:]
        return taken
