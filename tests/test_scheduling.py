"""Ray gives the numbers that the serial backend gives, packs GPUs by fractions, and refuses what can never run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY

from bench import scheduling
from bench.errors import BenchError
from bench.results import COSTS


@pytest.mark.filterwarnings("ignore::Warning")  # Ray's own, on import and on shutdown
def test_ray_and_serial_give_the_same_rows(bench, tmp_path: Path) -> None:
    rows = []
    for backend in ("ray", "serial"):
        out = tmp_path / backend
        code, _, err = bench("run", *TINY, "--fractions", "40", "--backend", backend, "--out", out)
        assert code == 0, err
        rows.append(pd.read_csv(out / "rows.csv").drop(columns=[c for c in COSTS if c != "optimiser_steps"]))
    pd.testing.assert_frame_equal(*rows)


def test_a_request_that_no_machine_can_meet_is_refused() -> None:
    have = {"CPU": 2.0}
    scheduling._check_resources(have, scheduling.Resources("cpu", 2, 0.0))
    with pytest.raises(BenchError, match="cpus-per-trial 3"):
        scheduling._check_resources(have, scheduling.Resources("cpu", 3, 0.0))
    with pytest.raises(BenchError, match=r"gpus-per-trial 0\.5"):
        scheduling._check_resources(have, scheduling.Resources("cuda", 1, 0.5))
    scheduling._check_resources(have | {"GPU": 1.0}, scheduling.Resources("cuda", 1, 0.5))
