"""`bench data extract`: boxes, where they come from, what was dropped and why, pictures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.base.arrays import UNLABELLED
from bench.base.console import Console
from bench.base.errors import BenchError
from bench.base.files import digest, write_atomically
from bench.base.progress import Progress
from bench.base.spreadsheet import as_csv, read_csv
from bench.commands import pictures
from bench.commands.folder import claim
from bench.data.subtomograms import Subtomograms
from bench.extraction import BACKGROUND, Cut, Cutting, Tomograms, as_subtomograms, cut_out, read_tables
from bench.files.tables import ParticleTable

WRITTEN = ("manifest.json", "volumes.npy", "dropped.csv", "particles.csv")  # before the set is whole
CONVENTIONS = {
    "axes": "(z, y, x); the particle's centre lands on voxel box // 2 of each side",
    "coordinates": "voxels of the tomogram, the first voxel's centre being 0",
    "grey scale": "each box has mean 0 and variance 1; particles are bright",
}


@dataclass(frozen=True)
class Request:
    """The options of `bench data extract`, as given."""

    tables: tuple[str, ...]  # FILE, or CLASS=FILE
    out: Path
    cutting: Cutting
    tomograms: Path | None = None
    class_column: str = ""
    keep: Path | None = None


@dataclass(frozen=True)
class Extracted:
    """What `extract` did, for a person to read."""

    rows_in: int
    dropped: pd.DataFrame  # source, row (counted from 1), reason
    made: Subtomograms
    warning: str  # "" where the particles look as they should


def extract(request: Request, console: Console) -> Extracted:
    """Cut boxes into the folder `out`, which the data set `particles` reads.

    Written: volumes.npy, labels.npy, meta.json, particles.csv (a row a box), dropped.csv (every other row and why),
    contact_sheet.png, mean.png, manifest.json. A finished folder of the same recipe is left as it is; raises BenchError
    where `out` holds anything else or was changed, or no box is left.
    """
    out, cutting = request.out, request.cutting
    tables = read_tables(request.tables, request.class_column, request.keep)
    tomograms = Tomograms.find(request.tomograms, cutting.tomogram_voxel_size_in_angstroms)
    if remark := tomograms.assumed(tables):
        console.say(f"Careful: {remark}")
    recipe = _recipe(tables, tomograms, cutting)
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise BenchError(f"{out}: holds other files; choose another --out")
    claim(out, recipe)
    manifest = {"recipe": recipe, "recipe_hash": digest(recipe), "conventions": CONVENTIONS}
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    if not (out / "meta.json").exists():
        try:
            with console.counted("Extracting") as progress:
                _write(tables, tomograms, cutting, out, progress)
        except BenchError:  # a request that cannot be met leaves nothing behind, so that a better one may follow
            for name in WRITTEN:
                (out / name).unlink(missing_ok=True)
            raise
    made = Subtomograms.open_unchanged(out)
    dropped = read_csv(out / "dropped.csv")
    return Extracted(sum(map(len, tables)), dropped, made, _contrast_warning(made, cutting.contrast))


def _recipe(tables: list[ParticleTable], tomograms: Tomograms, cutting: Cutting) -> dict[str, Any]:
    return {
        "cutting": asdict(cutting),
        "tables": [[str(t.path), hashlib.sha256(t.chosen().encode()).hexdigest()] for t in tables],
        "tomograms": [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in tomograms.files],
    }


def _write(tables: list[ParticleTable], tomograms: Tomograms, cutting: Cutting, out: Path, progress: Progress) -> None:
    cut = cut_out(tables, tomograms, cutting, out / "volumes.npy", progress=progress)
    _account(cut, [str(table.path) for table in tables], out)
    if not len(cut.kept):
        raise BenchError(f"{out}: every box is blank or holds NaN; check the tomogram")
    made = as_subtomograms(out / "volumes.npy", cut, f"{out.resolve().name} {cutting.box}³")
    pictures.some_boxes(made, out / "contact_sheet.png")
    pictures.mean_boxes(made, cutting.contrast, out / "mean.png")
    made.save(out)


def _account(cut: Cut, sources: list[str], out: Path) -> None:
    """dropped.csv and particles.csv: every row is in one of them, counted from 1 as people do; 0 is no row."""
    dropped, kept = (
        some.assign(source=[sources[i] if i >= 0 else "" for i in some["table"]], row=some["row"] + 1)
        for some in (cut.dropped, cut.kept)
    )
    (out / "dropped.csv").write_text(as_csv(dropped[["source", "row", "reason"]]), encoding="utf-8")
    where = kept[["source", "row", "tomogram", "class", "z", "y", "x"]].rename(
        columns={axis: f"{axis}_in_voxels" for axis in "zyx"}
    )
    where.insert(0, "box", np.arange(len(where)))
    (out / "particles.csv").write_text(as_csv(where.round(3)), encoding="utf-8")


def _contrast_warning(made: Subtomograms, contrast: str) -> str:
    """Whether the particles' mean box is dark in the middle, where it should be bright by now."""
    particles = [i for i, name in enumerate(made.class_names) if name != BACKGROUND]
    which = np.flatnonzero(np.isin(made.labels, [*particles, UNLABELLED]))
    mean = made.mean(which)
    radius = np.linalg.norm(np.indices(mean.shape) - made.box // 2, axis=0) / made.box
    middle, rim = mean[radius < 0.15], mean[radius > 0.5]
    if middle.mean() - rim.mean() > -4 * rim.std():
        return ""
    other = "bright" if contrast == "dark" else "dark"
    return (
        f"the mean box is darker in the middle than at the rim: in this tomogram particles seem to be {other}; "
        f"look at mean.png, and extract again with --contrast {other} if so"
    )
