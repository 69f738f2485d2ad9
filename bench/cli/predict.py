"""`bench predict`: options and printing, nothing else."""

from __future__ import annotations

from typing import Any

import click

from bench.cli.options import CONTRAST, COORDINATES_VOXEL_SIZE, PATH, TOMOGRAM_VOXEL_SIZE


@click.command()
@click.argument("results", type=PATH)
@click.option(
    "--table",
    required=True,
    metavar="FILE",
    help="Particle table (STAR, CSV, copick, Dynamo, SHREC) or folder of boxes.",
)
@click.option(
    "--tomograms",
    type=PATH,
    metavar="PATH",
    help="A tomogram or a folder of them. Without it: the boxes that the STAR file lists.",
)
@click.option(
    "--out", type=PATH, required=True, metavar="FILE", help="The same table with class, probability and confidence."
)
@click.option(
    "--method", metavar="NAME", help="Use a network of this method.  [default: the one with the lowest validation loss]"
)
@click.option(
    "--fraction", type=float, metavar="%", help="Use a network of this label fraction.  [default: the largest]"
)
@click.option("--seed", type=int, metavar="N", help="Use a network of this seed.")
@click.option("--protocol", metavar="NAME", help="Use a network of this protocol.")
@CONTRAST
@TOMOGRAM_VOXEL_SIZE
@COORDINATES_VOXEL_SIZE
def predict(**options: Any) -> None:
    """Classify the particles of a table with a trained network. RESULTS is the --out folder of a bench run.

    OUT is the same table with three more columns: class, probability, confidence. The confidence is the probability
    after calibration on the validation volumes. The test scores are not used to choose the network.
    """
    from bench.base.console import Console
    from bench.commands.predict import Request, predict

    console, request = Console(), Request(**options)
    done = predict(request, console)
    counts = ", ".join(f"{name} {n}" for name, n in done.counts.items())
    console.say(f"{sum(done.counts.values())} rows: {counts}")
    if "none" in done.counts:
        console.say(
            f"none: the box sticks out of the tomogram, is blank, or {request.table} names no file that is there"
        )
    console.say(f"Confidence is calibrated on {done.validation_labels} volumes. Wrote {request.out}")
