"""What the Fourier transforms of a set's boxes show: which tilts were taken, and how strong each frequency is.

Axes are (d, h, w) = (z, y, x): the beam runs along z, the tilt axis along y. Half spectra are those of `rfftn`,
(n, n, n // 2 + 1); frequencies are in waves a box, so that n / 2 is the Nyquist frequency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.base.arrays import TiltRange
from bench.learning.feed import Feed

ON_THE_EDGE = -1e-4  # waves a box from the wedge: still seen, rounding apart
WHOLE: TiltRange = (-90.0, 90.0)
TAKEN_FOR_EMPTY = 0.5  # of the power at the tilts that were taken: less than this beyond them is a missing wedge


@dataclass(frozen=True)
class Spectrum:
    """Mean power of some boxes, each brought to mean 0 and variance 1, and the tilts that it comes from."""

    power: Tensor  # (n, n, n // 2 + 1), mean squared Fourier coefficients
    tilts: TiltRange

    @staticmethod
    def of(volumes: Feed, tilts: TiltRange | None = None) -> Spectrum:
        """Measure it on some of the volumes (b, 1, n, n, n), and with it the tilt range where nobody knows that."""
        power = mean_power(sample(volumes))
        return Spectrum(power, tilts or tilt_range(power))

    @cached_property
    def seen(self) -> Tensor:
        """Whether some tilt saw a frequency, (n, n, n // 2 + 1), bool."""
        seen: Tensor = edge_distance(self.normals, len(self.power)) >= ON_THE_EDGE
        return seen

    @cached_property
    def normals(self) -> Tensor:
        """Those of the missing wedge, (2, 3)."""
        low, high = torch.tensor(self.tilts, device=self.power.device)
        return wedge_normals(low, high)

    @property
    def is_symmetric(self) -> bool:
        """Whether half turns about every axis leave the missing wedge in place; those about the tilt axis do anyway."""
        return abs(sum(self.tilts)) < 3


def sample(volumes: Feed) -> Tensor:
    """Some of the volumes, evenly spaced, as boxes (b, n, n, n) of mean 0 and variance 1."""
    n = min(sample_size(volumes[torch.tensor([0])].shape[-1]), len(volumes))
    which = torch.linspace(0, len(volumes) - 1, n).long()
    return torch.cat([standardised(some[:, 0])[0] for some in volumes.only(which).batches(64)])


def sample_size(box: int) -> int:
    """Boxes that a spectrum is measured on: 512, fewer where they are large, 64 at 64³ and above."""
    return max(64, min(512, 2**24 // box**3))


def standardised(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (b, d, h, w) at mean 0 and variance 1, and the mean and standard deviation that each had, (b, 1, 1, 1)."""
    mean = boxes.mean((1, 2, 3), keepdim=True)
    boxes = boxes - mean
    std = spread(boxes)
    return boxes / std, mean, std


def spread(boxes: Tensor) -> Tensor:
    """Standard deviation of boxes (b, d, h, w) of mean 0, (b, 1, 1, 1)."""
    norm = torch.linalg.vector_norm(boxes, dim=(1, 2, 3), keepdim=True)
    std: Tensor = norm / math.sqrt(boxes[0].numel())
    return std.clamp(min=1e-12)


def mean_power(boxes: Tensor) -> Tensor:
    """Mean squared Fourier coefficients of boxes (b, n, n, n), (n, n, n // 2 + 1)."""
    parts = [torch.view_as_real(torch.fft.rfftn(some, dim=(1, 2, 3))).square().sum((0, -1)) for some in boxes.split(64)]
    mean = torch.stack(parts).sum(0) / len(boxes)
    return (mean + mean.flip(1).roll(1, 1)) / 2  # alike for a half turn about the tilt axis


def frequencies(box: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """(kz, ky, kx) that broadcast to the half spectrum."""
    full = torch.fft.fftfreq(box, 1 / box, device=device)
    half = torch.fft.rfftfreq(box, 1 / box, device=device)
    return full[:, None, None], full[:, None], half


def radius(box: int, device: torch.device | str = "cpu") -> Tensor:
    """Of each frequency, (n, n, n // 2 + 1)."""
    kz, ky, kx = frequencies(box, device)
    return (kz**2 + ky**2 + kx**2).sqrt()


def wedge_normals(low: Tensor, high: Tensor) -> Tensor:
    """Two (z, y, x) vectors a and c, (…, 2, 3): a frequency k was seen where |k · a| ≥ |k · c|.

    low, high: the tilts in degrees, (…). The tilt θ sees the plane of frequencies at the angle θ from x towards z.
    """
    middle, half = torch.deg2rad((low + high) / 2), torch.deg2rad((high - low) / 2)
    none = torch.zeros_like(middle)
    along = torch.stack([half.sin() * middle.sin(), none, half.sin() * middle.cos()], -1)
    across = torch.stack([half.cos() * middle.cos(), none, -half.cos() * middle.sin()], -1)
    return torch.stack([along, across], -2)


def edge_distance(normals: Tensor, box: int) -> Tensor:
    """Distance of each frequency from the edge of the wedge, negative inside it: (…, 2, 3) → (…, n, n, n // 2 + 1)."""
    kz, ky, kx = frequencies(box, normals.device)
    weights = normals[..., None, None, None]  # (…, 2, 3, 1, 1, 1)
    along, across = (weights.select(-5, i) for i in range(2))
    a, c = (w.select(-4, 0) * kz + w.select(-4, 1) * ky + w.select(-4, 2) * kx for w in (along, across))
    distance: Tensor = a.abs_().sub_(c.abs_())
    return distance


def tilt_range(power: Tensor) -> TiltRange:
    """The tilts that mean power (n, n, n // 2 + 1) shows, to a degree or two; WHOLE where none is missing.

    Each shell is brought to one mean, so that the direction alone counts; the range is the one that divides the
    directions best (Otsu 1979).
    """
    n = len(power)
    kz, _, kx = frequencies(n, power.device)
    from_origin = radius(n, power.device)
    flat = power / by_radius(power, torch.ones_like(power)).clamp(min=1e-30)
    angle = torch.rad2deg(torch.atan2(kz, kx)).expand_as(power)
    used = (from_origin <= n / 2) & ((kz**2 + kx**2).sqrt() >= n / 8) & (kx > 0)
    place = (angle[used].double() + 90).round().long()
    sums = torch.zeros(181, dtype=torch.float64, device=power.device)
    powers = sums.index_add(0, place, flat[used].double()).cumsum(0)
    counts = sums.index_add(0, place, torch.ones_like(place, dtype=torch.float64)).cumsum(0)
    low, high = (
        torch.arange(-85, -14, device=power.device)[:, None] + 90,
        torch.arange(15, 86, device=power.device) + 90,
    )
    inside, number = powers[high] - powers[low - 1], counts[high] - counts[low - 1]
    mean_inside, mean_outside = inside / number, (powers[-1] - inside) / (counts[-1] - number)
    divides = number * (counts[-1] - number) * (mean_inside - mean_outside) ** 2
    divides = torch.where(mean_outside < TAKEN_FOR_EMPTY * mean_inside, divides, 0)
    if not divides.any():
        return WHOLE
    first, last = divmod(int(divides.argmax()), divides.shape[1])
    return float(low[first, 0] - 90), float(high[last] - 90)


def by_radius(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of `values` over each shell of the half spectrum, spread back over it; all (n, n, n // 2 + 1)."""
    n = len(values)
    weight = weight * twice(n, values.device)
    shell = radius(n, values.device).round().long()
    zeros = torch.zeros(int(shell.max()) + 1, device=values.device)
    sums, weights = (zeros.index_add(0, shell.flatten(), x.flatten()) for x in (values * weight, weight))
    return (sums / weights.clamp(min=1e-12))[shell]


def twice(box: int, device: torch.device | str = "cpu") -> Tensor:
    """How many coefficients of the whole spectrum each of the half spectrum stands for, (n, n, n // 2 + 1): 1 or 2."""
    each = torch.full((box, box, box // 2 + 1), 2.0, device=device)
    each[..., 0] = 1
    if box % 2 == 0:
        each[..., -1] = 1
    return each
