"""Structure → potential (a density) → particle in a random pose → subtomogram with missing wedge, CTF and noise."""

from bench.simulation import structure
from bench.simulation.dataset import Simulation
from bench.simulation.density import Density, common_extent, fitted, read_map
from bench.simulation.imaging import Imaging
from bench.simulation.plan import Plan, plan, simulate
from bench.simulation.scattering import potential

__all__ = [
    "Density",
    "Imaging",
    "Plan",
    "Simulation",
    "common_extent",
    "fitted",
    "plan",
    "potential",
    "read_map",
    "simulate",
    "structure",
]
