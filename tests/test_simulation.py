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
