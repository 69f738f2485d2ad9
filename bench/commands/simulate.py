"""What `bench data simulate` and `simulate-tomogram` leave: MRC, RELION STAR, the truth, pictures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.base.cache import Cache
from bench.base.progress import Progress, silent
from bench.commands.folder import claim
from bench.data.subtomograms import Subtomograms
from bench.files import sheets, volume
from bench.files.tables import write_star
from bench.simulation import Imaging, Plan, Simulation, fitted
from bench.simulation.plan import EULER
from bench.simulation.tomogram import tomogram as crowd

SHOWN_CLASSES = 12  # of the contact sheet


def make(dataset: Simulation, out: Path, report: Progress = silent) -> Path:
    """Simulate a set in `out`/cache, where the data set `made` finds it; returns its folder there.

    Into `out` go `manifest.json`, `truth.csv` and `contact_sheet.png`. An interrupted call goes on where it left off.
    Raises BenchError where `out` holds another recipe.
    """
    claim(out, dataset.recipe())
    plan = dataset.plan()
    folder = Cache(out / "cache").entry(
        "data", dataset.key(), lambda aside: dataset.stream(plan, aside, report), resumable=True
    )
    for name in ("truth.csv", "manifest.json"):
        shutil.copyfile(folder / name, out / name)
    contact_sheet(plan, Subtomograms.open(folder), out / "contact_sheet.png")
    return folder


def write(folder: Path, imaging: Imaging, out: Path, report: Progress = silent) -> None:
    """What `make` made → `out`/subtomograms/CLASS/NNNNN.mrc and `particles.star`; boxes that are there stay."""
    made, truth = Subtomograms.open(folder), pd.read_csv(folder / "truth.csv")
    _star(imaging, made, truth, _boxes(made, out, report), out / "particles.star")


def _boxes(made: Subtomograms, out: Path, report: Progress) -> list[Path]:
    """One MRC a particle, those that are there left alone; paths are relative to `out`."""
    paths = []
    for i, label in enumerate(made.labels):
        folder = Path("subtomograms") / re.sub(r"[^\w.+-]+|^\.+", "_", made.class_names[label])
        (out / folder).mkdir(parents=True, exist_ok=True)
        path = folder / f"{i:05d}.mrc"
        if not (out / path).exists():
            aside = out / folder / f".{i:05d}.part.mrc"
            aside.unlink(missing_ok=True)
            volume.write(aside, np.array(made.volumes[i]), made.voxel_size_in_angstroms)
            aside.rename(out / path)
        paths.append(path)
        report(i + 1, len(made.labels))
    return paths


def _star(imaging: Imaging, made: Subtomograms, truth: pd.DataFrame, paths: list[Path], path: Path) -> None:
    """A particle table as RELION ≥ 3.1 writes it: origins move the particle back to the centre of its box."""
    voxel_size = made.voxel_size_in_angstroms
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
    particles = pd.DataFrame({"rlnImageName": [str(p) for p in paths], "rlnClassNumber": made.labels + 1})
    for name in ("Rot", "Tilt", "Psi"):
        particles[f"rlnAngle{name}"] = truth[f"{name.lower()}_in_degrees"]
    for axis in "xyz":
        particles[f"rlnOrigin{axis.upper()}Angst"] = -truth[f"shift_{axis}_in_voxels"] * voxel_size
    for axis in "UV":
        particles[f"rlnDefocus{axis}"] = truth["defocus_in_micrometres"] * 1e4
    particles["rlnOpticsGroup"] = 1
    write_star({"optics": pd.DataFrame([optics]), "particles": particles}, path)


def contact_sheet(plan: Plan, made: Subtomograms, path: Path) -> None:
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


def crowded_tomogram(dataset: Any, shape: tuple[int, int, int], voxel_size: float, out: Path) -> tuple[int, float]:
    """Write a tomogram of `dataset.per_class` particles of each structure; returns their number and the achieved SNR.

    Written: `tomogram.mrc`, `noise_free.mrc`, `mask.mrc` (0 ice, else the class from 1), `particles.star`,
    `particles.csv`, `manifest.json`, `tomogram.png`.
    """
    recipe = dataset.recipe() | {"shape": list(shape), "voxel_size_in_angstroms": voxel_size}
    claim(out, recipe)
    structures = dataset.structures()
    densities = [fitted(d, voxel_size, dataset.device) for d in dataset.potentials(structures, voxel_size)]
    made = crowd(densities, dataset.imaging(), shape, dataset.per_class, voxel_size, dataset.seed)
    for name, voxels in (("tomogram", made.voxels), ("noise_free", made.noise_free), ("mask", made.mask)):
        path = out / f"{name}.mrc"
        path.unlink(missing_ok=True)  # `claim` has seen that it is this recipe's
        volume.write(path, voxels, voxel_size)
    names = [density.name for density in densities]
    made.particles.to_csv(out / "particles.csv", index=False)
    table = pd.DataFrame({"rlnTomoName": ["tomogram"] * len(made.particles)})
    for axis in "xyz":
        table[f"rlnCoordinate{axis.upper()}"] = made.particles[axis]
    for name in ("Rot", "Tilt", "Psi"):
        table[f"rlnAngle{name}"] = made.particles[f"{name.lower()}_in_degrees"]
    table["rlnClassNumber"] = [names.index(name) + 1 for name in made.particles["class"]]
    write_star({"particles": table}, out / "particles.star")
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
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, default=str) + "\n")
    shown = [("noise-free", made.noise_free), ("tomogram", made.voxels), ("classes", made.mask.astype(np.float32))]
    title = f"{len(made.particles)} particles, SNR {made.snr:.3g}"
    sheets.slices([(name, [voxels]) for name, voxels in shown], [""], title, out / "tomogram.png")
    return len(made.particles), made.snr
