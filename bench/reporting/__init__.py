"""Rows → intervals, tables, pictures, page, gate."""
