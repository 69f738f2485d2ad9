"""`bench submit`: options and printing, nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import PATH

FOLDER = click.argument("folder", type=PATH)


@click.group()
def submit() -> None:
    """Give results to others so that they can believe them.

    Start with:  bench submit form runs
    """


@submit.command()
@FOLDER
def form(folder: Path) -> None:
    """Put an empty form into the results folder FOLDER: who, with what, how."""
    from bench.commands.submit import form

    click.echo(f"Fill in {form(folder)}. Next: bench submit check {folder}")


@submit.command()
@FOLDER
@click.option("--data", type=PATH, metavar="DIR", help="Where the folders of the data sets are.")
def check(folder: Path, data: Path | None) -> None:
    """Compute every score of FOLDER again from the answers that its trials kept, on data made here."""
    from bench.base.console import Console
    from bench.commands.submit import check

    click.echo(check(folder, data, Console()))
