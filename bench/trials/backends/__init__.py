"""Trials → serial or Ray Tune; the only importer of ray."""

from bench.base.machine import choose_device, usable_cpus
from bench.trials.backends.jobs import Backend, Job, Resources
from bench.trials.backends.ray_tune import Ray
from bench.trials.backends.serial import Serial

__all__ = ["Backend", "Job", "Ray", "Resources", "Serial", "choose_device", "usable_cpus"]
