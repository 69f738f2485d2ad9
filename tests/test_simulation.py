"""Laws of the microscope; the oracles are formulas and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.constants import c, e, h, m_e
from scipy.spatial.transform import Rotation

from bench.dataset import silent
from bench.errors import BenchError
from bench.simulation import Density, Imaging, common_extent, fitted, simulate
from bench.simulation.imaging import electron_wavelength_in_angstroms
from bench.simulation.tilt_series import angles, back_project, project


def _blob(shape: tuple[int, int, int], centre: tuple[float, float, float], sigma: tuple[float, float, float]):
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    return np.exp(-0.5 * sum(((g - m) / s) ** 2 for g, m, s in zip(grids, centre, sigma))).astype(np.float32)


def test_wavelength_at_300_kv() -> None:
    volts = 300e3
    expected = h * c / math.sqrt((e * volts) ** 2 + 2 * e * volts * m_e * c**2) * 1e10
    assert electron_wavelength_in_angstroms(300) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(0.0197, abs=1e-4)


def test_first_ctf_zero_is_where_the_formula_puts_it() -> None:
    imaging = Imaging(defocus_in_micrometres=3.0, amplitude_contrast=0.0, spherical_aberration_in_millimetres=0.0)
    n, voxel = 256, 4.0
    along_x = imaging.ctf((n, n // 4, n), voxel)[0, 0]
    first = int(np.flatnonzero(np.diff(np.sign(along_x.numpy()[1:])))[0]) + 1
    # sin(π λ Δz k²) = 0 first at k = 1 / √(λ Δz)
    expected = 1 / math.sqrt(electron_wavelength_in_angstroms(300) * 3e4)
    assert first / (n * voxel) == pytest.approx(expected, abs=1 / (n * voxel))


def test_wedge_lies_about_z_in_boxes_with_three_sides() -> None:
    shape = (12, 10, 16)
    wedge = Imaging(tilt_limit_in_degrees=60).wedge(shape).numpy()
    for z in range(shape[0]):
        for x in range(shape[2] // 2 + 1):
            kz, kx = np.fft.fftfreq(shape[0])[z], np.fft.rfftfreq(shape[2])[x]
            tilt = math.degrees(math.atan2(abs(kz), abs(kx))) if (kz or kx) else 0.0
            if abs(tilt - 60) > 1e-6:
                assert (wedge[z, :, x] == (tilt < 60)).all()


@pytest.mark.parametrize("snr", [0.01, 0.03, 0.1, 1.0])
def test_snr_and_empty_wedge_of_the_delivered_box(snr: float) -> None:
    clean = torch.from_numpy(_blob((20, 24, 28), (10, 12, 14), (3, 4, 2)))[None].repeat(4, 1, 1, 1)
    imaging, voxel = Imaging(snr=snr), 12.0
    delivered = imaging.image(clean, voxel, torch.Generator().manual_seed(1))
    axes = (1, 2, 3)
    # Oracle: the noise-free image by NumPy, fitted to the delivered box, what is left being the noise.
    transfer = (imaging.wedge((20, 24, 28)) * imaging.ctf((20, 24, 28), voxel)).numpy()
    signal = np.fft.irfftn(np.fft.rfftn(clean.numpy(), axes=axes) * transfer, (20, 24, 28), axes)
    signal -= signal.mean(axis=axes, keepdims=True)
    much = imaging.image(clean.repeat(50, 1, 1, 1), voxel, torch.Generator().manual_seed(2)).numpy()
    share = (much * signal[:1]).mean(axis=axes) / (signal[0] ** 2).mean()
    measured = (share**2 * signal[0].var()).mean()
    assert measured / (1 - measured) == pytest.approx(snr, rel=0.05)
    spectrum = np.abs(np.fft.rfftn(delivered.numpy(), axes=axes)) ** 2
    missing = spectrum[:, imaging.wedge((20, 24, 28)).numpy() == 0].sum()
    assert missing < 0.05 * spectrum.sum()


def test_boxes_leave_with_mean_0_and_variance_1() -> None:
    clean = torch.from_numpy(np.stack([_blob((16,) * 3, (8, 8, 8), (s, s, s)) for s in (1.0, 2.0, 4.0)]))
    delivered = Imaging().image(clean, 20.0, torch.Generator().manual_seed(0))
    assert torch.allclose(delivered.mean((1, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(delivered.var((1, 2, 3)), torch.ones(3), atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 10, 16), (16, 14, 10)])
def test_the_projection_at_0_degrees_is_the_sum_along_z(shape: tuple[int, int, int]) -> None:
    tilts, volumes = angles(60, 3), torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    shadows = project(volumes, tilts)
    left = shadows.shape[-1] // 2 - shape[2] // 2
    straight = shadows[:, tilts.index(0.0)]
    assert torch.allclose(straight[..., left : left + shape[2]], volumes.sum(1), atol=1e-5)
    assert torch.allclose(shadows.sum(-1), volumes.sum((1, 3))[:, None].expand(-1, len(tilts), -1), atol=1e-4)


def test_a_projection_at_an_angle_is_that_of_the_turned_specimen() -> None:
    """A Gaussian off the centre, turned by hand: x cos θ + z sin θ, as wide as before."""
    tilts, n, z, x, sigma = (-47.0, 30.0), 40, 6.0, -9.0, 2.5
    blob = _blob((n, n, n), (20 + z, 20, 20 + x), (sigma,) * 3)
    for tilt, shadow in zip(tilts, project(torch.from_numpy(blob)[None], tilts)[0].sum(1)):
        u = torch.arange(len(shadow)) - len(shadow) // 2
        mean = float((shadow * u).sum() / shadow.sum())
        assert mean == pytest.approx(x * math.cos(math.radians(tilt)) + z * math.sin(math.radians(tilt)), abs=0.01)
        assert float((shadow * (u - mean) ** 2).sum() / shadow.sum()) == pytest.approx(sigma**2, rel=0.05)


def test_without_a_wedge_back_projection_gives_the_specimen_back() -> None:
    tilts = tuple(float(t) for t in range(-90, 90, 2))
    blob = torch.from_numpy(_blob((32, 8, 32), (18, 4, 12), (3.0, 2.0, 2.0)))[None]
    rebuilt = back_project(project(blob, tilts), 32, 32, tilts)
    assert np.corrcoef(rebuilt.flatten(), blob.flatten())[0, 1] > 0.99
    upside_down = blob.flip(1)
    assert np.corrcoef(rebuilt.flatten(), upside_down.flatten())[0, 1] < 0.5


@pytest.mark.parametrize("snr", [0.01, 0.1, 1.0])
def test_snr_and_empty_wedge_of_a_tilt_series(snr: float) -> None:
    """The noise is what two images of one particle do not share."""
    clean = torch.from_numpy(_blob((32, 28, 32), (16, 14, 16), (3, 4, 2)))[None].repeat(40, 1, 1, 1)
    imaging = Imaging(snr=snr, mode="tilt_series")
    one, two = (imaging.image(clean, 12.0, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    shared = float((one * two).mean())
    assert shared / (1 - shared) == pytest.approx(snr, rel=0.05)
    spectrum = torch.fft.rfftn(one, dim=(1, 2, 3)).abs().square()
    missing = spectrum * (1 - imaging.wedge((32, 28, 32)))
    assert float(missing.sum()) < 0.05 * float(spectrum.sum())


def test_the_first_zero_of_a_tilt_series_ctf_is_where_the_formula_puts_it() -> None:
    """Of a point, near the tilt axis, where all projections have the same frequencies; on it the weights are 0."""
    n, w, voxel = 96, 32, 6.0
    imaging = Imaging(
        mode="tilt_series",
        defocus_in_micrometres=3.0,
        amplitude_contrast=0.0,
        spherical_aberration_in_millimetres=0.0,
        envelope_in_nyquist=10.0,
    )
    point = torch.zeros(1, w, n, w)
    point[0, w // 2, n // 2, w // 2] = 1
    signal, _ = imaging._tilt(point, voxel, torch.Generator())
    near_the_axis = torch.fft.fftn(signal[0]).abs()[0, : n // 2, 2]
    k2 = 1 / (electron_wavelength_in_angstroms(300) * 3e4) - (2 / (w * voxel)) ** 2
    zero = n * voxel * math.sqrt(k2)
    lowest = int(near_the_axis[8:30].argmin()) + 8
    assert lowest == pytest.approx(zero, abs=1)
    assert float(near_the_axis[lowest]) < 0.05 * float(near_the_axis.max())


def test_both_modes_agree_on_a_particle() -> None:
    clean = torch.from_numpy(_blob((32, 32, 32), (14, 16, 19), (2, 5, 3)))[None]
    signals = [getattr(Imaging(), make)(clean, 10.0, torch.Generator())[0] for make in ("_filter", "_tilt")]
    assert np.corrcoef(signals[0].flatten(), signals[1].flatten())[0, 1] > 0.9


@pytest.mark.parametrize(
    "bad",
    [
        {"snr": 0.0},
        {"tilt_limit_in_degrees": 91.0},
        {"tilt_step_in_degrees": 0.0},
        {"mtf_at_nyquist": 0.0},
        {"mode": "magic"},
    ],
)
def test_an_impossible_microscope_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BenchError, match=next(iter(bad))):
        Imaging(**bad)


def test_posing_turns_about_the_centre_of_mass_and_then_shifts() -> None:
    # An off-centre, lopsided shape in a grid with three sides; the oracle is the same sum of Gaussians, moved.
    voxel = 5.0
    atoms = np.array([[0.0, 0, 0], [22, 0, 0], [0, 30, 0], [0, 0, 38]])
    shape = (40, 44, 48)
    voxels = sum(_blob(shape, tuple(18 + a / voxel), (2.2,) * 3) for a in atoms)
    form = fitted(Density("test", voxels, voxel), voxel)
    rotation, shift, box = Rotation.random(rng=np.random.default_rng(3)), np.array([1.5, -2.0, 0.5], np.float32), 40
    moved = rotation.apply(atoms - atoms.mean(0)) / voxel + box // 2 + shift
    expected = sum(_blob((box,) * 3, tuple(a), (2.2,) * 3) for a in moved)
    posed = form.posed(box, rotation, shift)
    assert np.corrcoef(posed.ravel(), expected.ravel())[0, 1] > 0.999
    mirrored = expected[::-1]
    assert np.corrcoef(posed.ravel(), mirrored.ravel())[0, 1] < 0.9


def test_a_coarser_voxel_keeps_the_shape_in_angstroms() -> None:
    form = fitted(Density("test", _blob((60,) * 3, (30, 30, 30), (6.0,) * 3), 5.0), 10.0)
    posed = form.posed(30, Rotation.identity(), np.zeros(3, np.float32))
    profile = posed[15, 15] / posed.max()
    sigma = math.sqrt((profile * (np.arange(30) - 15) ** 2).sum() / profile.sum())
    # 30 Å, widened by the low-pass whose amplitude is one half at the new Nyquist frequency
    widened = math.hypot(30.0, 10 * math.sqrt(2 * math.log(2)) / math.pi)
    assert 10.0 * sigma == pytest.approx(widened, rel=0.02)


def test_extent_holds_the_largest_density() -> None:
    small, large = (Density("", _blob((50,) * 3, (25, 25, 25), (s,) * 3), 10.0) for s in (2.0, 5.0))
    # 98 % of a 3D Gaussian lies within 3.137 σ
    assert common_extent([small, large]) == pytest.approx(1.1 * 2 * 3.137 * 50, rel=0.05)


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones() -> None:
    density = [Density(n, _blob((16,) * 3, (8, 8, 8), (2, 3, 4)), 10.0) for n in ("a", "b")]
    first, again, other = (simulate(density, Imaging(), 8, 3, 160.0, s, "t", silent).volumes for s in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert not np.allclose(first, other)


def test_the_number_of_threads_does_not_change_a_byte() -> None:
    density = [Density(n, _blob((32,) * 3, (16, 16, 16), (4, 5, 6)), 10.0) for n in ("a", "b")]
    threads, made = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            made.append(simulate(density, Imaging(), 16, 100, 320.0, 0, "t", silent).volumes.tobytes())
    finally:
        torch.set_num_threads(threads)
    assert made[0] == made[1]


def test_an_impossible_recipe_is_refused() -> None:
    density = [Density("a", _blob((16,) * 3, (8, 8, 8), (2, 3, 4)), 10.0)]
    with pytest.raises(BenchError, match="snr"):
        simulate(density, Imaging(snr=0), 8, 3, 160.0, 0, "t", silent)
