"""Subtomograms, the contract of a data set, and who may see what."""
