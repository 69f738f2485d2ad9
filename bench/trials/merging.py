"""Results folders of several machines or groups → one; unlike data, unlike code and contradictions are refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.base.errors import BenchError
from bench.base.files import digest
from bench.trials.store import Store
from bench.trials.trial import CONTRIBUTED, OURS, RERUN, Record, Status, Trial

MOVES_NO_NUMBER = True
# Training makes the rounding of another machine grow, in the end to another network of the same quality: two runs of
# one trial may be as far apart as two such networks on so many test volumes, at three standard errors.
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Merged:
    """What came together."""

    trials: int
    done: int
    twice: int  # done in more than one
    furthest_in_points: float | None  # of accuracy, between two runs of one trial; None where none was run twice


def merge(stores: Sequence[Store], contributed: Sequence[bool], out: Store) -> Merged:
    """Put the trials of `stores` into `out`, a new one; of a trial that several have finished, the first's counts.

    contributed: which of them others ran. Raises BenchError for unlike volumes under one name, a trial that two of
    them trained with unlike code, and one whose accuracies cannot be of the same quality.
    """
    plans = [store.planned() for store in stores]
    for one, two in itertools.combinations(range(len(stores)), 2):
        _check_like((stores[one], plans[one]), (stores[two], plans[two]))
    together: dict[str, Trial] = {}
    for plan in plans:
        together = plan | together
    out.adopt(together)
    for store in stores:
        for options in store.requests():
            out.remember(options)
    twice, furthest = 0, None
    for key, trial in together.items():
        found = [(s, r, c) for s, c in zip(stores, contributed) if (r := s.read(key)) is not None]
        done = [one for one in found if one[1].status is Status.DONE]
        for other in done[1:]:
            apart = _apart(trial, done[0], other)
            furthest = apart if furthest is None else max(furthest, apart)
        twice += len(done) > 1
        if found:
            source, record, _ = (done or found)[0]
            out.take(source, record, _origin(done or found[:1]))
    done_now = sum(record.status is Status.DONE for record in out.records())
    return Merged(len(together), done_now, twice, furthest)


_Found = tuple[Store, Record, bool]


def _origin(found: Sequence[_Found]) -> str:
    """Of a trial that these ran."""
    origins = {CONTRIBUTED if contributed else record.origin for _, record, contributed in found}
    if origins == {OURS} or origins == {CONTRIBUTED}:
        return origins.pop()
    return RERUN


def _check_like(one: tuple[Store, Mapping[str, Trial]], two: tuple[Store, Mapping[str, Trial]]) -> None:
    """Raise BenchError where two folders mean unlike volumes by one name, or trained one row with unlike code."""
    volumes = [
        _by(lambda t: (t.dataset, t.data_parameters, t.data_title), lambda t: t.fingerprint, plan)
        for _, plan in (one, two)
    ]
    for data in volumes[0].keys() & volumes[1].keys():
        if volumes[0][data] - volumes[1][data] and volumes[1][data] - volumes[0][data]:
            raise BenchError(
                f"{one[0].folder} and {two[0].folder}: {data[2]} are not the same volumes (fingerprints "
                f"{_some(volumes[0][data])} and {_some(volumes[1][data])}); leave one out"
            )
    keys = [_by(lambda t: t.row(), lambda t: digest(t.identity()), plan) for _, plan in (one, two)]
    for row in keys[0].keys() & keys[1].keys():
        if not keys[0][row] & keys[1][row]:
            trial = next(trial for trial in one[1].values() if trial.row() == row)
            raise BenchError(
                f"{trial.label()}: {one[0].folder} and {two[0].folder} trained it with unlike code or defaults; run it "
                "again in one of them"
            )


def _by(name: Any, value: Any, plan: Mapping[str, Trial]) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for trial in plan.values():
        found.setdefault(name(trial), set()).add(value(trial))
    return found


def _some(fingerprints: set[str]) -> str:
    return ", ".join(sorted(f[:8] for f in fingerprints))


def _apart(trial: Trial, one: _Found, two: _Found) -> float:
    """Points of accuracy between two runs of a trial; raises BenchError where they are too far apart to be the same."""
    first, second = one[1].result.scores.accuracy, two[1].result.scores.accuracy
    if (first is None) != (second is None) or one[1].result.counts != two[1].result.counts:
        raise BenchError(f"{trial.label()}: {one[0].folder} and {two[0].folder} scored unlike things; leave one out")
    if first is None or second is None:
        return 0.0
    n_test = one[1].result.counts.n_test if one[1].result.counts else 1
    error = math.sqrt((first * (1 - first) + second * (1 - second)) / n_test)
    if abs(first - second) > STANDARD_ERRORS * error + 1 / n_test:
        raise BenchError(
            f"{trial.label()}: {one[0].folder} has {100 * first:.1f} %, {two[0].folder} {100 * second:.1f} %: further "
            f"apart than another machine explains with {n_test} test volumes; find out why, or leave one out"
        )
    return 100 * abs(first - second)
