"""Trials → serial or Ray Tune; the only importer of ray."""

from bench.scheduling.jobs import Backend, Job, Resources, choose_device, usable_cpus
from bench.scheduling.serial import Serial
from bench.scheduling.tune import Ray

__all__ = ["Backend", "Job", "Ray", "Resources", "Serial", "choose_device", "usable_cpus"]
