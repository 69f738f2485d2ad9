"""The one particle table, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.transform import Rotation

from bench.base.arrays import Float64Array
from bench.base.errors import BenchError
from bench.base.files import check_new, write_atomically
from bench.base.spreadsheet import as_csv
from bench.base.units import ANGLES
from bench.files.tables.star import write_star

RELION_ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
RELION_LABELS = {
    "tomogram": "rlnTomoName",
    "image": "rlnImageName",
    "x": "rlnCoordinateX",
    "y": "rlnCoordinateY",
    "z": "rlnCoordinateZ",
    **dict(zip(ANGLES, RELION_ANGLES)),
    "score": "rlnAutopickFigureOfMerit",
    "class": "rlnParticleName",
}
COLUMNS = ["tomogram", "z", "y", "x", "angstroms_per_unit", "class", *ANGLES, "image", "name"]
ADDED = ("Class", "Probability", "Confidence")  # the columns of a prediction
NONE = "none"  # the class of a row that was not predicted


class Prediction(NamedTuple):
    """What `bench predict` says of one row."""

    name: str  # the class
    number: int  # its number, counted from 1; 0 for none
    probability: float  # the network's
    confidence: float  # the probability after calibration


NOTHING = Prediction(NONE, 0, 0.0, 0.0)  # of a row without a box, or whose box the network cannot tell


@dataclass(frozen=True)
class ParticleTable:
    """A particle table, one line of `rows` a row of the file, in its order.

    rows: tomogram (its name, "" where the file has none); z, y, x (float64) in units of `angstroms_per_unit`, NaN where
    they are voxels of the tomogram; class ("" where unknown); angles as RELION's rot, tilt, psi (NaN where unknown);
    image (path of an extracted box, or ""); name (of the particle, or "").
    """

    path: Path
    rows: pd.DataFrame
    centred: bool = False  # z, y, x count from the tomogram's centre (RELION 5), not from its first voxel
    annotated: Callable[[Sequence[Prediction]], str] = field(default=lambda _: "", repr=False)  # the file's text again
    encoding: str = "utf-8"  # of that text
    kept: frozenset[int] | None = None  # rows that a person chose; None: all

    def __post_init__(self) -> None:
        names = self.rows["name"][self.rows["name"] != ""]
        if names.duplicated().any():
            twice = names[names.duplicated(keep=False)]
            lines = ", ".join(str(i + 1) for i in twice.index[:3])
            raise BenchError(
                f"{self.path}: {names.duplicated().sum()} particle name(s) stand twice ({twice.iloc[0]}: rows "
                f"{lines}); the same particle in training and test would be a leak: rename or remove one"
            )
        places = self.rows[["z", "y", "x"]].to_numpy(float)
        if not (np.isfinite(places).all() or self.rows["image"].ne("").all()):
            bad = int(np.flatnonzero(~np.isfinite(places).all(axis=1))[0])
            raise BenchError(f"{self.path}: row {bad + 1} has a coordinate that is no number; mend or remove the row")

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self) -> str:
        """The rows, and which of them are kept, as text: equal for equal requests."""
        kept = "all" if self.kept is None else ",".join(map(str, sorted(self.kept)))
        return f"{kept}\n{self.rows.to_csv(index=False)}"

    def places(
        self, which: npt.NDArray[np.intp], shape: tuple[int, ...], voxel_size: float | None, unit: float | None = None
    ) -> Float64Array:
        """(z, y, x) of rows `which` in voxels of a tomogram of `shape`, its first voxel being 0, (n, 3).

        voxel_size: of the tomogram in Å. unit: Å a unit of the file's coordinates; None: what the file says.
        Raises BenchError for rows that are boxes without a place, and where a size is needed that nobody says.
        """
        rows = self.rows.iloc[which]
        if rows["z"].isna().any():
            raise BenchError(f"{self.path}: has no coordinates, only boxes; name a table that has them")
        scale = np.full(len(rows), unit) if unit else rows["angstroms_per_unit"].to_numpy(float)
        if voxel_size is None and np.isfinite(scale).any():
            raise BenchError(f"{self.path}: counts in Å, but the tomogram does not say its voxel size; give it by hand")
        scale = np.where(np.isfinite(scale), scale / (voxel_size or 1.0), 1.0)
        with np.errstate(over="ignore"):  # infinitely far is out of every tomogram
            places = rows[["z", "y", "x"]].to_numpy(float) * scale[:, None]
        return np.asarray(places + np.array(shape) / 2 if self.centred else places)


def frame(
    path: Path,
    n: int,
    zyx: Float64Array,
    unit: float | Float64Array = np.nan,
    tomogram: Sequence[str] | str = "",
    kind: Sequence[str] | str = "",
    angles: Float64Array | None = None,
    image: Sequence[str] | str = "",
    name: Sequence[str] | str = "",
) -> pd.DataFrame:
    """The rows of a `ParticleTable` from a format's parts; raises BenchError where there is none."""
    if n == 0:
        raise BenchError(f"{path}: a particle table without rows; export it again")
    rows = pd.DataFrame({"tomogram": tomogram, "angstroms_per_unit": unit, "class": kind}, index=range(n))
    rows[["z", "y", "x"]] = zyx
    rows[ANGLES] = np.nan if angles is None else angles
    rows["image"], rows["name"] = image, name
    return rows[COLUMNS]


def numbers(path: Path, label: str, values: Iterable[Any]) -> Float64Array:
    """A column of numbers; raises BenchError for the first that is none."""
    found = []
    for i, value in enumerate(values):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise BenchError(
                f"{path}: row {i + 1}: {label} is {str(value)[:40]!r}, not a number; mend or remove the row"
            )
        found.append(number)
    return np.array(found)


def relion_from_zxz(angles: Float64Array) -> Float64Array:
    """(tdrot, tilt, narot) of Dynamo and TOM → RELION's (rot, tilt, psi), degrees, (n, 3)."""
    return Rotation.from_euler("zxz", angles, degrees=True).as_euler("ZYZ", degrees=True, suppress_warnings=True)


def columns(predictions: Sequence[Prediction]) -> list[list[str]]:
    """Class, probability and confidence as texts, a column each."""
    return [
        [p.name for p in predictions],
        [f"{p.probability:.4f}" for p in predictions],
        [f"{p.confidence:.4f}" for p in predictions],
    ]


def relion_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """RELION's columns of what there is in `rows`: tomogram, image, x, y, z in voxels, angles, score, class."""
    return rows[[name for name in RELION_LABELS if name in rows]].rename(columns=RELION_LABELS)


def check_writable(path: Path) -> None:
    """Raise BenchError where `write` cannot write: before hours of work, not after."""
    if path.suffix not in (".star", ".csv"):
        raise BenchError(f"{path}: the table's format follows from its name; end it in .star or .csv")
    check_new(path)


def write(path: Path, rows: pd.DataFrame, voxel_size_in_angstroms: float) -> None:
    """Write rows as .star (RELION; coordinates in voxels of the optics group's size) or .csv.

    rows: tomogram, z, y, x in voxels, and what there is of class, score and angles. Raises BenchError for another
    suffix, or a file that exists.
    """
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table = rows.copy()
        for axis in "zyx":
            table[f"{axis}_in_angstroms"] = table[axis] * voxel_size_in_angstroms
        write_atomically(path, as_csv(table.rename(columns={a: f"{a}_in_voxels" for a in "zyx"}).round(4)))
        return
    decimals = dict.fromkeys(("x", "y", "z", *ANGLES), 4) | {"score": 5}
    table = relion_columns(rows.round(decimals)).assign(rlnOpticsGroup=1)
    optics = pd.DataFrame(
        [{"rlnOpticsGroup": 1, "rlnOpticsGroupName": "tomogram", "rlnTomoTiltSeriesPixelSize": voxel_size_in_angstroms}]
    )
    write_star({"optics": optics, "particles": table}, path)
