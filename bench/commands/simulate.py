"""`bench data simulate`: structures → a set of subtomograms, also as MRC and RELION STAR, with its truth."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import registry
from bench.base.cache import Cache
from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.parameters import option
from bench.base.progress import Progress, silent
from bench.base.spreadsheet import read_csv
from bench.base.units import ANGLES
from bench.commands.folder import claim
from bench.data.subtomograms import Subtomograms
from bench.files import sheets, tables, volume
from bench.simulation import Imaging, Plan, Simulation, structure

SHOWN_CLASSES = 12  # of the contact sheet


@dataclass(frozen=True)
class Request:
    """The options of `bench data simulate`, as given."""

    structures: Path
    out: Path
    mrc: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the data set `simulated`


def simulated(structures: Path, parameters: Mapping[str, Any]) -> Any:
    """The data set `simulated` of a folder of structures."""
    return replace(registry.dataset("simulated", parameters, option), folder=structures)


def simulate(request: Request, console: Console) -> None:
    """Simulate the set, and write its boxes one by one where that is asked for."""
    dataset = simulated(request.structures, request.parameters)
    with console.counted("Simulating") as progress:
        folder = make(dataset, request.out, progress, console.say)
    if request.mrc:
        with console.counted("Writing MRC") as progress:
            write(folder, dataset.imaging(), request.out, progress)


def make(
    dataset: Simulation, out: Path, progress: Progress = silent, say: Callable[[str], None] = lambda text: None
) -> Path:
    """Simulate a set in `out`/cache, where the data set `made` finds it; returns its folder there.

    Into `out` go `manifest.json`, `truth.csv` and `contact_sheet.png`. An interrupted call goes on where it left off.
    Raises BenchError where `out` holds another recipe.
    """
    claim(out, dataset.recipe())
    plan = dataset.plan()
    for remark in structure.remarks(plan.notes):
        say(remark)
    folder = Cache(out / "cache").entry(
        "data", dataset.key(), lambda aside: dataset.stream(plan, aside, progress), resumable=True
    )
    for name in ("truth.csv", "manifest.json"):
        shutil.copyfile(folder / name, out / name)
    _contact_sheet(plan, Subtomograms.open(folder), out / "contact_sheet.png")
    return folder


def write(folder: Path, imaging: Imaging, out: Path, progress: Progress = silent) -> None:
    """What `make` made → `out`/subtomograms/CLASS/NNNNN.mrc and `particles.star`; boxes that are there stay."""
    made, truth = Subtomograms.open(folder), read_csv(folder / "truth.csv")
    _star(imaging, made, truth, _boxes(made, out, progress), out / "particles.star")


def _boxes(made: Subtomograms, out: Path, progress: Progress = silent) -> list[Path]:
    """One MRC a particle, those that are there left alone; paths are relative to `out`."""
    paths = []
    for i, label in enumerate(made.labels):
        folder = Path("subtomograms") / re.sub(r"[^\w.+-]+|^\.+", "_", made.class_names[label])
        (out / folder).mkdir(parents=True, exist_ok=True)
        path = folder / f"{i:05d}.mrc"
        if not (out / path).exists():
            volume.write(out / path, np.array(made.volumes[i]), made.voxel_size_in_angstroms)
        paths.append(path)
        progress(i + 1, len(made.labels))
    return paths


def _star(imaging: Imaging, made: Subtomograms, truth: pd.DataFrame, paths: list[Path], path: Path) -> None:
    """A particle table as RELION ≥ 3.1 writes it: origins move the particle back to the centre of its box."""
    voxel_size = made.voxel_size_in_angstroms
    if voxel_size is None:
        raise BenchError(f"{path}: not written, the set does not say its voxel size; simulate it again")
    optics = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "simulated",
        "rlnVoltage": imaging.voltage_in_kilovolts,
        "rlnSphericalAberration": imaging.spherical_aberration_in_millimetres,
        "rlnAmplitudeContrast": imaging.amplitude_contrast,
        "rlnImagePixelSize": voxel_size,
        "rlnImageSize": made.box,
        "rlnImageDimensionality": 3,
    }
    particles = tables.relion_columns(truth[ANGLES].assign(image=[str(p) for p in paths]))
    particles["rlnClassNumber"] = made.labels + 1
    for axis in "xyz":
        particles[f"rlnOrigin{axis.upper()}Angst"] = -truth[f"shift_{axis}_in_voxels"] * voxel_size
    for axis in "UV":
        particles[f"rlnDefocus{axis}"] = truth["defocus_in_micrometres"] * 1e4
    particles["rlnOpticsGroup"] = 1
    tables.write_star({"optics": pd.DataFrame([optics]), "particles": particles}, path)


def _contact_sheet(plan: Plan, made: Subtomograms, path: Path) -> None:
    """Central slices of a particle of each class: upright, in its pose, and as the microscope delivers it."""
    shape = (plan.box, plan.box, plan.box)
    rows = []
    for label, density in enumerate(plan.densities[:SHOWN_CLASSES]):
        first = int(np.flatnonzero(made.labels == label)[0])
        upright = density.posed(shape, plan.rotations[first : first + 1] ** 0, np.zeros((1, 3), np.float32))[0]
        clean = plan.clean(range(first, first + 1))[0]
        rows.append((density.name, [upright.cpu().numpy(), clean.cpu().numpy(), np.array(made.volumes[first])]))
    titles = ["noise-free, upright", "noise-free, as posed", "subtomogram"]
    sheets.slices(rows, titles, f"{plan.title}, {plan.voxel_size_in_angstroms:.3g} Å a voxel", path)
