"""`bench data simulate-tomogram`: structures → a crowded tomogram with its truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.files import write_atomically
from bench.base.parameters import Range
from bench.base.spreadsheet import as_csv
from bench.commands.folder import claim
from bench.commands.simulate import simulated
from bench.files import sheets, tables, volume
from bench.simulation import fitted, structure
from bench.simulation.plan import EULER
from bench.simulation.tomogram import Tomogram, tomogram


@dataclass(frozen=True)
class Request:
    """The options of `bench data simulate-tomogram`, as given."""

    structures: Path
    out: Path
    shape: str  # z,y,x in voxels
    voxel_size_in_angstroms: float
    parameters: Mapping[str, Any]  # others of the data set `simulated`


def simulate_tomogram(request: Request, console: Console) -> Tomogram:
    """Write a tomogram of `per_class` particles of each structure, as far as they find room.

    Written: `tomogram.mrc`, `noise_free.mrc`, `mask.mrc` (0 ice, else the class from 1), `particles.star`,
    `particles.csv`, `manifest.json`, `tomogram.png`.
    """
    out, shape, voxel_size = request.out, _shape(request.shape), request.voxel_size_in_angstroms
    dataset = simulated(request.structures, {**request.parameters, "voxel_size_in_angstroms": voxel_size})
    recipe = dataset.recipe() | {"shape": list(shape), "voxel_size_in_angstroms": voxel_size}
    claim(out, recipe)
    structures = dataset.structures()
    for remark in structure.remarks({s.name: s.notes for s in structures}):
        console.say(remark)
    densities = [fitted(d, voxel_size, dataset.device) for d in dataset.potentials(structures, voxel_size)]
    with console.working(f"Placing particles, then imaging {'×'.join(map(str, shape))} voxels …"):
        made = tomogram(densities, dataset.imaging(), shape, dataset.per_class, voxel_size, dataset.seed)
    names = [density.name for density in densities]
    _volumes(made, voxel_size, out)
    _tables(made, names, out)
    manifest = {
        "recipe": recipe,
        "seed": dataset.seed,
        "classes": names,
        "achieved_snr": made.snr,
        "placed": {name: int((made.particles["class"] == name).sum()) for name in names},
        "conventions": {
            "axes": "(z, y, x); the beam runs along z, the tilt axis along y",
            "coordinates": "of the centre of mass, in voxels, the first voxel's centre being 0",
            "angles": EULER,
            "mask": "0 is ice, else the class, counted from 1 in the order of `classes`",
        },
        "structures": {s.name: s.notes for s in structures},
    }
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1, default=str) + "\n")
    return made


def _shape(text: str) -> tuple[int, int, int]:
    try:
        d, h, w = (int(part) for part in text.split(","))
    except ValueError:
        raise BenchError(f"--shape {text}: give three numbers of voxels, as in 128,512,512") from None
    Range(8, 4096).check(f"--shape {text}: each side", (d, h, w))
    return d, h, w


def _volumes(made: Tomogram, voxel_size: float, out: Path) -> None:
    """Three MRC files and a picture of their slices."""
    for name, voxels in (("tomogram", made.voxels), ("noise_free", made.noise_free), ("mask", made.mask)):
        path = out / f"{name}.mrc"
        path.unlink(missing_ok=True)  # `claim` has seen that it is this recipe's
        volume.write(path, voxels, voxel_size)
    shown = [("noise-free", made.noise_free), ("tomogram", made.voxels), ("classes", made.mask.astype(np.float32))]
    title = f"{len(made.particles)} particles, SNR {made.snr:.3g}"
    sheets.slices([(name, [voxels]) for name, voxels in shown], [""], title, out / "tomogram.png")


def _tables(made: Tomogram, names: list[str], out: Path) -> None:
    """The particles as CSV and STAR."""
    write_atomically(out / "particles.csv", as_csv(made.particles))
    table = tables.relion_columns(made.particles.drop(columns="class").assign(tomogram="tomogram"))
    table["rlnClassNumber"] = [names.index(name) + 1 for name in made.particles["class"]]
    tables.write_star({"particles": table}, out / "particles.star")
