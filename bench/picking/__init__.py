"""Tomogram → particle positions: by size (difference of Gaussians), or by a template, with its rotations."""

from bench.picking.gaussians import blobs
from bench.picking.matching import match

__all__ = ["blobs", "match"]
