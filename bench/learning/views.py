"""Views: what a network sees of a volume in training, drawn anew each time, as a microscope could have given it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.base.arrays import TiltRange
from bench.learning.feed import Feed
from bench.learning.spectrum import (
    ON_THE_EDGE,
    Spectrum,
    by_radius,
    edge_distance,
    mean_power,
    radius,
    sample,
    sample_size,
    spread,
    standardised,
    wedge_normals,
)
from bench.learning.turning import (
    cube_turns,
    half_turns,
    random_choice,
    random_rotations,
    rotated,
    turned_exactly,
)


@dataclass(frozen=True)
class View:
    """How a view is drawn."""

    turn: str = "none"  # none; half: by 180°, which leaves the wedge in place; cube: by 90°; any
    wedge: bool = True  # cut the missing wedge anew after a turn that moved it
    refill: bool = False  # give what the turned volume then lacks: noise of the volumes' own spectrum
    shift: bool = False  # by up to a sixteenth of the box along each axis
    mirror: bool = False  # every other one: the other hand of the particle
    noise: bool = False  # more of it
    degraded: bool = False  # each for half of the volumes: noise, a low-pass, fewer tilts, a hidden cube, grey scale


NONE = View()
VIEWS = {
    "none": NONE,
    "turns": View("half"),
    "rotations": View("any"),
    # What each step is worth (docs/methods.md):
    "shifts": View("half", shift=True),
    "cube-raw": View("cube", wedge=False),
    "cube": View("cube"),
    "cube-refilled": View("cube", refill=True),
    "rotations-raw": View("any", wedge=False),
    "rotations-refilled": View("any", refill=True),
    "rotations-shifts": View("any", shift=True),
    "rotations-noise": View("any", noise=True),
    "rotations-mirrors": View("any", mirror=True),
    "rotations-degraded": View("any", degraded=True),
}


@dataclass(frozen=True)
class Views:
    """Draws views of one set's volumes; every random number comes from a generator on their device.

    Volumes are (b, 1, n, n, n), and so is a view; each keeps its mean and variance.
    """

    given: View  # what every method trains on
    spectrum: Spectrum
    evenness: Tensor  # (n, n, n): what makes up for what filtering takes from a rotated box near its faces
    recovery: Tensor  # (n, n, n // 2 + 1): the same of what sampling takes from each frequency

    @staticmethod
    def of(name: str, volumes: Feed, tilts: TiltRange | None) -> Views:
        """The views called `name` of these volumes; tilts: None where unknown, then they are measured."""
        given, spectrum = VIEWS[name], Spectrum.of(volumes, tilts)
        nothing = torch.ones_like(spectrum.power)
        if given.turn != "any":
            return Views(given, spectrum, nothing, nothing)
        evenness = _evenness(spectrum)
        return Views(given, spectrum, evenness, _recovery(spectrum, sample(volumes), evenness))

    def training(self, volumes: Tensor, generator: torch.Generator) -> Tensor:
        """What every method trains on."""
        return self.draw(self.given, volumes, generator)

    def weak(self, volumes: Tensor, generator: torch.Generator) -> Tensor:
        """Turned by 180°, which takes no signal away, and moved if the run's views are; as it is where it has none."""
        return volumes if self.given == NONE else self.draw(self._weak, volumes, generator)

    def strong(self, volumes: Tensor, generator: torch.Generator) -> Tensor:
        """What every method trains on, degraded; as it is where the run has no views."""
        view = replace(self.given, degraded=True)
        return volumes if self.given == NONE else self.draw(view, volumes, generator)

    def of_test(self, volumes: Tensor, n: int) -> Iterator[Tensor]:
        """The volumes as they are and n − 1 weak views of them."""
        yield volumes
        generator = torch.Generator(volumes.device).manual_seed(0)
        for _ in range(n - 1):
            yield self.draw(self._weak, volumes, generator)

    @property
    def _weak(self) -> View:
        return View("half", shift=self.given.shift)

    def draw(self, view: View, volumes: Tensor, generator: torch.Generator) -> Tensor:
        """One view of each volume."""
        if view == NONE or volumes.ndim != 5 or not len(volumes):  # features have no views
            return volumes
        boxes, mean, std = standardised(volumes[:, 0])
        turns, shifts = self._turns(view, len(boxes), generator), self._shifts(view, boxes, generator)
        boxes = (rotated if view.turn == "any" else turned_exactly)(boxes, turns, shifts)
        if (view.wedge and view.turn in ("cube", "any")) or view.noise or view.degraded:
            boxes = self._imaged(view, boxes, turns, generator)
        if view.degraded:
            boxes = _hidden(boxes, generator)
            std = std * torch.where(_some(std, generator), _even(std, 0.8, 1.25, generator), 1.0)
        return torch.addcmul(mean, boxes, std)[:, None]

    def _turns(self, view: View, n: int, generator: torch.Generator) -> Tensor:
        """(n, 3, 3)."""
        half = half_turns(generator.device)
        among = {
            "none": half[:1],
            "half": half if self.spectrum.is_symmetric else half[:2],
            "cube": cube_turns(generator.device),
        }
        turns = random_rotations(n, generator) if view.turn == "any" else random_choice(among[view.turn], n, generator)
        if view.mirror:
            turns = turns * random_choice(torch.tensor([1.0, -1.0], device=turns.device), n, generator)[:, None, None]
        return turns

    @staticmethod
    def _shifts(view: View, boxes: Tensor, generator: torch.Generator) -> Tensor:
        """Whole voxels, (b, 3)."""
        most = max(1, boxes.shape[-1] // 16) if view.shift else 0
        return torch.randint(-most, most + 1, (len(boxes), 3), generator=generator, device=boxes.device)

    def _imaged(self, view: View, boxes: Tensor, turns: Tensor, generator: torch.Generator) -> Tensor:
        """Boxes (b, n, n, n) as this set's microscope would give them, of mean 0 and variance 1."""
        known = self.spectrum
        gain = torch.ones_like(known.power)
        lacking = torch.zeros_like(known.power)  # noise to be added, as a share of the volumes' power
        if view.wedge and view.turn in ("cube", "any"):
            gain = known.seen.to(boxes.dtype)
            if view.turn == "any":
                boxes = boxes * self.evenness
                gain = gain * self.recovery
            if view.refill:
                lacking = 1 - _held(turns, known, exact=view.turn == "cube") * known.seen
        if view.noise or view.degraded:
            more = _some(boxes, generator) * _even(boxes, 0.0, 1.0, generator)
            lacking = lacking + more
        if view.degraded:
            transfer = _blur(boxes, generator) * self._fewer_tilts(boxes, generator)
            gain, lacking = gain * transfer, lacking * transfer**2
        coefficients = torch.fft.rfftn(boxes, dim=(1, 2, 3)).mul_(gain)
        if view.refill or view.noise or view.degraded:
            coefficients += _white(boxes, generator).mul_((known.power * lacking).sqrt_())
        coefficients[:, 0, 0, 0] = 0  # the mean
        boxes = torch.fft.irfftn(coefficients, s=boxes.shape[1:], dim=(1, 2, 3))
        return boxes / spread(boxes)

    def _fewer_tilts(self, boxes: Tensor, generator: torch.Generator) -> Tensor:
        """1 where tilts that lack up to 15° at either end still see, for half of the boxes; (b, n, n, n // 2 + 1)."""
        low, high = self.spectrum.tilts
        less = 15 * _some(boxes, generator)
        tilts = low + less * _even(boxes, 0, 1, generator), high - less * _even(boxes, 0, 1, generator)
        normals = wedge_normals(*(tilt.flatten() for tilt in tilts))
        return (edge_distance(normals, boxes.shape[-1]) >= ON_THE_EDGE).to(boxes.dtype)


def _held(turns: Tensor, spectrum: Spectrum, exact: bool) -> Tensor:
    """Share of each coefficient's power that boxes turned by (b, 3, 3) still have, (b, n, n, n // 2 + 1).

    A rotated box cuts through its old spectrum: the edges of that are blurred by about a frequency.
    """
    n = len(spectrum.power)
    normals = spectrum.normals @ turns.transpose(1, 2)
    edge = edge_distance(normals, n)
    if exact:
        return (edge >= ON_THE_EDGE).to(turns.dtype)
    return edge.mul_(0.75).add_(0.5).clamp_(0, 1).mul_(radius(n, turns.device) <= n / 2)


def _evenness(spectrum: Spectrum) -> Tensor:
    """Amplitude by distance from the centre, (n, n, n), that gives rotated noise one variance everywhere.

    A rotated box does not go on on its other side: to filter it smooths its faces.
    """
    n, device = len(spectrum.power), spectrum.power.device
    generator, some = torch.Generator(device).manual_seed(0), torch.empty(64, n, n, n, device=device)
    squares = torch.zeros(n, n, n, device=device)
    for _ in range(sample_size(n) // len(some)):
        noise = torch.fft.irfftn(_white(some, generator).mul_(spectrum.power.sqrt()), s=(n, n, n), dim=(1, 2, 3))
        turned = rotated(noise, random_rotations(len(some), generator), _still(some))
        kept = torch.fft.rfftn(turned, dim=(1, 2, 3)).mul_(spectrum.seen & (radius(n, device) <= n / 2))
        squares += torch.fft.irfftn(kept, s=(n, n, n), dim=(1, 2, 3)).square().sum(0)
    along = torch.arange(n, device=device) - n // 2
    shell = (along[:, None, None] ** 2 + along[:, None] ** 2 + along**2).float().sqrt().round().long()
    sums = torch.zeros(int(shell.max()) + 1, device=device)
    count = sums.index_add(0, shell.flatten(), torch.ones_like(squares).flatten())
    mean = sums.index_add(0, shell.flatten(), squares.flatten()) / count.clamp(min=1)
    return (squares.mean() / mean.clamp(min=1e-12)).sqrt()[shell]


def _recovery(spectrum: Spectrum, boxes: Tensor, evenness: Tensor) -> Tensor:
    """Amplitude by radius, (n, n, n // 2 + 1), that gives rotated boxes (b, n, n, n) the power that they had."""
    generator = torch.Generator(boxes.device).manual_seed(0)
    turns = random_rotations(len(boxes), generator)
    pairs = [*zip(boxes.split(64), turns.split(64))]
    turned = torch.cat([rotated(some, turn, _still(some)) * evenness for some, turn in pairs])
    held = torch.stack([_held(turn, spectrum, exact=False).sum(0) for _, turn in pairs]).sum(0) / len(boxes)
    within = spectrum.seen * (held > 0)
    had, has = by_radius(spectrum.power * held, within), by_radius(mean_power(turned), within)
    return torch.where(within, (had / has.clamp(min=1e-12)).sqrt().clamp(0.5, 2), 0)


def _still(boxes: Tensor) -> Tensor:
    """No shift, (b, 3)."""
    return torch.zeros(len(boxes), 3, dtype=torch.long, device=boxes.device)


def _some(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """True for half of the boxes, (b, 1, 1, 1)."""
    return torch.rand(len(boxes), 1, 1, 1, generator=generator, device=boxes.device) < 0.5


def _even(boxes: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """A number between low and high for each box, (b, 1, 1, 1)."""
    return low + (high - low) * torch.rand(len(boxes), 1, 1, 1, generator=generator, device=boxes.device)


def _blur(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """A Gaussian low-pass for half of the boxes, half amplitude at 0.5 to 1 of Nyquist; (b, n, n, n // 2 + 1)."""
    n = boxes.shape[-1]
    at = _even(boxes, 0.5, 1, generator) * n / 2
    return torch.where(_some(boxes, generator), torch.exp2(-((radius(n, boxes.device) / at) ** 2)), 1.0)


def _hidden(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """A cube of a quarter of the edge, anywhere, taken from another box for half of the boxes."""
    n = boxes.shape[-1]
    start = torch.randint(n - n // 4 + 1, (len(boxes), 3), generator=generator, device=boxes.device)[:, :, None]
    along = torch.arange(n, device=boxes.device)
    z, y, x = ((along >= start) & (along < start + n // 4)).unbind(1)
    cube = z[:, :, None, None] & y[:, None, :, None] & x[:, None, None, :] & _some(boxes, generator)
    return torch.where(cube, boxes.roll(1, 0), boxes)


def _white(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """Fourier coefficients of real white noise, of mean square 1, (b, n, n, n // 2 + 1)."""
    n = boxes.shape[-1]
    shape = (len(boxes), n, n, n // 2 + 1)
    noise = torch.randn(shape, dtype=torch.complex64, generator=generator, device=boxes.device)
    for plane in (0, n // 2) if n % 2 == 0 else (0,):  # those that hold each frequency and its negative
        half = noise[..., plane]
        noise[..., plane] = (half + half.flip(1, 2).roll((1, 1), (1, 2)).conj()) / math.sqrt(2)
    return noise
