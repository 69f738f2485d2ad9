"""Atomic structures in ice, imaged: the kind of the paper's simulated set."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from bench.base.errors import BenchError
from bench.base.machine import choose_device
from bench.base.parameters import parameter, same
from bench.simulation import Density, Imaging, Plan, Simulation, common_extent, plan, potential, structure
from bench.simulation.structure import Structure

OVERSAMPLING = 2  # of the potential's grid over the box's
SURVEY_IN_ANGSTROMS = 5.0  # spacing of the grid on which the structures' extents are measured


@dataclass(frozen=True)
class Simulated(Simulation):
    """Your atomic structures: --data DIR with one PDB or mmCIF file (also .gz) per class; simulated in ice."""

    needs_folder = True
    folder_hint = "add --data DIR with your PDB or mmCIF files, or get the paper's: bench data fetch --pdb paper"

    box: int = parameter(64, "voxels along an edge of the box", low=8, high=1024)
    per_class: int = parameter(1000, "particles of each class", low=1, high=1_000_000)
    snr: float = same(Imaging, "snr", default=0.03)
    nominal_snr: bool = same(Imaging, "nominal_snr")
    voxel_size_in_angstroms: float | None = parameter(
        None, "without it the largest structure just fits the box in every pose", low=0.01, high=1000
    )
    assembly: str = parameter(
        "auto",
        "name of a biological assembly in the file; auto: the first; none: the first model's atoms as they stand; "
        "models: the atoms of all models",
    )
    shift_in_boxes: float = parameter(1 / 16, "largest shift along each axis, as a part of the box", low=0, high=0.5)
    neighbours: int = parameter(0, "other particles around each particle, without overlap", low=0, high=100)
    mode: str = same(Imaging, "mode", default="tilt_series")
    contrast: str = same(Imaging, "contrast")
    tilt_limit_in_degrees: float = same(Imaging, "tilt_limit_in_degrees")
    tilt_step_in_degrees: float = same(Imaging, "tilt_step_in_degrees")
    dose_in_electrons_per_square_angstrom: float = same(Imaging, "dose_in_electrons_per_square_angstrom")
    voltage_in_kilovolts: float = same(Imaging, "voltage_in_kilovolts")
    spherical_aberration_in_millimetres: float = same(Imaging, "spherical_aberration_in_millimetres")
    defocus_in_micrometres: float = same(Imaging, "defocus_in_micrometres")
    defocus_spread_in_micrometres: float = same(Imaging, "defocus_spread_in_micrometres")
    amplitude_contrast: float = same(Imaging, "amplitude_contrast")
    envelope_in_nyquist: float = same(Imaging, "envelope_in_nyquist")
    mtf_at_nyquist: float = same(Imaging, "mtf_at_nyquist")
    device: str = parameter("cpu", "cuda is faster and draws other noise", choices=("cpu", "cuda"))
    seed: int = parameter(0, "seed of poses and noise", low=0, high=10**12)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.imaging()
        choose_device(self.device)

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
