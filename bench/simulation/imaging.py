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

from bench.base.errors import BenchError
from bench.base.parameters import check, parameter
from bench.simulation.tilt_series import angles, back_project, project

MODES = ("fourier", "tilt_series")
CONTRASTS = ("bright", "dark")
TILTED_TOGETHER = 4
_H, _C, _E, _M = 6.62607015e-34, 299792458.0, 1.602176634e-19, 9.1093837015e-31  # SI


def electron_wavelength_in_angstroms(voltage_in_kilovolts: float) -> float:
    """De Broglie wavelength with the relativistic correction: 0.0197 Å at 300 kV."""
    ev = _E * voltage_in_kilovolts * 1e3
    return 1e10 * _H / math.sqrt(2 * _M * ev * (1 + ev / (2 * _M * _C**2)))


@dataclass(frozen=True)
class Imaging:
    """The parameters of an acquisition; voltage, aberration, defocus and envelope are those of the paper's group.

    SNR is var(signal) / var(noise) over the delivered box, after every filter. With `nominal_snr` it is the older
    definition: var(signal) over the variance of the white noise, where that is added: later filters change it.
    """

    snr: float = parameter(0.1, "signal-to-noise ratio, var(signal) / var(noise)", low=1e-12, high=1e12)
    nominal_snr: bool = parameter(False, "take the older definition of SNR, measured where the noise is added")
    mode: str = parameter("fourier", "how the microscope is simulated", choices=MODES)
    contrast: str = parameter(
        "bright", "how particles look: bright on a dark background, or dark, as in tomograms", choices=CONTRASTS
    )
    tilt_limit_in_degrees: float = parameter(60.0, "tilts go from minus this to plus this", low=0.1, high=90)
    tilt_step_in_degrees: float = parameter(3.0, "between neighbouring tilts", low=0.1, high=90)
    dose_in_electrons_per_square_angstrom: float = parameter(
        0.0, "of the whole tilt series, from 0° outwards; 0: no radiation damage", low=0, high=1000
    )
    voltage_in_kilovolts: float = parameter(300.0, "of the microscope", low=10, high=10_000)
    spherical_aberration_in_millimetres: float = parameter(2.0, "of the microscope", low=-100, high=100)
    defocus_in_micrometres: float = parameter(5.0, "underfocus is positive", low=-100, high=100)
    defocus_spread_in_micrometres: float = parameter(
        0.0, "each particle has a defocus drawn evenly within ± this", low=0, high=100
    )
    amplitude_contrast: float = parameter(0.07, "part of the contrast that comes from amplitude", low=0, high=0.99)
    envelope_in_nyquist: float = parameter(
        0.4, "σ of the Gaussian envelope, as a part of the Nyquist frequency", low=0.05, high=100
    )
    mtf_at_nyquist: float = parameter(
        0.5, "the detector's modulation transfer at the Nyquist frequency, a Gaussian", low=0.001, high=1
    )

    def __post_init__(self) -> None:
        check(self)
        if self.tilt_step_in_degrees > self.tilt_limit_in_degrees:
            raise BenchError(
                f"tilt_step_in_degrees {self.tilt_step_in_degrees:g}: above tilt_limit_in_degrees, "
                f"{self.tilt_limit_in_degrees:g}; make it smaller"
            )

    def wedge(self, shape: tuple[int, int, int]) -> Tensor:
        """1 where some tilt saw the frequency, 0 inside the missing wedge, (d, h, w // 2 + 1).

        The w axis is that of `rfftn`. The wedge is where |kz| > tan(limit) |kx|.
        """
        kz, _, kx = _frequencies(shape, 1.0)
        slope = math.tan(math.radians(self.tilt_limit_in_degrees))
        seen = kz.abs() <= slope * kx.abs() + 1e-9
        return seen.expand(shape[0], shape[1], shape[2] // 2 + 1).to(torch.float32)

    def ctf(self, k2: Tensor, voxel_size_in_angstroms: float, defocus_in_micrometres: Tensor) -> Tensor:
        """sin(π λ Δz k² − π/2 Cs λ³ k⁴ + φ) with sin φ the amplitude contrast, times the envelope.

        k2: squared frequencies in 1/Å². Positive at k = 0: density stays bright on dark.
        """
        wavelength = electron_wavelength_in_angstroms(self.voltage_in_kilovolts)
        aberration = self.spherical_aberration_in_millimetres * 1e7
        phase = math.pi * wavelength * 1e4 * defocus_in_micrometres * k2 - math.pi / 2 * aberration * (
            wavelength**3 * k2**2
        )
        sigma = self.envelope_in_nyquist / (2 * voxel_size_in_angstroms)
        return torch.sin(phase + math.asin(self.amplitude_contrast)) * torch.exp(-k2 / (2 * sigma**2))

    def mtf(self, k2: Tensor, voxel_size_in_angstroms: float) -> Tensor:
        """The detector's transfer at squared frequencies: a Gaussian, `mtf_at_nyquist` at Nyquist."""
        return torch.exp(math.log(self.mtf_at_nyquist) * k2 * (2 * voxel_size_in_angstroms) ** 2)

    def damage(self, k2: Tensor, tilts: tuple[float, ...]) -> Tensor:
        """What the dose before and during each tilt leaves of a frequency (Grant & Grigorieff 2015), (tilts, …)."""
        critical = 0.245 * k2.clamp(min=1e-8) ** (-1.665 / 2) + 2.81
        if self.voltage_in_kilovolts < 250:
            critical = 0.8 * critical
        each = self.dose_in_electrons_per_square_angstrom / len(tilts)
        order = torch.empty(len(tilts))
        order[torch.tensor(sorted(range(len(tilts)), key=lambda i: abs(tilts[i])))] = torch.arange(len(tilts)) + 0.5
        return torch.exp(-each * order.view(-1, *[1] * k2.ndim) / (2 * critical))

    def image(
        self,
        volumes: Tensor,
        voxel_size_in_angstroms: float,
        generator: torch.Generator,
        defocus_in_micrometres: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Noise-free particles (b, d, h, w) → subtomograms of the same shape, and each one's achieved SNR (b,).

        defocus_in_micrometres: (b,), of each particle; without it, that of the acquisition.
        White noise of equal variance is added before the CTF (structural) and after it (the detector's); the CTF
        then takes most of the former. Each box leaves with mean 0 and variance 1, as extraction programs deliver it:
        else the grey level would tell the class, since at one SNR a larger particle brings more noise.
        Raises BenchError where the result is not finite.
        """
        if defocus_in_micrometres is None:
            defocus_in_micrometres = torch.full((1,), self.defocus_in_micrometres)
        if defocus_in_micrometres.unique().numel() == 1:  # one CTF for all
            defocus_in_micrometres = defocus_in_micrometres[:1]
        make = self._filter if self.mode == "fourier" else self._tilt
        defocus = defocus_in_micrometres.to(volumes.device, torch.float32).view(-1, 1, 1, 1)
        image, snr = make(volumes, voxel_size_in_angstroms, generator, defocus)
        std, mean = torch.std_mean(image, dim=(1, 2, 3), correction=0, keepdim=True)
        image -= mean
        image /= std if self.contrast == "bright" else -std
        if not (image.isfinite().all() and snr.isfinite().all()):
            raise BenchError(
                "the microscope leaves no signal or no finite voxel; choose other values of defocus, "
                "amplitude contrast, envelope, dose or SNR"
            )
        return image, snr.flatten()

    def _noise_level(self, delivered: Tensor, nominal: Tensor) -> Tensor:
        """Factor of the noise, from the SNRs that it would have without one; all (b, 1, 1, 1)."""
        return ((nominal if self.nominal_snr else delivered) / self.snr).sqrt()

    def _filter(
        self, volumes: Tensor, voxel_size: float, generator: torch.Generator, defocus: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images of mode `fourier`, and their SNR (b, 1, 1, 1)."""
        shape = (volumes.shape[1], volumes.shape[2], volumes.shape[3])
        axes = (1, 2, 3)
        kz, ky, kx = (k.to(volumes.device) for k in _frequencies(shape, voxel_size))
        k2 = kz**2 + ky**2 + kx**2
        band = self.wedge(shape).to(volumes.device) * (k2 <= 1 / (2 * voxel_size) ** 2) * (k2 > 0)
        ctf, detector = self.ctf(k2, voxel_size, defocus), band * self.mtf(k2, voxel_size)
        signal = torch.fft.rfftn(volumes, dim=axes) * (ctf * detector)
        noise = torch.fft.rfftn(_noise(volumes.shape, generator, volumes.device), dim=axes)
        noise *= (1 + ctf**2).sqrt() * detector  # two white noises, one of them through the CTF
        twice = torch.full((shape[2] // 2 + 1,), 2.0, device=volumes.device)  # what the half spectrum stands for
        twice[0] = 1
        if shape[2] % 2 == 0:
            twice[-1] = 1
        power, disturbance = (
            (torch.view_as_real(x).square().sum(-1) * twice).sum(axes, keepdim=True) for x in (signal, noise)
        )
        n = math.prod(shape)
        level = self._noise_level(power / disturbance, power / n**2 / 2)
        image = torch.fft.irfftn(noise.mul_(level).add_(signal), s=shape, dim=axes)
        return image, power / disturbance / level**2

    def _tilt(
        self, volumes: Tensor, voxel_size: float, generator: torch.Generator, defocus: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same in mode `tilt_series`, some particles at a time: a series is as large as 60 boxes."""
        several = volumes.split(TILTED_TOGETHER)
        at = defocus.split(TILTED_TOGETHER) if len(defocus) > 1 else [defocus] * len(several)
        parts = [self._tilt_some(some, voxel_size, generator, d) for some, d in zip(several, at)]
        return torch.cat([image for image, _ in parts]), torch.cat([snr for _, snr in parts])

    def _tilt_some(
        self, volumes: Tensor, voxel_size: float, generator: torch.Generator, defocus: Tensor
    ) -> tuple[Tensor, Tensor]:
        tilts = angles(self.tilt_limit_in_degrees, self.tilt_step_in_degrees)
        shadows = project(volumes, tilts)
        size = (shadows.shape[2], shadows.shape[3])
        ky = torch.fft.fftfreq(size[0], voxel_size, device=volumes.device)[:, None]
        kx = torch.fft.rfftfreq(size[1], voxel_size, device=volumes.device)
        k2 = ky**2 + kx**2
        ctf, mtf = self.ctf(k2, voxel_size, defocus), self.mtf(k2, voxel_size)
        transfer = ctf * mtf
        if self.dose_in_electrons_per_square_angstrom:
            transfer = transfer * self.damage(k2, tilts).to(volumes.device)
        grain = torch.fft.rfft2(_noise(shadows.shape, generator, volumes.device))
        grain *= (1 + ctf**2).sqrt() * mtf  # two white noises, one of them through the CTF
        seen = torch.fft.irfft2(torch.fft.rfft2(shadows) * transfer, s=size)
        depth, width = volumes.shape[1], volumes.shape[3]
        signal = back_project(seen, depth, width, tilts)
        noise = back_project(torch.fft.irfft2(grain, s=size), depth, width, tilts)
        axes = (1, 2, 3)
        delivered = signal.var(axes, keepdim=True) / noise.var(axes, keepdim=True)
        level = self._noise_level(delivered, seen.var(axes, keepdim=True) / 2)
        return signal + noise * level, delivered / level**2


def _noise(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=generator, device=device)


def _frequencies(shape: tuple[int, int, int], voxel_size: float) -> tuple[Tensor, Tensor, Tensor]:
    """(kz, ky, kx) that broadcast to the half spectrum of `rfftn`."""
    d, h, w = shape
    kz = torch.fft.fftfreq(d, voxel_size)[:, None, None]
    ky = torch.fft.fftfreq(h, voxel_size)[None, :, None]
    kx = torch.fft.rfftfreq(w, voxel_size)[None, None, :]
    return kz, ky, kx
