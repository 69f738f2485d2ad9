"""Damaged volume files: each is read into finite voxels or refused in one line, and no promise costs memory."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from damage import of_bytes

from bench.base.errors import BenchError
from bench.files import volume

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
EM_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
SHAPES = [(3, 4, 5), (6, 10, 8), (2, 1, 300), (31, 60, 47)]
BUFFERS_IN_BYTES = 750_000  # gzip's and ours, whatever the file


def _mrc(rng: np.random.Generator) -> bytes:
    mode, shape = rng.choice([*MODES]), SHAPES[rng.integers(len(SHAPES))]
    voxels = rng.normal(scale=20, size=shape).astype("i1").astype(MODES[mode])
    order = rng.choice(["<", ">"])
    extended = rng.bytes(int(rng.integers(0, 100)))
    head = struct.pack(f"{order}10i", *shape[::-1], mode, 0, 0, 0, *shape[::-1])
    head += struct.pack(
        f"{order}6f3i3f2i",
        *np.multiply(shape[::-1], 10),
        90,
        90,
        90,
        *rng.permutation(3) + 1,
        0,
        0,
        0,
        1,
        len(extended),
    )
    head = head.ljust(152, b"\0") + struct.pack(f"{order}2i", 1146047817 * rng.integers(2), 0)
    return head.ljust(1024, b"\0") + extended + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()


def _em(rng: np.random.Generator) -> bytes:
    kind, shape = rng.choice([*EM_TYPES]), SHAPES[rng.integers(len(SHAPES))]
    head = bytes([6, 0, 0, kind]) + struct.pack("<3i", *shape[::-1])
    return head.ljust(512, b"\0") + rng.normal(scale=20, size=shape).astype("i1").astype(EM_TYPES[kind]).tobytes()


def _tiff(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    voxels = rng.normal(scale=20, size=(9, 10, 12)).astype(rng.choice(["u1", "u2", "f4"]))
    style = rng.choice(["plain", "pages", "deflate", "imagej", "ome"])
    packing, notes = ("zlib" if style == "deflate" else None), (None if style == "pages" else {"axes": "ZYX"})
    tifffile.imwrite(
        file, voxels, compression=packing, metadata=notes, imagej=style == "imagej", ome=style == "ome",
        photometric="minisblack",
    )  # fmt: skip
    return file.getvalue()


def _honest_size(content: bytes) -> int:
    """The bytes that are there once unpacked."""
    if content[:3] != b"\x1f\x8b\x08":
        return len(content)
    unpacked, unpacker = 0, zlib.decompressobj(31)
    try:
        for i in range(len(content)):
            unpacked += len(unpacker.decompress(content[i : i + 1]))
    except zlib.error:
        pass
    return unpacked


def _peak_of_reading(path: Path) -> int:
    """Read `path` in both ways; whatever is not a finite volume must be a one-line BenchError. Returns bytes."""
    peaks = []
    for read in (volume.read, volume.mapped):
        tracemalloc.start()
        try:
            voxels, voxel_size = read(path)
        except BenchError as refusal:
            said = str(refusal)
        else:
            said = ""
            assert voxels.ndim == 3
            assert min(voxels.shape) > 0
            assert voxel_size is None or 0 < voxel_size < 1e5
            assert read is volume.mapped or voxels.dtype == np.float32
            assert read is volume.mapped or np.isfinite(voxels).all()
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert not said or (str(path) in said and "\n" not in said)
    return max(peaks)


@pytest.mark.parametrize("seed", range(500))
def test_a_damaged_mrc_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = of_bytes(_mrc(rng), rng)
    how = rng.choice(["plain", "packed", "packed, then damaged"])
    if how != "plain":
        content = gzip.compress(content, 1)
        content = of_bytes(content, rng) if how != "packed" else content
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    assert _peak_of_reading(path) < 4 * _honest_size(content) + BUFFERS_IN_BYTES


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_em_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = of_bytes(_em(rng), rng)
    (tmp_path / "a.em").write_bytes(content)
    assert _peak_of_reading(tmp_path / "a.em") < 4 * len(content) + BUFFERS_IN_BYTES


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_tiff_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = of_bytes(_tiff(rng), rng)
    (tmp_path / "a.tif").write_bytes(content)
    ratio = volume._TIFF_RATIO  # what deflate may stand for
    assert _peak_of_reading(tmp_path / "a.tif") < 4 * ratio * len(content) + BUFFERS_IN_BYTES
