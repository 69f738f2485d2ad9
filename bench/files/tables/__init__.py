"""Particle tables of RELION, copick, Dynamo, SHREC and spreadsheets → one table; and answers written back into them."""

from bench.files.tables.formats import read
from bench.files.tables.star import write_star
from bench.files.tables.table import NONE, NOTHING, ParticleTable, Prediction, check_writable, relion_columns, write

__all__ = [
    "NONE",
    "NOTHING",
    "ParticleTable",
    "Prediction",
    "check_writable",
    "read",
    "relion_columns",
    "write",
    "write_star",
]
