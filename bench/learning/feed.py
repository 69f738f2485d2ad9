"""How volumes reach a network: rows of one array, normalised, on the device."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.base.arrays import FloatArray

RESIDENT_FRACTION = 1 / 8  # of a GPU's memory that one trial's volumes may take


class Feed:
    """Some rows of an array as tensors; to choose rows copies nothing.

    The array of a data set stays on disk: larger than memory it may be, and all trials of a machine share one copy in
    the system's cache. On a GPU with room for it, it moves there once (`resident`).
    """

    def __init__(
        self,
        rows: FloatArray | Tensor | _Disk,  # (n, d, h, w), volumes; or (n, k), features
        index: Tensor | None = None,  # (m,), the rows that this feed gives; all of them by default
        mean: float = 0.0,
        std: float = 1.0,
        device: torch.device | None = None,
    ) -> None:
        if isinstance(rows, np.ndarray):
            rows = _Disk(rows) if isinstance(rows, np.memmap) else torch.from_numpy(rows)
        self._rows = rows
        self._index = torch.arange(len(rows)) if index is None else index.cpu()
        self._mean, self._std = mean, std
        self._device = device or (rows.device if isinstance(rows, Tensor) else torch.device("cpu"))

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, which: Tensor) -> Tensor:
        """Rows `which`, indices or a mask: (b, 1, d, h, w), normalised by mean and std, or features (b, k)."""
        rows = self._rows[self._index[which.cpu()]].to(self._device, torch.float32, non_blocking=True)
        rows = rows.sub_(self._mean).div_(self._std)  # in place: the look-up made a copy
        return rows[:, None] if rows.ndim == 4 else rows

    def only(self, which: Tensor) -> Feed:
        """The feed of rows `which`: indices or a mask."""
        return self.at(self._index[which.cpu()])

    @property
    def index(self) -> Tensor:
        """Which rows of the array this feed gives, (m,)."""
        return self._index

    @property
    def n_rows(self) -> int:
        """Rows of the array itself."""
        return len(self._rows)

    def at(self, index: Tensor) -> Feed:
        """The feed of rows `index` of the array itself, those that this one gives or not."""
        return Feed(self._rows, index, self._mean, self._std, self._device)

    def apart(self) -> Feed:
        """The same rows as an array of their own: no index leads from it to any other row."""
        rows = self._rows.only(self._index) if isinstance(self._rows, _Disk) else self._rows[self._index]
        return Feed(rows, None, self._mean, self._std, self._device)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time."""
        parts = torch.arange(len(self)).split(size)
        for part, following in zip(parts, [*parts[1:], parts[0][:0]]):
            self.expect(following)
            yield self[part]

    def expect(self, which: Tensor) -> None:
        """Have the system read rows `which` meanwhile, where they lie on disk."""
        if isinstance(self._rows, _Disk):
            self._rows.expect(self._index[which.cpu()])

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of all values, in double precision, a few rows in memory at a time."""
        total = squares = 0.0
        origin = float(self[torch.tensor([0])].flatten()[0])  # near the mean, so that squares do not drown the rest
        n = 0
        for part in self.batches(64):
            values = part.double() - origin
            total, squares, n = total + float(values.sum()), squares + float(values.square().sum()), n + values.numel()
        mean = total / n
        return origin + mean, math.sqrt(max(0.0, squares / n - mean**2))

    def normalised(self, mean: float, std: float) -> Feed:
        """The same rows, less `mean` and over `std`."""
        return Feed(self._rows, self._index, mean, std, self._device)

    def resident(self) -> Feed:
        """The same rows in the memory of the GPU; the feed itself where there is none, or no room."""
        if self._device.type != "cuda":
            return self
        room = RESIDENT_FRACTION * torch.cuda.get_device_properties(self._device).total_memory
        if len(self) * math.prod(self._rows.shape[1:]) * 4 > room:
            return self
        return Feed(torch.cat([part.squeeze(1) for part in self.batches(256)]))


class _Disk:
    """Rows of an array in a file, read when asked for; unlike a mapped file they fill no memory of the process."""

    def __init__(
        self, array: np.memmap[tuple[int, ...], np.dtype[np.float32]], places: npt.NDArray[np.int64] | None = None
    ) -> None:
        """places: (n,), where in the file each row lies; by default all of the file's rows in order."""
        self._array = array
        self._places = np.arange(len(array)) if places is None else places
        self.shape, self.dtype = (len(self._places), *array.shape[1:]), array.dtype
        self._row_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
        self._file = os.open(str(array.filename), os.O_RDONLY)
        weakref.finalize(self, os.close, self._file).atexit = False  # a thread may still be reading then

    def __len__(self) -> int:
        return len(self._places)

    def only(self, index: Tensor) -> _Disk:
        """These rows alone."""
        return _Disk(self._array, self._places[index.numpy()])

    def _starts(self, index: Tensor) -> list[int]:
        """Where rows `index` begin in the file, in bytes."""
        return [self._array.offset + int(place) * self._row_bytes for place in self._places[index.numpy()]]

    def __getitem__(self, index: Tensor) -> Tensor:
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        for row, place, start in zip(rows.reshape(len(index), -1), index.tolist(), self._starts(index)):
            if os.preadv(self._file, [row.data], start) != self._row_bytes:
                raise OSError(f"{self._array.filename}: ends within row {place}; delete it, and it is made anew")
        return torch.from_numpy(rows)

    def expect(self, index: Tensor) -> None:
        """Start to read rows `index` into the system's cache."""
        if hasattr(os, "posix_fadvise"):  # Linux
            for start in self._starts(index):
                os.posix_fadvise(self._file, start, self._row_bytes, os.POSIX_FADV_WILLNEED)
