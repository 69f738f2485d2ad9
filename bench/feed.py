"""How volumes reach a network: rows of one array, normalised, on the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.volume import FloatArray

RESIDENT_SHARE = 1 / 8  # of a GPU's memory that one trial's volumes may take


class Feed:
    """Some rows of an array as tensors; to choose rows copies nothing.

    The array of a data set stays on disk, memory-mapped: larger than memory it may be, and all trials of a machine
    share one copy in the system's cache. On a GPU with room for it, it moves there once (`resident`).
    """

    def __init__(
        self,
        rows: FloatArray | Tensor,  # (n, d, h, w), volumes; or (n, k), features
        index: Tensor | None = None,  # (m,), the rows that this feed gives; all of them by default
        mean: float = 0.0,
        deviation: float = 1.0,
        device: torch.device | None = None,
    ) -> None:
        self._array = rows if isinstance(rows, np.ndarray) else None
        self._rows = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        self._index = torch.arange(len(rows)) if index is None else index.cpu()
        self._mean, self._deviation = mean, deviation
        self._device = self._rows.device if device is None else device

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, which: Tensor) -> Tensor:
        """Rows `which`, indices or a mask: (b, 1, d, h, w), normalised by mean and deviation, or features (b, k)."""
        rows = self._rows[self._index[which.cpu()]].to(self._device, non_blocking=True)
        rows = (rows.float() - self._mean) / self._deviation
        return rows[:, None] if rows.ndim == 4 else rows

    def only(self, which: Tensor) -> Feed:
        """The feed of rows `which`: indices or a mask."""
        rows = self._rows if self._array is None else self._array
        return Feed(rows, self._index[which.cpu()], self._mean, self._deviation, self._device)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time."""
        parts = torch.arange(len(self)).split(size)
        for part, following in zip(parts, [*parts[1:], parts[0][:0]]):
            self.expect(following)
            yield self[part]

    def expect(self, which: Tensor) -> None:
        """Have the system read rows `which` from disk meanwhile, where they lie there."""
        if not isinstance(self._array, np.memmap) or not hasattr(os, "posix_fadvise"):
            return
        size = self._array[0].nbytes
        with suppress(OSError, TypeError), Path(str(self._array.filename)).open("rb") as file:
            for row in self._index[which].tolist():
                os.posix_fadvise(file.fileno(), self._array.offset + row * size, size, os.POSIX_FADV_WILLNEED)

    def resident(self) -> Feed:
        """The same rows, normalised, in the memory of the GPU; the feed itself where there is none, or no room."""
        if self._device.type != "cuda":
            return self
        room = RESIDENT_SHARE * torch.cuda.get_device_properties(self._device).total_memory
        if len(self) * self._rows[0].numel() * 4 > room:
            return self
        return Feed(torch.cat([part.squeeze(1) for part in self.batches(256)]))


def moments(volumes: FloatArray, indices: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all voxels of `volumes[indices]`, a few volumes in memory at a time."""
    total = squares = 0.0
    origin = float(volumes[indices[0]].flat[0])  # near the mean, so that the squares do not drown the deviation
    for some in np.array_split(indices, max(1, len(indices) // 64)):
        part = np.asarray(volumes[some], dtype=np.float64) - origin
        total += part.sum()
        squares += np.square(part).sum()
    n = len(indices) * volumes[0].size
    return origin + total / n, float(np.sqrt(max(0.0, squares / n - (total / n) ** 2)))
