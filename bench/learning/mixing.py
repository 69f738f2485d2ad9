"""Mixup: volumes and their targets, mixed in pairs (Zhang et al. 2018, arXiv 1710.09412)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def beta(alpha: float, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` numbers from Beta(alpha, alpha), (n,), on the generator's device.

    (1 + x) / 2 with x = t / √(2α + t²), where t is Student's with 2α degrees of freedom, from two uniform numbers by
    the polar method of Bailey 1994 (Mathematics of Computation 62, 779).
    """
    radial, turn = torch.rand(2, n, generator=generator, device=generator.device)
    rest, cosine = radial ** (1 / alpha), torch.cos(2 * math.pi * turn)
    along = cosine * (1 - rest).sqrt()
    drawn: Tensor = (1 + along / (rest + along.square()).sqrt()) / 2
    return drawn


def mixed(
    volumes: Tensor, targets: Tensor, places: Tensor, shares: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each volume and its target with a share of those of another one, drawn at random from the same volumes.

    volumes: (b, 1, n, n, n); targets: (b, classes); places: (b,), equal for views of one volume: it is not mixed with
    itself; shares: (b,), what a volume keeps. The variance of independent noise, which would tell the share, is kept:
    the mixture is divided by √(share² + (1 − share)²).
    """
    partners = torch.randperm(len(volumes), generator=generator, device=generator.device)
    places = places.to(partners.device)
    own = torch.where(places == places[partners], 1.0, shares)[:, None]  # (b, 1)
    targets = own * targets + (1 - own) * targets[partners]
    own = own[..., None, None, None]
    volumes = (own * volumes + (1 - own) * volumes[partners]) / (own.square() + (1 - own).square()).sqrt()
    return volumes, targets
