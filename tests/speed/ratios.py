"""Ratios plain / fast of a speed.json of pytest-benchmark, and their gate; laws of growth, and theirs.

python tests/speed/ratios.py speed.json                    prints the table
python tests/speed/ratios.py speed.json ratios.json        exit code 1 where a ratio fell by more than TOLERANCE
python tests/speed/ratios.py speed.json ratios.json 0.6    or by more than 60 %, as on a machine that others use too
python tests/speed/ratios.py speed.json ratios.json write  stores the ratios

Laws of time in turns and of memory stand in the benchmarks themselves; one that is broken is exit code 1 too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOLERANCE = 0.4  # of the stored ratio: machines differ, and drift within a run

Pair = dict[str, Any]


def ratios(speed: dict[str, Any]) -> dict[str, Pair]:
    """Of each pair: seconds in both forms, their ratio, MiB in both forms, GF/s of the fast one, and what is gated."""
    pairs: dict[str, dict[str, dict[str, Any]]] = {}
    for run in speed["benchmarks"]:
        info = run["extra_info"]
        if "law" in info:
            continue
        pairs.setdefault(info["name"], {})[info["form"]] = info | {"seconds": run["stats"]["min"] / info["pieces"]}
    return {
        name: {
            "plain_seconds": forms["plain"]["seconds"],
            "fast_seconds": forms["fast"]["seconds"],
            "ratio": forms["plain"]["seconds"] / forms["fast"]["seconds"],
            "plain_mib": forms["plain"]["memory_mib"],
            "fast_mib": forms["fast"]["memory_mib"],
            "memory_part": forms["fast"]["memory_part"],
            "gated": forms["fast"]["gated"],
            "gigaflops_per_second": forms["fast"]["gigaflops"] / forms["fast"]["seconds"],
        }
        for name, forms in pairs.items()
    }


def fallen(now: dict[str, Pair], stored: dict[str, float], tolerance: float) -> list[str]:
    """A line for each stored ratio that is gone or has fallen too far, and for each that is not stored."""
    lines = [f"{name}: no stored ratio; write one" for name in now if name not in stored]
    for name, before in stored.items():
        ratio = now.get(name, {}).get("ratio", 0.0)
        if ratio < (1 - tolerance) * before:
            lines.append(f"{name}: {ratio:.1f}× now, {before:.1f}× before")
    return lines


def broken(speed: dict[str, Any]) -> list[str]:
    """A line for each law that a measurement breaks (conftest.py: `in_turns`, and `memory` of `compare`)."""
    infos = [run["extra_info"] for run in speed["benchmarks"] if "law" in run["extra_info"]]
    lines = [
        f"{name}: {pair['fast_mib']:.0f} MiB, more than {pair['memory_part']:g} of the plain form's"
        for name, pair in ratios(speed).items()
        if pair["memory_part"] is not None and pair["fast_mib"] > pair["memory_part"] * pair["plain_mib"]
    ]
    return lines + [
        f"{info['name']}: takes {info['takes']:.2f}× the time, not {info['law'][0]:g} to {info['law'][1]:g}×"
        for info in infos
        if not info["law"][0] <= info["takes"] <= info["law"][1]
    ]


def main(speed: str, reference: str | None = None, how: str = str(TOLERANCE)) -> int:
    """Print, then compare or store."""
    speeds = json.loads(Path(speed).read_text(encoding="utf-8"))
    now = ratios(speeds)
    print(f"{'':52} {'plain':>9} {'fast':>9} {'ratio':>6} {'plain':>10} {'fast':>10} {'rate':>10}")
    for name, pair in now.items():
        seconds = "".join(f" {1000 * pair[f'{form}_seconds']:6.0f} ms" for form in ("plain", "fast"))
        memory = "".join(f" {pair[f'{form}_mib']:6.0f} MiB" for form in ("plain", "fast"))
        rate = f"{pair['gigaflops_per_second']:5.0f} GF/s" if pair["gigaflops_per_second"] else ""
        print(f"{name:52}{seconds} {pair['ratio']:5.1f}×{memory} {rate}")
    for info in (run["extra_info"] for run in speeds["benchmarks"]):
        if "law" in info:
            print(f"{info['name']:52} takes {info['takes']:.2f}× the time")
    if reference is None:
        return 0
    gated = {name: pair for name, pair in now.items() if pair["gated"]}
    if how == "write":
        Path(reference).write_text(
            json.dumps({k: round(v["ratio"], 2) for k, v in gated.items()}, indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
        return 0
    worse = fallen(gated, json.loads(Path(reference).read_text(encoding="utf-8")), float(how)) + broken(speeds)
    print("\n".join(worse) or "no ratio has fallen, no law is broken")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
