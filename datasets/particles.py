"""What `bench data extract` cut, as it lies there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.dataset import Dataset, Report, Subtomograms, link, silent
from bench.errors import BenchError


@dataclass(frozen=True)
class Particles(Dataset):
    """Your particles: --data DIR, the --out of bench data extract; split by tomogram where there are several."""

    needs_folder = True
    folder_hint = "add --data DIR, the --out of bench data extract"

    def sources(self) -> list[Path]:
        """The set's description, with the fingerprint of the volumes; not the volumes, which are large."""
        return [self._made() / "meta.json"]

    def load(self, report: Report = silent) -> Subtomograms:
        """Map the volumes, wherever they lie."""
        return Subtomograms.open(self._made())

    def write(self, folder: Path, report: Report = silent) -> None:
        """Link the volumes, copy the rest."""
        link(self._made(), folder)

    def _made(self) -> Path:
        folder = self.required_folder()
        if not (folder / "meta.json").is_file():
            raise BenchError(f"{folder}: no finished set of bench data extract; make one, or run that again")
        return folder
