"""Particle tables: every row read, in known units, and given back byte for byte."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from conftest import DATA, needs_data
from scipy.spatial.transform import Rotation

from bench.base.errors import BenchError
from bench.files import tables, volume
from bench.files.tables import Prediction

TABLES = sorted(p for p in (DATA / "particles").rglob("*") if p.is_file()) if DATA.is_dir() else []
STAR = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnTomoTiltSeriesPixelSize #2
 1 2.0
 2 4.0

data_particles

loop_
_rlnTomoName #1
_rlnTomoParticleName #2
_rlnCoordinateX #3
_rlnCoordinateY #4
_rlnCoordinateZ #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnOriginZAngst #8
_rlnOpticsGroup #9
_rlnClassNumber #10
 TS_1   TS_1/1  100 200 30   2.0 -4.0 8.0  1  3
'TS 2' 'TS 2/1' 10.5 20 30  0 0 0   2 1

"""
CSV = "tomogram,class,x_angstrom,y_angstrom,z_angstrom\nt,ribosome,30,20,10\nt,,6,5,4\n"
COPICK = json.dumps(
    {
        "pickable_object_name": "ribosome",
        "run_name": "TS_5",
        "unit": "angstrom",
        "points": [{"location": {"x": 1.0, "y": 2.5, "z": 3.0}, "transformation_": np.eye(4).tolist()}] * 2,
    }
)


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode("latin-1"))
    return path


def _said(n: int) -> list[Prediction]:
    return [Prediction("a class" if i % 2 else "b", 1 + i % 2, 0.9, 0.75) for i in range(n)]


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def _counted(path: Path) -> int:
    """Rows by the plainest of counts: lines of numbers, or points of a JSON file."""
    text = _text(path)
    if ".json" in path.name:
        return len(json.loads(text)["points"])
    if ".star" in path.name:
        text = text.rpartition("\n_rln")[2].partition("\n")[2]
    return sum(bool(line.strip()) for line in text.splitlines())


@needs_data
@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.name)
def test_every_row_of_real_tables_is_read_and_given_back(path: Path, tmp_path: Path) -> None:
    read = tables.read(path)
    assert len(read) == _counted(path) > 0
    assert np.isfinite(read.rows[["z", "y", "x"]].to_numpy()).all()
    written = read.annotated(_said(len(read)))
    before = _text(path)
    if ".json" in path.name:
        again = json.loads(written)
        assert [p.pop("predicted_class") for p in again["points"]] == [p.name for p in _said(len(read))]
        for point in again["points"]:
            del point["predicted_probability"], point["predicted_confidence"]
        assert again == json.loads(before)
        return
    lines = [line for line in written.splitlines() if not line.startswith("_subtomobench")]
    for old, new in zip(before.splitlines(), lines, strict=True):
        assert new.startswith(old.rstrip())
        assert new.removeprefix(old.rstrip()).strip() == "" or new.split()[-2:] == ["0.9000", "0.7500"]
    if ".star" in path.name:
        again = starfile.read(_write(tmp_path, "again.star", written), always_dict=True)
        original = starfile.read(_write(tmp_path, "before.star", before), always_dict=True)
        for name, table in original.items():
            if isinstance(table, pd.DataFrame) and "rlnTomoName" in table:
                assert again[name]["subtomobenchClass"].tolist() == [p.name for p in _said(len(read))]
                pd.testing.assert_frame_equal(again[name][table.columns], table)


def test_relion_4_counts_in_pixels_of_the_tilt_series_and_origins_are_taken_off(tmp_path: Path) -> None:
    read = tables.read(_write(tmp_path, "a.star", STAR))
    assert read.rows["tomogram"].tolist() == ["TS_1", "TS 2"]
    # 2 Å a pixel: x 200 − 2, y 400 + 4, z 60 − 8 Å; a tomogram of 8 Å voxels
    assert read.places(np.array([0]), (50, 60, 70), 8.0)[0] == pytest.approx([52 / 8, 404 / 8, 198 / 8])
    assert read.places(np.array([1]), (50, 60, 70), 8.0)[0] == pytest.approx([15, 10, 5.25])


def test_relion_5_counts_in_angstroms_from_the_centre(tmp_path: Path) -> None:
    text = "data_particles\nloop_\n_rlnTomoName\n" + "".join(f"_rlnCenteredCoordinate{a}Angst\n" for a in "XYZ")
    read = tables.read(_write(tmp_path, "a.star", text + "t 40 -80 16\n"))
    assert read.places(np.array([0]), (100, 200, 300), 8.0)[0] == pytest.approx([50 + 2, 100 - 10, 150 + 5])


def test_relion_3_counts_in_voxels_or_by_the_detectors_pixel(tmp_path: Path) -> None:
    text = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnOriginX\n"
    read = tables.read(_write(tmp_path, "a.star", text + "t 40 30 20 1\n"))
    assert read.places(np.array([0]), (50, 50, 50), 8.0)[0] == pytest.approx([20, 30, 39])
    assert read.places(np.array([0]), (50, 50, 50), 8.0, unit=4.0)[0] == pytest.approx([10, 15, 19.5])
    text = text.replace("_rlnOriginX\n", "_rlnDetectorPixelSize\n_rlnMagnification\n")
    read = tables.read(_write(tmp_path, "b.star", text + "t 40 30 20 4 10000\n"))
    assert read.places(np.array([0]), (50, 50, 50), 8.0)[0] == pytest.approx([10, 15, 20])


def test_dynamos_first_voxel_is_1_and_its_angles_are_zxz(tmp_path: Path) -> None:
    row = np.zeros(35)
    row[[0, 3, 4, 5, 6, 7, 8, 19, 21, 23, 24, 25]] = [7, 0.5, 0, -0.5, 10, 30, 50, 4, 2, 101, 51, 31]
    path = tmp_path / "a.tbl"
    np.savetxt(path, row[None], fmt="%g")
    read = tables.read(path)
    assert read.places(np.array([0]), (99, 99, 199), 8.0)[0] == pytest.approx([29.5, 50, 100.5])
    assert read.rows[["tomogram", "class"]].iloc[0].tolist() == ["4", "2"]
    # RELION's rot = narot − 90°, tilt, psi = tdrot + 90°, the conversion of eulerangles 1.0
    found = read.rows[["rot_in_degrees", "tilt_in_degrees", "psi_in_degrees"]].to_numpy()
    turns = [Rotation.from_euler("ZYZ", a, degrees=True) for a in (found, [[-40, 30, 100]])]
    assert (turns[0] * turns[1].inv()).magnitude()[0] == pytest.approx(0, abs=1e-6)
    assert read.annotated(_said(1)) == path.read_text().rstrip("\n") + " 1 0.9000 0.7500\n"
    numbered = read.annotated([Prediction("2", 1, 0.9, 0.75)])  # a class that is a number is itself
    assert numbered == path.read_text().rstrip("\n") + " 2 0.9000 0.7500\n"


def test_copicks_matrix_takes_the_reference_to_the_particle(tmp_path: Path) -> None:
    table = json.loads(COPICK)
    turn = Rotation.from_euler("xyz", [20, 40, 60], degrees=True)
    matrix = np.eye(4)
    matrix[:3, :3] = turn.as_matrix()
    table["points"] = [{"location": {"x": 1, "y": 2, "z": 3}, "transformation_": matrix.tolist()}]
    read = tables.read(_write(tmp_path, "a.json", json.dumps(table)))
    found = Rotation.from_euler("ZYZ", read.rows.iloc[0, 6:9].to_list(), degrees=True)
    assert (found * turn).magnitude() == pytest.approx(0, abs=1e-6)  # RELION's angles take the particle back
    assert read.places(np.array([0]), (9, 9, 9), 0.5)[0] == pytest.approx([6, 4, 2])


def test_csv_in_angstroms_with_quotes_and_odd_bytes_keeps_every_byte(tmp_path: Path) -> None:
    text = 'class,x,y,z,x_vox,note\r\n"a, b",1,2,3,9,"two\nlines"\r\nÿ,4,5,6,9,\r\n'
    read = tables.read(_write(tmp_path, "a.csv", text))
    assert read.rows["class"].tolist() == ["a, b", "ÿ"]
    assert read.places(np.array([0, 1]), (9, 9, 9), 0.0).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert read.encoding == "latin-1"
    assert read.annotated(_said(2)).split("\r\n")[1:3] == [
        '"a, b",1,2,3,9,"two\nlines",b,0.9000,0.7500',
        "ÿ,4,5,6,9,,a class,0.9000,0.7500",
    ]
    in_angstroms = tables.read(_write(tmp_path, "b.csv", CSV))
    assert in_angstroms.places(np.array([0]), (9, 9, 9), 10.0)[0] == pytest.approx([1, 2, 3])


@pytest.mark.parametrize("suffix", [".star", ".csv"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    rows = pd.DataFrame({"tomogram": "t", "z": [1.5, 2.0], "y": [3.0, 4.0], "x": [5.0, 6.0], "class": ["a", "b"]})
    rows[["rot_in_degrees", "tilt_in_degrees", "psi_in_degrees"]] = [[10.0, 20.0, 30.0], [0.0, 5.0, 0.0]]
    rows["score"] = [0.5, 0.25]
    path = tmp_path / f"deep/picks{suffix}"
    tables.write(path, rows, 8.0)
    read = tables.read(path)
    assert read.places(np.arange(2), (9, 9, 9), 8.0) == pytest.approx(rows[["z", "y", "x"]].to_numpy())
    columns = ["class", "rot_in_degrees", "tilt_in_degrees", "psi_in_degrees"]
    assert read.rows[columns].to_numpy().tolist() == rows[columns].to_numpy().tolist()
    with pytest.raises(BenchError, match="exists"):
        tables.write(path, rows, 8.0)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.star", STAR.replace("  1  3", "  1"), "line 25 has 9 values for 10 columns"),
        ("a.star", STAR.replace("'TS 2/1'", "TS_1/1"), r"TS_1/1: rows 1, 2"),
        ("a.star", STAR.replace("10.5", "ten"), "row 2: rlnCoordinateX is 'ten'"),
        ("a.star", STAR.replace(" 2 4.0", ""), "optics group 2"),
        ("a.star", STAR.replace(" 1 2.0", " 1 0.0"), "pixel size of 0"),
        ("a.star", "data_\n\n_rlnX 1\n", "no loop"),
        ("a.csv", CSV.replace("30", "nan"), "row 1: x is 'nan'"),
        ("a.csv", CSV + "t,5\n", "line 4 has 2 values"),
        ("a.csv", "a,b\n1,2\n", "no coordinates"),
        ("a.csv", CSV.partition("\n")[0], "without rows"),
        ("a.csv", CSV.replace("class", "X_angstrom", 1), "two columns are called x_angstrom"),
        ("a.star", STAR.replace("_rlnOriginZAngst", "_rlnOriginXAngst"), "line 22: _rlnOriginXAngst stands twice"),
        ("a.star", "data_optics\n_rlnImagePixelSize 1\n_rlnImagePixelSize 2\n" + STAR, "line 3: _rlnImagePixelSize"),
        ("a.json", "{}", "not a copick"),
        ("a.json", COPICK.replace("ribosome", r"\ud800"), "a name holds letters that are not UTF-8"),
        ("a.json", COPICK.replace("TS_5", r"TS\n5"), "a name holds a line break"),
        ("a.json", "[" * 100_000, "not a copick"),
        ("a.json", COPICK.replace('"angstrom"', '"pixel"'), "counts in pixel"),
        ("a.tbl", "1 2 3\n", "Dynamo table has 26"),
        ("a.txt", "1abc 1 2 3\n", "4 values for 7"),
        ("a.star", "\0", "binary"),
        ("a.doc", "", "not a particle table by its name"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        tables.read(_write(tmp_path, name, text))
    assert "\n" not in str(caught.value)


def test_a_table_is_the_same_bytes_whatever_the_locale(tmp_path: Path) -> None:
    program = (
        "import sys, pandas as pd\nfrom pathlib import Path\nfrom bench.files import tables\n"
        "rows = pd.DataFrame({'tomogram': ['t\\xe4'], 'z': [1.0], 'y': [2.0], 'x': [3.0], 'class': ['\\u03b1']})\n"
        "tables.write(Path(sys.argv[1]), rows, 8.0)\n"
        "assert tables.read(Path(sys.argv[1])).rows['class'][0] == '\\u03b1'"
    )
    for name in ("a.star", "a.csv"):
        written = []
        for i, locale in enumerate([{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}]):
            path = tmp_path / str(i) / name
            subprocess.run([sys.executable, "-c", program, path], check=True, env=os.environ | locale)
            written.append(path.read_bytes())
        assert written[0] == written[1]
        assert "tä" in written[0].decode()


def test_awkward_names_come_back_as_they_were(tmp_path: Path) -> None:
    odd = [Prediction(name, 1, 0.5, 0.5) for name in ('80S "ribo" x', 'it\'s, both "so"')]
    star = tables.read(_write(tmp_path, "a.star", STAR.replace(" TS_1 ", " data_1 ")))
    assert star.rows["tomogram"].tolist() == ["data_1", "TS 2"]
    again = tables.read(_write(tmp_path, "b.star", star.annotated(odd)), "subtomobenchClass")
    assert again.rows["class"].tolist() == ['80S "ribo" x', "it's, both 'so'"]
    table = tables.read(_write(tmp_path, "a.csv", CSV))
    assert pd.read_csv(_write(tmp_path, "b.csv", table.annotated(odd)))["predicted_class"].tolist() == [
        p.name for p in odd
    ]


FORMULA = '=HYPERLINK("http://x,y")'


def _runs(text: str, comma: str = ",") -> list[str]:
    """The cells that a spreadsheet would run."""
    cells = [cell for row in csv.reader(io.StringIO(text), delimiter=comma) for cell in row]
    return [cell for cell in cells if cell.startswith(tuple("=+-@")) and not cell[1:].replace(".", "").isdigit()]


def test_no_text_of_a_written_table_is_a_formula_and_it_comes_back(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"tomogram": ["@t", "-t"], "z": [-1.0, 2], "y": [2.0, 2], "x": [3.0, 2], "class": [FORMULA, "+"]}
    )
    tables.write(tmp_path / "a.csv", rows, 8.0)
    assert not _runs((tmp_path / "a.csv").read_text())
    read = tables.read(tmp_path / "a.csv").rows
    assert read["class"].tolist() == [FORMULA, "+"]
    assert read["tomogram"].tolist() == ["@t", "-t"]
    assert read["z"].tolist() == [-8.0, 16.0]


@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_no_prediction_is_a_formula_and_it_comes_back(comma: str, tmp_path: Path) -> None:
    names = [FORMULA, "-a, b; c"]
    said = [Prediction(name, 1, 0.5, 0.5) for name in names]
    written = tables.read(_write(tmp_path, "a.csv", CSV.replace(",", comma))).annotated(said)
    assert not _runs(written, comma)
    assert tables.read(_write(tmp_path, "b.csv", written), "predicted_class").rows["class"].tolist() == names


def test_no_name_of_a_box_is_a_formula(tmp_path: Path) -> None:
    folder = tmp_path / "=now(),"
    folder.mkdir()
    for name in "ab":
        volume.write(folder / f"{name}.mrc", np.ones((8, 8, 8), np.float32), 10.0)
    written = tables.read(folder).annotated([Prediction("@", 1, 0.5, 0.5)] * 2)
    assert not _runs(written)
    assert [len(row) for row in csv.reader(io.StringIO(written))] == [4, 4, 4]


def test_predictions_are_not_put_into_a_table_twice(tmp_path: Path) -> None:
    once = tables.read(_write(tmp_path, "a.star", STAR)).annotated(_said(2))
    again = tables.read(_write(tmp_path, "b.star", once))
    with pytest.raises(BenchError, match="has predictions already"):
        again.annotated(_said(2))


def _mutated(text: bytes, rng: np.random.Generator) -> bytes:
    """A few random wounds: bytes changed, cut out, doubled, the end lost, a number made absurd."""
    some = bytearray(text)
    for _ in range(rng.integers(1, 6)):
        at, n = int(rng.integers(len(some))), int(rng.integers(1, 40))
        kind = rng.integers(6)
        if kind == 0:
            some[at] = int(rng.integers(256))
        elif kind == 1:
            del some[at : at + n]
        elif kind == 2:
            some[at:at] = some[at : at + n]
        elif kind == 3:
            del some[max(1, at) :]
        elif kind == 4:
            some[at:at] = [b"1e999", b"nan", b"-1", b"\n", b'"', b"loop_\n", b"null", b"[", b"99999999999"][at % 9]
        else:
            some[at : at + 1] = b"\xff\n"[int(rng.integers(2)) :]
    return bytes(some)


@pytest.mark.parametrize(("name", "text", "n"), [("a.star", STAR, 200), ("a.json", COPICK, 200), ("a.csv", CSV, 100)])
def test_500_mutated_tables_are_read_or_refused_in_one_line(tmp_path: Path, name: str, text: str, n: int) -> None:
    refused = 0
    for seed in range(n):
        path = tmp_path / name
        path.write_bytes(_mutated(text.encode(), np.random.default_rng(seed)))
        said = ""
        tracemalloc.start()
        try:
            read = tables.read(path)
            assert len(read) > 0
            read.annotated(_said(len(read)))
        except BenchError as error:
            refused += 1
            said = str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert "\n" not in said, seed
        assert peak < 4 * path.stat().st_size + 600_000, seed  # the constant: pandas' own
    assert 0 < refused < n


def test_a_large_table_takes_no_more_than_four_times_its_size(tmp_path: Path) -> None:
    head, row = STAR.rstrip().rpartition("\n")[0].rpartition("\n")[0] + "\n", " TS_1 {} 100 200 30 2.0 -4.0 8.0 1 3\n"
    path = _write(tmp_path, "a.star", head + "".join(row.format(f"TS_1/{i}/{'x' * 150}") for i in range(20_000)))
    tables.read(_write(tmp_path, "b.star", STAR))
    tracemalloc.start()
    assert len(tables.read(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * path.stat().st_size


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        (
            "a.star",
            STAR.replace("100 200 30   2.0 -4.0 8.0", "1e308 2 3 -1e308 0 0").replace(" 1 2.0", " 1 1e-5"),
            "row 1",
        ),
        ("a.json", COPICK.replace("[[1.0, 0.0", "[[1e300, 0.0"), "no rotation"),
        ("a.tbl", " ".join(["1", "0", "0", "1e308", *["0"] * 19, "1e308", "0", "0"]), "row 1"),
    ],
)
def test_numbers_too_large_together_are_one_line_without_warnings(
    name: str, text: str, word: str, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match=word):
        tables.read(_write(tmp_path, name, text))


def test_a_place_too_far_to_count_in_voxels_is_out_of_every_tomogram(tmp_path: Path) -> None:
    table = tables.read(_write(tmp_path, "a.csv", CSV.replace("30,20,10", "1e308,20,10")))
    assert table.places(np.arange(2), (8, 8, 8), 0.01)[:, 2].tolist() == [np.inf, 600]
