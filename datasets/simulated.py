"""Atomic structures, imaged like the phantoms: the paper's simulated set is made so."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from bench.base.errors import BenchError
from bench.simulation import Density, Imaging, Plan, Simulation, common_extent, plan, potential, structure
from bench.simulation.structure import Structure

OVERSAMPLING = 2  # of the potential's grid over the box's
SURVEY_IN_ANGSTROMS = 5.0  # spacing of the grid on which the structures' extents are measured


@dataclass(frozen=True)
class Simulated(Simulation):
    """Your atomic structures: --data DIR with one PDB or mmCIF file (also .gz) a class; imaged as potentials in ice."""

    needs_folder = True
    folder_hint = "add --data DIR with your PDB or mmCIF files, or get the paper's: bench data fetch --pdb paper"

    box: int = 64  # voxels along an edge
    per_class: int = 1000
    snr: float = 0.03
    nominal_snr: bool = False  # the older definition, before the filters
    voxel_size_in_angstroms: float = 0.0  # 0: so that the largest structure just fits the box, in any pose
    assembly: str = "auto"  # the biological assembly by its name in the file; none: the atoms as they stand
    shift_in_boxes: float = 1 / 16  # up to this part of the box along each axis
    neighbours: int = 0  # other particles about each, without overlap
    mode: str = "tilt_series"  # or "fourier"
    contrast: str = "bright"  # particles on dark; or "dark", as tomograms come
    tilt_limit_in_degrees: float = 60.0
    tilt_step_in_degrees: float = 3.0
    dose_in_electrons_per_square_angstrom: float = 0.0  # of a whole tilt series; 0: no damage
    voltage_in_kilovolts: float = 300.0
    spherical_aberration_in_millimetres: float = 2.0
    defocus_in_micrometres: float = 5.0  # underfocus is positive
    defocus_spread_in_micrometres: float = 0.0  # each particle's is drawn evenly from ± this about it
    amplitude_contrast: float = 0.07
    envelope_in_nyquist: float = 0.4  # σ of the Gaussian envelope
    mtf_at_nyquist: float = 0.5  # of the detector
    device: str = "cpu"  # or "cuda": faster, other noise
    seed: int = 0  # of poses and noise

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
        if self.voxel_size_in_angstroms < 0:
            raise BenchError(f"voxel_size_in_angstroms {self.voxel_size_in_angstroms:g}: must be positive, or 0 to fit")
        self.imaging()  # refuse a bad parameter before the structures are read
        structures = self.structures()
        needed = common_extent([potential(s, SURVEY_IN_ANGSTROMS) for s in structures])
        voxel_size = self.voxel_size_in_angstroms or needed / self.box
        if needed > self.box * voxel_size * (1 + 1e-9):
            raise BenchError(
                f"a box of {self.box} voxels of {voxel_size:g} Å is too small for the largest structure; "
                f"set simulated.box={int(-(-needed // voxel_size))} or a larger voxel"
            )
        return structures, voxel_size

    def potentials(self, structures: list[Structure], voxel_size_in_angstroms: float) -> list[Density]:
        """The structures in ice, on grids finer than the box's."""
        return [potential(s, voxel_size_in_angstroms / OVERSAMPLING) for s in structures]
