"""A results folder's report: tables, pictures, and one page that needs no other file."""

from bench.page.write import cell_board, html, summary, write

__all__ = ["cell_board", "html", "summary", "write"]
