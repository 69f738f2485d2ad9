"""Sets, tomograms and picks as files for people and other programs: MRC, RELION STAR, tables, pictures."""

from bench.export.extracted import sheet, subtomograms
from bench.export.picked import new_table, picks, places, template
from bench.export.simulated import crowded_tomogram, make, write

__all__ = ["crowded_tomogram", "make", "new_table", "picks", "places", "sheet", "subtomograms", "template", "write"]
