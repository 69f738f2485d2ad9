"""Tomograms and particle tables → subtomograms."""
