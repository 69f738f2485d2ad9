"""Test volumes as a worse microscope would have given them: more noise, fewer tilts."""

from __future__ import annotations

import torch

from bench.base.errors import BenchError
from bench.base.seeds import derive
from bench.learning.feed import Feed
from bench.learning.spectrum import ON_THE_EDGE, Spectrum, edge_distance, spread, standardised, wedge_normals


def degraded(volumes: Feed, spectrum: Spectrum, noise: float, highest_tilt: float | None, seed: int) -> Feed:
    """The volumes with noise of `spectrum`'s power, `noise` times what each has, then seen by fewer tilts.

    Each keeps its mean and variance. highest_tilt: in degrees; None: tilts as they are. All volumes come into memory.
    Raises BenchError where no tilt is left.
    """
    device, n = spectrum.power.device, len(spectrum.power)
    generator = torch.Generator(device).manual_seed(derive(seed, "degraded"))
    low, high = spectrum.tilts
    limit = 90.0 if highest_tilt is None else highest_tilt
    if not max(low, -limit) < min(high, limit):
        raise BenchError(f"test_tilt_in_degrees {limit:g}: the set's tilts go from {low:g}° to {high:g}°; none is left")
    tilts = torch.tensor([max(low, -limit), min(high, limit)], device=device)
    kept = (edge_distance(wedge_normals(*tilts), n) >= ON_THE_EDGE).float()
    kept[0, 0, 0] = 0  # the mean
    parts = []
    for some in volumes.batches(64):
        boxes, mean, std = standardised(some[:, 0])
        coefficients = torch.fft.rfftn(boxes, dim=(1, 2, 3))
        white = torch.fft.rfftn(torch.randn(boxes.shape, generator=generator, device=device), dim=(1, 2, 3))
        coefficients += white.mul_((noise * spectrum.power).sqrt() / n**1.5)
        boxes = torch.fft.irfftn(coefficients.mul_(kept), s=boxes.shape[1:], dim=(1, 2, 3))
        parts.append(boxes / spread(boxes) * std + mean)
    return Feed(torch.cat(parts), device=device)
