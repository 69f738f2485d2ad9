"""The highest correlation over all rotations, by few Fourier transforms and one matrix product a tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import fft
from torch import Tensor

from bench.base.arrays import FloatArray, IntArray
from bench.picking.templates import Basis, Templates, basis
from bench.picking.tiles import Shape, even

ROOM_IN_MEBIBYTES = 300  # for the principal volumes' spectra and their correlations with a tile
TOGETHER = 4  # volumes transformed at a time: more fall out of the cache
ROWS, COLUMNS = 512, 1024  # rotations × voxels of one product: it stays in the cache until its maximum is taken
BF16_ERROR = 0.006  # of a correlation whose factors and result are rounded to bfloat16: at most 3 × 2⁻⁹
DIRECT = 250  # products in a matrix product take the time of one transformed voxel
CONSTANT = 1e-5  # of the tile's norm: below it, what a mask holds is rounding


@dataclass(frozen=True)
class Correlator:
    """The principal volumes of all templates, ready to be correlated with tiles of one size."""

    weights: Tensor  # (n, K), float32 or bfloat16
    volumes: Tensor  # (K, m)
    offsets: tuple[Tensor, ...]  # z, y, x of the m voxels, from the corner of the mask's box
    spectra: Tensor  # (K, d, h, w // 2 + 1), conjugate, of the volumes in a box of a tile with its halo
    mask: Tensor  # (d, h, w // 2 + 1), likewise of the mask, complex128
    shape: Shape  # of that box
    side: int  # of a tile's core, at most
    reach: int  # of the mask

    @staticmethod
    def of(rows: Templates, tolerance: float, scored: Shape) -> Correlator:
        """For a volume of which `scored` voxels have a score; no score is off by more than the tolerance."""
        device = rows.transfer.device
        dtype = torch.bfloat16 if tolerance >= 3 * BF16_ERROR and _multiplies_bfloat16(device) else torch.float32
        made: Basis = basis(rows, tolerance - (BF16_ERROR if dtype == torch.bfloat16 else 0))
        side, shape = _layout(scored, rows.reach, len(made.volumes))
        at = tuple(torch.from_numpy(rows.offsets.T + rows.reach).to(device))
        spectra = torch.empty(len(made.volumes), *shape[:2], shape[2] // 2 + 1, dtype=torch.complex64, device=device)
        for volume, spectrum in zip(made.volumes, spectra):
            box = torch.zeros(shape, device=device)
            box[at] = volume
            spectrum[:] = torch.fft.rfftn(box).conj()
        box = torch.zeros(shape, dtype=torch.float64, device=device)
        box[at] = 1
        mask = torch.fft.rfftn(box).conj().resolve_conj()
        return Correlator(made.weights.to(dtype), made.volumes, at, spectra, mask, shape, side, rows.reach)

    def best(self, source: FloatArray, chosen: IntArray | None = None) -> FloatArray:
        """The highest score of each voxel of a tile's core, (d, h, w); `source` has the halo.

        chosen: indices into the flattened core; the others get 0.
        """
        d, h, w = (n - 2 * self.reach for n in source.shape)
        core = (d, h, w)
        tile = torch.from_numpy(source).to(self.spectra.device)
        norms = self._norms(tile, core).flatten()
        at = slice(None) if chosen is None else torch.from_numpy(chosen).to(tile.device)
        if isinstance(at, Tensor) and len(at) * self.volumes.shape[1] < DIRECT * math.prod(self.shape):
            parts = self._gathered(tile, at, core)
        else:
            parts = self._transformed(tile, at, core)
        scores = torch.zeros_like(norms)
        scores[at] = (_highest(self.weights, parts) / norms[at]).clamp(-1, 1)
        found: FloatArray = scores.view(core).cpu().numpy()
        return found

    def _gathered(self, tile: Tensor, at: Tensor, core: Shape) -> Tensor:
        """The volumes' correlations with the tile at few voxels `at` of the core, (K, v), from what lies about each."""
        z, y, x = torch.unravel_index(at, core)
        parts = torch.empty(len(self.volumes), len(at), dtype=self.weights.dtype, device=tile.device)
        for few in torch.arange(len(at), device=tile.device).split(COLUMNS):
            about = tile[tuple(mine + centre[few, None] for mine, centre in zip(self.offsets, (z, y, x)))]
            parts[:, few] = (self.volumes @ about.T).to(parts.dtype)
        return parts

    def _transformed(self, tile: Tensor, at: Tensor | slice, core: Shape) -> Tensor:
        """The same by Fourier transforms of the whole tile."""
        spectrum = torch.fft.rfftn(tile, self.shape)
        n = math.prod(core) if isinstance(at, slice) else len(at)
        parts = torch.empty(len(self.spectra), n, dtype=self.weights.dtype, device=tile.device)
        for first in range(0, len(self.spectra), TOGETHER):
            products = torch.fft.irfftn(self.spectra[first : first + TOGETHER] * spectrum, self.shape, (1, 2, 3))
            inside = products[:, : core[0], : core[1], : core[2]].flatten(1)
            parts[first : first + TOGETHER] = inside[:, at]
        return parts

    def _norms(self, tile: Tensor, core: Shape) -> Tensor:
        """√ Σ (V − mean)² under the mask about each voxel of the core, infinite where the tile is constant there."""
        exact = tile.double()
        sums, squares = (
            torch.fft.irfftn(torch.fft.rfftn(values, self.shape) * self.mask, self.shape)[
                : core[0], : core[1], : core[2]
            ]
            for values in (exact, exact.square())
        )
        variances = squares - sums.square() / len(self.offsets[0])
        rounding = CONSTANT**2 * exact.square().sum()
        return torch.where(variances > rounding, variances, torch.inf).sqrt().float()


def _highest(weights: Tensor, parts: Tensor) -> Tensor:
    """The highest of weights (n, K) @ parts (K, v) in each column, (v,), float32."""
    highest = torch.full((parts.shape[1],), -torch.inf, device=parts.device)
    for first in range(0, parts.shape[1], COLUMNS):
        columns = parts[:, first : first + COLUMNS].contiguous()
        best = highest[first : first + COLUMNS]
        for some in weights.split(ROWS):
            torch.maximum(best, (some @ columns).amax(0).float(), out=best)
    return highest


def _layout(scored: Shape, reach: int, volumes: int) -> tuple[int, Shape]:
    """The core's side and the box's shape, a fast one, that cost the fewest transformed voxels within the room."""
    best = (math.inf, 0, (0, 0, 0))
    for edge in range(2 * reach + 2, 2 * reach + 2 + max(scored)):
        side = edge - 2 * reach
        cores = [even(n, side) for n in scored]
        z, y, x = (int(fft.next_fast_len(n + 2 * reach, real=True)) for n in cores)
        room = volumes * (4 * z * y * x + 4 * math.prod(cores)) / 2**20
        cost = z * y * x / math.prod(cores)
        fits = room <= ROOM_IN_MEBIBYTES or side <= 2 * reach
        if fits and cost < best[0]:
            best = (cost, side, (z, y, x))
    return best[1], best[2]


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; elsewhere it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        return bool({"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split()))
    except OSError:
        return False
