"""Laws of the pickers; the oracles are planted particles, SciPy, and the definition of the score in a plain loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DATA, needs_data
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from bench.base.errors import BenchError
from bench.files import volume
from bench.picking import blobs, correlation, gaussians, match, matching
from bench.picking.rotations import rotation_grid
from bench.picking.templates import Templates, basis, templates
from bench.picking.tiles import tiles
from bench.simulation import Density, Imaging, fitted

VOXEL, COARSE = 16.0, 24.0  # Å
SHAPE = (36, 44, 52)
PLACES = np.array([[10.0, 12.0, 14.0], [24.0, 30.0, 20.0], [16.0, 26.0, 39.0]])
ZYX = ["z", "y", "x"]
ANGLES = ["rot_in_degrees", "tilt_in_degrees", "psi_in_degrees"]


def _balls(shape: tuple[int, ...], places: np.ndarray, radius: float) -> np.ndarray:
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum((sum((g - c) ** 2 for g, c in zip(grids, p)) <= radius**2).astype(np.float32) for p in places)


def _hand() -> Density:
    """A shape without symmetry, nor a mirror image that it could be turned into."""
    grids = np.ogrid[:24, :24, :24]
    arms = [((12, 12, 12), 2.5), ((12, 12, 19), 2.0), ((12, 17, 10), 1.8), ((18, 11, 11), 1.6), ((9, 8, 12), 1.4)]
    voxels = sum(np.exp(-sum((g - c) ** 2 for g, c in zip(grids, at)) / (2 * s**2)) for at, s in arms)
    return Density("hand", voxels.astype(np.float32), 8.4)


def _planted(rotations: Rotation, limit: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The hand in `rotations` at PLACES, dark, in noise, all without what the tilts do not see."""
    posed = fitted(_hand(), VOXEL).posed((24,) * 3, rotations, np.zeros((len(rotations), 3), np.float32)).numpy()
    specimen = np.zeros(SHAPE, np.float32)
    for one, place in zip(posed, PLACES.astype(int)):
        low = np.maximum(place - 12, 0)
        high = np.minimum(place + 12, SHAPE)
        inside = tuple(slice(a, b) for a, b in zip(low, high))
        specimen[inside] += one[tuple(slice(a - p + 12, b - p + 12) for a, b, p in zip(low, high, place))]
    specimen += rng.normal(0, noise * specimen.std(), SHAPE).astype(np.float32)
    if limit < 90:
        wedge = Imaging(tilt_limit_in_degrees=limit).wedge(SHAPE).numpy()
        specimen = fft.irfftn(fft.rfftn(specimen) * wedge, SHAPE)
    return (100 - 7 * specimen).astype(np.float32)


def _turns(found: pd.DataFrame, truth: Rotation) -> np.ndarray:
    """Degrees between the angles in a table and the true rotations of (z, y, x)."""
    xyz = Rotation.from_euler("ZYZ", found[ANGLES].to_numpy(), degrees=True).inv().as_matrix()
    return np.degrees((Rotation.from_matrix(xyz[:, ::-1, ::-1]) * truth.inv()).magnitude())


def _rows(step: float = 60.0, limit: float = 60.0, low_pass: float | None = None) -> Templates:
    return templates(_hand(), COARSE, rotation_grid(step), limit, low_pass, 99, "cpu")


@pytest.mark.parametrize("step", [15.0, 30.0, 60.0])
def test_no_rotation_is_far_from_the_grid(step: float) -> None:
    grid = rotation_grid(step)
    assert len(grid) == round(8 * math.pi**2 / math.radians(step) ** 3)
    some = Rotation.random(500, rng=np.random.default_rng(0)).as_quat()
    nearest = np.degrees(2 * np.arccos(np.abs(some @ grid.as_quat().T).max(1).clip(0, 1)))
    assert nearest.max() < 1.2 * step
    assert np.abs(grid.as_matrix().mean(0)).max() < 0.05


@pytest.mark.parametrize(("side", "halo"), [(7, 0), (5, 9), (100, 3)])
def test_tiles_share_out_the_volume(side: int, halo: int) -> None:
    shape, seen = (11, 17, 23), np.zeros((11, 17, 23), int)
    for tile in tiles(shape, side, halo):
        seen[tile.core] += 1
        for core, read, inner, n in zip(tile.core, tile.read, tile.inner, shape):
            assert core.stop - core.start <= side
            assert (read.start, read.stop) == (max(0, core.start - halo), min(n, core.stop + halo))
            assert (inner.start + read.start, inner.stop + read.start) == (core.start, core.stop)
    assert (seen == 1).all()


@pytest.mark.parametrize("diameter", [3.0, 9.0, 40.0])
def test_the_filter_changes_sign_on_the_ball(diameter: float) -> None:
    """So no other ball about its centre gives more."""
    narrow, wide = (math.exp(-((diameter / 2 / s) ** 2) / 2) / s**3 for s in gaussians._widths(diameter))
    assert narrow == pytest.approx(wide, rel=1e-6)


@pytest.mark.parametrize("contrast", ["dark", "bright"])
def test_balls_in_noise_are_found_in_their_contrast_only(contrast: str, rng: np.random.Generator) -> None:
    sign = {"dark": -1, "bright": 1}
    voxels = 50 + sign[contrast] * _balls(SHAPE, PLACES, 4) + rng.normal(0, 0.7, SHAPE)
    found = blobs(voxels, VOXEL, 8 * VOXEL, 3, contrast=contrast)
    distance, which = cKDTree(found[ZYX]).query(PLACES)
    assert distance.max() < 1
    assert len(set(which)) == 3
    assert found["score"].is_monotonic_decreasing
    other = blobs(voxels, VOXEL, 8 * VOXEL, 3, contrast="dark" if contrast == "bright" else "bright")
    assert cKDTree(other[ZYX]).query(PLACES)[0].min() > 3
    assert other["score"].max() < found["score"].min()


def test_the_score_is_the_difference_of_gaussians_by_its_deviation(rng: np.random.Generator) -> None:
    voxels = ndimage.gaussian_filter(rng.normal(size=(60, 64, 68)), 1.5)
    narrow, wide = gaussians._widths(7.0)
    answer = ndimage.gaussian_filter(voxels, narrow, mode="reflect") - ndimage.gaussian_filter(voxels, wide)
    found = blobs(voxels, 1.0, 7.0, 1000, contrast="bright")
    inside = found[((found[ZYX] > 12) & (found[ZYX] < np.array(voxels.shape) - 13)).all(axis=1)]
    expected = answer[tuple(inside[ZYX].round().to_numpy(int).T)]
    assert len(inside) > 20
    assert np.corrcoef(inside["score"], expected)[0, 1] > 0.9999
    assert np.median(inside["score"] / expected) == pytest.approx(1 / answer.std(), rel=0.1)
    gaps = cKDTree(found[ZYX]).query(found[ZYX], k=2)[0][:, 1]
    assert gaps.min() > 0.75 * 7


def test_noise_is_picked_no_more_often_at_a_wall() -> None:
    """Of the best in white noise, the share within 2 voxels of a wall is about that of the volume there."""
    near = []
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(size=SHAPE)
        found = blobs(noise, 1.0, 6.0, 20)[ZYX].to_numpy()
        near.append((np.minimum(found, np.array(SHAPE) - 1 - found).min(1) < 1.5).mean())
    share = 1 - math.prod(n - 4 for n in SHAPE) / math.prod(SHAPE)
    assert np.mean(near) < 1.5 * share


def test_neither_tiles_nor_dtypes_nor_files_move_a_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    voxels = (1000 - 100 * _balls(SHAPE, PLACES, 4) + rng.normal(0, 60, SHAPE)).astype(">i2")
    voxels.tofile(tmp_path / "voxels")
    whole = blobs(voxels.astype(np.float64), VOXEL, 8 * VOXEL, 50)
    monkeypatch.setattr(gaussians, "SIDE", 11)
    calls: list[tuple[int, int]] = []
    mapped = np.memmap(tmp_path / "voxels", ">i2", "r", shape=SHAPE)
    tiled = blobs(mapped, VOXEL, 8 * VOXEL, 50, progress=lambda *now: calls.append(now))
    pd.testing.assert_frame_equal(whole, tiled, rtol=1e-3, atol=1e-3)
    assert calls[-1] == (len(calls), len(calls)) == (4 * 4 * 5, 4 * 4 * 5)


def _plain_scores(volume: np.ndarray, rows: Templates) -> np.ndarray:
    """The definition, voxel by voxel and rotation by rotation, (n, d, h, w); the wedge by its formula."""
    density, box = rows.density, rows.transfer.shape[0]
    kz, kx = np.fft.fftfreq(box)[:, None, None], np.fft.rfftfreq(box)
    seen = np.abs(kz) <= math.tan(math.radians(60)) * np.abs(kx) + 1e-9
    reach = math.floor(density.radius + 1)
    grids = np.ogrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1]
    mask = sum(g**2 for g in grids) <= (density.radius + 1) ** 2
    scores = np.zeros((len(rows.rotations), *volume.shape))
    for r in range(len(rows.rotations)):
        posed = density.posed((box,) * 3, rows.rotations[r : r + 1], np.zeros((1, 3), np.float32))[0].numpy()
        posed = fft.irfftn(fft.rfftn(posed) * seen, (box,) * 3)
        middle = slice(box // 2 - reach, box // 2 + reach + 1)
        t = posed[middle, middle, middle][mask]
        t = (t - t.mean()) / t.std()
        for at in np.ndindex(*(n - 2 * reach for n in volume.shape)):
            v = volume[tuple(slice(i, i + 2 * reach + 1) for i in at)][mask]
            scores[(r, *(i + reach for i in at))] = ((v - v.mean()) * t).sum() / (mask.sum() * v.std())
    return scores


def test_the_score_is_the_definition_within_the_tolerance(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    rows = _rows(90)
    voxels = ndimage.gaussian_filter(rng.normal(size=(15, 17, 19)), 0.7).astype(np.float32)
    plain = _plain_scores(voxels, rows)
    highest = plain.max(0)
    inside = tuple(slice(rows.reach, n - rows.reach) for n in voxels.shape)
    for tolerance, bfloat16 in ((0.3, False), (0.03, False), (0.03, True), (0.002, False)):
        monkeypatch.setattr(correlation, "_multiplies_bfloat16", lambda _, answer=bfloat16: answer)
        scores = matching.score_map(5 - voxels, -1.0, rows, tolerance)
        error = np.abs(scores - highest)[inside].max()
        assert error <= tolerance + 1e-5
        assert np.count_nonzero(scores) == scores[inside].size
    found = match(5 - voxels, COARSE, _hand(), 20, step_in_degrees=90)
    at = tuple(found[ZYX].round().to_numpy(int).T)
    assert np.abs(found["score"] - highest[at]).max() < 1e-5
    best = rows.rotations[plain[(slice(None), *at)].argmax(0)]
    assert _turns(found, best).max() < 0.01


def test_tiles_and_the_places_sought_near_move_no_score(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    rows, voxels = _rows(90), rng.normal(size=SHAPE).astype(np.float32)
    whole = matching.score_map(voxels, 1.0, rows, 0.02)
    monkeypatch.setattr(correlation, "ROOM_IN_MEBIBYTES", 1)
    assert correlation.Correlator.of(rows, 0.02, SHAPE).side < 20
    assert np.abs(matching.score_map(voxels, 1.0, rows, 0.02) - whole).max() < 0.007  # bfloat16's rounding
    for direct in (0, 10**9):
        monkeypatch.setattr(correlation, "DIRECT", direct)
        near = matching._Near(PLACES + 0.3, 3 * COARSE, COARSE, rows)
        part = matching.score_map(voxels, 1.0, rows, 0.02, near)
        grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
        sought = (np.linalg.norm(grid[..., None, :] - PLACES - 0.3, axis=-1) <= 3).any(-1)
        assert (part[~sought] == 0).all()
        assert np.abs(part - whole)[sought].max() < 0.007


@pytest.mark.parametrize("tolerance", [0.2, 0.1, 0.01])
def test_no_template_is_further_from_the_basis_than_the_tolerance(tolerance: float) -> None:
    rows = _rows(40)
    made = basis(rows, tolerance)
    whole = torch.cat([batch for _, batch in rows.batches()])
    assert torch.allclose(made.volumes @ made.volumes.T, torch.eye(len(made.volumes)), atol=1e-4)
    rests = (whole - made.weights @ made.volumes).norm(dim=1)
    assert float(rests.max()) <= made.rest + 1e-6 <= tolerance + 2e-6
    # Half as many would not do, even the best ones, which the singular vectors are.
    _, _, axes = torch.linalg.svd(whole, full_matrices=False)
    fewer = axes[: len(made.volumes) // 2]
    assert float((whole - whole @ fewer.T @ fewer).norm(dim=1).max()) > tolerance


@pytest.mark.parametrize("limit", [90.0, 60.0])
def test_a_turned_particle_is_found_in_its_place_and_pose(limit: float, rng: np.random.Generator) -> None:
    truth = Rotation.random(3, rng=rng)
    voxels = _planted(truth, limit, 0.5, rng)
    found = match(voxels, VOXEL, _hand(), 3, step_in_degrees=20, tilt_limit_in_degrees=limit, tolerance=0.1)
    distance, which = cKDTree(found[ZYX]).query(PLACES)
    assert distance.max() < 1
    assert _turns(found.iloc[which], truth).max() < 20
    assert (found["score"] > 0.5).all()
    assert (found["score"] <= 1).all()


def test_a_template_with_the_wedge_fits_data_with_the_wedge_better(rng: np.random.Generator) -> None:
    voxels = _planted(Rotation.random(3, rng=rng), 50.0, 0.3, rng)
    aware, unaware = (
        match(voxels, VOXEL, _hand(), 3, step_in_degrees=25, tilt_limit_in_degrees=limit, near=PLACES, tolerance=0.1)
        for limit in (50.0, 90.0)
    )
    assert aware["score"].mean() > unaware["score"].mean() + 0.05


def test_a_low_pass_takes_fewer_volumes() -> None:
    sharp, smooth = (len(basis(_rows(40, low_pass=a), 0.05).volumes) for a in (None, 100.0))
    assert smooth < 0.7 * sharp


NOISE = np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"diameter_in_angstroms": 20.0}, "2 voxels"),
        ({"diameter_in_angstroms": 250.0}, "shortest side, 20"),
        ({"voxel_size_in_angstroms": 0.0}, "voxel size 0"),
        ({"contrast": "grey"}, "dark or bright"),
        ({"count": 0}, "count 0"),
        ({"voxels": np.full((20, 24, 28), 1e6)}, "constant"),
        ({"voxels": np.where(NOISE > 3, np.nan, NOISE)}, "NaN"),
        ({"voxels": 1e19 * NOISE}, "beyond ±1e"),
        ({"voxels": NOISE[0]}, "(d, h, w)"),
    ],
)
def test_blobs_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    request = {"voxels": NOISE, "voxel_size_in_angstroms": 10.0, "diameter_in_angstroms": 80.0, "count": 5}
    with pytest.raises(BenchError, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        blobs(**request | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_in_degrees": 0.0}, "step 0"),
        ({"step_in_degrees": 181.0}, "step 181"),
        ({"tilt_limit_in_degrees": 0.0}, "tilt limit 0"),
        ({"tolerance": 0.0}, "tolerance 0"),
        ({"voxel_size_in_angstroms": 2.0}, "hand: its mask"),
        ({"voxel_size_in_angstroms": 1000.0}, "hand: is .* voxels wide"),
        ({"voxel_size_in_angstroms": -1.0}, "voxel size -1"),
        ({"contrast": "grey"}, "dark or bright"),
        ({"count": 0}, "count 0"),
        ({"near": np.zeros(3)}, "near"),
        ({"voxels": np.full((20, 24, 28), 0.1)}, "constant"),
        ({"template": Density("empty", np.full((8, 8, 8), -1.0, np.float32), 12.0)}, "empty"),
    ],
)
def test_match_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    request = {"voxels": NOISE, "voxel_size_in_angstroms": COARSE, "template": _hand(), "count": 5}
    with pytest.raises(BenchError, match=message) as caught:
        match(**request | {"step_in_degrees": 90.0} | change)
    assert "\n" not in str(caught.value)


def test_a_constant_corner_is_not_scored() -> None:
    voxels = NOISE.copy()
    voxels[:, :13] = 3.0
    scores = matching.score_map(voxels, 1.0, _rows(90), 0.05)
    assert (scores[:, :8] == 0).all()
    assert np.isfinite(scores).all()


@needs_data
def test_listed_ribosomes_are_among_the_best_blobs() -> None:
    """268 of about 700 ribosomes in a lamella are listed; random positions find 7 %."""
    voxels, voxel_size = volume.read(DATA / "tomograms" / "empiar11658_tomo171_bin4.mrc.gz")
    listed = pd.read_csv(DATA / "tomograms" / "empiar11658_tomo171_80S.csv")[["z_vox", "y_vox", "x_vox"]]
    found = blobs(voxels, voxel_size, 270.0, 1000)
    distance = cKDTree(found[ZYX]).query(listed)[0] * voxel_size
    assert (distance < 160).mean() > 0.9
