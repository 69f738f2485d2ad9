"""Places beside the particles: the class background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from bench.base.arrays import Float64Array
from bench.base.errors import BenchError
from bench.base.seeds import numpy_generator
from bench.extraction.crop import inside
from bench.extraction.cutting import Cutting
from bench.extraction.sites import BACKGROUND, SITE
from bench.extraction.tomograms import Tomograms

BESIDE = (0.5, 1.5)  # boxes from a particle to a background position: outside it, but in the same specimen
TRIES, MOST_TRIES = 200, 200_000  # random places tried for each background position, and in a tomogram


def beside(found: pd.DataFrame, tomograms: Tomograms, cutting: Cutting) -> pd.DataFrame:
    """`cutting.background` sites, each at the height of a kept particle beside it, half a box or more from every row.

    At the particle's height, because above and below a lamella or an ice film there is nothing; a quarter of a box or
    more from each other, else one would be in training and test. Spread over the tomograms by their particles.
    Raises BenchError where there is no room.
    """
    rng = numpy_generator(cutting.seed, BACKGROUND)
    kept = found[found["reason"] == ""]
    shares = kept["file"].value_counts(sort=False)
    quota = np.diff(np.round(np.concatenate([[0], shares.cumsum() / len(kept)]) * cutting.background)).astype(int)
    parts: list[pd.DataFrame] = []
    for file, n in zip(shares.index, quota):
        shape, voxel_size = tomograms.grids[file]
        ratio = cutting.ratio(voxel_size)
        every, ours = (some.loc[some["file"] == file, ["z", "y", "x"]].to_numpy(float) for some in (found, kept))
        near, far = (edge * cutting.box * ratio for edge in BESIDE)
        m = min(n * TRIES, MOST_TRIES)
        angle, length = rng.uniform(0, 2 * np.pi, m), rng.uniform(near, far, m)
        aside = np.column_stack([np.zeros(m), length * np.sin(angle), length * np.cos(angle)])
        tries = ours[rng.integers(len(ours), size=m)] + aside
        tries = tries[inside(tries, shape, cutting.box, ratio)]
        tries = tries[cKDTree(every[np.isfinite(every).all(axis=1)]).query(tries)[0] >= near]
        tries = tries[_apart(tries, near / 2)][:n]
        if len(tries) < n:
            raise BenchError(
                f"--background {cutting.background}: room for {len(tries)} of {n} boxes beside the particles of "
                f"{Path(file).name}; ask for fewer, or for a smaller box"
            )
        part = pd.DataFrame(tries, columns=["z", "y", "x"]).assign(file=file, table=-1, row=-1, reason="")
        name = kept.loc[kept["file"] == file, "tomogram"].iloc[0]
        parts.append(part.assign(tomogram=name, **{"class": BACKGROUND}))
    return pd.concat(parts, ignore_index=True)[SITE]


def _apart(places: Float64Array, distance: float) -> list[int]:
    """Rows of `places` (n, 3) that stand `distance` or more from each one chosen before."""
    tree, free, chosen = cKDTree(places), np.ones(len(places), dtype=bool), []
    for i in range(len(places)):
        if free[i]:
            chosen.append(i)
            free[tree.query_ball_point(places[i], distance)] = False
    return chosen
