"""Boxes out of tomograms: at the right place, scale, sign, and no row lost."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import DATA, Bench, needs_data

from bench.base.arrays import UNLABELLED
from bench.base.errors import BenchError
from bench.data.subtomograms import Subtomograms
from bench.extraction import BACKGROUND, Cutting, file_of
from bench.extraction.boxes import labelled
from bench.extraction.crop import cut, normalised
from bench.files import tables, volume

TOMOGRAM = DATA / "tomograms/empiar11658_tomo171_bin4.mrc.gz"
RIBOSOMES = DATA / "tomograms/empiar11658_tomo171_80S.csv"


def _blob(shape: tuple[int, ...], centre: tuple[float, ...], sigma: float) -> np.ndarray:
    squared = sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre))
    return np.exp(-squared / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 1.7, 3.0])
@pytest.mark.parametrize("box", [12, 13])
def test_a_particle_lands_in_the_middle_at_the_new_scale(ratio: float, box: int) -> None:
    centre = (40.0, 50.0, 60.0) if ratio == 1 else (40.3, 50.6, 60.2)
    tomogram = _blob((80, 100, 120), centre, sigma=4.0)
    found = cut(tomogram, np.array(centre), box, ratio)
    expected = _blob((box,) * 3, (box // 2,) * 3, sigma=4.0 / ratio)
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("period", "kept"), [(8.0, 1.0), (3.0, 0.0)])  # Nyquist of the box: 4 voxels of the tomogram
def test_what_a_box_cannot_hold_is_filtered_out_and_the_rest_kept(period: float, kept: float) -> None:
    x = np.indices((64, 64, 64))[2]
    wave = np.cos(2 * np.pi * (x - 32) / period).astype(np.float32)
    found = cut(wave, np.array([32.0, 32.0, 32.0]), 12, 2.0)
    expected = np.cos(2 * np.pi * (np.arange(12) - 6) * 2 / period)
    assert found[6, 6] == pytest.approx(kept * expected, abs=0.04)


def test_grey_scale_and_sign() -> None:
    box = np.random.default_rng(0).normal(100, 7, (4, 6, 8)).astype(np.float32)
    for contrast, sign in (("bright", 1), ("dark", -1)):
        made = normalised(box, contrast)
        assert made is not None
        assert (made.mean(), made.std()) == pytest.approx((0, 1), abs=1e-5)
        assert np.corrcoef(made.ravel(), box.ravel())[0, 1] == pytest.approx(sign)
    assert normalised(np.full((3, 3, 3), 5.0, np.float32)) is None
    assert normalised(np.array([[[1.0, np.nan]]], np.float32)) is None


def test_labels_count_classes_in_order_with_background_last() -> None:
    labels, names = labelled([BACKGROUND, "b", "", "a", "b"])
    assert names == ("b", "a", BACKGROUND)
    assert labels.tolist() == [2, 0, UNLABELLED, 1, 0]


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """Two tomograms of dark blobs with three different sides, and their table in Å."""
    rng = np.random.default_rng(0)
    rows = []
    (tmp_path / "tomograms").mkdir()
    for name in ("one", "two"):
        noise = rng.normal(0, 0.05, (40, 60, 90)).astype(np.float32)
        for i in range(12):
            centre = rng.uniform(10, np.array(noise.shape) - 10)
            noise -= _blob(noise.shape, tuple(centre), 2.0 if i % 2 else 1.2)
            rows.append((name, "big" if i % 2 else "small" if i else "", *(centre * 5.0)))
        volume.write(tmp_path / "tomograms" / f"{name}.mrc", noise, 5.0)
    table = pd.DataFrame(rows, columns=["tomogram", "class", "z_angstrom", "y_angstrom", "x_angstrom"])
    return tmp_path, table


def _extract(bench: Bench, folder: Path, table: pd.DataFrame, *more: object) -> tuple[int, str, str]:
    table.to_csv(folder / "table.csv", index=False)
    arguments = ["--table", folder / "table.csv", "--tomograms", folder / "tomograms", "--out", folder / "set"]
    return bench("data", "extract", "--box", 9, *arguments, *more)


def test_every_row_is_a_box_or_is_named(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    folder, table = planted
    table = pd.concat([table, table.iloc[[3, 4]]], ignore_index=True)  # twice
    table.loc[5, "z_angstrom"] = 1.0  # sticks out
    table.loc[6, "tomogram"] = "three"  # no such file
    code, out, _ = _extract(bench, folder, table)
    made = Subtomograms.open(folder / "set")
    kept, dropped = pd.read_csv(folder / "set/particles.csv"), pd.read_csv(folder / "set/dropped.csv")
    assert (code, len(kept), len(dropped)) == (0, 22, 4)
    assert sorted([*kept["row"], *dropped["row"]]) == list(range(1, len(table) + 1))
    assert dropped["row"].tolist() == [6, 7, 25, 26]
    assert "26 rows: 22 boxes, 4 dropped" in out
    assert "no tomogram file is called like three" in out
    assert made.class_names == ("big", "small")
    assert made.counts().tolist() == [(kept["class"] == name).sum() for name in made.class_names]
    assert (made.labels == UNLABELLED).sum() == 2
    assert made.tomogram_ids is not None
    assert made.tomogram_ids.tolist() == kept["tomogram"].tolist()
    peaks = [np.unravel_index(box.argmax(), box.shape) for box in made.volumes]  # dark blobs are bright now
    assert np.abs(np.array(peaks) - 4).max() <= 1
    # a second call finds the finished set; one of another recipe is refused
    assert _extract(bench, folder, table)[0] == 0
    code, _, err = _extract(bench, folder, table, "--contrast", "bright")
    assert (code, err.count("\n")) == (2, 1)


def test_no_text_of_what_is_written_is_a_formula(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    folder, table = planted
    table = table.replace({"class": {"big": "=big()"}, "tomogram": {"two": "@two"}})
    (folder / "tomograms/two.mrc").rename(folder / "tomograms/@two.mrc")
    table.loc[5, "z_angstrom"] = 1.0  # sticks out
    assert _extract(bench, folder, table)[0] == 0
    cells = pd.read_csv(folder / "set/particles.csv")[["tomogram", "class"]].to_numpy().ravel()
    assert {"'=big()", "'@two"} <= {*cells}
    assert not [cell for cell in cells if str(cell).startswith(("=", "@"))]
    assert Subtomograms.open(folder / "set").class_names == ("=big()", "small")
    again = tables.read(folder / "set/particles.csv").rows
    assert {*again["class"], *again["tomogram"]} == {"=big()", "small", "", "one", "@two"}


@pytest.mark.parametrize("more", [[], ["--voxel-size-in-angstroms", "7"]])
def test_a_box_of_infinite_voxels_is_dropped_without_a_warning(
    more: list[str], bench: Bench, planted: tuple[Path, pd.DataFrame]
) -> None:
    folder, table = planted
    z, y, x = np.round(table.loc[3, ["z_angstrom", "y_angstrom", "x_angstrom"]].to_numpy(float) / 5).astype(int)
    content = bytearray((folder / "tomograms/one.mrc").read_bytes())
    np.frombuffer(content, np.float32, offset=1024).reshape(40, 60, 90)[z, y, x] = np.inf
    (folder / "tomograms/one.mrc").write_bytes(content)
    assert _extract(bench, folder, table, *more)[0] == 0
    dropped = pd.read_csv(folder / "set/dropped.csv").set_index("row")["reason"]
    assert dropped[4] == "its box is blank or holds NaN"


def test_background_lies_beside_the_particles(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    folder, table = planted
    assert _extract(bench, folder, table, "--background", 20)[0] == 0
    kept = pd.read_csv(folder / "set/particles.csv")
    axes = ["z_in_voxels", "y_in_voxels", "x_in_voxels"]
    for name, here in kept.groupby("tomogram"):
        beside = here.loc[here["class"] == BACKGROUND, axes].to_numpy()
        every = table.loc[table["tomogram"] == name, ["z_angstrom", "y_angstrom", "x_angstrom"]].to_numpy() / 5
        gaps = np.linalg.norm(beside[:, None] - every, axis=2)
        assert len(beside) == 10
        assert gaps.min() >= 4.5 - 0.01
        assert gaps.min(axis=1).max() <= 13.5 + 0.01
        assert min(np.linalg.norm(a - b) for a, b in combinations(beside, 2)) >= 2.25


def test_the_wrong_sign_is_seen(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    code, out, _ = _extract(bench, *planted, "--contrast", "bright")
    assert (code, "--contrast dark" in out) == (0, True)


def test_a_keep_list_and_a_class_by_hand(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    folder, table = planted
    table.to_csv(folder / "table.csv", index=False)
    (folder / "keep.txt").write_text("3\n1 a good one\n")
    named = ["--table", f"blob={folder / 'table.csv'}", "--tomograms", folder / "tomograms", "--box", 9]
    assert bench("data", "extract", *named, "--keep", folder / "keep.txt", "--out", folder / "set")[0] == 0
    kept = pd.read_csv(folder / "set/particles.csv")
    assert kept["row"].tolist() == [1, 3]
    assert set(kept["class"]) == {"blob"}
    (folder / "keep.txt").write_text("0\n")
    code, _, err = bench("data", "extract", *named, "--keep", folder / "keep.txt", "--out", folder / "other")
    assert (code, err.count("\n")) == (2, 1)


def test_boxes_that_a_star_file_names_are_taken(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "job/boxes").mkdir(parents=True)
    rows = []
    for i in range(4):
        volume.write(tmp_path / f"job/boxes/{i}.mrc", -_blob((16, 16, 16), (8, 8, 8), 1.5 + i / 2), 5.0)
        rows.append(f"job/boxes/{i}.mrc {1 + i % 2}\n")
    star = "data_particles\nloop_\n_rlnImageName\n_rlnClassNumber\n" + "".join(rows) + "job/boxes/9.mrc 1\n"
    (tmp_path / "job/particles.star").write_text(star)  # paths count from the project's folder, as RELION's do
    arguments = ["--table", tmp_path / "job/particles.star", "--box", 8, "--out", tmp_path / "set"]
    assert bench("data", "extract", *arguments)[0] == 0
    made = Subtomograms.open(tmp_path / "set")
    assert made.volumes.shape == (4, 8, 8, 8)
    assert made.labels.tolist() == [0, 1, 0, 1]
    assert all(np.unravel_index(box.argmax(), box.shape) == (4, 4, 4) for box in made.volumes)
    assert pd.read_csv(tmp_path / "set/dropped.csv")["row"].tolist() == [5]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--box", 1],
        ["--box", -4],
        ["--out", ""],
        ["--voxel-size-in-angstroms", "nan"],
        ["--contrast", "grey"],
        ["--voxel-size-in-angstroms", -1],
        ["--tomograms", "nowhere"],
        ["--table", "nothing.star"],
        ["--box", 70],
        ["--background", 100_000],
    ],
)
def test_bad_requests_are_one_line(bench: Bench, planted: tuple[Path, pd.DataFrame], wrong: list[object]) -> None:
    code, _, err = _extract(bench, *planted, *wrong)
    assert (code, err.count("\n")) == (2, 1)
    assert "Traceback" not in err
    assert _extract(bench, *planted)[0] == 0  # the mended request may have the same --out


@needs_data
def test_real_ribosomes_are_dark_and_centred(bench: Bench, tmp_path: Path) -> None:
    code, out, _ = bench(
        "data", "extract", "--table", RIBOSOMES, "--tomograms", TOMOGRAM, "--box", 28, "--out", tmp_path / "set"
    )
    made = Subtomograms.open(tmp_path / "set")
    assert (code, "mean box" in out, "is taken to be" in out) == (0, False, True)
    assert len(made.volumes) + len(pd.read_csv(tmp_path / "set/dropped.csv")) == len(tables.read(RIBOSOMES)) == 268
    mean = made.mean(np.arange(len(made.volumes)))  # bright by now: the tomogram's is dark
    centre = np.array(
        [(mean.clip(0.5 * mean.max()) - 0.5 * mean.max()).ravel() @ g.ravel() for g in np.indices(mean.shape)]
    )
    centre /= (mean.clip(0.5 * mean.max()) - 0.5 * mean.max()).sum()
    assert centre == pytest.approx([14, 14, 14], abs=0.7)
    radius = np.linalg.norm(np.indices(mean.shape) - 14, axis=0)
    assert mean[radius < 3].mean() > mean[radius > 12].mean() + 10 * mean[radius > 12].std()
    assert json.loads((tmp_path / "set/manifest.json").read_text())["recipe"]["cutting"]["box"] == 28


def test_cutting_needs_the_voxel_size_that_it_changes() -> None:
    with pytest.raises(BenchError, match="tomogram-voxel-size"):
        Cutting(voxel_size_in_angstroms=10).ratio(None)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e-300, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "setting",
    ["voxel_size_in_angstroms", "tomogram_voxel_size_in_angstroms", "coordinates_voxel_size_in_angstroms"],
)
def test_a_voxel_size_that_is_given_is_above_zero(setting: str, value: float) -> None:
    with pytest.raises(BenchError, match=f"--{setting.replace('_', '-')} {value:g}: must be from 0.01 to 1,000"):
        Cutting(**{setting: value})


def test_no_background_is_cut_by_a_negative_number() -> None:
    with pytest.raises(BenchError, match="--background -1: must be from 0 to"):
        Cutting(background=-1)


def test_pick_match_extract_by_hand(bench: Bench, tmp_path: Path, rng: np.random.Generator) -> None:
    """Balls in noise: picked, searched about the picks, and the kept rows cut out; all pictures are there."""
    tomogram = rng.normal(0, 0.1, (40, 60, 90)).astype(np.float32)
    places = [(12.0, 15.0, 20.0), (25.0, 40.0, 30.0), (20.0, 30.0, 70.0)]
    for place in places:
        tomogram -= _blob(tomogram.shape, place, 2.0)
    volume.write(tmp_path / "tomo.mrc", tomogram, 10.0)
    volume.write(tmp_path / "template.mrc", _blob((17, 17, 17), (8, 8, 8), 2.0), 10.0)
    picked = ["data", "pick", tmp_path / "tomo.mrc", "--diameter-in-angstroms", 90]
    assert bench(*picked, "--count", 6, "--out", tmp_path / "picks.star")[0] == 0
    matched = ["data", "match", tmp_path / "tomo.mrc", "--template", tmp_path / "template.mrc", "--step-in-degrees", 60]
    near = ["--near", tmp_path / "picks.star", "--count", 3]
    code, out, err = bench(*matched, *near, "--out", tmp_path / "best.csv")
    assert (code, err) == (0, "")
    assert "3 matches" in out
    found = pd.read_csv(tmp_path / "best.csv")[["z_in_voxels", "y_in_voxels", "x_in_voxels"]].to_numpy()
    assert np.linalg.norm(found[:, None] - places, axis=2).min(axis=0).max() < 1
    for name in ("picks.png", "picks-001.png", "best.png", "best-001.png"):
        assert (tmp_path / name).stat().st_size > 1000
    (tmp_path / "keep.txt").write_text("1\n3\n")
    table = ["--table", f"ball={tmp_path / 'best.csv'}", "--keep", tmp_path / "keep.txt"]
    cut_out = ["--tomograms", tmp_path / "tomo.mrc", "--box", 10, "--out", tmp_path / "set"]
    assert bench("data", "extract", *table, *cut_out)[0] == 0
    assert pd.read_csv(tmp_path / "set/dropped.csv")["reason"].tolist() == ["not on the keep-list"]
    (tmp_path / "boxes").mkdir()
    volume.write(tmp_path / "boxes" / "tomo.mrc", tomogram[:8, :8, :8], 10.0)
    for wrong in (
        [*picked, "--out", tmp_path / "picks.star"],  # exists
        [*picked, "--out", tmp_path / "picks.doc"],
        [*picked, "--min-distance-in-angstroms", 0, "--out", tmp_path / "a.star"],
        [*picked, "--tomogram-voxel-size-in-angstroms", 0, "--out", tmp_path / "a.star"],
        [*matched, "--low-pass-in-angstroms", -1, "--out", tmp_path / "a.star"],
        [*picked, "--contrast", "grey", "--out", tmp_path / "a.star"],
        ["data", "pick", tmp_path / "tomo.mrc", "--diameter-in-angstroms", 9000, "--out", tmp_path / "a.star"],
        ["data", "pick", tmp_path / "no.mrc", "--diameter-in-angstroms", 90, "--out", tmp_path / "a.star"],
        [*matched, "--step-in-degrees", 0, "--out", tmp_path / "a.star"],
        [*matched, "--near", tmp_path / "boxes", "--out", tmp_path / "a.star"],  # which have no places
        ["data", "match", tmp_path / "tomo.mrc", "--template", tmp_path / "keep.txt", "--out", tmp_path / "a.star"],
    ):
        code, _, err = bench(*wrong)
        assert (code, err.count("\n")) == (2, 1), wrong
    assert not (tmp_path / "a.star").exists()


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        ("TS_1", ["TS_1.mrc", "TS_10.mrc"], "TS_1.mrc"),
        ("TS_1", ["TS_10.mrc", "TS_11.mrc"], None),
        ("1", ["tomo_21.mrc", "tomo_03.mrc"], None),
        ("3", ["tomo_21.mrc", "tomo_03.mrc"], "tomo_03.mrc"),
        ("TS_10.tomostar", ["TS_1.mrc", "TS_10.mrc"], "TS_10.mrc"),
        ("tomos/t1.mrc", ["t1.rec", "t2.rec"], "t1.rec"),
        ("t2", ["t1.mrc"], None),
        ("", ["t1.mrc"], "t1.mrc"),
    ],
)
def test_a_tomograms_file_is_found_by_whole_words(name: str, files: list[str], found: str | None) -> None:
    path = file_of(name, [Path(file) for file in files])
    assert (path.name if path else None) == found


def test_one_tomogram_has_one_id_and_no_box_twice(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    folder, table = planted
    one = table[table["tomogram"] == "one"]
    one.to_csv(folder / "a.csv", index=False)
    shifted = one.assign(tomogram="tomos/one.mrc", x_angstrom=one["x_angstrom"].round(-1) // 5 * 5)
    shifted.assign(x_angstrom=one["x_angstrom"]).to_csv(folder / "b.csv", index=False)
    both = ["--table", folder / "a.csv", "--table", f"other={folder / 'b.csv'}"]
    files = ["--tomograms", folder / "tomograms", "--box", 9, "--out", folder / "set"]
    assert bench("data", "extract", *both, *files)[0] == 0
    made = Subtomograms.open(folder / "set")
    assert made.tomogram_ids is not None
    assert (set(made.tomogram_ids), len(made.volumes)) == ({"one"}, 12)
    # another request is another recipe, whatever the names of its files
    assert bench("data", "extract", *both[:2], *files)[0] == 2


def test_tomograms_of_two_voxel_sizes_are_not_mixed(bench: Bench, planted: tuple[Path, pd.DataFrame]) -> None:
    folder, table = planted
    coarse = volume.read(folder / "tomograms/two.mrc").voxels
    (folder / "tomograms/two.mrc").unlink()
    volume.write(folder / "tomograms/two.mrc", coarse, 10.0)
    code, _, err = _extract(bench, folder, table)
    assert (code, err.count("\n")) == (2, 1)
    assert "--voxel-size-in-angstroms" in err
