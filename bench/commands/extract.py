"""What `bench data extract` leaves: boxes, where they come from, what was dropped and why, pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.base.arrays import UNLABELLED
from bench.base.errors import BenchError
from bench.base.files import digest, write_atomically
from bench.base.progress import Progress, silent
from bench.commands.folder import claim
from bench.data.subtomograms import Subtomograms
from bench.extraction import background, boxes, sites
from bench.extraction.sites import BACKGROUND, Cutting
from bench.files import sheets
from bench.files.tables import ParticleTable

SHOWN_CLASSES = 12  # of the contact sheet
SHOWN_BOXES = 4
WRITTEN = ("manifest.json", "volumes.npy", "dropped.csv", "particles.csv")  # before the set is whole
CONVENTIONS = {
    "axes": "(z, y, x); the particle's centre lands on voxel box // 2 of each side",
    "coordinates": "voxels of the tomogram, the first voxel's centre being 0",
    "grey scale": "each box has mean 0 and variance 1; particles are bright",
}


@dataclass(frozen=True)
class Extracted:
    """What `subtomograms` did, for a person to read."""

    rows_in: int
    dropped: pd.DataFrame  # table, row (counted from 1), reason
    made: Subtomograms
    warning: str  # "" where the particles look as they should


def subtomograms(
    tables: list[ParticleTable], files: list[Path], cutting: Cutting, out: Path, report: Progress = silent
) -> Extracted:
    """Cut boxes into the folder `out`, which the data set `particles` reads.

    Written: volumes.npy, labels.npy, meta.json, particles.csv (a row a box), dropped.csv (every other row and why),
    contact_sheet.png, mean.png, manifest.json. A finished folder of the same recipe is left as it is; raises BenchError
    where `out` holds anything else, or no box is left.
    """
    sources = [[str(t.path), hashlib.sha256(t.chosen().encode()).hexdigest()] for t in tables]
    recipe = {
        "cutting": asdict(cutting),
        "tables": sources,
        "tomograms": [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files],
    }
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise BenchError(f"{out}: holds other files; choose another --out")
    claim(out, recipe)
    manifest = {"recipe": recipe, "recipe_hash": digest(recipe), "conventions": CONVENTIONS}
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    if not (out / "meta.json").exists():
        try:
            _cut(tables, files, cutting, out, report)
        except BenchError:  # a request that cannot be met leaves nothing behind, so that a better one may follow
            for name in WRITTEN:
                (out / name).unlink(missing_ok=True)
            raise
    made = Subtomograms.open(out)
    dropped = pd.read_csv(out / "dropped.csv")
    return Extracted(sum(map(len, tables)), dropped, made, _contrast_warning(made, cutting))


def _cut(tables: list[ParticleTable], files: list[Path], cutting: Cutting, out: Path, report: Progress) -> None:
    found, grids = sites.sites(tables, files, cutting)
    found = sites.distinct(found)
    kept, dropped = (found[(found["reason"] == "") == wanted].copy() for wanted in (True, False))
    if not len(kept):
        raise BenchError(f"{tables[0].path}: no row gives a box; the first: {dropped['reason'].iloc[0]}")
    if cutting.background:
        if not files:
            raise BenchError("--background needs the tomograms; add --tomograms")
        kept = pd.concat([kept, background.beside(found, grids, cutting)]).sort_values("file", kind="stable")
    good, voxel_size = boxes.cut_all(kept, cutting, out / "volumes.npy", report)
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
    made = boxes.as_subtomograms(out / "volumes.npy", kept[good], voxel_size, title)
    sheet(made, out / "contact_sheet.png")
    _means(made, cutting.contrast, out / "mean.png")
    made.save(out)


def sheet(made: Subtomograms, path: Path) -> None:
    """Some boxes of each class."""
    rows = []
    for name, which in made.by_class()[:SHOWN_CLASSES]:
        shown = which[np.linspace(0, len(which) - 1, SHOWN_BOXES).astype(int)]
        rows.append((f"{name} ({len(which)})", [np.array(made.volumes[i]) for i in shown]))
    sheets.slices(rows, [""] * SHOWN_BOXES, f"{made.title}, {made.voxel_size_in_angstroms:.4g} Å a voxel", path)


def _means(made: Subtomograms, contrast: str, path: Path) -> None:
    """The mean box of each class, in the contrast of the tomogram."""
    sign = 1 if contrast == "bright" else -1
    rows = [(f"{name} ({len(which)})", [sign * made.mean(which)]) for name, which in made.by_class()[:SHOWN_CLASSES]]
    size = f"{made.voxel_size_in_angstroms:.4g} Å a voxel"
    sheets.slices(rows, ["mean box"], f"{made.title}, {size}, contrast of the tomogram", path)


def _contrast_warning(made: Subtomograms, cutting: Cutting) -> str:
    """Whether the particles' mean box is dark in the middle, where it should be bright by now."""
    particles = [i for i, name in enumerate(made.class_names) if name != BACKGROUND]
    which = np.flatnonzero(np.isin(made.labels, [*particles, UNLABELLED]))
    mean = made.mean(which)
    radius = np.linalg.norm(np.indices(mean.shape) - made.box // 2, axis=0) / made.box
    middle, rim = mean[radius < 0.15], mean[radius > 0.5]
    if middle.mean() - rim.mean() > -4 * rim.std():
        return ""
    other = "bright" if cutting.contrast == "dark" else "dark"
    return (
        f"the mean box is darker in the middle than at the rim: in this tomogram particles seem to be {other}; "
        f"look at mean.png, and extract again with --contrast {other} if so"
    )
