from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from conftest import DATA, needs_data

from bench import volume
from bench.errors import BenchError


def test_axes_survive_a_round_trip_of_a_box_with_three_sides(tmp_path: Path, rng: np.random.Generator) -> None:
    voxels = rng.normal(size=(4, 6, 10)).astype(np.float32)
    volume.write(tmp_path / "a.mrc", voxels, 7.5)
    again = volume.read(tmp_path / "a.mrc")
    assert np.array_equal(again.voxels, voxels)
    assert again.voxel_size_in_angstroms == pytest.approx(7.5)
    with mrcfile.open(tmp_path / "a.mrc") as handle:  # the header counts columns (x) first
        assert (handle.header.nx, handle.header.ny, handle.header.nz) == (10, 6, 4)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_every_common_mode_is_read_as_float32(tmp_path: Path, kind: type) -> None:
    voxels = np.arange(24).reshape(2, 3, 4).astype(kind)
    with mrcfile.new(tmp_path / "a.mrc") as handle:
        handle.set_data(voxels)
    read = volume.read(tmp_path / "a.mrc").voxels
    assert read.dtype == np.float32
    assert np.array_equal(read, voxels.astype(np.float32))


def test_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_text("mine")
    with pytest.raises(ValueError, match="already exists"):
        volume.write(tmp_path / "a.mrc", np.zeros((2, 2, 2), np.float32), 1.0)
    assert (tmp_path / "a.mrc").read_text() == "mine"


def _broken(folder: Path, how: str) -> Path:
    path = folder / "a.mrc"
    voxels = np.ones((4, 4, 4), np.float32)
    if how == "NaN":
        voxels[1, 2, 3] = np.nan
    with mrcfile.new(path) as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle.set_data(voxels[0] if how == "dimensions" else voxels)
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[:-100])
    elif how == "header":
        path.write_bytes(content[:700])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a volume, whatever the name says " * 50)
    elif how == "gzip":
        path = folder / "a.mrc.gz"
        path.write_bytes(gzip.compress(content)[:-60])
    elif how == "missing":
        path = folder / "b.mrc"
    return path


@pytest.mark.parametrize("how", ["NaN", "cut", "header", "empty", "text", "gzip", "missing", "dimensions"])
def test_bad_files_are_refused_in_one_line_that_names_them(tmp_path: Path, how: str) -> None:
    path = _broken(tmp_path, how)
    with pytest.raises(BenchError) as error:
        volume.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@needs_data
def test_the_real_maps_are_read() -> None:
    for path in volume.find(DATA / "maps"):
        read = volume.read(path)
        assert read.voxel_size_in_angstroms == pytest.approx(10.0)
        assert read.voxels.std() > 0
