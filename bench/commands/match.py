"""`bench data match`: a tomogram and a template → a table of places and rotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import picking
from bench.base.arrays import Float64Array
from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.parameters import parameter
from bench.commands.search import Search
from bench.extraction import file_of
from bench.files import tables
from bench.simulation import Density, potential, read_map, structure
from bench.simulation.density import radius_in_angstroms


@dataclass(frozen=True, kw_only=True)
class Request(Search):
    """The options of `bench data match`, as given."""

    template: Path
    assembly: str = parameter("auto", "of a structure")
    near: Path | None = None
    step_in_degrees: float = parameter(15.0, "between neighbouring rotations", low=2, high=180)
    tilt_limit_in_degrees: float = parameter(60.0, "the largest tilt; 90: no missing wedge", low=0.1, high=90)
    low_pass_in_angstroms: float | None = parameter(None, "None: the voxels' Nyquist", low=0.01, high=100_000)


def match(request: Request, console: Console) -> int:
    """Write the table and its pictures; returns how many places were found."""
    voxels, voxel_size = request.opened()
    template = _template(request, voxel_size, console)
    near = None if request.near is None else _places(request.near, request.tomogram, voxels.shape, voxel_size)
    with console.counted("Matching") as progress:
        found = picking.match(
            voxels,
            voxel_size,
            template,
            request.count,
            step_in_degrees=request.step_in_degrees,
            tilt_limit_in_degrees=request.tilt_limit_in_degrees,
            contrast=request.contrast,
            low_pass_in_angstroms=request.low_pass_in_angstroms,
            near=near,
            min_distance_in_angstroms=request.min_distance_in_angstroms,
            device=request.device,
            progress=progress,
        )
    request.write(found, voxels, voxel_size, 2 * radius_in_angstroms(template))
    return len(found)


def _template(request: Request, voxel_size_in_angstroms: float, console: Console) -> Density:
    """A density map, or the potential of a structure on a grid half as fine as the tomogram's voxels."""
    path = request.template
    if path.name.lower().endswith(structure.SUFFIXES):
        atoms = structure.read(path, request.assembly)
        for remark in structure.remarks({atoms.name: atoms.notes}):
            console.say(remark)
        return potential(atoms, voxel_size_in_angstroms / 2)
    found = read_map(path)
    return replace(found, voxels=found.voxels.clip(0))


def _places(path: Path, tomogram: Path, shape: tuple[int, ...], voxel_size: float) -> Float64Array:
    """(z, y, x) of a table's rows for a tomogram in its voxels, (n, 3); raises BenchError where there is none."""
    table = tables.read(path)
    which = np.array([i for i, name in enumerate(table.rows["tomogram"]) if file_of(name, [tomogram])], dtype=int)
    if not len(which):
        raise BenchError(f"{path}: no row for a tomogram like {tomogram.name}; name the file like the tomogram")
    return table.places(which, shape, voxel_size)
