"""`bench data pick`: a tomogram and a diameter → a table of places."""

from __future__ import annotations

from dataclasses import dataclass

from bench import picking
from bench.base.console import Console
from bench.base.parameters import parameter
from bench.commands.search import Search


@dataclass(frozen=True, kw_only=True)
class Request(Search):
    """The options of `bench data pick`, as given."""

    diameter_in_angstroms: float = parameter(help="of the particles", low=0.01, high=100_000)


def pick(request: Request, console: Console) -> int:
    """Write the table and its pictures; returns how many places were found."""
    voxels, voxel_size = request.opened()
    with console.counted("Picking") as progress:
        found = picking.blobs(
            voxels,
            voxel_size,
            request.diameter_in_angstroms,
            request.count,
            contrast=request.contrast,
            min_distance_in_angstroms=request.min_distance_in_angstroms,
            device=request.device,
            progress=progress,
        )
    request.write(found, voxels, voxel_size, request.diameter_in_angstroms)
    return len(found)
