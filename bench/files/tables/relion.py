"""RELION's particle tables, versions 3 to 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.base.arrays import Float64Array
from bench.base.errors import BenchError
from bench.files.tables import star
from bench.files.tables.table import ADDED, RELION_ANGLES, ParticleTable, Prediction, columns, frame, numbers


def read(path: Path, lines: list[str], class_column: str) -> ParticleTable:
    """A particles STAR of RELION 3 to 5, or of a program that writes RELION's labels."""
    found = star.blocks(path, lines)
    wanted = ("rlnCoordinateX", "rlnCenteredCoordinateXAngst", "rlnImageName")
    loops = [b for b in found if any(label in b.labels for label in wanted) and b.name != "optics"]
    if not loops:
        raise BenchError(f"{path}: no loop with {' or '.join(wanted)}; name RELION's particles STAR")
    block = next((b for b in loops if b.name == "particles"), loops[0])

    def texts(label: str) -> list[str] | None:
        return star.column(path, lines, block, label)

    def column(label: str) -> Float64Array | None:
        values = texts(label)
        return None if values is None else numbers(path, label, values)

    unit = _unit(path, lines, found, block, "rlnTomoTiltSeriesPixelSize")
    # Before RELION 4 coordinates are voxels of the tomogram, whatever the boxes' own pixel is; origins are in Å.
    pixel = np.where(np.isnan(unit), _unit(path, lines, found, block, "rlnImagePixelSize"), unit)
    n, centred = len(block.row_lines), "rlnCenteredCoordinateXAngst" in block.labels
    if centred:
        unit = pixel = np.ones(n)
    zyx = np.full((n, 3), np.nan)
    for i, axis in enumerate("ZYX"):
        at = column(f"rlnCenteredCoordinate{axis}Angst" if centred else f"rlnCoordinate{axis}")
        if at is not None:
            in_angstroms, origin = column(f"rlnOrigin{axis}Angst"), column(f"rlnOrigin{axis}")
            with np.errstate(over="ignore"):  # what is not finite is refused
                if in_angstroms is not None:
                    if np.isnan(pixel).any() and in_angstroms.any():
                        raise BenchError(
                            f"{path}: origins in Å, but no pixel size for the coordinates; add an optics group"
                        )
                    origin = in_angstroms / np.where(np.isnan(pixel), 1.0, pixel)
                zyx[:, i] = at if origin is None else at - origin
    angles = [column(label) for label in RELION_ANGLES]
    present = [a for a in angles if a is not None]
    if class_column and class_column.lstrip("_") not in block.labels:
        raise BenchError(f"{path}: no column {class_column}; there are: {', '.join(block.labels)}")
    kinds = texts(class_column.lstrip("_")) if class_column else texts("rlnParticleName") or texts("rlnClassNumber")
    images = texts("rlnImageName") or ""
    rows = frame(
        path,
        n,
        zyx,
        unit,
        texts("rlnTomoName") or texts("rlnMicrographName") or "",
        kinds or "",
        np.column_stack(present) if len(present) == 3 else None,
        images,
        texts("rlnTomoParticleName") or images,
    )

    def annotated(predictions: Sequence[Prediction]) -> str:
        labels = [f"subtomobench{name}" for name in ADDED]
        if labels[0] in block.labels:
            raise BenchError(f"{path}: has predictions already; predict on the table without them")
        return star.with_columns(lines, block, dict(zip(labels, columns(predictions))))

    return ParticleTable(path, rows, centred, annotated)


def _unit(path: Path, lines: list[str], found: list[star.Block], block: star.Block, label: str) -> Float64Array:
    """Å a pixel, one a row: the rows' own, else that of `label` in data_optics; NaN where neither is said."""
    own = star.column(path, lines, block, "rlnPixelSize") or star.column(path, lines, block, "rlnDetectorPixelSize")
    if own is not None:
        size = numbers(path, "pixel size", own)
        magnification = star.column(path, lines, block, "rlnMagnification")
        if magnification is not None and "rlnPixelSize" not in block.labels:
            with np.errstate(all="ignore"):  # what is not finite is refused
                size = size * 1e4 / numbers(path, "rlnMagnification", magnification)
        return _positive(path, size)
    optics = next((b for b in found if b.name == "optics" and b.labels), None)
    groups = star.column(path, lines, block, "rlnOpticsGroup")
    if optics is not None and groups is not None:
        names = star.column(path, lines, optics, "rlnOpticsGroup") or []
        sizes = star.column(path, lines, optics, label)
        if sizes is not None:
            known = dict(zip(names, numbers(path, label, sizes)))
            missing = sorted({group for group in groups if group not in known})
            if missing:
                raise BenchError(f"{path}: optics group {missing[0]} is not in data_optics; add it there")
            return _positive(path, np.array([known[group] for group in groups]))
    return np.full(len(block.row_lines), np.nan)


def _positive(path: Path, size: Float64Array) -> Float64Array:
    if (size <= 0).any() or not np.isfinite(size).all():
        raise BenchError(
            f"{path}: a pixel size of {size[~(size > 0) | ~np.isfinite(size)][0]:g} Å; mend it in the file"
        )
    return size
