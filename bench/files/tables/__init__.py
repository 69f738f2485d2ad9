"""Particle tables of RELION, copick, Dynamo, SHREC and spreadsheets → one table; and answers written back into them."""

from bench.files.tables.formats import read
from bench.files.tables.star import write_star
from bench.files.tables.table import NONE, ParticleTable, Prediction, write

__all__ = ["NONE", "ParticleTable", "Prediction", "read", "write", "write_star"]
