"""Data sets and tomograms as files for other programs: MRC, RELION STAR, a table of the truth, a picture."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench import extract, figures, particles, volume
from bench.cache import Cache, digest, file_digest
from bench.dataset import UNLABELLED, Report, Subtomograms, silent
from bench.errors import BenchError
from bench.extract import BACKGROUND, Cutting
from bench.particles import Particles, write_star
from bench.simulation import Density, Imaging, Plan, Simulation, fitted, potential, structure
from bench.simulation.particles import EULER
from bench.simulation.tomogram import tomogram as crowd
from bench.volume import Mapped

SHOWN_CLASSES = 12  # of the contact sheet
SHOWN_BOXES = 4
GALLERY, GALLERY_PAGE = 1000, 100  # boxes shown of a table of picks, and on a page
CONVENTIONS = {
    "axes": "(z, y, x); the particle's centre lands on voxel box // 2 of each side",
    "coordinates": "voxels of the tomogram, the first voxel's centre being 0",
    "grey scale": "each box has mean 0 and variance 1; particles are bright",
}


def make(dataset: Simulation, out: Path, report: Report = silent) -> Path:
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


def write(folder: Path, imaging: Imaging, out: Path, report: Report = silent) -> None:
    """What `make` made → `out`/subtomograms/CLASS/NNNNN.mrc and `particles.star`; boxes that are there stay."""
    made, truth = Subtomograms.open(folder), pd.read_csv(folder / "truth.csv")
    _star(imaging, made, truth, _boxes(made, out, report), out / "particles.star")


def claim(out: Path, recipe: dict[str, Any]) -> None:
    """Make the folder `out` for a recipe; raises BenchError where its manifest tells of another one."""
    manifest = out / "manifest.json"
    if manifest.exists():
        try:
            before = json.loads(manifest.read_text()).get("recipe")
        except (ValueError, AttributeError):
            before = None
        if before != json.loads(json.dumps(recipe, default=str)):
            raise BenchError(f"{out}: holds another recipe's files ({manifest.name}); choose another --out")
    out.mkdir(parents=True, exist_ok=True)


def _boxes(made: Subtomograms, out: Path, report: Report) -> list[Path]:
    """One MRC a particle, those that are there left alone; paths are relative to `out`."""
    paths = []
    for i, label in enumerate(made.labels):
        folder = Path("subtomograms") / re.sub(r"[^\w.+-]+", "_", made.class_names[label])
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
        "rlnImageSize": made.side,
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
    figures.slices(rows, titles, f"{plan.title}, {plan.voxel_size_in_angstroms:.3g} Å a voxel", path)


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
    figures.slices([(name, [voxels]) for name, voxels in shown], [""], title, out / "tomogram.png")
    return len(made.particles), made.snr


@dataclass(frozen=True)
class Extracted:
    """What `subtomograms` did, for a person to read."""

    rows_in: int
    dropped: pd.DataFrame  # table, row (counted from 1), reason
    made: Subtomograms
    warning: str  # "" where the particles look as they should


def subtomograms(
    tables: list[Particles], files: list[Path], cutting: Cutting, out: Path, report: Report = silent
) -> Extracted:
    """Cut boxes into the folder `out`, which the data set `particles` reads.

    Written: volumes.npy, labels.npy, meta.json, particles.csv (a row a box), dropped.csv (every other row and why),
    contact_sheet.png, mean.png, manifest.json. A finished folder of the same recipe is left as it is; raises BenchError
    where `out` holds anything else, or no box is left.
    """
    sources = [[str(table.path), file_digest(table.path)] for table in tables]
    recipe = {"cutting": asdict(cutting), "tables": sources, "tomograms": [[str(f), f.stat().st_size] for f in files]}
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise BenchError(f"{out}: holds other files; choose another --out")
    claim(out, recipe)
    manifest = {"recipe": recipe, "recipe_hash": digest(recipe), "conventions": CONVENTIONS}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if not (out / "meta.json").exists():
        _cut(tables, files, cutting, out, report)
    made = Subtomograms.open(out)
    dropped = pd.read_csv(out / "dropped.csv")
    return Extracted(sum(map(len, tables)), dropped, made, _contrast_warning(made, cutting))


def _cut(tables: list[Particles], files: list[Path], cutting: Cutting, out: Path, report: Report) -> None:
    found, grids = extract.sites(tables, files, cutting)
    kept, dropped = (found[(found["reason"] == "") == wanted].copy() for wanted in (True, False))
    if not len(kept):
        raise BenchError(f"{tables[0].path}: no row gives a box; the first: {dropped['reason'].iloc[0]}")
    if cutting.background:
        if not files:
            raise BenchError("--background needs the tomograms; add --tomograms")
        kept = pd.concat([kept, extract.beside(found, grids, cutting)]).sort_values("file", kind="stable")
    good, voxel_size = extract.cut_all(kept, cutting, out / "volumes.npy", report)
    blank = kept[~good & (kept["row"] >= 0)].assign(reason="its box is blank or holds NaN")
    dropped = pd.concat([dropped, blank]).sort_values(["table", "row"])
    paths = [str(table.path) for table in tables]
    for some in (dropped, kept):
        some.insert(1, "source", [paths[i] if i >= 0 else "" for i in some["table"]])
        some["row"] += 1  # people count from 1; 0 is no row
    dropped[["source", "row", "reason"]].to_csv(out / "dropped.csv", index=False)
    where = (
        kept[good]
        .drop(columns=["table", "file", "reason"])
        .rename(columns={axis: f"{axis}_in_voxels" for axis in "zyx"})
    )
    where.insert(0, "box", np.arange(len(where)))
    where.round(3).to_csv(out / "particles.csv", index=False)
    if not good.any():
        raise BenchError(f"{out}: every box is blank or holds NaN; check the tomogram")
    title = f"{out.resolve().name} {cutting.box}³"
    made = extract.as_subtomograms(out / "volumes.npy", kept[good], voxel_size, title)
    sheet(made, out / "contact_sheet.png")
    _means(made, cutting.contrast, out / "mean.png")
    made.save(out)


def sheet(made: Subtomograms, path: Path) -> None:
    """Some boxes of each class."""
    rows = []
    for name, which in made.by_class()[:SHOWN_CLASSES]:
        shown = which[np.linspace(0, len(which) - 1, SHOWN_BOXES).astype(int)]
        rows.append((f"{name} ({len(which)})", [np.array(made.volumes[i]) for i in shown]))
    figures.slices(rows, [""] * SHOWN_BOXES, f"{made.title}, {made.voxel_size_in_angstroms:.4g} Å a voxel", path)


def _means(made: Subtomograms, contrast: str, path: Path) -> None:
    """The mean box of each class, in the contrast of the tomogram."""
    sign = 1 if contrast == "bright" else -1
    rows = [(f"{name} ({len(which)})", [sign * made.mean(which)]) for name, which in made.by_class()[:SHOWN_CLASSES]]
    size = f"{made.voxel_size_in_angstroms:.4g} Å a voxel"
    figures.slices(rows, ["mean box"], f"{made.title}, {size}, contrast of the tomogram", path)


def _contrast_warning(made: Subtomograms, cutting: Cutting) -> str:
    """Whether the particles' mean box is dark in the middle, where it should be bright by now."""
    particles = [i for i, name in enumerate(made.class_names) if name != BACKGROUND]
    which = np.flatnonzero(np.isin(made.labels, [*particles, UNLABELLED]))
    mean = made.mean(which)
    radius = np.linalg.norm(np.indices(mean.shape) - made.side // 2, axis=0) / made.side
    middle, rim = mean[radius < 0.15], mean[radius > 0.5]
    if middle.mean() - rim.mean() > -4 * rim.std():
        return ""
    other = "bright" if cutting.contrast == "dark" else "dark"
    return (
        f"the mean box is darker in the middle than at the rim: in this tomogram particles seem to be {other}; "
        f"look at mean.png, and extract again with --contrast {other} if so"
    )


def new_table(path: Path) -> None:
    """Raise BenchError where a table of that name cannot be written: before hours of work, not after."""
    if path.suffix not in (".star", ".csv"):
        raise BenchError(f"{path}: the table's format follows from its name; end it in .star or .csv")
    if path.exists():
        raise BenchError(f"{path}: exists; choose another --out, or move it")


def template(path: Path, voxel_size_in_angstroms: float) -> Density:
    """A density map, or the potential of a structure on a grid half as fine as the tomogram's voxels."""
    if path.name.lower().endswith(structure.SUFFIXES):
        return potential(structure.read(path), voxel_size_in_angstroms / 2)
    voxels, voxel_size = volume.read(path)
    if voxel_size <= 0:
        raise BenchError(f"{path}: the header gives no voxel size; write it into the header")
    return Density(volume.stem(path), voxels.clip(0), voxel_size)


def places(path: Path, tomogram: Mapped) -> npt.NDArray[np.float64]:
    """(z, y, x) of every row of a table in voxels of a tomogram, (n, 3)."""
    table = particles.read(path)
    return table.places(np.arange(len(table)), tomogram.voxels.shape, tomogram.voxel_size_in_angstroms)


def picks(found: pd.DataFrame, read: Mapped, tomogram: Path, contrast: str, diameter: float, out: Path) -> None:
    """Write picks, best first: the table, a marked slice (.png) and numbered boxes (-001.png …), GALLERY at most.

    diameter: of the particles, in Å.
    """
    particles.write(out, found.assign(tomogram=volume.stem(tomogram)), read.voxel_size_in_angstroms)
    where = found[["z", "y", "x"]].to_numpy(float)
    radius = diameter / read.voxel_size_in_angstroms / 2
    title = f"{len(found)} picks in {tomogram.name}"
    figures.marked(read.voxels, where, radius, title, out.with_suffix(".png"))
    side, sign = math.ceil(3 * radius), 1 if contrast == "bright" else -1
    for first in range(0, min(len(where), GALLERY), GALLERY_PAGE):
        boxes = []
        for place in where[first : first + GALLERY_PAGE]:
            corner = np.clip(np.round(place).astype(int) - side // 2, 0, np.array(read.voxels.shape) - side).clip(0)
            patch = read.voxels[tuple(slice(c, c + side) for c in corner)]
            boxes.append(sign * np.asarray(patch, dtype=np.float32))
        page = out.with_name(f"{out.stem}-{first // GALLERY_PAGE + 1:03d}.png")
        figures.gallery(boxes, first + 1, f"{out.name}: rows {first + 1} to {first + len(boxes)}, bright", page)
