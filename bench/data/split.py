"""Test, validation and nested label subsets: who may see what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from bench.base.arrays import UNLABELLED, IntArray, StrArray
from bench.base.errors import BenchError
from bench.base.seeds import numpy_generator
from bench.data.conditions import AS_IT_IS, Conditions

__all__ = ["UNLABELLED", "Split", "make_split"]
VALIDATION_FRACTION = 0.1  # of the training set, as in the paper


@dataclass(frozen=True)
class Split:
    """Indices into a data set; `labelled` ⊂ `train`, `validation_labelled` ⊂ `validation`.

    `train`, `validation` and `test` depend on the seed alone, so that all methods, fractions and protocols
    share them and nothing that validates one label fraction is trained on by another; where foreign classes are among
    the unlabelled volumes, `train` depends on the fraction too.
    """

    train: IntArray
    labelled: IntArray
    validation: IntArray
    validation_labelled: IntArray
    test: IntArray
    by: str  # "particle", "tomogram", or which of the two with the reason
    given: IntArray  # (n,), the labels that people gave; some are wrong where the conditions say so
    n_wrong: int = 0  # of them

    def hash(self) -> str:
        """Names this split in the rows; equal splits have equal hashes."""
        digest = hashlib.sha256()
        for part in (self.train, self.labelled, self.validation, self.validation_labelled, self.test):
            digest.update(part.tobytes() + b"|")
        if self.n_wrong:
            digest.update(self.given.tobytes())
        return digest.hexdigest()[:16]


def make_split(
    labels: IntArray,
    labelled_percent: float | None,
    seed: int,
    test_fraction: float,
    validation_fraction: float | None,
    tomogram_ids: StrArray | None = None,
    class_names: tuple[str, ...] | None = None,
    conditions: Conditions = AS_IT_IS,
) -> Split:
    """Split a data set for one trial.

    labels: (n,) true labels, UNLABELLED where nobody knows them: such a volume is trained on, never scored; where
    tomograms are kept whole, it is left out if it lies in another side's.
    labelled_percent: labelled volumes in % of the training set's known ones, None for a method without labels;
    validation_fraction: part of the label budget that is spent on validation, None to leave every validation volume
    labelled, outside the budget. Tomograms are kept whole where each class lies in two or more.
    Raises BenchError where a class would be left without a label.
    """
    rng, chance = numpy_generator(seed, "split"), numpy_generator(seed, "conditions")
    foreign = np.flatnonzero(labels > labels.max() - conditions.foreign_classes)
    labels = labels.copy()
    labels[foreign] = UNLABELLED
    everything, unknown = np.flatnonzero(labels != UNLABELLED), np.flatnonzero(labels == UNLABELLED)
    known_ids = None if tomogram_ids is None else tomogram_ids[everything]
    spread = known_ids is not None and all(
        len(np.unique(known_ids[labels[everything] == c])) > 1 for c in np.unique(labels[everything])
    )
    if tomogram_ids is not None and spread:
        outside, test = _split_tomograms(everything, labels, tomogram_ids, test_fraction, rng)
        try:
            train, validation = _split_tomograms(outside, labels, tomogram_ids, VALIDATION_FRACTION, rng)
            by = "tomogram"
        except BenchError:  # too few are left: only the test set is of tomograms by themselves
            train, validation = _split_classes(outside, labels, VALIDATION_FRACTION, rng)
            by = "tomogram, validation by particle"
        elsewhere = tomogram_ids[test if by != "tomogram" else np.concatenate([test, validation])]
        unknown = unknown[~np.isin(tomogram_ids[unknown], elsewhere)]
    else:
        outside, test = _split_classes(everything, labels, test_fraction, rng)
        train, validation = _split_classes(outside, labels, VALIDATION_FRACTION, rng)
        by = "particle" if known_ids is None else "particle, a class has one tomogram only"
    train, validation = _imbalanced([train, validation], labels, conditions.imbalance, chance)
    # Fixed orders, one a class: a smaller one takes a shorter prefix, so that the subsets nest.
    labelled: list[IntArray] = []
    validation_labelled: list[IntArray] = []
    for c in np.unique(labels[everything]):
        ours = rng.permutation(train[labels[train] == c])
        theirs = rng.permutation(validation[labels[validation] == c])
        n_train, n_validation = 0, 0
        if labelled_percent is not None:
            budget = round(labelled_percent / 100 * (len(ours) + len(theirs)))
            n_train, n_validation = _spend(budget, len(ours), len(theirs), validation_fraction)
            if n_train < 1:
                name, n = class_names[c] if class_names else c, len(ours) + len(theirs)
                raise BenchError(
                    f"{labelled_percent:g} % of labels leave class {name} with {budget} label(s) of {n} training "
                    f"volumes, too few to train and validate; raise --fractions or add volumes"
                )
        labelled.append(ours[:n_train])
        validation_labelled.append(theirs[:n_validation])
    shown, validation_shown = _sorted(labelled), _sorted(validation_labelled)
    if len(foreign):
        hidden = chance.permutation(train[~np.isin(train, shown)])
        others = chance.permutation(unknown[np.isin(unknown, foreign)])
        n = min(len(hidden), len(others))  # whatever their share, so that it alone differs
        n_others = round(conditions.foreign_share * n)
        unknown = unknown[~np.isin(unknown, foreign)]
        train = np.concatenate([shown, hidden[: n - n_others], others[:n_others]])
    given, n_wrong = _mislabelled(labels, np.concatenate([shown, validation_shown]), conditions.wrong_labels, chance)
    return Split(_sorted([train, unknown]), shown, validation, validation_shown, test, by, given, n_wrong)


def _imbalanced(
    parts: list[IntArray], labels: IntArray, ratio: float, rng: np.random.Generator
) -> tuple[IntArray, ...]:
    """Each part with its classes thinned, those of a higher rank more: by 1 to `ratio`, evenly in their logarithms."""
    classes = rng.permutation(np.unique(labels[parts[0]]))
    if ratio == 1:
        return tuple(parts)
    thinned = []
    for part in parts:
        kept = []
        for rank, c in enumerate(classes):
            members = rng.permutation(part[labels[part] == c])
            share = ratio ** (-rank / (len(classes) - 1))
            kept.append(members[: max(1, round(share * len(members)))])
        thinned.append(_sorted(kept))
    return tuple(thinned)


def _mislabelled(labels: IntArray, shown: IntArray, share: float, rng: np.random.Generator) -> tuple[IntArray, int]:
    """The labels, `share` of those shown replaced by another class, each by any with equal chance; and how many."""
    n_classes = int(labels.max()) + 1
    wrong = rng.permutation(shown)[: round(share * len(shown))]
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, n_classes, len(wrong))) % n_classes
    return given, len(wrong)


def _spend(budget: int, n_train: int, n_validation: int, validation_fraction: float | None) -> tuple[int, int]:
    if validation_fraction is None:
        return min(budget, n_train), n_validation
    for_validation = min(max(1, round(validation_fraction * budget)), n_validation)
    return min(budget - for_validation, n_train), for_validation


def _sorted(parts: list[IntArray]) -> IntArray:
    return np.sort(np.concatenate(parts)).astype(np.int64)


def _split_classes(
    members: IntArray, labels: IntArray, fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """(kept, taken): `fraction` of each class taken, at least one and never all."""
    kept, taken = [], []
    for c in np.unique(labels[members]):
        order = rng.permutation(members[labels[members] == c])
        if len(order) < 2:
            raise BenchError(f"class {c} has {len(order)} volume(s) to divide; each class needs 3 or more")
        n = min(max(1, round(fraction * len(order))), len(order) - 1)
        taken.append(order[:n])
        kept.append(order[n:])
    return _sorted(kept), _sorted(taken)


def _split_tomograms(
    members: IntArray, labels: IntArray, tomogram_ids: StrArray, fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """(kept, taken): whole tomograms, of 200 random drawings the one whose class shares are nearest to `fraction`."""
    names, tomogram = np.unique(tomogram_ids[members], return_inverse=True)
    classes, kind = np.unique(labels[members], return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (tomogram, kind), 1)
    total = counts.sum(0)
    best, best_error = None, np.inf
    for _ in range(200):
        order = rng.permutation(len(names))
        sizes = counts[order].sum(1).cumsum() / len(members)
        n = min(int(np.searchsorted(sizes, fraction)) + 1, len(names) - 1)
        for size in {max(1, n - 1), n} - {0}:
            taken = order[:size]
            got = counts[taken].sum(0)
            if (got == 0).any() or (total - got < 3).any():
                continue
            error = float(np.abs(got / total - fraction).max())
            if error < best_error:
                best, best_error = taken, error
    if best is None:
        raise BenchError(
            "no division of the tomograms leaves every class on both sides of the test split; "
            "add tomograms, merge rare classes, or drop the tomogram ids"
        )
    inside = np.isin(tomogram, best)
    return members[~inside].astype(np.int64), members[inside].astype(np.int64)
