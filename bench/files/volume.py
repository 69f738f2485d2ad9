"""Volume file (MRC, EM, TIFF stack) ↔ array (d, h, w) = (z, y, x) with its voxel size.

The only importer of mrcfile and tifffile. What a header promises is held against the file before memory is spent on it.
"""

from __future__ import annotations

import gzip
import logging
import math
import re
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import mrcfile
import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import dtype_from_mode, spacegroup_is_volume_stack

from bench.base.arrays import FloatArray
from bench.base.errors import BenchError
from bench.base.files import odd_letters, written_aside

AnyArray = npt.NDArray[Any]
DType = np.dtype[Any]
Edges = tuple[float, float, float]  # of a voxel along x, y, z in Å, as the file has them
Raw = tuple[AnyArray, Edges]
Stream = IO[bytes] | gzip.GzipFile
_TIFF = (".tif", ".tiff")
_EM = (".em", ".em.gz")
SUFFIXES = (".mrc", ".mrc.gz", ".map", ".map.gz", ".rec", ".rec.gz", ".ccp4", ".ccp4.gz", *_EM, *_TIFF)

_LONGEST_SIDE = 65535  # with its bytes swapped any side up to here is longer: only one byte order can be plausible
_FINEST, _COARSEST = 0.01, 10_000.0  # voxels in Å; beyond, the header's field holds something else
_CHUNK_IN_BYTES = 1 << 18
_TIFF_RATIO = 2000  # deflate packs no more than 1032 to one
_MRC_MODES = (0, 1, 2, 6, 12)
_IMOD_STAMP = 1146047817
_EM_MACHINES = (0, 3, 5, 6)  # OS-9, SGI, Mac, PC; VAX and Convex have floats of their own
_EM_TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
_UNITS_IN_ANGSTROMS = {"angstrom": 1.0, "Å": 1.0, "nm": 10.0, "um": 1e4, "µm": 1e4, r"\u00B5m": 1e4, "micron": 1e4}


class Volume(NamedTuple):
    """A density grid: `voxels` (d, h, w), float32, and the edge of a voxel in Å (None where the file does not say)."""

    voxels: FloatArray
    voxel_size_in_angstroms: float | None


class Mapped(NamedTuple):
    """A density grid as it lies in the file: `voxels` (d, h, w), read-only, in the file's dtype and byte order."""

    voxels: AnyArray
    voxel_size_in_angstroms: float | None


class _Layout(NamedTuple):
    """What a header promises: `shape` values of `dtype` from byte `offset` on; `axes` transposes them to (z, y, x)."""

    shape: tuple[int, int, int]
    dtype: DType
    offset: int
    edges: Edges
    axes: tuple[int, int, int] = (0, 1, 2)

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read(path: Path, voxel_size_in_angstroms: float | None = None) -> Volume:
    """Read a volume into memory: voxels (d, h, w), float32, finite. A voxel size that is given replaces the file's.

    MRC (www.ccpem.ac.uk/mrc_format/mrc2014.php; older headers, either byte order, any order of axes, IMOD's unsigned
    bytes) and EM (github.com/dtegunov/tom: tom_emread.m), both gzipped or not; TIFF stacks, a page a section.
    Raises BenchError for any other bytes, for voxels that are not cubic, and for NaN or infinite ones.
    """
    voxels, edges = _load(path, np.dtype(np.float32))
    with np.errstate(invalid="ignore"):
        if not np.isfinite([voxels.min(), voxels.max()]).all():  # the ends say it without a mask as large as the volume
            raise BenchError(f"{path}: holds NaN or infinite voxels; mask or re-extract this volume")
    return Volume(voxels, voxel_size_in_angstroms or _cubic(path, edges))


def mapped(path: Path, voxel_size_in_angstroms: float | None = None) -> Mapped:
    """Like `read`, but the voxels (d, h, w) stay on the disk (np.memmap) unless compressed; NaN are not looked for."""
    voxels, edges = _load(path, None)
    voxels.flags.writeable = False
    return Mapped(voxels, voxel_size_in_angstroms or _cubic(path, edges))


def write(path: Path, voxels: FloatArray | npt.NDArray[np.int8], voxel_size_in_angstroms: float | None) -> None:
    """Write an MRC file (mode 2, or 0 for int8 voxels), whole or not at all; raises ValueError where one exists.

    A voxel size that is not known is 0 in the header, as the format has it.
    """
    if path.exists():
        raise ValueError(f"{path} already exists")
    with written_aside(path) as aside, mrcfile.new(aside) as handle:
        handle.set_data(voxels if voxels.dtype == np.int8 else voxels.astype(np.float32))
        handle.voxel_size = voxel_size_in_angstroms or 0.0
        handle.header.label[0] = "subtomobench"  # instead of the hour: the same volume is the same bytes


def find(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files with `suffixes` right inside `folder`, by name; raises BenchError where one stands there twice.

    Nor may a name hold bytes that are not UTF-8, or control characters.
    """
    paths = sorted(p for p in folder.iterdir() if p.name.lower().endswith(suffixes) and p.is_file())
    for path in paths:
        if problem := odd_letters(path.name):
            raise BenchError(f"{str(path)!a}: {problem}")
    for one, other in pairwise(sorted(paths, key=lambda path: stem(path, suffixes))):
        if stem(one, suffixes) == stem(other, suffixes):
            raise BenchError(f"{one} and {other.name}: the same thing twice? keep one of them, or rename it")
    return paths


def stem(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """The file's name without that suffix: `6qzp.mrc.gz` → `6qzp`."""
    name = path.name
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _load(path: Path, dtype: DType | None) -> Raw:
    """Voxels (d, h, w) as `dtype`, or as they lie in the file (None), and the edges that its header gives."""
    if not path.is_file():
        raise BenchError(f"{path}: no such file; name a volume that exists")
    try:
        if path.name.lower().endswith(_TIFF):
            return _load_tiff(path, dtype)
        with path.open("rb") as plain:
            if plain.peek(3)[:3] != b"\x1f\x8b\x08":  # 559903 columns, were it an MRC
                return _voxels(path, plain, _layout(path, plain), dtype, path.stat().st_size)
            with gzip.open(plain) as stream:
                return _voxels(path, stream, _layout(path, stream), dtype, None)
    except MemoryError as error:
        raise BenchError(f"{path}: does not fit into memory; crop or bin it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _voxels(path: Path, file: Stream, layout: _Layout, dtype: DType | None, size: int | None) -> Raw:
    """The voxels of `layout`, mapped where `dtype` is None and the file is not packed (its `size` is known)."""
    if size is not None and layout.end > size:
        raise _short(path, layout.end - size)
    if size is not None and dtype is None:
        voxels: AnyArray = np.memmap(path, layout.dtype, "r", layout.offset, layout.shape)
    else:
        voxels = _stream(path, file, layout, dtype or layout.dtype, size is not None)
    return voxels.transpose(layout.axes), layout.edges


def _stream(path: Path, file: Stream, layout: _Layout, dtype: DType, trusted: bool) -> AnyArray:
    """Read `layout.shape` values chunk by chunk; without trust the array grows with what has arrived."""
    total = math.prod(layout.shape)
    values = np.empty(total if trusted else 0, dtype)
    done = 0
    file.seek(layout.offset)
    while done < total and (raw := file.read(min(_CHUNK_IN_BYTES, (total - done) * layout.dtype.itemsize))):
        chunk = np.frombuffer(raw, layout.dtype, len(raw) // layout.dtype.itemsize)
        upto = done + len(chunk)
        if upto > len(values):
            values.resize(min(total, upto * 9 // 8), refcheck=False)
        with np.errstate(all="ignore"):  # a float64 beyond float32 is infinite, and told as that
            values[done:upto] = chunk
        done = upto
    if done < total:
        raise _short(path, layout.end - file.tell())
    file.read(1)  # where a gzip stream ends here, this compares its checksum
    return values.reshape(layout.shape)


def _layout(path: Path, file: Stream) -> _Layout:
    length, parse = (512, _em_layout) if path.name.lower().endswith(_EM) else (1024, _mrc_layout)
    head = file.read(length)
    if len(head) < length:
        raise BenchError(f"{path}: {len(head)} bytes are no volume; copy or export the file again")
    return parse(path, head)


def _sides(path: Path, head: bytes, offset: int) -> tuple[str, tuple[int, int, int]]:
    """The byte order in which the sides are plausible, and those, (z, y, x); stamps are often absent or wrong."""
    for order in "<>":
        x, y, z = struct.unpack_from(f"{order}3i", head, offset)
        if all(1 <= side <= _LONGEST_SIDE for side in (x, y, z)):
            return order, (z, y, x)
    raise BenchError(f"{path}: no volume: its header claims {z} × {y} × {x} voxels; name an MRC, EM or TIFF volume")


def _mrc_layout(path: Path, head: bytes) -> _Layout:
    order, shape = _sides(path, head, 0)
    header = np.frombuffer(head, HEADER_DTYPE.newbyteorder(order))[0]
    mode, extended, group, mz = (int(header[name]) for name in ("mode", "nsymbt", "ispg", "mz"))
    stamp, flags = struct.unpack_from(f"{order}2i", head, 152)
    if mode not in _MRC_MODES:
        raise BenchError(f"{path}: MRC mode {mode} is not supported; export it in mode 0, 1, 2, 6 or 12")
    if extended < 0:
        raise BenchError(f"{path}: an extended header of {extended} bytes; copy or export the file again")
    if (group, shape[0]) == (0, 1):
        raise BenchError(f"{path}: one image, not a volume; export it as one MRC volume")
    if spacegroup_is_volume_stack(group) and 0 < mz < shape[0] and shape[0] % mz == 0:
        raise BenchError(f"{path}: {shape[0] // mz} volumes in one file; split it into files of one volume")
    x, y, z = (float(header["cella"][i]) / int(n) if (n := header[f"m{i}"]) > 0 else 0.0 for i in "xyz")
    of_axes = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    axes = (of_axes.index(3), of_axes.index(2), of_axes.index(1)) if sorted(of_axes) == [1, 2, 3] else (0, 1, 2)
    unsigned = (mode, stamp, flags & 1) == (0, _IMOD_STAMP, 0)
    dtype = np.dtype("u1") if unsigned else np.dtype(f"{order}{dtype_from_mode(mode).str[1:]}")
    return _Layout(shape, dtype, 1024 + extended, (x, y, z), axes)


def _em_layout(path: Path, head: bytes) -> _Layout:
    """The voxel size stays open: what the field OBJ counts, programs do not agree on, and most leave it empty."""
    order, shape = _sides(path, head, 4)
    machine, kind = head[0], head[3]
    if machine not in _EM_MACHINES or kind not in _EM_TYPES:
        raise BenchError(f"{path}: EM of machine {machine}, type {kind} is not supported; export it as float32 on a PC")
    return _Layout(shape, np.dtype(f"{order}{_EM_TYPES[kind]}"), 512, (0.0, 0.0, 0.0))


def _load_tiff(path: Path, dtype: DType | None) -> Raw:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # the error says it
    try:
        with tifffile.TiffFile(path, is_ome=False, _multifile=False) as tiff:  # OME's pages may lie in other files
            return _tiff_voxels(path, tiff, dtype)
    except (BenchError, MemoryError):
        raise
    except Exception as error:  # a damaged TIFF raises nearly every kind there is
        raise _unreadable(path, error) from error


def _tiff_voxels(path: Path, tiff: Any, dtype: DType | None) -> Raw:
    pages, stack, size = _pages(tiff), tiff.series[0], path.stat().st_size
    grey = "S" not in stack.axes and stack.dtype.kind in "buif"
    if pages > len(stack.pages) or stack.ndim != 3 or min(stack.shape) < 1 or not grey:
        raise BenchError(f"{path}: no stack of grey pages of one size; export it as one, or as MRC")
    if stack.dataoffset is not None:
        own = stack.dtype.newbyteorder(tiff.byteorder)
        with path.open("rb") as plain:
            return _voxels(path, plain, _Layout(stack.shape, own, stack.dataoffset, _tiff_edges(tiff)), dtype, size)
    stored = sum(sum(page.databytecounts) for page in stack.pages)
    if stored > size:
        raise _short(path, stored - size)
    if stack.nbytes > size * (1 if stack.keyframe.compression == 1 else _TIFF_RATIO):
        raise BenchError(f"{path}: claims {stack.nbytes} bytes in a file of {size}; export it again")
    voxels = np.empty(stack.shape, dtype or stack.dtype)
    with np.errstate(all="ignore"):
        for section, page in zip(voxels, stack.pages, strict=True):
            section[...] = page.asarray()
    return voxels, _tiff_edges(tiff)


def _pages(tiff: Any) -> int:
    """Count the pages; tifffile would follow a circle of them for ever, and drop all behind a broken link."""
    form, file = tiff.tiff, tiff.filehandle
    at, seen = tiff.pages.first.offset, set[int]()
    while at:
        if at in seen:
            raise ValueError("its pages form a circle")
        seen.add(at)
        file.seek(at)
        (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
        file.seek(tags * form.tagsize, 1)
        (at,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    return len(seen)


def _tiff_edges(tiff: Any) -> Edges:
    """The edges of a voxel along x, y, z as ImageJ or OME notes them, in Å; 0 where they do not."""
    first = tiff.pages[0]
    notes = tiff.imagej_metadata or {}
    if scale := _UNITS_IN_ANGSTROMS.get(notes.get("unit", "")):
        (x, per_x), (y, per_y) = (first.tags.valueof(f"{i}Resolution", (0, 0)) for i in "XY")  # pixels per unit
        return per_x / x * scale if x else 0.0, per_y / y * scale if y else 0.0, notes.get("spacing", 0.0) * scale
    ome = dict(re.findall(r'\bPhysicalSize([XYZ]|[XYZ]Unit)="([^"]+)"', first.description))
    x, y, z = (float(ome.get(i, 0)) * _UNITS_IN_ANGSTROMS.get(ome.get(f"{i}Unit", "µm"), 0.0) for i in "XYZ")
    return x, y, z


def _cubic(path: Path, edges: Edges) -> float | None:
    """The one edge in Å, None if unknown; refuses unequal ones, but takes x for nonsense in z (old headers)."""
    x, y, z = edges
    known = [edge for edge in edges if _FINEST <= edge <= _COARSEST]
    if not known:
        return None
    if max(known) <= 1.01 * min(known):
        return float(np.float32(z if z in known else known[0]))
    if x in known and y in known and abs(x - y) <= 0.01 * x and not x / 4 <= z <= 4 * x:
        return float(np.float32(x))
    if max(known) <= 4 * min(known):
        raise BenchError(f"{path}: voxels of {x:g} × {y:g} × {z:g} Å are not cubic; rescale it, or give a voxel size")
    return None


def _short(path: Path, missing: int) -> BenchError:
    return BenchError(f"{path}: truncated: {missing} bytes are missing; copy or export the file again")


def _unreadable(path: Path, error: Exception) -> BenchError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BenchError(f"{path}: cannot be read ({reason}); copy or export the file again")
