"""Formats: volumes, particle tables, sheets of pictures."""
