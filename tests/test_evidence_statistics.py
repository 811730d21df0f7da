"""Power where a difference is planted, the nominal rate where there is none, and every formula against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from evidence.statistics import (
    MEAN,
    Comparison,
    Interval,
    Scores,
    compare,
    expected_best,
    holm,
    improvement,
    interval,
    lehmann,
    seed_deviation,
)
from evidence.verdict import MATCHED, NONE, SAME, judge, word

TABLES, RESAMPLES = 200, 349
SEED_DEVIATION = 0.5  # of trainings of one network; networks differ by 1


def table(number: int, effect: float) -> Scores:
    """Five searched, 20 random networks and the controls, two trainings each; searched ones better by ``effect``."""
    rng = np.random.default_rng([7, number])

    def group(networks: int, better: float = 0.0) -> np.ndarray:
        level = 60 + better + rng.normal(size=(networks, 1))
        return level + SEED_DEVIATION * rng.normal(size=(networks, 2))

    controls = {"with guided attention": group(14), "all guided": group(1), "MCAN": group(1), "largest": group(1)}
    return Scores(group(5, effect), group(20), {**controls, MATCHED: group(1)})


def verdict(scores: Scores, k: int, seed: int = 0):
    margin = seed_deviation([scores.searched, scores.random, *scores.controls.values()]) / 2
    return judge(compare(scores, k, RESAMPLES * 2, seed), margin)


def test_a_planted_difference_of_three_deviations_is_found() -> None:
    words = [verdict(table(number, 3.0), 1).word for number in range(TABLES)]
    assert words.count("better") > 0.9 * TABLES


def test_at_equal_cost_a_planted_difference_has_to_exceed_what_the_best_of_k_gains() -> None:
    words = [verdict(table(number, 4.5), 2).word for number in range(60)]
    assert words.count("better") > 0.9 * 60
    # Searched networks that are no more than the best of three random ones are not better at equal cost.
    rng = np.random.default_rng(1)
    luck = [
        Scores(rng.normal(60, 1, (5, 3)).max(1)[:, None].repeat(2, 1), rng.normal(60, 1, (20, 1)).repeat(2, 1), {})
        for _ in range(60)
    ]
    assert [verdict(scores, 3).word for scores in luck].count("better") <= 3


def test_where_nothing_is_planted_tests_reject_as_often_as_they_say() -> None:
    rejected, called = 0, 0
    for number in range(TABLES):
        scores = table(number, 0.0)
        (only,) = compare(Scores(scores.searched, scores.random, {}), 1, RESAMPLES)
        rejected += only.p <= 0.05
        called += word(only, seed_deviation([scores.searched, scores.random]) / 2) in ("better", "worse")
    assert 0.03 <= rejected / TABLES <= 0.07
    assert called <= rejected


def test_the_test_of_the_best_of_k_rejects_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    p = [
        lehmann(rng.gumbel(size=(5, 4)).max(1), rng.gumbel(size=20), 4, RESAMPLES, np.random.default_rng(number))
        for number in range(TABLES)
    ]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_the_expected_best_of_k_is_that_of_all_choices(k: int) -> None:
    scores = np.random.default_rng(0).normal(size=7)
    brute = np.mean([max(choice) for choice in combinations(scores, k)])
    assert expected_best(scores, k) == pytest.approx(brute)
    both = np.stack([scores, scores + 1])
    assert expected_best(both, k, axis=1) == pytest.approx([brute, brute + 1])
    assert expected_best(both.T, k, axis=0) == pytest.approx([brute, brute + 1])


def test_holm_is_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_intervals_are_bca_and_where_that_is_undefined_percentile() -> None:
    rng = np.random.default_rng
    data = rng(0).exponential(size=30)
    found = interval([data], np.mean, 999, rng(1))
    theirs = stats.bootstrap([data], np.mean, n_resamples=999, method="BCa", rng=rng(1)).confidence_interval
    assert (found.low, found.high, found.method) == (theirs.low, theirs.high, "BCa")
    assert interval([np.full(5, 3.0)], np.mean, 99, rng(0)) == Interval(3.0, 3.0, "percentile")


def test_the_interval_of_the_best_of_all_is_percentile() -> None:
    """BCa leaves one out, and of one less so many cannot be taken."""
    scores = table(0, 1.0)
    few = Scores(scores.searched, scores.random[:6], {})
    methods = [compare(few, k, 99)[1].interval.method for k in (5, 6)]
    assert methods == ["BCa", "percentile"] and np.isnan(expected_best(np.arange(3.0), 4))


def test_ties_count_for_neither_side() -> None:
    assert lehmann(np.ones(5), np.ones(20), 1, 199, np.random.default_rng(0)) > 0.9


def test_every_comparison_is_corrected_for_all_of_them() -> None:
    made = compare(table(0, 1.0), 2, 199)
    assert len(made) == 7 and [one.p_holm for one in made] == holm([one.p for one in made])
    assert any(one.p_holm > one.p for one in made)


def test_training_seeds_are_averaged_inside_a_network_first() -> None:
    scores = table(0, 1.0)
    noise = np.array([[-20.0, 20.0]])
    noisy = Scores(scores.searched + noise, scores.random - noise, {})
    (plain,), (same,) = (compare(one, 1, 199) for one in (Scores(scores.searched, scores.random, {}), noisy))
    assert (plain.difference, plain.p, plain.interval.low) == pytest.approx(
        (same.difference, same.p, same.interval.low)
    )


def test_the_deviation_of_seeds_is_pooled_over_networks() -> None:
    groups = [np.array([[1.0, 3.0], [5.0, 5.0]]), np.array([[0.0, 4.0]])]
    assert seed_deviation(groups) == pytest.approx(np.sqrt((2 + 0 + 8) / 3))


def test_a_single_network_is_compared_in_pairs() -> None:
    searched = np.array([[3.0, 5.0], [4.0, 6.0], [5.0, 7.0]])
    *_, one = compare(Scores(searched, searched[:2], {"MCAN": np.array([[1.0, 3.0]])}), 1, 199)
    assert (one.kind, one.networks, one.difference) == ("paired", 1, 3.0)
    assert one.p == pytest.approx(2 / 2**3) and one.least_p == pytest.approx(2 * 2 / 2**3)


def test_the_improvement_is_relative_to_the_mean_random_network() -> None:
    random = np.array([[40.0, 60.0], [50.0, 50.0]])
    found = improvement(Scores(random + 5, random, {}), 99)
    assert found.percent == pytest.approx(10)
    assert improvement(Scores(random, np.zeros((2, 2)), {}), 99) is None


def comparison(
    low: float, high: float, p: float, least_p: float = 0.001, against: str = MEAN, kind: str = "independent"
):
    return Comparison(against, kind, 20, (low + high) / 2, Interval(low, high, "BCa"), p / 3, p, least_p)


def test_words() -> None:
    assert word(comparison(0.3, 2, 0.01), 0.25) == "better"
    assert word(comparison(0.2, 2, 0.01), 0.25) == NONE  # the margin is not cleared
    assert word(comparison(0.3, 2, 0.06), 0.25) == NONE  # the test does not reject
    assert word(comparison(-2, -0.3, 0.01), 0.25) == "worse"
    assert word(comparison(-0.2, 0.2, 0.5), 0.25) == SAME
    assert word(comparison(0.3, 2, 0.4, 0.4, "MCAN"), 0.25) == "ahead"
    assert word(comparison(-2, -0.3, 0.4, 0.4, "MCAN"), 0.25) == "behind"
    assert word(comparison(0.3, 2, 0.1, 0.1), 0.25) == NONE  # the verdict itself is never by the interval alone


def test_verdicts() -> None:
    first, none = comparison(1, 2, 0.001), comparison(-1, 2, 0.5, against="best of 3", kind="best of k")
    assert judge([first], 0.25).word == "better"
    assert judge([first, none], 0.25).word == "better, but not at equal cost"
    assert judge([first, comparison(-1, 1, 0.5, against=MATCHED)], 0.25).sentence.count("as many FLOPs") == 1
    said = judge([first, none, comparison(-1, 1, 0.5, against=MATCHED)], 0.25).sentence
    assert said.count("but not shown") == 1
    assert "than the best of as many" in said and ", nor than a random one of as many" in said
    few = judge([comparison(1, 2, 0.2, 0.2)], 0.25)
    assert few.word == NONE and "run it with more search seeds" in few.sentence
    assert judge([comparison(-2, -1, 0.001)], 0.25).word == "worse"
    behind = comparison(-3, -1, 0.001, against="best of 8", kind="best of k")
    assert "worse than the best of as many" in judge([comparison(-1, 1, 0.9), behind], 0.25).sentence
    assert "worse than the best" not in judge([comparison(-1, 1, 0.9), none], 0.25).sentence
