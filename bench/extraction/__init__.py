"""Tomograms and particle tables → subtomograms."""

from bench.extraction.boxes import Cut, as_subtomograms, cut_out
from bench.extraction.cutting import Cutting
from bench.extraction.sites import BACKGROUND, read_tables
from bench.extraction.tomograms import Tomograms, file_of, known_voxel_size

__all__ = [
    "BACKGROUND",
    "Cut",
    "Cutting",
    "Tomograms",
    "as_subtomograms",
    "cut_out",
    "file_of",
    "known_voxel_size",
    "read_tables",
]
