"""How good every way to search is, looked up in the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.tabular.table import Search, Table
from evidence.statistics import expected_best

BEST_SHARE = 0.05  # of the space
BINS = 4  # of FLOPs, each of as many architectures


@dataclass(frozen=True)
class Row:
    """What the searches of one kind come to.

    Args:
        estimator: of alpha's gradient.
        sampler: of the paths that train the weights.
        selector: that picks.
        searches: how many.
        regret: median of what the pick scores below the best architecture.
        among_best: share of the searches whose pick is among the best 5 % of the space.
        above_two: share of them above the expected best of two random architectures.
        above_equal: share of them above the expected best of as many random ones as are trained in the same time.
        tau: Kendall's, of what selects with the scores, the mean over searches.
        tau_within: the same inside bins of FLOPs.
    """

    estimator: str
    sampler: str
    selector: str
    searches: int
    regret: float
    among_best: float
    above_two: float
    above_equal: float
    tau: float
    tau_within: float


@dataclass(frozen=True)
class Truth:
    """The architectures themselves.

    Args:
        scores: (n,) mean over training seeds.
        flops: (n,) of every architecture.
        seconds: of a training.
    """

    scores: np.ndarray
    flops: np.ndarray
    seconds: float

    @property
    def best(self) -> np.ndarray:
        """(n,) whether an architecture is among the best 5 %."""
        most = max(1, int(BEST_SHARE * len(self.scores)))
        return self.scores >= np.sort(self.scores)[-most]

    @property
    def bins(self) -> list[np.ndarray]:
        """Numbers of architectures, cheapest first, in parts of equal size."""
        return np.array_split(np.argsort(self.flops, kind="stable"), BINS)

    def best_of(self, k: int) -> float:
        """The expected best of k random architectures, of one at least and of all at most."""
        return float(expected_best(self.scores, min(max(k, 1), len(self.scores))))

    def at_cost(self, seconds: float) -> float:
        """The expected best of as many as are trained in so long and in the training of what a search finds."""
        return self.best_of(1 + int(seconds // self.seconds))


def truth(table: Table) -> Truth:
    """What the table knows without any search."""
    return Truth(np.array(table.scores).mean(1), np.array(table.flops), table.training_seconds)


def rows(table: Table) -> list[Row]:
    """Every combination that was searched with, the lowest regret first."""
    known, ways = truth(table), dict.fromkeys((one.estimator, one.sampler) for one in table.searches)
    found = [
        _row(known, [one for one in table.searches if (one.estimator, one.sampler) == way], selector)
        for way in ways
        for selector in table.searches[0].picks
    ]
    return sorted(found, key=lambda row: row.regret)


def _row(known: Truth, searches: Sequence[Search], selector: str) -> Row:
    picks = [one.picks[selector] for one in searches]
    scores = known.scores[picks]
    equal = [known.at_cost(one.seconds - one.selecting + one.picking[selector]) for one in searches]
    ranked = [_merit(one, selector) for one in searches]
    return Row(
        searches[0].estimator,
        searches[0].sampler,
        selector,
        len(searches),
        float(np.median(known.scores.max() - scores)),
        float(known.best[picks].mean()),
        float((scores > known.best_of(2)).mean()),
        float((scores > equal).mean()),
        _mean(tau(merit, known.scores) for merit in ranked),
        _mean(tau(merit[part], known.scores[part]) for merit in ranked for part in known.bins),
    )


def _merit(search: Search, selector: str) -> np.ndarray:
    """(n,) what the selector goes by, higher is better: the probability of an architecture, or its loss."""
    if selector != "argmax":
        return -np.array(search.losses).mean(1)
    merit = np.zeros(1)
    for probabilities in search.probabilities:
        merit = np.add.outer(merit, np.log(np.maximum(probabilities, 1e-30))).ravel()
    return merit


def tau(merit: np.ndarray, scores: np.ndarray) -> float:
    """Kendall's tau-b; NaN of fewer than two, and where all are alike."""
    if len(merit) < 2:
        return float("nan")
    return float(stats.kendalltau(merit, scores).statistic)


def _mean(values: Iterator[float]) -> float:
    """The mean of those that are defined."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
