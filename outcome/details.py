"""What follows from the samples of a split: intervals, baselines, groups, calibration, confusions, best and worst"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from outcome.intervals import of_share, of_sum
from outcome.samples import Curve, Prediction, Scored

DETAILS = "details_"  # begins the names of files that hold a split's by its name
BINS = 10  # of certainty
MOST_ROWS = 40  # of a group, the largest ones
MOST_PAIRS = 12  # of classes that are taken for each other
RIGHT = 0.9  # of 1: what scores as much is no mistake, though others may have said something else
PIECES = 6  # into which a range of numbers is cut
SHOWN = 12  # samples each, best and worst


class Beside(NamedTuple):
    """What stands beside a metric: its interval, where there is one, and what would be scored without the network."""

    low: float | None
    high: float | None
    baselines: Mapping[str, float]


class Row(NamedTuple):
    """Scored that have something in common; scores in percent."""

    label: str
    count: int
    score: float
    low: float
    high: float
    baselines: Mapping[str, float]


class Bin(NamedTuple):
    """Scored of which the network was about as sure; percent."""

    certainty: float
    count: int
    score: float
    low: float
    high: float


class Confusion(NamedTuple):
    """How often a class was said where another was meant, out of all samples of that other."""

    meant: str
    said: str
    count: int
    of: int


@dataclass(frozen=True)
class Shown:
    """A sample with what the network made of it, and where the picture is, if there is one."""

    picture: str | None
    prediction: Prediction


@dataclass(frozen=True)
class Details:
    """A split in detail.

    Args:
        split: its name.
        metric: of groups and calibration.
        samples: how many.
        images: of how many.
        beside: by metric.
        groups: by what samples differ in.
        calibration: from the least sure to the surest.
        calibration_error: mean distance of certainty and score, percent.
        confusions: the most frequent ones.
        curve: with the bar moved.
        best: samples.
        worst: samples, the worst first.
    """

    split: str
    metric: str
    samples: int
    images: int
    beside: Mapping[str, Beside]
    groups: Mapping[str, Sequence[Row]]
    calibration: Sequence[Bin]
    calibration_error: float
    confusions: Sequence[Confusion]
    curve: Curve | None
    best: Sequence[Shown] = ()
    worst: Sequence[Shown] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return _plain(self)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) or hasattr(value, "_asdict"):
        value = vars(value) if dataclasses.is_dataclass(value) else value._asdict()
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def details(split: str, samples: Scored) -> Details:
    """What follows from a split's samples; none are shown yet.

    Args:
        split: its name.
        samples: at least one.
    """
    bins = _calibration(samples)
    known = sum(one.count for one in bins)
    return Details(
        split,
        samples.metric,
        len(samples.score),
        len(np.unique(samples.images)),
        _beside(samples),
        {name: rows for name, values in samples.groups.items() if (rows := _rows(samples, values))},
        bins,
        sum(one.count * abs(one.score - one.certainty) for one in bins) / max(1, known),
        _confusions(samples),
        samples.curve,
    )


def with_shown(found: Details, best: Sequence[Shown], worst: Sequence[Shown]) -> Details:
    """The same with samples to show."""
    return dataclasses.replace(found, best=best, worst=worst)


def _beside(samples: Scored) -> dict[str, Beside]:
    found = {}
    for metric, values in samples.values.items():
        counts = ~np.isnan(values)
        low, high = of_share(values[counts], samples.images[counts])
        # Baselines are of the score, which other metrics are not.
        same = np.array_equal(values[counts], samples.score[counts])
        found[metric] = Beside(100 * low, 100 * high, _without(samples, counts) if same else {})
    for metric, names in samples.totals.items():
        interval = of_sum([samples.values[name] for name in names], samples.images)
        low, high = (None, None) if interval is None else (100 * end for end in interval)
        found[metric] = Beside(low, high, {})
    return found


def _without(samples: Scored, which: np.ndarray) -> dict[str, float]:
    return {name: 100 * float(scores[which].mean()) for name, scores in samples.baselines.items()}


def _rows(samples: Scored, values: np.ndarray) -> list[Row]:
    """A row for each text, the most frequent ones, or for each piece of a range; nothing where all are alike."""
    labels, which = (_pieces if values.dtype.kind in "iuf" else _texts)(values)
    rows = [_row(samples, label, which == place) for place, label in enumerate(labels) if label]
    return rows if len(rows) > 1 else []


def _texts(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The most frequent texts in their order, then all others together, and which each sample has; -1 for none."""
    texts, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    counts[texts == ""] = 0
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_ROWS])
    place = np.full(len(texts), len(kept))
    place[kept] = np.arange(len(kept))
    place[counts == 0] = -1
    others = np.unique(which[place[which] == len(kept)])
    return [*texts[kept].tolist(), *([f"{len(others)} others"] if len(others) else [])], place[which]


def _pieces(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Numbers by themselves where there are few, else ranges that hold about as many samples each."""
    different = np.unique(values)
    edges = different
    if len(different) > PIECES:
        edges = np.unique(np.quantile(values, np.arange(PIECES) / PIECES, method="inverted_cdf"))
    which = np.searchsorted(edges, values, side="right") - 1
    spans = [(values[which == place].min(), values[which == place].max()) for place in range(len(edges))]
    return [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in spans], which


def _row(samples: Scored, label: str, which: np.ndarray) -> Row:
    score = samples.score[which]
    low, high = of_share(score, samples.images[which])
    return Row(label, len(score), 100 * float(score.mean()), 100 * low, 100 * high, _without(samples, which))


def _calibration(samples: Scored) -> list[Bin]:
    known = np.isfinite(samples.certainty)  # a network that diverged is sure of nothing
    place = np.where(known, np.clip(np.nan_to_num(samples.certainty) * BINS, 0, BINS - 1).astype(int), -1)
    found = []
    for one in np.unique(place[known]):
        row = _row(samples, "", place == one)
        sure = 100 * float(samples.certainty[place == one].mean())
        found.append(Bin(sure, row.count, row.score, row.low, row.high))
    return found


def _confusions(samples: Scored) -> list[Confusion]:
    if samples.said is None or samples.meant is None:
        return []
    mistaken = samples.score < RIGHT
    pairs = Counter(zip(samples.meant[mistaken].tolist(), samples.said[mistaken].tolist(), strict=True))
    of = Counter(samples.meant.tolist())
    wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] and pair[0] != pair[1]]
    return [Confusion(meant, said, count, of[meant]) for (meant, said), count in wrong[:MOST_PAIRS]]


def extremes(samples: Scored, count: int = SHOWN) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the best samples and of the worst, best and worst first; at most one of an image, none in both."""
    shown = np.flatnonzero(~np.isnan(samples.order))
    count = min(count, -(-len(shown) // 2))
    up = shown[np.argsort(samples.order[shown], kind="stable")]
    best = _of_images(up[::-1], samples.images)[:count]
    worst = _of_images(up, samples.images)[:count]
    return best, worst[~np.isin(worst, best)]


def _of_images(order: np.ndarray, images: np.ndarray) -> np.ndarray:
    _, first = np.unique(images[order], return_index=True)
    return order[np.sort(first)]
