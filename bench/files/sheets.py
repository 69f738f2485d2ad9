"""Arrays → sheets of pictures: slices side by side, numbered boxes, a tomogram with circles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from bench.base.arrays import Float64Array, FloatArray
from bench.base.errors import BenchError
from bench.base.files import check_new

SHEET_WIDTH_IN_INCHES = 9.0
GALLERY_COLUMNS = 10
plt.rcParams["text.parse_math"] = False  # a "$" in a name is a dollar


def check_writable(path: Path) -> None:
    """Raise BenchError where no picture can be written: before the work, not after."""
    if path.suffix.lower() != ".png":
        raise BenchError(f"{path}: the picture is a PNG; end the name in .png")
    check_new(path)


def save(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure and forget it; letters that its font lacks are drawn as boxes, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, dpi=150, **options)
    plt.close(figure)


def slices(rows: list[tuple[str, list[FloatArray]]], titles: list[str], title: str, path: Path) -> None:
    """A contact sheet: a row of volumes (d, h, w) each, a group of central slices (xy, xz, yz) each volume."""
    shape = rows[0][1][0].shape
    widths = [shape[2], shape[2], shape[0]] * len(titles)
    cell = SHEET_WIDTH_IN_INCHES / sum(widths)
    heights = [max(shape[0], shape[1])] * len(rows)
    figure, grid = plt.subplots(
        len(rows),
        len(widths),
        figsize=(SHEET_WIDTH_IN_INCHES + 1.2, cell * sum(heights) + 0.9),
        squeeze=False,
        width_ratios=widths,
        layout="constrained",
    )
    for i, (name, volumes) in enumerate(rows):
        for j, volume in enumerate(volumes):
            low, high = np.percentile(volume, [0.5, 99.5]) if volume.min() < 0 else (volume.min(), volume.max())
            three_slices(grid[i][3 * j : 3 * j + 3], volume, low, high, titles[j] if i == 0 else None)
        grid[i][0].set_ylabel(name[:28], fontsize=7, rotation=0, ha="right", va="center")
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def gallery(boxes: list[FloatArray], first: int, title: str, path: Path) -> None:
    """Numbered boxes (d, h, w), counted from `first`: the mean of the middle fifth of planes, ten in a row."""
    side = boxes[0].shape[1]
    rows = -(-len(boxes) // GALLERY_COLUMNS)
    page = np.full((rows * (side + 2), min(len(boxes), GALLERY_COLUMNS) * (side + 2)), np.nan, dtype=np.float32)
    figure, axes = plt.subplots(figsize=(SHEET_WIDTH_IN_INCHES, 0.6 + rows * 0.9), layout="constrained")
    for i, box in enumerate(boxes):
        d = len(box)
        plane = box[d // 2 - d // 10 : d // 2 + d // 10 + 1].mean(axis=0)
        low, high = np.percentile(plane, [1, 99])
        y, x = (i // GALLERY_COLUMNS) * (side + 2), (i % GALLERY_COLUMNS) * (side + 2)
        page[y : y + side, x : x + side] = np.clip((plane - low) / max(high - low, 1e-12), 0, 1)
        axes.text(x, y, str(first + i), color="black", backgroundcolor="white", fontsize=5, va="top")
    axes.imshow(page, cmap="gray", interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    save(figure, path)


def marked(voxels: npt.NDArray[Any], places: Float64Array, radius: float, title: str, path: Path) -> None:
    """A slab of a tomogram (d, h, w), averaged along z, with circles about `places` (n, 3) in it."""
    d = len(voxels)
    low, high = max(0, d // 2 - max(1, d // 20)), d // 2 + max(1, d // 20) + 1
    plane = np.asarray(voxels[low:high], dtype=np.float32).mean(axis=0)
    figure, axes = plt.subplots(figsize=(SHEET_WIDTH_IN_INCHES, SHEET_WIDTH_IN_INCHES), layout="constrained")
    axes.imshow(plane, cmap="gray", vmin=np.percentile(plane, 1), vmax=np.percentile(plane, 99))
    for rank, (z, y, x) in enumerate(places):
        if low <= z < high:
            colour = plt.get_cmap("viridis")(1 - rank / max(1, len(places)))
            axes.add_patch(Circle((x, y), radius, fill=False, color=colour, linewidth=0.8))
    axes.set_title(f"{title}\nplanes {low} to {high - 1}; yellow is best", fontsize=9)
    axes.set_axis_off()
    save(figure, path)


def three_slices(row: Sequence[Axes], volume: FloatArray, low: float, high: float, title: str | None) -> None:
    """Central slices of a volume (d, h, w) into three axes, `title` above the middle one."""
    d, h, w = (n // 2 for n in volume.shape)
    planes = (("xy", volume[d]), ("xz", volume[:, h]), ("yz", volume[:, :, w].T))
    for k, (axes, (plane, image)) in enumerate(zip(row, planes)):
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        if title is not None:
            axes.set_title(f"{title}\n{plane}" if k == 1 else f"\n{plane}", fontsize=7)
