"""What a feed gives, from memory and from disk, against plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.base.machine import peak_in_mebibytes, start_peak
from bench.learning.feed import Feed

VOLUMES = np.random.default_rng(0).normal(3, 2, (300, 4, 5, 6)).astype(np.float32)


@pytest.fixture(params=["memory", "disk"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "volumes.npy", VOLUMES)
    return VOLUMES if request.param == "memory" else np.load(tmp_path / "volumes.npy", mmap_mode="r")


def test_rows_come_normalised_with_a_channel(rows: np.ndarray) -> None:
    which = torch.tensor([7, 0, 7])
    expected = (VOLUMES[[7, 0, 7]] - np.float32(3)) / np.float32(2)
    got = Feed(rows, mean=3.0, std=2.0)[which]
    assert got.shape == (3, 1, 4, 5, 6)
    assert np.array_equal(got[:, 0].numpy(), expected)


def test_a_choice_of_a_choice_gives_the_rows_of_both(rows: np.ndarray) -> None:
    feed = Feed(rows).only(torch.arange(100, 200)).only(torch.arange(100) % 10 == 3)
    assert len(feed) == 10
    assert np.array_equal(feed[torch.tensor([2])][0, 0].numpy(), VOLUMES[123])


def test_batches_hold_every_row_once_in_order(rows: np.ndarray) -> None:
    feed = Feed(rows)
    batches = list(feed.batches(128))
    assert [len(batch) for batch in batches] == [128, 128, 44]
    assert np.array_equal(torch.cat(batches)[:, 0].numpy(), VOLUMES)


def test_features_pass_without_a_channel() -> None:
    features = torch.arange(12.0).view(4, 3)
    assert torch.equal(Feed(features)[torch.tensor([1, 3])], features[[1, 3]])


def test_moments_are_numpy_s(rows: np.ndarray) -> None:
    indices = np.arange(3, 299, 2)
    mean, std = Feed(rows).only(torch.from_numpy(indices)).moments()
    assert mean == pytest.approx(VOLUMES[indices].mean(dtype=np.float64), rel=1e-12)
    assert std == pytest.approx(VOLUMES[indices].std(dtype=np.float64), rel=1e-10)


def test_moments_of_equal_voxels_are_exact() -> None:
    assert Feed(np.full((130, 2, 2, 2), 0.1, np.float32)).moments()[1] == 0


def test_a_file_larger_than_what_is_read_fills_no_memory(tmp_path: Path) -> None:
    """A sparse file of 4 GiB, of which 1 GiB is read."""
    array = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=(4096, 64, 64, 64))
    array[1000] = 1
    array.flush()
    feed = Feed(np.load(tmp_path / "v.npy", mmap_mode="r")).only(torch.arange(500, 1524))
    start_peak("cpu")
    before = peak_in_mebibytes("cpu")
    total = sum(float(batch.sum()) for batch in feed.batches(32))
    assert total == 64**3
    assert peak_in_mebibytes("cpu") - before < 200


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "volumes.npy", VOLUMES)
    feed = Feed(np.load(tmp_path / "volumes.npy", mmap_mode="r"))
    with (tmp_path / "volumes.npy").open("r+b") as file:
        file.truncate(VOLUMES.nbytes // 2)
    with pytest.raises(OSError, match=r"volumes\.npy: ends within row 299"):
        feed[torch.tensor([299])]
