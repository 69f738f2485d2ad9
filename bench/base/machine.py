"""This machine: its cores and devices, and the memory of this process."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from bench.base.errors import BenchError

MOVES_NO_NUMBER = True

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Let the allocator keep what tensors free, where it is glibc's; elsewhere do nothing.

    By default it gives large blocks back to the system, which hands them out again page by zeroed page: at every step
    of a training, for the same tensors.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def start_peak(device: str) -> None:
    """Give back what is kept, and measure the peak from now on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # elsewhere the peak is that of the process, which may have run other trials before
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # Linux: VmHWM starts anew


def peak_in_mebibytes(device: str) -> float:
    """Largest resident memory of the process, or of its tensors on the GPU, since `start_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, KiB elsewhere


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch and the libraries for linear algebra use one thread; also a decorator.

    Several threads add, and transform, in another order: the last bits would depend on the machine.
    """
    threads = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def choose_device(wanted: str) -> str:
    """The device that "auto", "cpu" or "cuda" names; raises BenchError where a GPU is asked for and none is here."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise BenchError(f"unknown device '{wanted}'; known: auto, cpu, cuda")
    here = torch.cuda.is_available()
    if wanted == "cuda" and not here:
        raise BenchError("--device cuda: no GPU that PyTorch can use here; run with --device cpu")
    return "cuda" if here and wanted != "cpu" else "cpu"


def usable_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
