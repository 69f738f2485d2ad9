"""`bench data inspect`: a data set → counts, SNR, a picture, and whether the background alone reveals the class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench import registry
from bench.base.console import Console
from bench.commands import pictures
from bench.data import shortcuts
from bench.data.shortcuts import Shortcut
from bench.data.subtomograms import Subtomograms
from bench.files import sheets


@dataclass(frozen=True)
class Inspected:
    """What `inspect` found."""

    made: Subtomograms
    tomograms: int
    classes: list[tuple[str, int, float]]  # name, boxes, SNR at least (NaN where it cannot be told)
    shortcuts: list[Shortcut]


def inspect(dataset: str, folder: Path | None, out: Path, console: Console) -> Inspected:
    """Look into a data set by its name; into `out` goes a picture of some boxes."""
    sheets.check_writable(out)
    with console.counted("Reading the data set") as progress:
        made = replace(registry.dataset(dataset), folder=folder).load(progress)
    tomograms = 0 if made.tomogram_ids is None else len(set(made.tomogram_ids))
    classes = [(name, len(which), shortcuts.snr(made, which)) for name, which in made.by_class()]
    with console.counted("Looking at the rims") as progress:
        found = shortcuts.shortcuts(made, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures.some_boxes(made, out)
    return Inspected(made, tomograms, classes, found)
