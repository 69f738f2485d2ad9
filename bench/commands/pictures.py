"""Pictures of a set's classes, and of places in a tomogram."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bench.base.arrays import Float64Array
from bench.data.subtomograms import Subtomograms
from bench.files import sheets
from bench.files.volume import AnyArray

SHOWN_CLASSES = 12  # of a contact sheet
SHOWN_BOXES = 4
GALLERY, GALLERY_PAGE = 1000, 100  # boxes shown of a table of places, and on a page


def some_boxes(made: Subtomograms, path: Path) -> None:
    """A few boxes of each class."""
    rows = []
    for name, which in made.by_class()[:SHOWN_CLASSES]:
        shown = which[np.linspace(0, len(which) - 1, SHOWN_BOXES).astype(int)]
        rows.append((f"{name} ({len(which)})", [np.array(made.volumes[i]) for i in shown]))
    sheets.slices(rows, [""] * SHOWN_BOXES, f"{made.title}, voxels of {made.voxel_size}", path)


def mean_boxes(made: Subtomograms, contrast: str, path: Path) -> None:
    """The mean box of each class, in the contrast of the tomogram."""
    sign = 1 if contrast == "bright" else -1
    rows = [(f"{name} ({len(which)})", [sign * made.mean(which)]) for name, which in made.by_class()[:SHOWN_CLASSES]]
    title = f"{made.title}, voxels of {made.voxel_size}, contrast of the tomogram"
    sheets.slices(rows, ["mean box"], title, path)


def numbered_places(
    voxels: AnyArray, places: Float64Array, radius: float, contrast: str, title: str, table: Path
) -> None:
    """Beside a table of places (n, 3): a marked slice (.png), and their boxes by number (-001.png …), GALLERY at most.

    voxels: (d, h, w); radius: of the particles, in voxels.
    """
    sheets.marked(voxels, places, radius, title, table.with_suffix(".png"))
    side, sign = math.ceil(3 * radius), 1 if contrast == "bright" else -1
    for first in range(0, min(len(places), GALLERY), GALLERY_PAGE):
        boxes = []
        for place in places[first : first + GALLERY_PAGE]:
            corner = np.clip(np.round(place).astype(int) - side // 2, 0, np.array(voxels.shape) - side).clip(0)
            patch = voxels[tuple(slice(c, c + side) for c in corner)]
            boxes.append(sign * np.asarray(patch, dtype=np.float32))
        page = table.with_name(f"{table.stem}-{first // GALLERY_PAGE + 1:03d}.png")
        sheets.gallery(boxes, first + 1, f"{table.name}: rows {first + 1} to {first + len(boxes)}, bright", page)
