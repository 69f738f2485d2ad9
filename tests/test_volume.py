from __future__ import annotations

import gzip
import struct
import tracemalloc
import warnings
from itertools import permutations
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from conftest import DATA, needs_data

from bench.base.errors import BenchError
from bench.files import volume


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


def _numbers(kind: str) -> np.ndarray:
    """Voxels (3, 4, 5) that hold the ends of the dtype's range."""
    kind = np.dtype(kind)
    voxels = np.arange(60).astype(kind).reshape(3, 4, 5)
    ends = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    voxels[1, 2, 3], voxels[2, 1, 0] = (-1e30, 1e30) if kind == np.float64 else (ends.min, ends.max)
    return voxels


def _mrc(
    voxels: np.ndarray,
    mode: int,
    order: str = "<",
    *,
    m: tuple[int, ...] | None = None,
    cell: tuple[float, ...] = (0, 0, 0),
    axes: tuple[int, ...] = (1, 2, 3),
    group: int = 1,
    imod: tuple[int, int] = (0, 0),
    extended: bytes = b"",
    stamp: bytes = bytes(8),
) -> bytes:
    """An MRC file by the letter of the format; without the stamp it is one of before 2000."""
    n = voxels.shape[::-1]
    head = struct.pack(f"{order}10i", *n, mode, 0, 0, 0, *(m or n))
    head += struct.pack(f"{order}6f3i3f2i", *cell, 90, 90, 90, *axes, 0, 0, 0, group, len(extended))
    head = (head.ljust(152, b"\0") + struct.pack(f"{order}2i", *imod)).ljust(208, b"\0") + stamp
    return head.ljust(1024, b"\0") + extended + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()


def _em(voxels: np.ndarray, kind: int, order: str = "<", machine: int = 6) -> bytes:
    head = bytes([machine, 0, 0, kind]) + struct.pack(f"{order}3i", *voxels.shape[::-1])
    return head.ljust(512, b"\0") + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()


def _refusal(path: Path, *arguments: float) -> str:
    with pytest.raises(BenchError) as error:
        volume.read(path, *arguments)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(BenchError):
        volume.mapped(path, *arguments)
    return str(error.value)


MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
MACHINE_STAMPS = {"<": b"MAP \x44\x44\0\0", ">": b"MAP \x11\x11\0\0"}
EM_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", ["none", "right", "wrong"])
@pytest.mark.parametrize("mode", MODES)
def test_mrc_is_read_in_either_byte_order_whatever_its_stamp_says(
    tmp_path: Path, mode: int, stamp: str, order: str
) -> None:
    voxels = _numbers(MODES[mode])
    stamped = {"none": bytes(8), "right": MACHINE_STAMPS[order], "wrong": MACHINE_STAMPS["<>"[order == "<"]]}[stamp]
    (tmp_path / "a.mrc").write_bytes(_mrc(voxels, mode, order, stamp=stamped, cell=(10, 8, 6), extended=b"x" * 7))
    read = volume.read(tmp_path / "a.mrc")
    assert read.voxels.dtype == np.float32
    assert np.array_equal(read.voxels, voxels.astype(np.float32))
    assert read.voxel_size_in_angstroms == 2.0


def test_a_side_has_one_plausible_byte_order() -> None:
    sides = np.arange(1, volume._LONGEST_SIDE + 1, dtype=np.int32)
    swapped = sides.byteswap()
    assert not ((swapped >= 1) & (swapped <= volume._LONGEST_SIDE)).any()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", EM_TYPES)
def test_em_is_read_in_either_byte_order(tmp_path: Path, kind: int, order: str, packed: bool) -> None:
    voxels, path = _numbers(EM_TYPES[kind]), tmp_path / ("a.em.gz" if packed else "a.em")
    content = _em(voxels, kind, order, machine=6 if order == "<" else 3)
    path.write_bytes(gzip.compress(content) if packed else content)
    read, mapped = volume.read(path), volume.mapped(path)
    assert np.array_equal(read.voxels, voxels.astype(np.float32))
    assert np.array_equal(mapped.voxels, voxels)
    assert isinstance(mapped.voxels, np.memmap) != packed
    assert read.voxel_size_in_angstroms is None
    assert mapped.voxel_size_in_angstroms is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": 8}, "type 8"),
        ({"kind": 0}, "type 0"),
        ({"machine": 1}, "machine 1"),
        ({"machine": 200}, "machine 200"),
    ],
)
def test_em_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, int], said: str) -> None:
    (tmp_path / "a.em").write_bytes(_em(_numbers("f4"), **{"kind": 5, **changes}))
    assert said in _refusal(tmp_path / "a.em")


@pytest.mark.parametrize(
    ("imod", "kind"),
    [((1146047817, 0), "u1"), ((1146047817, 6), "u1"), ((1146047817, 1), "i1"), ((0, 0), "i1"), ((7, 0), "i1")],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_are_unsigned_where_imod_says_so(tmp_path: Path, imod: tuple[int, int], kind: str, order: str) -> None:
    voxels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    (tmp_path / "a.mrc").write_bytes(_mrc(voxels, 0, order, imod=imod))
    assert np.array_equal(volume.read(tmp_path / "a.mrc").voxels, voxels.view(kind).astype(np.float32))
    assert volume.mapped(tmp_path / "a.mrc").voxels.dtype == kind


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("axes", [*permutations((1, 2, 3))])
def test_any_order_of_axes_becomes_z_y_x(
    tmp_path: Path, axes: tuple[int, int, int], packed: bool, rng: np.random.Generator
) -> None:
    voxels = rng.normal(size=(3, 4, 5)).astype(np.float32)
    name_of = dict(zip((1, 2, 3), "xyz"))
    subscripts = "zyx->" + "".join(name_of[axis] for axis in reversed(axes))  # sections, rows, columns
    content = _mrc(np.einsum(subscripts, voxels).copy(), 2, axes=axes, m=(5, 4, 3), cell=(10, 8, 6))
    path = tmp_path / "a.mrc"
    path.write_bytes(gzip.compress(content) if packed else content)
    for read in (volume.read(path), volume.mapped(path)):
        assert np.array_equal(read.voxels, voxels)
        assert read.voxel_size_in_angstroms == 2.0


@pytest.mark.parametrize("axes", [(0, 0, 0), (1, 1, 2), (3, 4, 5), (-1, 2, 3), (2**31 - 1,) * 3])
def test_axes_that_are_no_permutation_count_as_z_y_x(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    voxels = _numbers("f4")
    (tmp_path / "a.mrc").write_bytes(_mrc(voxels, 2, axes=axes))
    assert np.array_equal(volume.read(tmp_path / "a.mrc").voxels, voxels)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("m", "cell", "expected"),
    [
        ((5, 4, 3), (50, 40, 30), 10.0),
        ((5, 4, 3), (50, 40, 30.2), np.float32(30.2) / 3),  # rounding of the cell: z's
        ((10, 8, 6), (50, 40, 30), 5.0),  # a part of the cell
        ((5, 4, 3), (0, 0, 0), None),
        ((0, 0, 0), (50, 40, 30), None),
        ((-5, -4, -3), (50, 40, 30), None),
        ((5, 4, 3), (NAN, INF, -INF), None),
        ((5, 4, 3), (-50, -40, -30), None),
        ((5, 4, 3), (1e30, 1e30, 1e30), None),
        ((5, 4, 3), (1e-30, 1e-30, 1e-30), None),
        ((5, 4, 1), (50, 40, 1000), 10.0),  # an image stack's mz
        ((5, 4, 3), (50, 40, NAN), 10.0),
        ((5, 4, 3), (50, 40, 0), 10.0),
        ((5, 4, 0), (50, 40, 30), 10.0),
        ((5, 4, 300), (50, 40, 3), 10.0),
        ((5, 4, 3), (50, 40, 150), 10.0),
        ((5, 4, 3), (0, 0, 30), 10.0),
        ((5, 4, 3), (5, 400, 30), None),  # nobody could tell which is right
    ],
)
def test_voxel_size_is_the_cells_part_where_that_makes_sense(
    tmp_path: Path, m: tuple[int, ...], cell: tuple[float, ...], expected: float | None
) -> None:
    (tmp_path / "a.mrc").write_bytes(_mrc(_numbers("f4"), 2, m=m, cell=cell))
    for read in (volume.read, volume.mapped):
        assert read(tmp_path / "a.mrc").voxel_size_in_angstroms == pytest.approx(expected)
        assert read(tmp_path / "a.mrc", 3.5).voxel_size_in_angstroms == 3.5


@pytest.mark.parametrize("cell", [(50, 40, 60), (50, 40, 10), (50, 80, 30), (50, 40.8, 30)])
def test_voxels_that_are_not_cubic_need_a_voxel_size_by_hand(tmp_path: Path, cell: tuple[float, ...]) -> None:
    (tmp_path / "a.mrc").write_bytes(_mrc(_numbers("f4"), 2, cell=cell))
    assert "not cubic" in _refusal(tmp_path / "a.mrc")
    assert volume.read(tmp_path / "a.mrc", 10.0).voxel_size_in_angstroms == 10.0


def test_an_unknown_voxel_size_is_zero_in_the_header_and_stays_unknown(tmp_path: Path) -> None:
    volume.write(tmp_path / "a.mrc", _numbers("i1"), None)
    with mrcfile.open(tmp_path / "a.mrc") as handle:
        assert handle.voxel_size.x == 0
    assert volume.read(tmp_path / "a.mrc").voxel_size_in_angstroms is None


def test_voxel_size_is_mrcfiles_to_the_last_bit(tmp_path: Path) -> None:
    volume.write(tmp_path / "a.mrc", _numbers("i1"), 13.37)
    with mrcfile.open(tmp_path / "a.mrc") as handle:
        assert volume.read(tmp_path / "a.mrc").voxel_size_in_angstroms == float(handle.voxel_size.z)


@pytest.mark.parametrize("mode", MODES)
def test_mapped_voxels_stay_on_the_disk_in_their_own_dtype(tmp_path: Path, mode: int) -> None:
    voxels = _numbers(MODES[mode])
    with mrcfile.new(tmp_path / "a.mrc") as handle, np.errstate(over="ignore"):
        handle.set_data(voxels)
        handle.set_extended_header(np.zeros(3, "V5"))
        handle.voxel_size = 4
    (tmp_path / "b.mrc.gz").write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes()))
    plain, packed = volume.mapped(tmp_path / "a.mrc"), volume.mapped(tmp_path / "b.mrc.gz")
    assert isinstance(plain.voxels, np.memmap)
    for mapped in (plain, packed):
        assert mapped.voxels.dtype == voxels.dtype
        assert not mapped.voxels.flags.writeable
        assert np.array_equal(mapped.voxels, voxels)
        assert mapped.voxel_size_in_angstroms == 4.0
        assert np.array_equal(mapped.voxels.astype(np.float32), volume.read(tmp_path / "a.mrc").voxels)


def test_mapped_does_not_look_at_the_voxels(tmp_path: Path) -> None:
    assert np.isnan(volume.mapped(_broken(tmp_path, "NaN")).voxels[1, 2, 3])


@pytest.mark.parametrize("mode", [3, 4, 5, 16, 101, -1, 2**31 - 1])
def test_other_modes_are_refused_by_their_number(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a.mrc").write_bytes(_mrc(_numbers("f8"), mode))
    assert f"mode {mode} is" in _refusal(tmp_path / "a.mrc")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cut", [1, 100, 240, 245])
def test_a_file_cut_short_is_refused_with_what_is_missing(tmp_path: Path, cut: int, packed: bool) -> None:
    content = _mrc(_numbers("f4"), 2, extended=b"12345")[:-cut]
    (tmp_path / "a.mrc").write_bytes(gzip.compress(content) if packed else content)
    assert f": {cut} bytes are missing" in _refusal(tmp_path / "a.mrc")


@pytest.mark.parametrize("packed", [False, True])
def test_what_trails_behind_the_voxels_is_left_alone(tmp_path: Path, packed: bool) -> None:
    content = _mrc(_numbers("f4"), 2) + b"trailing"
    (tmp_path / "a.mrc").write_bytes(gzip.compress(content) if packed else content)
    assert np.array_equal(volume.read(tmp_path / "a.mrc").voxels, _numbers("f4"))


def test_packed_or_not_is_seen_from_the_bytes_not_from_the_name(tmp_path: Path) -> None:
    content = _mrc(_numbers("f4"), 2)
    half = len(content) // 2
    (tmp_path / "plain.mrc.gz").write_bytes(content)
    (tmp_path / "packed.mrc").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    for path in tmp_path.iterdir():
        assert np.array_equal(volume.read(path).voxels, _numbers("f4"))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(_mrc(_numbers("f4"), 2)))
    packed[-8] ^= 1
    (tmp_path / "a.mrc.gz").write_bytes(packed)
    assert "CRC" in _refusal(tmp_path / "a.mrc.gz")


def test_stacks_are_volumes_where_they_have_sections_and_are_one(tmp_path: Path) -> None:
    voxels, path = _numbers("f4"), tmp_path / "a.mrc"
    path.write_bytes(_mrc(voxels, 2, group=0, m=(5, 4, 1)))
    assert volume.read(path).voxels.shape == (3, 4, 5)
    path.write_bytes(_mrc(voxels, 2, group=401))
    assert volume.read(path).voxels.shape == (3, 4, 5)
    path.write_bytes(_mrc(voxels, 2, group=401, m=(5, 4, 1)))
    assert "3 volumes" in _refusal(path)


def test_float64_beyond_float32_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.em").write_bytes(_em(np.full((2, 3, 4), 1e300), 9))
    with pytest.raises(BenchError, match="infinite"):
        volume.read(tmp_path / "a.em")


@pytest.mark.parametrize("kind", ["i1", "f4"])
@pytest.mark.parametrize("name", ["a.mrc", "a.mrc.gz"])
def test_reading_holds_little_more_than_the_float32_array(tmp_path: Path, name: str, kind: str) -> None:
    voxels = np.zeros((64, 128, 256), kind)
    content = _mrc(voxels, {"i1": 0, "f4": 2}[kind])
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    del content
    tracemalloc.start()
    volume.read(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * voxels.size + 2**21


def test_a_bomb_is_read_no_further_than_its_header_promises(tmp_path: Path) -> None:
    voxels = _numbers("f4")
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress(_mrc(voxels, 2) + bytes(2**28), 1))
    tracemalloc.start()
    assert np.array_equal(volume.read(tmp_path / "a.mrc.gz").voxels, voxels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "pages", "deflate", "imagej", "one directory"])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "f4"])
def test_tiff_pages_are_sections(tmp_path: Path, kind: str, layout: str, big: bool) -> None:
    voxels, path = _numbers(kind), tmp_path / "a.tif"
    options = {"byteorder": ">" if big else "<"}  # of three pages tifffile would make colours
    if layout == "pages":
        with tifffile.TiffWriter(path, **options) as writer:
            for section in voxels:
                writer.write(section, contiguous=False, metadata=None)
    elif layout in ("imagej", "one directory"):
        voxels = voxels if kind != "i2" else voxels.astype("u2")  # it has no such type
        tifffile.imwrite(path, voxels, imagej=True, truncate=layout == "one directory", **options)
    else:
        packing = "zlib" if layout == "deflate" else None
        tifffile.imwrite(path, voxels, photometric="minisblack", compression=packing, **options)
    read, mapped = volume.read(path), volume.mapped(path)
    assert np.array_equal(read.voxels, voxels.astype(np.float32))
    assert np.array_equal(mapped.voxels, voxels)
    assert mapped.voxels.dtype.newbyteorder("=") == voxels.dtype
    assert isinstance(mapped.voxels, np.memmap) == (layout not in ("pages", "deflate"))
    assert read.voxel_size_in_angstroms is None


@pytest.mark.parametrize(
    ("unit", "edge", "expected"),
    [("nm", 1.5, 15), ("um", 0.002, 20), ("angstrom", 7, 7), ("inch", 1, None), ("", 1, None)],
)
def test_imagejs_spacing_is_the_voxel_size(tmp_path: Path, unit: str, edge: float, expected: float | None) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        _numbers("f4"),
        imagej=True,
        resolution=(1 / edge, 1 / edge),
        metadata={"spacing": edge, "unit": unit},
    )
    assert volume.read(tmp_path / "a.tif").voxel_size_in_angstroms == pytest.approx(expected)


@pytest.mark.parametrize(("unit", "expected"), [("nm", 15), ("Å", 1.5), ("µm", None), ("pixel", None)])
def test_omes_physical_size_is_the_voxel_size(tmp_path: Path, unit: str, expected: float | None) -> None:
    notes = {f"PhysicalSize{axis}{end}": value for axis in "XYZ" for end, value in (("", 1.5), ("Unit", unit))}
    tifffile.imwrite(tmp_path / "a.ome.tif", _numbers("f4"), metadata={"axes": "ZYX", **notes})
    read = volume.mapped(tmp_path / "a.ome.tif")
    assert read.voxel_size_in_angstroms == expected
    assert np.array_equal(read.voxels, _numbers("f4"))


def _odd_tiff(path: Path, how: str, rng: np.random.Generator) -> None:
    if how == "complex":
        tifffile.imwrite(path, np.ones((9, 4, 5), np.complex64))
    elif how == "one page":
        tifffile.imwrite(path, np.ones((4, 5), np.float32))
    elif how == "colours":
        tifffile.imwrite(path, np.ones((4, 5, 3), np.uint8), photometric="rgb")
    elif how == "four axes":
        tifffile.imwrite(path, np.ones((2, 9, 4, 5), np.uint8))
    elif how in ("circle", "broken link"):
        tifffile.imwrite(path, np.ones((150, 4, 5), np.uint8), compression="zlib", metadata=None)
        content = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as tiff:
            first, last = tiff.pages[0].offset, tiff.pages.next_page_offset
        content[last : last + 4] = struct.pack("<I", first if how == "circle" else len(content) + 8)
        path.write_bytes(content)
    elif how in ("empty", "long strip"):
        empty = how == "empty"  # one directory stands for nine pages
        packing = None if empty else "zlib"
        tifffile.imwrite(path, np.ones((9, 4, 5), "u1"), compression=packing, imagej=empty, truncate=empty)
        tag = 257 if empty else 279  # rows; bytes of a strip
        content = bytearray(path.read_bytes())
        at = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
        content[at : at + 4] = struct.pack("<I", 0 if empty else 2**30)
        path.write_bytes(content)
    elif how == "two sizes":
        with tifffile.TiffWriter(path) as writer:
            writer.write(np.ones((9, 4, 5), np.float32), metadata=None)
            writer.write(np.ones((9, 5, 5), np.float32), metadata=None)
    elif how == "bomb":
        with tifffile.TiffWriter(path) as writer:
            for _ in range(9):
                writer.write(np.zeros((512, 512), np.uint8), compression="lzma", metadata=None)
        rows, more = (struct.pack("<HHII", 257, 4, 1, n) for n in (512, 2**24))
        assert rows in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(rows, more))
    else:
        tifffile.imwrite(path, rng.normal(size=(9, 40, 50)), compression="zlib" if how == "cut deflate" else None)
        path.write_bytes(path.read_bytes()[:-9000] if how.startswith("cut") else b"II*\0 and then text\n" * 40)


@pytest.mark.parametrize(
    "how",
    [
        *("complex", "one page", "colours", "four axes", "two sizes", "circle", "broken link", "empty"),
        *("long strip", "bomb", "cut", "cut deflate", "text"),
    ],
)
def test_other_tiffs_are_refused(
    tmp_path: Path, how: str, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    _odd_tiff(tmp_path / "a.tif", how, rng)
    tracemalloc.start()
    said = _refusal(tmp_path / "a.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
    assert ("claims" in said) == (how == "bomb")
    assert not caplog.records


@needs_data
def test_the_real_maps_are_read() -> None:
    for path in volume.find(DATA / "maps"):
        read, mapped = volume.read(path), volume.mapped(path)
        assert read.voxel_size_in_angstroms == mapped.voxel_size_in_angstroms == 10.0
        assert read.voxels.std() > 0
        with mrcfile.open(path) as handle:
            assert np.array_equal(read.voxels, handle.data)
            assert np.array_equal(mapped.voxels, handle.data)


@needs_data
@pytest.mark.parametrize(
    ("name", "shape", "voxel_size", "kind"),
    [
        ("empiar11658_tomo171_bin4.mrc.gz", (128, 256, 256), 31.36, "f4"),
        ("emd_1155.ccp4.gz", (281, 91, 141), 16.4, "i1"),
    ],
)
def test_the_real_tomograms_are_read(name: str, shape: tuple[int, ...], voxel_size: float, kind: str) -> None:
    path = DATA / "tomograms" / name
    read, mapped = volume.read(path), volume.mapped(path)
    assert read.voxels.shape == shape
    assert mapped.voxels.dtype == kind
    assert read.voxel_size_in_angstroms == pytest.approx(voxel_size)
    assert np.array_equal(read.voxels, mapped.voxels)
    with mrcfile.open(path) as handle:
        assert np.array_equal(read.voxels, handle.data)
