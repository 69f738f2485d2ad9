"""Atomic structures, imaged like the phantoms: the paper's simulated set is made so."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from bench.dataset import Dataset, Report, Subtomograms, silent
from bench.errors import BenchError
from bench.simulation import Imaging, common_extent, potential, simulate, structure

OVERSAMPLING = 3  # of the potential's grid over the box's
SURVEY_IN_ANGSTROMS = 5.0  # spacing of the grid on which the structures' extents are measured


@dataclass(frozen=True)
class Simulated(Dataset):
    """Your atomic structures: --data DIR with one PDB or mmCIF file (also .gz) a class; imaged as potentials in ice."""

    needs_folder = True

    box: int = 64  # voxels along an edge
    per_class: int = 1000
    snr: float = 0.03
    voxel_size_in_angstroms: float = 0.0  # 0: so that the largest structure just fits the box, in any pose
    assembly: str = "auto"  # the biological assembly by its name in the file; none: the atoms as they stand
    mode: str = "tilt_series"  # or "fourier"
    tilt_limit_in_degrees: float = 60.0
    tilt_step_in_degrees: float = 3.0
    voltage_in_kilovolts: float = 300.0
    spherical_aberration_in_millimetres: float = 2.0
    defocus_in_micrometres: float = 5.0  # underfocus is positive
    amplitude_contrast: float = 0.07
    envelope_in_nyquist: float = 0.4  # σ of the Gaussian envelope
    mtf_at_nyquist: float = 0.5  # of the detector, in a tilt series
    seed: int = 0  # of poses and noise

    def sources(self) -> list[Path]:
        """Every structure in the folder."""
        return self.required_files(structure.SUFFIXES, "structures")

    def load(self, report: Report = silent) -> Subtomograms:
        """Read the structures and image them in random poses."""
        if self.voxel_size_in_angstroms < 0:
            raise BenchError(f"voxel_size_in_angstroms {self.voxel_size_in_angstroms:g}: must be positive, or 0 to fit")
        imaging = Imaging(**{f.name: getattr(self, f.name) for f in fields(Imaging)})
        structures = [structure.read(path, self.assembly) for path in self.sources()]
        needed = common_extent([potential(s, SURVEY_IN_ANGSTROMS) for s in structures])
        voxel_size = self.voxel_size_in_angstroms or needed / self.box
        if needed > self.box * voxel_size * (1 + 1e-9):
            raise BenchError(
                f"a box of {self.box} voxels of {voxel_size:g} Å is too small for the largest structure; "
                f"set simulated.box={int(-(-needed // voxel_size))} or a larger voxel"
            )
        densities = [potential(s, voxel_size / OVERSAMPLING) for s in structures]
        title = f"simulated {self.box}³ SNR {self.snr:g}"
        extent = voxel_size * self.box
        return simulate(densities, imaging, self.box, self.per_class, extent, self.seed, title, report)
