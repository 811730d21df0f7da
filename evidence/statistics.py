"""Searched networks against others: differences, bootstrap intervals, permutation tests, Holm's correction.

A unit is a network, and its score the mean over its training seeds: seeds of one network say nothing of other networks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.special import gammaln

CONFIDENCE = 0.95
RESAMPLES = 9999
MEAN, BEST = "mean of random", "best of {} random at equal cost"

Statistic = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Scores:
    """What networks score, higher is better.

    Args:
        searched: (S, T) by search seed and training seed.
        random: (R, T).
        controls: by name (n, T), of one network or several.
    """

    searched: np.ndarray
    random: np.ndarray
    controls: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of 95 % confidence, and by which method: BCa, or percentile where BCa is undefined."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Improvement:
    """Percent by which one mean exceeds another, and the interval."""

    percent: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """The searched networks against others.

    Args:
        against: whom.
        kind: independent (groups), paired (one network: the same training seeds on both sides) or best of k.
        networks: how many there are on the other side.
        difference: mean of the searched less the others' mean, or their expected best of k.
        interval: of the difference.
        p: two-sided.
        p_holm: corrected for the number of comparisons.
        least_p: the smallest p that so few networks can give, corrected in the same way.
    """

    against: str
    kind: str
    networks: int
    difference: float
    interval: Interval
    p: float
    p_holm: float
    least_p: float


def compare(scores: Scores, k: int, resamples: int = RESAMPLES, seed: int = 0) -> list[Comparison]:
    """Every comparison: with the mean of random, the best of k random where k > 1, and each control.

    Args:
        scores: see Scores; at least two searched and two random networks.
        k: random trainings that cost as much as a search and a training; at most R.
        resamples: of each bootstrap and each test.
        seed: of their random numbers.
    """
    found = unit_means(scores.searched)
    rng = np.random.default_rng(seed)
    made = [_independent(MEAN, found, unit_means(scores.random), resamples, rng)]
    if k > 1:
        made.append(_best_of(k, found, unit_means(scores.random), resamples, rng))
    for name, control in scores.controls.items():
        if len(control) > 1:
            made.append(_independent(name, found, unit_means(control), resamples, rng))
        else:
            made.append(_paired(name, unit_means(scores.searched - control), resamples, rng))
    corrected = holm([one.p for one in made])
    return [
        replace(one, p_holm=p, least_p=min(1.0, one.least_p * len(made)))
        for one, p in zip(made, corrected, strict=True)
    ]


def unit_means(scores: np.ndarray) -> np.ndarray:
    """(n,) of (n, T): training seeds are averaged inside a unit first."""
    return scores.mean(1)


def seed_deviation(groups: Sequence[np.ndarray]) -> float:
    """The standard deviation over training seeds of one network, pooled over all networks, of (n, T) each."""
    return float(np.sqrt(np.concatenate([group.var(1, ddof=1) for group in groups]).mean()))


def interval(data: Sequence[np.ndarray], statistic: Statistic, resamples: int, rng: np.random.Generator) -> Interval:
    """The bootstrap interval of a statistic of independent samples.

    BCa (Efron 1987); where it is undefined, as of samples without any spread, the percentile interval.

    Args:
        data: samples of at least two each.
        statistic: of the samples, along ``axis``.
        resamples: of the bootstrap.
        rng: its random numbers.
    """
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            low, high = stats.bootstrap(
                data, statistic, n_resamples=resamples, confidence_level=CONFIDENCE, method=method, rng=rng
            ).confidence_interval
        if np.isfinite([low, high]).all():
            break
    return Interval(float(low), float(high), method)


def mean_interval(scores: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval | None:
    """Of the mean of (n, T) over networks; None of a single one."""
    if len(scores) < 2:
        return None
    return interval([unit_means(scores)], np.mean, resamples, np.random.default_rng(seed))


def improvement(scores: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Improvement | None:
    """Of the searched networks' mean over the mean random network; None where random networks may score nothing."""
    data = [unit_means(scores.searched), unit_means(scores.random)]
    if not data[1].min() > 0:
        return None
    return Improvement(float(_ratio(*data)), interval(data, _ratio, resamples, np.random.default_rng(seed)))


def expected_best(scores: np.ndarray, k: int, axis: int = -1) -> np.ndarray:
    """The expected best of k networks that are taken from n without putting any back, exactly.

    The i-th smallest of n is the best of ``C(i-1, k-1)`` of all ``C(n, k)`` choices.

    Args:
        scores: n of them along ``axis``.
        k: from 1 to n; of more it is NaN, as in BCa's jackknife of n - 1.
        axis: where the networks are.
    """
    ordered = np.sort(np.moveaxis(scores, axis, -1), -1)
    n = ordered.shape[-1]
    if k > n:
        return np.full(ordered.shape[:-1], np.nan)
    rank = np.arange(k, n + 1)  # smaller ones are never the best
    log = gammaln(rank) - gammaln(rank - k + 1) - gammaln(k) - (gammaln(n + 1) - gammaln(n - k + 1) - gammaln(k + 1))
    return ordered[..., k - 1 :] @ np.exp(log)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p values (Holm 1979), in the order given."""
    order = np.argsort(p)
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected.tolist()


def _difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return a.mean(axis) - b.mean(axis)


def _ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return 100 * (a.mean(axis) / b.mean(axis) - 1)


def _independent(
    name: str, found: np.ndarray, others: np.ndarray, resamples: int, rng: np.random.Generator
) -> Comparison:
    test = stats.permutation_test((found, others), _difference, vectorized=True, n_resamples=resamples, rng=rng)
    return Comparison(
        name,
        "independent",
        len(others),
        float(_difference(found, others)),
        interval([found, others], _difference, resamples, rng),
        min(1.0, float(test.pvalue)),
        1.0,
        2 / min(resamples + 1, math.comb(len(found) + len(others), len(found))),
    )


def _paired(name: str, differences: np.ndarray, resamples: int, rng: np.random.Generator) -> Comparison:
    """By flips of the sign of (S,) differences."""
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=resamples, rng=rng
    )
    return Comparison(
        name,
        "paired",
        1,
        float(differences.mean()),
        interval([differences], np.mean, resamples, rng),
        min(1.0, float(test.pvalue)),
        1.0,
        2 / min(resamples + 1, 2 ** len(differences)),
    )


def _best_of(k: int, found: np.ndarray, others: np.ndarray, resamples: int, rng: np.random.Generator) -> Comparison:
    """Searched networks as if each were the best of k random ones, which is Lehmann's alternative F^k."""

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis) - expected_best(b, k, axis)

    return Comparison(
        BEST.format(k),
        "best of k",
        len(others),
        float(statistic(found, others)),
        interval([found, others], statistic, resamples, rng),
        lehmann(found, others, k, resamples, rng),
        1.0,
        2 / (resamples + 1),
    )


def lehmann(found: np.ndarray, others: np.ndarray, k: int, resamples: int, rng: np.random.Generator) -> float:
    """p of the hypothesis that those found are distributed like the best of k others.

    The rank sum does not depend on what that distribution is (Lehmann 1953), so its own is drawn with uniform numbers.
    """
    uniform = rng.random((resamples, len(others)))
    null = _wins(rng.random((resamples, len(found))) ** (1 / k), uniform)
    wins = _wins(found, others)
    tails = [(1 + np.sum(null >= wins)) / (resamples + 1), (1 + np.sum(null <= wins)) / (resamples + 1)]
    return min(1.0, 2 * float(min(tails)))


def _wins(found: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Over how many others those found are, summed; ties are half a win."""
    return np.heaviside(found[..., :, None] - others[..., None, :], 0.5).sum((-1, -2))
