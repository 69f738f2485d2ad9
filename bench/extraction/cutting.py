"""How boxes are cut."""

from __future__ import annotations

from dataclasses import dataclass

from bench.base.parameters import check, option, parameter
from bench.data.subtomograms import GreyScale
from bench.extraction.tomograms import known_voxel_size


@dataclass(frozen=True)
class Cutting:
    """How boxes are cut; raises BenchError for a number out of range."""

    box: int = parameter(32, "voxels along an edge", low=2, high=1024)
    voxel_size_in_angstroms: float | None = parameter(None, "of the boxes; None: the tomogram's", low=0.01, high=1000)
    grey_scale: GreyScale = "each box"
    contrast: str = parameter(
        "dark",
        'of particles in the tomogram; boxes come out bright on dark, unless "as read"',
        choices=("dark", "bright"),
    )
    tomogram_voxel_size_in_angstroms: float | None = parameter(
        None, "where the header is wrong; None: the header's", low=0.01, high=1000
    )
    coordinates_voxel_size_in_angstroms: float | None = parameter(
        None, "Å a unit of the table's; None: as it says", low=0.01, high=1000
    )
    background: int = parameter(0, "positions beside the particles, as a class of their own", low=0, high=10_000_000)
    seed: int = parameter(0, "of these positions", low=0, high=10**12)

    def __post_init__(self) -> None:
        check(self, option)

    def ratio(self, voxel_size: float | None) -> float:
        """Voxels of a tomogram to one of the boxes."""
        if self.voxel_size_in_angstroms is None:
            return 1.0
        ratio = self.voxel_size_in_angstroms / known_voxel_size(voxel_size)
        return 1.0 if abs(ratio - 1) < 0.005 else ratio
