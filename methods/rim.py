"""Control: what the surroundings of a particle tell about its class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.learning.method import Classifier
from bench.learning.networks import Backbone, ClassifierNetwork


@dataclass(frozen=True)
class Rim(Classifier):
    """Control: supervised, but sees the corners of the box alone; above chance, the background tells the class."""

    title = "Control: box rim alone"
    is_control = True

    def build(self, backbone: Backbone) -> RimNetwork:
        """The classifier's network, with a mask before it."""
        return RimNetwork(backbone)


class RimNetwork(ClassifierNetwork):
    """Encoder3D's convolutions and Classifier3D; the ball inside the box is blanked."""

    rim: Tensor  # (n, n, n), bool

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        n = backbone.box
        along = torch.arange(n) - (n - 1) / 2
        radius = (along[:, None, None] ** 2 + along[:, None] ** 2 + along**2).sqrt()
        self.register_buffer("rim", radius > n / 2, persistent=False)

    def shown(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → the rim, normalised by itself to mean 0 and variance 1, and 0 inside.

        Otherwise the rim would tell about the inside: in a normalised box, a bright particle makes the rim dark.
        """
        outside = volumes[..., self.rim]  # (b, 1, voxels)
        std, mean = torch.std_mean(outside, dim=-1, keepdim=True)
        shown = torch.zeros_like(volumes)
        shown[..., self.rim] = (outside - mean) / std.clamp(min=1e-6)
        return shown

    def logits(self, volumes: Tensor) -> Tensor:
        """(b, 1, n, n, n) → (b, classes)."""
        return super().logits(self.shown(volumes))
