"""How boxes are cut."""

from __future__ import annotations

from dataclasses import dataclass

from bench.base.errors import BenchError
from bench.base.units import check_positive
from bench.data.subtomograms import GreyScale
from bench.extraction.tomograms import known_voxel_size


@dataclass(frozen=True)
class Cutting:
    """How boxes are cut; raises BenchError for a number out of range."""

    box: int = 32  # voxels along an edge
    voxel_size_in_angstroms: float | None = None  # of the boxes; None: the tomogram's
    grey_scale: GreyScale = "each box"
    contrast: str = "dark"  # of particles in the tomogram; boxes come out bright on dark, unless "as read"
    tomogram_voxel_size_in_angstroms: float | None = None  # where the header is wrong; None: the header's
    coordinates_voxel_size_in_angstroms: float | None = None  # Å a unit of the table's; None: as it says
    background: int = 0  # positions beside the particles, as a class of their own
    seed: int = 0  # of these positions

    def __post_init__(self) -> None:
        if self.box < 2:
            raise BenchError(f"--box {self.box}: a box has 2 voxels or more along an edge")
        if self.contrast not in ("dark", "bright"):
            raise BenchError(f"--contrast {self.contrast}: say how particles look in the tomogram, dark or bright")
        sizes = ("voxel_size_in_angstroms", "tomogram_voxel_size_in_angstroms", "coordinates_voxel_size_in_angstroms")
        for name in sizes:
            check_positive(name, getattr(self, name))
        if self.background < 0:
            raise BenchError(f"--background {self.background}: must not be negative")

    def ratio(self, voxel_size: float | None) -> float:
        """Voxels of a tomogram to one of the boxes."""
        if self.voxel_size_in_angstroms is None:
            return 1.0
        ratio = self.voxel_size_in_angstroms / known_voxel_size(voxel_size)
        return 1.0 if abs(ratio - 1) < 0.005 else ratio
