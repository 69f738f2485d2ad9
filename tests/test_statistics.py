"""Comparisons over blocks: against other libraries' numbers, and what must hold for any data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bench.base.arrays import Float64Array
from bench.reporting.statistics import compare_pairs, leaderboard, overall, profiles
from bench.reporting.statistics.blocks import Blocks
from bench.reporting.statistics.intervals import rounding, t_interval
from bench.reporting.statistics.overall import elsewhere, here
from bench.reporting.statistics.pairs import bayesian_signed_rank, friedman, holm, improvement

# Eight blocks, three methods: numpy.random.default_rng(3).normal([.6, .625, .593], .03, (8, 3)).round(4)
SCORES = np.random.default_rng(3).normal([0.6, 0.625, 0.593], 0.03, (8, 3)).round(4)


N_TEST = 100_000


def _blocks(scores: Float64Array, datasets: int = 1, conditions: int = 1) -> Blocks:
    """scores: (block, method, seed), the blocks of a condition and of a data set one after the other."""
    n = len(scores)
    condition = np.repeat(np.arange(datasets * conditions), n // (datasets * conditions))
    methods, names = (tuple(f"{what}{i:02d}" for i in range(k)) for what, k in (("m", scores.shape[1]), ("b", n)))
    percents, n_test = np.full(n, 5.0), np.full(n, N_TEST)
    return Blocks(scores, np.full(n, 0.125), methods, names, condition // conditions, condition, percents, n_test)


@pytest.fixture
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(overall, "DRAWS", 600)
    return iter(())


@pytest.mark.parametrize(
    ("first", "second", "theirs"),
    [(0, 1, (0.5063, 0.1141, 0.3796)), (0, 2, (0.0126, 0.0146, 0.9728)), (1, 2, (0.0158, 0.0112, 0.9730))],
)
def test_the_bayesian_test_is_baycomp_s(first: int, second: int, theirs: tuple[float, float, float]) -> None:
    # baycomp 1.0.3: SignedRankTest.probs(x[:, first], x[:, second], rope=0.01, nsamples=300000, random_state=0)
    assert bayesian_signed_rank(SCORES[:, first] - SCORES[:, second]) == pytest.approx(theirs, abs=0.012)


def test_wilcoxon_with_holm_and_friedman_are_scikit_posthocs_s() -> None:
    # scikit-posthocs 0.17.1: posthoc_wilcoxon(x.T, p_adjust=None), then "holm"; SciPy 1.17.1: friedmanchisquare
    table = compare_pairs(_blocks(SCORES[:, :, None]))
    assert table["wilcoxon"].tolist() == pytest.approx([0.945312, 0.078125, 0.148438], abs=1e-6)
    assert table["holm"].tolist() == pytest.approx([0.945312, 0.234375, 0.296875], abs=1e-6)
    assert friedman(SCORES) == pytest.approx(0.09301448921066348)


def test_iqm_and_improvement_are_rliable_s() -> None:
    # rliable 1.2.0: aggregate_iqm(a.T) and probability_of_improvement(a.T, b.T), runs × tasks
    a = np.array([[0.61, 0.64, 0.60, 0.58], [0.55, 0.60, 0.57, 0.61], [0.72, 0.71, 0.70, 0.69]])
    b = np.array([[0.60, 0.65, 0.60, 0.55], [0.50, 0.62, 0.57, 0.66], [0.70, 0.75, 0.71, 0.68]])
    assert improvement(a, b) == pytest.approx(0.4895833333333333)
    board = leaderboard(_blocks(np.stack([a, b], axis=1))).set_index("method")
    assert board.loc["m00", "iqm"] == pytest.approx((0.625 - 0.125) / 0.875)


def test_holm_leaves_out_what_is_not_known() -> None:
    assert holm(np.array([0.01, np.nan, 0.04, 0.03])) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)


@pytest.mark.parametrize(("datasets", "methods", "seeds"), [(1, 4, 3), (1, 12, 5), (3, 5, 3)])
@pytest.mark.usefixtures("fewer_draws")
def test_equal_methods_are_told_apart_once_in_20(
    datasets: int, methods: int, seeds: int, rng: np.random.Generator
) -> None:
    """Methods without any difference, whose fractions share the noise of their seeds: 200 tables."""
    alarms, better, outside = 0, 0, []
    for _ in range(200):
        shared = rng.normal(0, 0.02, (datasets, 1, methods, seeds)) + rng.normal(0, 0.03, (datasets, 1, 1, seeds))
        scores = 0.5 + shared + rng.normal(0, 0.02, (datasets, 3, methods, seeds))
        found = here(_blocks(scores.reshape(-1, methods, seeds), datasets))
        alarms += not found.tied.all()
        _, low, high = found.behind(0)
        outside.append(np.mean((low[1:] > 0) | (high[1:] < 0)))
        better += found.above(0).any()
    assert better <= 200 * 0.05 + 6
    assert alarms <= 200 * 0.05 + 6  # two standard deviations
    assert np.mean(outside) == pytest.approx(0.05, abs=0.03)


@pytest.mark.usefixtures("fewer_draws")
def test_equal_counts_of_few_test_volumes_tell_no_difference(rng: np.random.Generator) -> None:
    """Equal methods, two seeds, scores counted on 30 volumes: some differences are the same for both seeds."""
    wrong, same, n = [], 0, 30
    for _ in range(400):
        scores = rng.binomial(n, 0.5, (1, 2, 2)) / n
        difference = scores[0, 0] - scores[0, 1]
        same += difference[0] == difference[1]
        found = here(replace(_blocks(scores), n_test=np.array([n])))
        _, low, high = found.ranks
        wrong.append([not found.tied.all(), found.above(0)[1], (low == high).any()])
        shown = t_interval(difference, np.sqrt(2) * rounding(n))
        assert shown.high - shown.low >= 2 * 12.7 / np.sqrt(6) / n / np.sqrt(2)
    assert same > 10
    assert np.mean(wrong, axis=0) == pytest.approx(0.03, abs=0.03)


@pytest.mark.usefixtures("fewer_draws")
def test_a_real_difference_is_found_and_its_size_is_right(rng: np.random.Generator) -> None:
    truth = np.array([0.0, 0.01, 0.1])
    covered = []
    for _ in range(60):
        found = here(_blocks(0.7 - truth[:, None] + rng.normal(0, 0.01, (4, 3, 5))))
        assert not found.tied[2]
        assert found.above(2).tolist() == [True, True, False]
        _, low, high = found.behind(0)
        covered.append((low <= truth / 0.875) & (truth / 0.875 <= high))
    assert np.mean(covered) >= 0.9


def test_other_data_are_another_question_than_other_seeds(rng: np.random.Generator) -> None:
    """On each of four data sets one of two methods is clearly better, now this one, now that."""
    effect = np.array([[0.05, -0.05], [-0.05, 0.05], [0.08, -0.05], [0.05, -0.01]])
    blocks = _blocks(0.6 + effect[:, :, None] + rng.normal(0, 0.002, (4, 2, 5)), datasets=4)
    assert here(blocks).tied.tolist() == [True, False]
    assert elsewhere(blocks).tied.tolist() == [True, True]
    _, low, high = elsewhere(blocks).behind(0)
    assert low[1] < 0 < high[1]


def test_one_seed_or_one_data_set_tells_nothing(rng: np.random.Generator) -> None:
    scores = np.array([0.5, 0.9])[:, None] + rng.normal(0, 0.001, (6, 2, 4))
    for found in (here(_blocks(scores[:, :, :1])), elsewhere(_blocks(scores))):
        rank, low, high = found.ranks
        assert rank.tolist() == [2, 1]
        assert (low.tolist(), high.tolist()) == ([1, 1], [2, 2])
        assert found.tied.all()
        assert np.isnan(found.behind(0)[1]).all()


def test_names_and_order_of_methods_change_nothing(rng: np.random.Generator) -> None:
    scores = rng.normal(0.6, 0.05, (6, 5, 4))
    order = rng.permutation(5)
    columns = ["accuracy", "corrected", "iqm", "mean_rank", "rank", "rank_low", "rank_high", "tied", "wins", "losses"]
    before = leaderboard(_blocks(scores, 2)).sort_values("method", ignore_index=True)[columns]
    after = leaderboard(_blocks(scores[:, order], 2)).sort_values("method", ignore_index=True)[columns]
    assert after.to_numpy(dtype=float) == pytest.approx(before.to_numpy(dtype=float)[order], abs=1e-9)


def test_one_method_more_moves_no_mean_and_no_pair(rng: np.random.Generator) -> None:
    scores = rng.normal(0.6, 0.05, (6, 5, 4))
    whole, part = (leaderboard(_blocks(s)).set_index("method") for s in (scores, scores[:, :4]))
    for column in ("accuracy", "corrected", "iqm"):
        assert whole.loc[part.index, column].tolist() == part[column].tolist()
    pairs = compare_pairs(_blocks(scores)).set_index(["method", "minus"])
    fewer = compare_pairs(_blocks(scores[:, :4])).set_index(["method", "minus"])
    columns = ["difference", "low", "high", "improvement", "p_worse", "p_better", "wilcoxon"]
    assert pairs.loc[fewer.index, columns].to_numpy() == pytest.approx(fewer[columns].to_numpy(), nan_ok=True)


def test_methods_are_compared_where_all_of_them_were_run(rng: np.random.Generator) -> None:
    scores = rng.normal(0.6, 0.05, (6, 4, 3))
    scores[:4, 0] = np.nan  # two blocks of six: not compared
    scores[5, 1] = np.nan  # five of six: the sixth is compared for nobody
    scores[0, 2, 1] = np.nan  # a seed that others have: left out for all
    compared = _blocks(scores).complete()
    assert compared.methods == ("m01", "m02", "m03")
    assert compared.names == ("b00", "b01", "b02", "b03", "b04")
    assert np.isnan(compared.scores[0, :, 1]).all()
    assert np.isfinite(np.delete(compared.scores[0], 1, axis=1)).all()
    board = leaderboard(_blocks(scores)).set_index("method")
    assert board["blocks"].to_dict() == {"m00": 2, "m01": 5, "m02": 6, "m03": 6}
    assert np.isnan(board.loc["m00", "rank"])
    assert board.index[-1] == "m00"


def test_methods_that_share_no_block_are_not_compared(rng: np.random.Generator) -> None:
    scores = rng.normal(0.6, 0.03, (2, 2, 3))
    scores[0, 1] = scores[1, 0] = np.nan  # one method on the first block, the other on the second
    blocks = _blocks(scores, datasets=2)
    assert blocks.complete().names == ()
    board = leaderboard(blocks)
    assert board["blocks"].tolist() == [1, 1]
    assert "rank" not in board


def test_too_few_blocks_for_a_test_of_ranks(rng: np.random.Generator) -> None:
    table = compare_pairs(_blocks(rng.normal(0.6, 0.05, (5, 3, 3))))
    assert table[["wilcoxon", "holm"]].isna().all(axis=None)
    assert table[["p_worse", "p_same", "p_better"]].sum(axis=1).to_numpy() == pytest.approx(1)


def test_the_area_below_a_profile_is_the_mean_score(rng: np.random.Generator) -> None:
    """∫ P(score > τ) dτ = E[score] for scores from 0 to 1."""
    at = np.linspace(0, 1, 401)
    blocks = _blocks(rng.uniform(0.2, 0.95, (6, 3, 5)), conditions=2)
    share, low, high = profiles(blocks, at)
    assert share[:, :-1].sum(axis=1) / 400 == pytest.approx(blocks.corrected.mean(axis=(0, 2)), abs=5e-3)
    assert (np.diff(share, axis=1) <= 0).all()
    assert (low <= share + 1e-9).all()
    assert (share <= high + 1e-9).all()
    plain = [np.mean([score > 0.5 for score in blocks.corrected[:, k].ravel()]) for k in range(3)]
    assert share[:, 200] == pytest.approx(plain)


def test_a_profile_of_one_seed_has_no_band_and_one_of_equal_seeds_no_width() -> None:
    at = np.linspace(0, 1, 11)
    scores = np.random.default_rng(0).uniform(0.2, 0.9, (6, 2, 1))
    assert np.isnan(profiles(_blocks(scores), at)[1]).all()
    share, low, high = profiles(_blocks(np.repeat(scores, 4, axis=2)), at)
    assert low == pytest.approx(share)
    assert high == pytest.approx(share)


def test_the_band_of_a_profile_holds_what_many_seeds_would_give(
    rng: np.random.Generator, fewer_draws: Iterator[None]
) -> None:
    at, true = np.array([0.55]), []
    for _ in range(100):
        scores = 1 / 8 + 7 / 8 * np.clip(rng.normal(0.55, 0.05, (6, 1, 4)), 0, 1)
        _, low, high = profiles(_blocks(scores, conditions=6), at)
        true.append(bool(low[0, 0] <= 0.5 <= high[0, 0]))
    assert np.mean(true) >= 0.93
