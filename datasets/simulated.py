"""Atomic structures in ice, imaged: the kind of the paper's simulated set."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.parameters import parameter
from bench.simulation import Density, Imaging, Plan, Simulation, common_extent, plan, potential, structure
from bench.simulation.structure import Structure

OVERSAMPLING = 2  # of the potential's grid over the box's
SURVEY_IN_ANGSTROMS = 5.0  # spacing of the grid on which the structures' extents are measured


@dataclass(frozen=True)
class Simulated(Simulation):
    """Your atomic structures: --data DIR with one PDB or mmCIF file (also .gz) per class; simulated in ice."""

    needs_folder = True
    folder_hint = "add --data DIR with your PDB or mmCIF files, or get the paper's: bench data fetch --pdb paper"

    box: int = parameter(64, "voxels along an edge of the box")
    per_class: int = parameter(1000, "particles of each class")
    snr: float = parameter(0.03, "signal-to-noise ratio, var(signal) / var(noise)")
    nominal_snr: bool = parameter(False, "take the older definition of SNR, measured where the noise is added")
    voxel_size_in_angstroms: float | None = parameter(
        None, "without it the largest structure just fits the box in every pose"
    )
    assembly: str = parameter(
        "auto", "name of a biological assembly in the file; auto: the first; none: the atoms as they stand"
    )
    shift_in_boxes: float = parameter(1 / 16, "largest shift along each axis, as a part of the box")
    neighbours: int = parameter(0, "other particles around each particle, without overlap")
    mode: str = parameter("tilt_series", "how the microscope is simulated: tilt_series or fourier")
    contrast: str = parameter("bright", "bright: bright particles on a dark background; dark: as in tomograms")
    tilt_limit_in_degrees: float = parameter(60.0, "tilts go from minus this to plus this")
    tilt_step_in_degrees: float = parameter(3.0, "between neighbouring tilts")
    dose_in_electrons_per_square_angstrom: float = parameter(0.0, "of the whole tilt series; 0: no radiation damage")
    voltage_in_kilovolts: float = parameter(300.0, "of the microscope")
    spherical_aberration_in_millimetres: float = parameter(2.0, "of the microscope")
    defocus_in_micrometres: float = parameter(5.0, "underfocus is positive")
    defocus_spread_in_micrometres: float = parameter(0.0, "each particle has a defocus drawn evenly within ± this")
    amplitude_contrast: float = parameter(0.07, "part of the contrast that comes from amplitude, 0 to 1")
    envelope_in_nyquist: float = parameter(0.4, "σ of the Gaussian envelope, as a part of the Nyquist frequency")
    mtf_at_nyquist: float = parameter(0.5, "the detector's modulation transfer at the Nyquist frequency")
    device: str = parameter("cpu", "cpu or cuda; cuda is faster and draws other noise")
    seed: int = parameter(0, "seed of poses and noise")

    def sources(self) -> list[Path]:
        """Every structure in the folder."""
        return self.required_files(structure.SUFFIXES, "structures")

    def plan(self) -> Plan:
        """Read the structures and put them into ice."""
        structures, voxel_size = self.survey()
        return plan(
            self.potentials(structures, voxel_size),
            self.imaging(),
            self.box,
            self.per_class,
            voxel_size * self.box,
            self.seed,
            f"simulated {self.box}³ SNR {self.snr:g}",
            self.neighbours,
            self.shift_in_boxes,
            self.device,
            {s.name: s.notes for s in structures},
        )

    def imaging(self) -> Imaging:
        """The microscope's part of the parameters."""
        return Imaging(**{f.name: getattr(self, f.name) for f in fields(Imaging)})

    def structures(self) -> list[Structure]:
        """The atoms of every file."""
        return [structure.read(path, self.assembly) for path in self.sources()]

    def survey(self) -> tuple[list[Structure], float]:
        """The structures, and the voxel size in Å; raises BenchError for a box that is too small for them."""
        given = self.voxel_size_in_angstroms
        if given is not None and not 0 < given < math.inf:
            raise BenchError(f"voxel_size_in_angstroms {given:g}: must be above 0; without it the largest just fits")
        self.imaging()  # refuse a bad parameter before the structures are read
        structures = self.structures()
        needed = common_extent([potential(s, SURVEY_IN_ANGSTROMS) for s in structures])
        voxel_size = needed / self.box if given is None else given
        if needed > self.box * voxel_size * (1 + 1e-9):
            raise BenchError(
                f"a box of {self.box} voxels of {voxel_size:g} Å is too small for the largest structure; "
                f"set simulated.box={int(-(-needed // voxel_size))} or a larger voxel"
            )
        return structures, voxel_size

    def potentials(self, structures: list[Structure], voxel_size_in_angstroms: float) -> list[Density]:
        """The structures in ice, on grids finer than the box's."""
        return [potential(s, voxel_size_in_angstroms / OVERSAMPLING) for s in structures]
