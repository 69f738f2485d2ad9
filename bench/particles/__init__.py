"""Particle tables of RELION, copick, Dynamo, SHREC and spreadsheets → one table; and answers written back into them."""

from bench.particles.formats import read
from bench.particles.star import write_star
from bench.particles.table import NONE, Particles, Prediction, write

__all__ = ["NONE", "Particles", "Prediction", "read", "write", "write_star"]
