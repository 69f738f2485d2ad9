"""Particles by a template: locally normalised correlation over a grid of rotations, with the missing wedge.

The score is that of Roseman 2003 (Ultramicroscopy 94:225), the wedge that of Frangakis et al. 2002 (PNAS 99:14153).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.spatial import cKDTree

from bench.base.arrays import Float64Array, FloatArray, IntArray
from bench.base.errors import BenchError
from bench.base.progress import Progress, silent
from bench.base.units import ANGLES
from bench.picking.correlation import Correlator
from bench.picking.input import constant, sign_of
from bench.picking.peaks import maxima, strongest
from bench.picking.rotations import rotation_grid
from bench.picking.templates import Templates, templates
from bench.picking.tiles import Slices, part, tiles
from bench.simulation import Density
from bench.simulation.plan import relion_angles

SIDE = 128  # of the tiles that maxima are sought in
CANDIDATES = 4  # places scored with every whole template, for each that is wanted


def match(
    voxels: npt.NDArray[Any],
    voxel_size_in_angstroms: float,
    template: Density,
    count: int,
    *,
    step_in_degrees: float = 15.0,
    tilt_limit_in_degrees: float = 60.0,
    contrast: str = "dark",
    low_pass_in_angstroms: float | None = None,
    near: npt.NDArray[Any] | None = None,
    near_radius_in_angstroms: float | None = None,
    min_distance_in_angstroms: float | None = None,
    tolerance: float = 0.2,
    device: str = "cpu",
    progress: Progress = silent,
) -> pd.DataFrame:
    """The `count` best places of `template` (bright on 0) in `voxels` (d, h, w), of any real dtype, mapped or not.

    The score at a voxel is the highest over the rotations of the correlation coefficient, −1 to 1, between the
    tomogram (dark contrast: times −1) and the template, both under a spherical mask about that voxel. The template is
    low-passed (None: to Nyquist; half amplitude there), turned, and loses the frequencies that tilts of up to ± the
    limit about the axis y, beam along z, do not see (90: none). The mask is a voxel wider than the template's radius
    (98 % of its mass); where it sticks out of the tomogram, nothing is scored.

    Voxels are ranked by sums over few principal volumes of all the templates; no such score is off by more than
    `tolerance`. CANDIDATES × count of them are then scored again with every whole template, so that the scores, their
    order and the angles of those returned are exact.
    near: voxels (n, 3), zyx; only those within `near_radius_in_angstroms` of one (None: half the template's radius)
    are scored.
    Places are nearer than `min_distance_in_angstroms` (None: the template's radius) to no better one.

    Returns z, y, x in voxels (the first is 0), finer than a voxel, score, that of the nearest voxel, and the pose as
    RELION has it (`EULER`), best first. Memory: a score map as large as the tomogram in float32, and about 0.5 GB.
    Raises BenchError for a template beyond the tomogram, a number out of range, and a constant tomogram.
    """
    sign = sign_of(voxels, voxel_size_in_angstroms, contrast, count)
    if not 0 < tilt_limit_in_degrees <= 90 or not 0 < tolerance < 1:
        raise BenchError(
            f"tilt limit {tilt_limit_in_degrees:g}°, tolerance {tolerance:g}: above 0, up to 90 and below 1"
        )
    rotations = rotation_grid(step_in_degrees)
    wedge, low_pass = tilt_limit_in_degrees, low_pass_in_angstroms
    rows = templates(template, voxel_size_in_angstroms, rotations, wedge, low_pass, min(voxels.shape), device)
    wanted = None if near is None else _Near(near, near_radius_in_angstroms, voxel_size_in_angstroms, rows)
    scores = score_map(voxels, sign, rows, tolerance, wanted, progress)
    distance = rows.density.radius
    if min_distance_in_angstroms is not None:
        distance = min_distance_in_angstroms / voxel_size_in_angstroms
    at, places = _picked(scores, distance / 2, CANDIDATES * count)
    exact, turn = _rescored(voxels, sign, rows, at)
    order = strongest(places, exact, distance, count)
    angles = relion_angles(rotations[turn[order]]) if len(order) else np.empty((0, 3))
    table = {"z": places[order, 0], "y": places[order, 1], "x": places[order, 2], "score": exact[order]}
    return pd.DataFrame(table | dict(zip(ANGLES, angles.T)))


class _Near:
    """The voxels that lie within a radius of given ones."""

    def __init__(
        self, places: npt.NDArray[Any], radius_in_angstroms: float | None, voxel_size: float, rows: Templates
    ) -> None:
        self.places = np.asarray(places, dtype=np.float64)
        if self.places.ndim != 2 or self.places.shape[1] != 3:
            raise BenchError(f"near: an array of shape {self.places.shape}; give positions (n, 3), z y x in voxels")
        self.radius = rows.density.radius / 2 if radius_in_angstroms is None else radius_in_angstroms / voxel_size
        self.tree = cKDTree(self.places)

    def within(self, core: Slices) -> IntArray:
        """Which voxels of the core are near one, as indices into it, flattened."""
        low, high = (np.array([getattr(along, end) for along in core]) for end in ("start", "stop"))
        if not ((self.places > low - 1 - self.radius) & (self.places < high + self.radius)).all(1).any():
            return np.empty(0, dtype=np.int64)
        grid = np.stack(np.meshgrid(*(np.arange(a.start, a.stop) for a in core), indexing="ij"), -1).reshape(-1, 3)
        return np.flatnonzero(np.isfinite(self.tree.query(grid, distance_upper_bound=self.radius * (1 + 1e-9))[0]))


def score_map(
    voxels: npt.NDArray[Any],
    sign: float,
    rows: Templates,
    tolerance: float,
    near: _Near | None = None,
    progress: Progress = silent,
) -> FloatArray:
    """The highest score over the rotations at each voxel, within the tolerance, (d, h, w); 0 where none is scored."""
    scores = np.zeros(voxels.shape, dtype=np.float32)
    reach = rows.reach
    d, h, w = (n - 2 * reach for n in voxels.shape)
    correlator = Correlator.of(rows, tolerance, (d, h, w))
    varies = False
    parts = tiles((d, h, w), correlator.side, 0)
    for done, tile in enumerate(parts):
        core = _moved(tile.core, reach, reach)
        chosen = None if near is None else near.within(core)
        if chosen is None or len(chosen):
            source = part(voxels, _moved(tile.core, 0, 2 * reach), sign)
            varies = varies or bool(source.any())
            scores[core] = correlator.best(source, chosen)
        progress(done + 1, len(parts))
    if not varies:
        raise constant("the tomogram, where it is searched,")
    return scores


def _moved(core: Slices, start: int, stop: int) -> Slices:
    z, y, x = (slice(along.start + start, along.stop + stop) for along in core)
    return z, y, x


def _picked(scores: FloatArray, distance: float, count: int) -> tuple[IntArray, Float64Array]:
    """Voxels (n, 3) of the best maxima, and their sub-voxel places (n, 3)."""
    d, h, w = scores.shape
    found: list[tuple[IntArray, Float64Array, Float64Array]] = []
    for tile in tiles((d, h, w), SIDE, 1):
        corner = np.array([along.start for along in tile.read])
        at, places, values = maxima(torch.from_numpy(scores[tile.read]), tile.inner)
        found.append((at + corner, places + corner, values))
    at, places, values = (np.concatenate(some) for some in zip(*found))
    best = strongest(places, values, distance, count)
    return at[best], places[best]


def _rescored(voxels: npt.NDArray[Any], sign: float, rows: Templates, at: IntArray) -> tuple[Float64Array, IntArray]:
    """The exact score of voxels `at` (n, 3) over all rotations, and the rotation that has it."""
    device = rows.transfer.device
    patches = np.empty((len(at), len(rows.offsets)), dtype=np.float32)
    inside = tuple((rows.offsets + rows.reach).T)
    for patch, voxel in zip(patches, at):
        z, y, x = (slice(i - rows.reach, i + rows.reach + 1) for i in voxel)
        patch[:] = part(voxels, (z, y, x), sign)[inside]
    patches -= patches.mean(1, keepdims=True)
    patches /= np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), 1e-30)
    source = torch.from_numpy(patches).to(device)
    best = torch.full((len(at),), -torch.inf, device=device)
    turn = torch.zeros(len(at), dtype=torch.int64, device=device)
    for which, batch in rows.batches():
        if len(at):
            values, index = (source @ batch.T).max(1)
            better = values > best
            best, turn = torch.where(better, values, best), torch.where(better, index + which.start, turn)
    return best.double().clamp(-1, 1).cpu().numpy(), turn.cpu().numpy()
