"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class _Path(click.Path):
    """A path; an empty text, which would name the folder that the user is in, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("must not be empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)

CONTRAST = click.option(
    "--contrast", default="dark", show_default=True, help="How particles look in the tomogram: dark or bright."
)
TOMOGRAM_VOXEL_SIZE = click.option(
    "--tomogram-voxel-size-in-angstroms",
    type=float,
    metavar="Å",
    help="Voxel size of the tomogram, if its header has none or a wrong one.",
)
COORDINATES_VOXEL_SIZE = click.option(
    "--coordinates-voxel-size-in-angstroms",
    type=float,
    metavar="Å",
    help="Voxel size in which the table counts, if it is not the tomogram's.",
)
COUNT = click.option(
    "--count", default=1000, show_default=True, metavar="N", help="Number of positions to return, best first."
)
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
STRUCTURES = click.option(
    "--structures",
    required=True,
    type=PATH,
    metavar="DIR",
    help="Folder of PDB or mmCIF files (also .gz), one per class.",
)


def out_option(default: str, metavar: str, text: str) -> Callable[[Command], Command]:
    """--out with its default."""
    return click.option("--out", default=default, show_default=True, type=PATH, metavar=metavar, help=text)
