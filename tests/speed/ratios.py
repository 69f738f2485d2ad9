"""Ratios plain / fast of a speed.json of pytest-benchmark, and their gate.

python tests/speed/ratios.py speed.json                    prints the table
python tests/speed/ratios.py speed.json ratios.json        exit code 1 where a ratio fell by more than TOLERANCE
python tests/speed/ratios.py speed.json ratios.json 0.6    or by more than 60 %, as on a machine that others use too
python tests/speed/ratios.py speed.json ratios.json write  stores the ratios
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOLERANCE = 0.4  # of the stored ratio: machines differ, and drift within a run


def ratios(speed: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each pair: seconds in both forms, their ratio, MiB in both forms, GF/s of the fast one."""
    pairs: dict[str, dict[str, dict[str, Any]]] = {}
    for run in speed["benchmarks"]:
        info = run["extra_info"]
        if "growth" in info:
            continue
        pairs.setdefault(info["name"], {})[info["form"]] = info | {"seconds": run["stats"]["min"] / info["pieces"]}
    return {
        name: {
            "plain_seconds": forms["plain"]["seconds"],
            "fast_seconds": forms["fast"]["seconds"],
            "ratio": forms["plain"]["seconds"] / forms["fast"]["seconds"],
            "plain_mib": forms["plain"]["memory_mib"],
            "fast_mib": forms["fast"]["memory_mib"],
            "gigaflops_per_second": forms["fast"]["gigaflops"] / forms["fast"]["seconds"],
        }
        for name, forms in pairs.items()
    }


def fallen(now: dict[str, dict[str, float]], stored: dict[str, float], tolerance: float) -> list[str]:
    """A line for each stored ratio that is gone or has fallen too far."""
    lines = []
    for name, before in stored.items():
        ratio = now.get(name, {}).get("ratio", 0.0)
        if ratio < (1 - tolerance) * before:
            lines.append(f"{name}: {ratio:.1f}× now, {before:.1f}× before")
    return lines


def main(speed: str, reference: str | None = None, how: str = str(TOLERANCE)) -> int:
    """Print, then compare or store."""
    speeds = json.loads(Path(speed).read_text())
    now = ratios(speeds)
    print(f"{'':52} {'plain':>9} {'fast':>9} {'ratio':>6} {'plain':>10} {'fast':>10} {'rate':>10}")
    for name, pair in now.items():
        seconds = "".join(f" {1000 * pair[f'{form}_seconds']:6.0f} ms" for form in ("plain", "fast"))
        memory = "".join(f" {pair[f'{form}_mib']:6.0f} MiB" for form in ("plain", "fast"))
        rate = f"{pair['gigaflops_per_second']:5.0f} GF/s" if pair["gigaflops_per_second"] else ""
        print(f"{name:52}{seconds} {pair['ratio']:5.1f}×{memory} {rate}")
    for run in speeds["benchmarks"]:
        if growth := run["extra_info"].get("growth"):
            print(f"{run['extra_info']['name']:52} takes {growth:.2f}× the time")
    if reference is None:
        return 0
    # SGEMM is the same in both forms.
    gated = {name: pair["ratio"] for name, pair in now.items() if not name.startswith("SGEMM")}
    if how == "write":
        Path(reference).write_text(
            json.dumps({k: round(v, 2) for k, v in gated.items()}, indent=1, ensure_ascii=False) + "\n"
        )
        return 0
    worse = fallen(now, json.loads(Path(reference).read_text()), float(how))
    print("\n".join(worse) or "no ratio has fallen")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
