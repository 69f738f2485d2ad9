"""One reader a format: text in, `ParticleTable` out, with the way back."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bench.base.errors import BenchError
from bench.base.files import odd_letters
from bench.base.spreadsheet import plain, protected
from bench.base.units import ANGLES
from bench.files import volume
from bench.files.tables import relion
from bench.files.tables.table import (
    ADDED,
    NONE,
    ParticleTable,
    Prediction,
    columns,
    frame,
    numbers,
    relion_from_zxz,
)

LARGEST = 1 << 31  # bytes of text
LARGEST_OF_A_TURN = 1e6  # copick's may hold a scale
DYNAMO_SHIFT, DYNAMO_ANGLES, DYNAMO_PLACE = [3, 4, 5], [6, 7, 8], [23, 24, 25]  # columns, from 0
DYNAMO_TOMOGRAM, DYNAMO_CLASS = 19, 21
PREDICTED = [f"predicted_{name.lower()}" for name in ADDED]
_TOMOGRAM = ("tomogram", "tomo", "tomo_name", "tomo_id", "run_name", "run", "experiment", "rlntomoname")
_CLASS = ("class", "class_name", "label", "particle_type", "type", "pickable_object_name", "rlnclassnumber")
_IN_ANGSTROMS = ("{}_angstrom", "{}_angstroms", "{}_in_angstroms", "{}_a")
_IN_VOXELS = ("{}_in_voxels", "{}_vox", "{}_voxel", "{}_voxels", "{}_pix", "{}_px", "coord_{}", "{}", "rlncoordinate{}")


def read(path: Path, class_column: str = "") -> ParticleTable:
    """Read .star, .csv, .tsv, .json (copick), .tbl (Dynamo) or .txt (SHREC: class z y x and three angles), also .gz.

    A folder of extracted boxes (MRC, EM, TIFF) is read as a table of them. class_column: the column that names the
    class, where it is not the usual one. Raises BenchError for a file that is none of these, for a row cut short and
    for particle names that stand twice.
    """
    readers: dict[str, Callable[[Path, list[str], str], ParticleTable]] = {
        ".star": relion.read,
        ".csv": _csv,
        ".tsv": _csv,
        ".json": _copick,
        ".tbl": _dynamo,
        ".txt": _shrec,
    }
    if path.is_dir():
        return _boxes(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in readers:
        raise BenchError(f"{path}: not a particle table by its name; known: {', '.join(readers)} (also .gz)")
    lines, encoding = _lines(path)
    return replace(readers[suffix](path, lines, class_column), encoding=encoding)


def _boxes(folder: Path) -> ParticleTable:
    names = [f"{folder.absolute().name}/{path.name}" for path in volume.find(folder)]
    rows = frame(folder, len(names), np.full((len(names), 3), np.nan), image=names, name=names)

    def annotated(predictions: Sequence[Prediction]) -> str:
        lines = [f"{_cell(name, ',')}\n" for name in ("box", *names)]
        return _with_predictions(lines, range(len(lines)), predictions, ",")

    return ParticleTable(folder, rows, annotated=annotated)


def _lines(path: Path) -> tuple[list[str], str]:
    """The file's lines with their ends, and the encoding that gives its bytes back."""
    if not path.is_file():
        raise BenchError(f"{path}: no such file; name a particle table that exists")
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as handle:
                content = handle.read(LARGEST)
        else:
            content = path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BenchError(f"{path}: the .gz is damaged or cut short ({error}); copy the file again") from error
    if len(content) >= LARGEST:
        raise BenchError(f"{path}: more than {LARGEST >> 30} GiB of text; split the table")
    if b"\0" in content:
        raise BenchError(f"{path}: holds binary data, a particle table is text; name another file")
    try:
        return [line.decode() for line in content.splitlines(keepends=True)], "utf-8"
    except UnicodeDecodeError:
        return [line.decode("latin-1") for line in content.splitlines(keepends=True)], "latin-1"


def _csv(path: Path, lines: list[str], class_column: str) -> ParticleTable:
    comma = "\t" if lines and "\t" in lines[0] else ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    reader = csv.reader(lines, delimiter=comma)
    records, ends = [], []
    try:
        for record in reader:
            if record:
                records.append(record)
                ends.append(reader.line_num - 1)  # the line on which the record ends
    except csv.Error as error:
        raise BenchError(f"{path}: line {reader.line_num}: {error}; export the table as plain CSV again") from error
    if not records:
        raise BenchError(f"{path}: empty; export the table again")
    header = [label.strip().strip("\ufeff") for label in records[0]]
    lower = [label.lower() for label in header]
    if twice := [label for label, n in Counter(filter(None, lower)).items() if n > 1]:
        raise BenchError(f"{path}: two columns are called {twice[0]}; rename or remove one")
    for i, record in enumerate(records[1:]):
        if len(record) != len(header):
            where = f"{path}: line {ends[i + 1] + 1}"
            raise BenchError(f"{where} has {len(record)} values for {len(header)} columns; mend or remove that line")

    def values(label: str) -> list[str]:
        at = lower.index(label)
        return [plain(record[at].strip()) for record in records[1:]]

    def first(labels: Sequence[str]) -> list[str] | None:
        return next((values(label) for label in labels if label in lower), None)

    zyx, unit = None, math.nan
    for patterns, size in ((_IN_ANGSTROMS, 1.0), (_IN_VOXELS, math.nan)):
        for pattern in patterns:
            if zyx is None and all(pattern.format(axis) in lower for axis in "zyx"):
                zyx = np.column_stack([numbers(path, axis, values(pattern.format(axis))) for axis in "zyx"])
                unit = size
    if zyx is None:
        raise BenchError(f"{path}: no coordinates; name three columns x, y, z (voxels) or x_angstrom, y_angstrom, …")
    if class_column and class_column.lower() not in lower:
        raise BenchError(f"{path}: no column {class_column}; there are: {', '.join(header)}")
    angles = None
    if all(name in lower for name in ANGLES):
        angles = np.column_stack([numbers(path, name, values(name)) for name in ANGLES])
    kinds = values(class_column.lower()) if class_column else first(_CLASS) or ""
    rows = frame(path, len(records) - 1, zyx, unit, first(_TOMOGRAM) or "", kinds, angles)

    def annotated(predictions: Sequence[Prediction]) -> str:
        if PREDICTED[0] in lower:
            raise BenchError(f"{path}: has predictions already; predict on the table without them")
        return _with_predictions(lines, ends, predictions, comma)

    return ParticleTable(path, rows, annotated=annotated)


def _with_predictions(lines: list[str], ends: Sequence[int], predictions: Sequence[Prediction], comma: str) -> str:
    """CSV with three more columns; the first of `ends` is the header's."""
    cells = [[_cell(value, comma) for value in column] for column in columns(predictions)]
    return _appended(lines, ends, [PREDICTED, *zip(*cells)], comma)


def _cell(value: str, comma: str) -> str:
    doubled = protected(value).replace('"', '""')
    return f'"{doubled}"' if comma in value or '"' in value else doubled


def _copick(path: Path, lines: list[str], _class_column: str) -> ParticleTable:
    try:
        table = json.loads("".join(lines))
        points = table["points"]
        zyx = np.array([[point["location"][axis] for axis in "zyx"] for point in points], dtype=float).reshape(-1, 3)
        turns = np.array([point.get("transformation_") or np.eye(4) for point in points], dtype=float)
        turns = turns.reshape(len(points), 4, 4)[:, :3, :3]
        unit = str(table.get("unit", "angstrom")).lower()
        tomogram, kind = str(table["run_name"]), str(table["pickable_object_name"])
        if problem := odd_letters(tomogram) or odd_letters(kind):
            raise ValueError(f"a name {problem.partition(';')[0]}")
        if not (np.isfinite(zyx).all() and np.isfinite(turns).all()):
            raise ValueError("a number that is not finite")
        if len(points) and (np.abs(turns).max() > LARGEST_OF_A_TURN or (np.linalg.det(turns) <= 0).any()):
            raise ValueError("a transformation that is no rotation")
        angles = Rotation.from_matrix(turns).inv().as_euler("ZYZ", degrees=True, suppress_warnings=True)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise BenchError(f"{path}: not a copick picks file ({problem}); export it again") from error
    if not unit.startswith("angstrom"):
        raise BenchError(f"{path}: counts in {unit}, copick counts in angstrom; convert it")
    rows = frame(path, len(points), zyx, 1.0, tomogram, kind, angles)

    def annotated(predictions: Sequence[Prediction]) -> str:
        for point, prediction in zip(points, predictions):
            point |= dict(zip(PREDICTED, _row(prediction)))
        return json.dumps(table)

    return ParticleTable(path, rows, annotated=annotated)


def _dynamo(path: Path, lines: list[str], _class_column: str) -> ParticleTable:
    ends, cells = _cells(path, lines, None)
    n_columns = len(cells[0]) if cells else 0
    if n_columns < 26:
        raise BenchError(f"{path}: {n_columns} columns, a Dynamo table has 26 or more; export it again")
    table = np.array([numbers(path, f"column {i + 1}", column) for i, column in enumerate(zip(*cells))]).T
    with np.errstate(over="ignore"):  # a place that is not finite is refused
        place = table[:, DYNAMO_PLACE] + table[:, DYNAMO_SHIFT] - 1  # Dynamo's first voxel is 1
    names = [f"{row[DYNAMO_TOMOGRAM]}/{row[0]}" for row in cells]
    rows = frame(
        path,
        len(cells),
        place[:, ::-1],
        tomogram=[row[DYNAMO_TOMOGRAM] for row in cells],
        kind=[row[DYNAMO_CLASS] for row in cells],
        angles=relion_from_zxz(table[:, DYNAMO_ANGLES]),
        name=names,
    )
    return ParticleTable(path, rows, annotated=lambda predictions: _as_numbers(lines, ends, predictions))


def _shrec(path: Path, lines: list[str], _class_column: str) -> ParticleTable:
    ends, cells = _cells(path, lines, 7)
    table = np.array([numbers(path, f"column {i + 1}", (row[i] for row in cells)) for i in range(1, 7)]).T
    kinds = [row[0] for row in cells]
    rows = frame(path, len(cells), table[:, :3], kind=kinds, angles=relion_from_zxz(table[:, 3:]) if cells else None)

    def annotated(predictions: Sequence[Prediction]) -> str:
        words = [["_".join(value.split()) for value in column] for column in columns(predictions)]
        return _appended(lines, ends, list(zip(*words)), " ")

    return ParticleTable(path, rows, annotated=annotated)


def _cells(path: Path, lines: list[str], n_columns: int | None) -> tuple[list[int], list[list[str]]]:
    """The lines that hold rows, and their values; raises BenchError where the rows differ in length."""
    ends = [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("#", "%"))]
    cells = [lines[i].split() for i in ends]
    expected = n_columns or (len(cells[0]) if cells else 0)
    for i, row in zip(ends, cells):
        if len(row) != expected:
            raise BenchError(
                f"{path}: line {i + 1} has {len(row)} values for {expected} columns; mend or remove that line"
            )
    return ends, cells


def _as_numbers(lines: list[str], ends: list[int], predictions: Sequence[Prediction]) -> str:
    """For a table of numbers: the class itself where it is one, else its place in the list of classes, from 1."""
    said = {p.name for p in predictions} - {NONE}
    named = all(name.lstrip("-").isdigit() for name in said)
    added = [
        (p.name if named and p.name != NONE else str(p.number), f"{p.probability:.4f}", f"{p.confidence:.4f}")
        for p in predictions
    ]
    return _appended(lines, ends, added, " ")


def _appended(lines: list[str], ends: Sequence[int], values: Sequence[Sequence[str]], comma: str) -> str:
    """The file's text with values at the ends of some lines; no other byte changes."""
    out = list(lines)
    for i, some in zip(ends, values):
        body = out[i].rstrip("\r\n")
        out[i] = body + comma + comma.join(some) + out[i][len(body) :]
    return "".join(out)


def _row(prediction: Prediction) -> tuple[str, float, float]:
    return prediction.name, round(prediction.probability, 4), round(prediction.confidence, 4)
