"""What the microscope does to a volume: missing wedge, CTF, envelope, noise.

Mode `tilt_series`: projections, a CTF and noise in each, weighted back-projection. Mode `fourier`, what the paper's
group used: the same as filters of the volume.

Axes are (d, h, w) = (z, y, x): the beam runs along z, the tilt axis along y. Frequencies are in 1/Å.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.simulation.tilt_series import angles, back_project, project

MODES = ("fourier", "tilt_series")
TILTED_TOGETHER = 4
_H, _C, _E, _M = 6.62607015e-34, 299792458.0, 1.602176634e-19, 9.1093837015e-31  # SI


def electron_wavelength_in_angstroms(voltage_in_kilovolts: float) -> float:
    """De Broglie wavelength with the relativistic correction: 0.0197 Å at 300 kV."""
    ev = _E * voltage_in_kilovolts * 1e3
    return 1e10 * _H / math.sqrt(2 * _M * ev * (1 + ev / (2 * _M * _C**2)))


@dataclass(frozen=True)
class Imaging:
    """The parameters of an acquisition; voltage, aberration, defocus and envelope are those of the paper's group.

    SNR is var(signal) / var(noise) over the delivered box, after every filter.
    """

    snr: float = 0.1
    mode: str = "fourier"  # or "tilt_series"
    tilt_limit_in_degrees: float = 60.0
    tilt_step_in_degrees: float = 3.0  # of a tilt series
    voltage_in_kilovolts: float = 300.0
    spherical_aberration_in_millimetres: float = 2.0
    defocus_in_micrometres: float = 5.0  # underfocus is positive
    amplitude_contrast: float = 0.07
    envelope_in_nyquist: float = 0.4  # σ of the Gaussian envelope
    mtf_at_nyquist: float = 0.5  # of a tilt series: the detector's, a Gaussian

    def __post_init__(self) -> None:
        if self.snr <= 0:
            raise BenchError(f"snr {self.snr:g}: must be above 0; set a positive signal-to-noise ratio")
        if not 0 < self.tilt_limit_in_degrees <= 90:
            raise BenchError(f"tilt_limit_in_degrees {self.tilt_limit_in_degrees:g}: must be above 0 and at most 90")
        if not 0 < self.tilt_step_in_degrees <= self.tilt_limit_in_degrees:
            raise BenchError(f"tilt_step_in_degrees {self.tilt_step_in_degrees:g}: must be above 0, within the limit")
        if not 0 < self.mtf_at_nyquist <= 1:
            raise BenchError(f"mtf_at_nyquist {self.mtf_at_nyquist:g}: must be above 0 and at most 1")
        if self.mode not in MODES:
            raise BenchError(f"unknown mode '{self.mode}'; known: {', '.join(MODES)}")

    def wedge(self, shape: tuple[int, int, int]) -> Tensor:
        """1 where some tilt saw the frequency, 0 inside the missing wedge, (d, h, w // 2 + 1).

        The w axis is that of `rfftn`. The wedge is where |kz| > tan(limit) |kx|.
        """
        kz, _, kx = _frequencies(shape, 1.0)
        slope = math.tan(math.radians(self.tilt_limit_in_degrees))
        seen = kz.abs() <= slope * kx.abs() + 1e-9
        return seen.expand(shape[0], shape[1], shape[2] // 2 + 1).to(torch.float32)

    def ctf(self, shape: tuple[int, int, int], voxel_size_in_angstroms: float) -> Tensor:
        """sin(π λ Δz k² − π/2 Cs λ³ k⁴ + φ) with sin φ the amplitude contrast, times the envelope, (d, h, w // 2 + 1).

        Positive at k = 0: density stays bright on dark, as after contrast inversion.
        """
        kz, ky, kx = _frequencies(shape, voxel_size_in_angstroms)
        return self._contrast_transfer(kz**2 + ky**2 + kx**2, voxel_size_in_angstroms)

    def _contrast_transfer(self, k2: Tensor, voxel_size_in_angstroms: float) -> Tensor:
        wavelength = electron_wavelength_in_angstroms(self.voltage_in_kilovolts)
        defocus = self.defocus_in_micrometres * 1e4
        aberration = self.spherical_aberration_in_millimetres * 1e7
        phase = math.pi * wavelength * defocus * k2 - math.pi / 2 * aberration * wavelength**3 * k2**2
        sigma = self.envelope_in_nyquist / (2 * voxel_size_in_angstroms)
        return torch.sin(phase + math.asin(self.amplitude_contrast)) * torch.exp(-k2 / (2 * sigma**2))

    def image(self, volumes: Tensor, voxel_size_in_angstroms: float, generator: torch.Generator) -> Tensor:
        """Noise-free particles (b, d, h, w) → subtomograms of the same shape, at the stated SNR.

        White noise of equal variance is added before the CTF (structural) and after it (the detector's); the CTF
        then takes most of the former. Each box leaves with mean 0 and variance 1, as extraction programs deliver it:
        else the grey level would tell the class, since at one SNR a larger particle brings more noise.
        """
        make = self._filter if self.mode == "fourier" else self._tilt
        signal, noise = make(volumes, voxel_size_in_angstroms, generator)
        power = [x.var(dim=(1, 2, 3), keepdim=True) for x in (signal, noise)]
        image = signal + noise * (power[0] / power[1] / self.snr).sqrt()
        deviation, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
        return (image - mean) / deviation

    def _filter(self, volumes: Tensor, voxel_size: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Signal and noise of mode `fourier`."""
        shape = (volumes.shape[1], volumes.shape[2], volumes.shape[3])
        wedge = self.wedge(shape).to(volumes.device)
        ctf = self.ctf(shape, voxel_size).to(volumes.device)
        signal = _filtered(volumes, wedge * ctf)
        before, after = (torch.randn(volumes.shape, generator=generator, device=volumes.device) for _ in range(2))
        noise = _filtered(before, wedge * ctf) + _filtered(after, wedge)
        return signal, noise

    def _tilt(self, volumes: Tensor, voxel_size: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Signal and noise of mode `tilt_series`, some particles at a time: a series is as large as 60 boxes."""
        parts = [self._tilt_some(some, voxel_size, generator) for some in volumes.split(TILTED_TOGETHER)]
        return torch.cat([signal for signal, _ in parts]), torch.cat([noise for _, noise in parts])

    def _tilt_some(self, volumes: Tensor, voxel_size: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tilts = angles(self.tilt_limit_in_degrees, self.tilt_step_in_degrees)
        shadows = project(volumes, tilts)
        height, width = shadows.shape[2:]
        ky = torch.fft.fftfreq(height, voxel_size)[:, None]
        kx = torch.fft.rfftfreq(width, voxel_size)
        k2 = (ky**2 + kx**2).to(volumes.device)
        ctf = self._contrast_transfer(k2, voxel_size)
        mtf = torch.exp(math.log(self.mtf_at_nyquist) * k2 * (2 * voxel_size) ** 2)
        before, after = (torch.randn(shadows.shape, generator=generator, device=volumes.device) for _ in range(2))

        def seen(images: Tensor, transfer: Tensor) -> Tensor:
            filtered = torch.fft.irfft2(torch.fft.rfft2(images) * transfer, s=(height, width))
            return back_project(filtered, volumes.shape[1], volumes.shape[3], tilts)

        return seen(shadows, ctf * mtf), seen(before, ctf * mtf) + seen(after, mtf)


def _frequencies(shape: tuple[int, int, int], voxel_size: float) -> tuple[Tensor, Tensor, Tensor]:
    """(kz, ky, kx) that broadcast to the half spectrum of `rfftn`."""
    d, h, w = shape
    kz = torch.fft.fftfreq(d, voxel_size)[:, None, None]
    ky = torch.fft.fftfreq(h, voxel_size)[None, :, None]
    kx = torch.fft.rfftfreq(w, voxel_size)[None, None, :]
    return kz, ky, kx


def _filtered(volumes: Tensor, transfer: Tensor) -> Tensor:
    axes = (-3, -2, -1)
    filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(volumes, dim=axes) * transfer, s=volumes.shape[-3:], dim=axes)
    return filtered
