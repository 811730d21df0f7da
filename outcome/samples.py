"""How a network did on every sample of a split, as its task tells it; and what is shown of single samples"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A box in an image."""

    xyxy: tuple[float, float, float, float]  # pixels
    role: str = "region"  # or predicted, or true
    weight: float = 0.0  # of a region, the one that counts most having 1
    probability: float | None = None  # of a region, which add up to 1, and of a predicted box


class Line(NamedTuple):
    """A line under an image."""

    text: str
    right: bool | None = None  # None: neither right nor wrong
    note: str = ""  # a number that belongs to it


class Answer(NamedTuple):
    """One of the answers that a network could give."""

    text: str
    probability: float


class Prediction(NamedTuple):
    """One image with what the network made of it."""

    image: int  # its id
    hw: tuple[float, float]  # height and width, pixels
    boxes: Sequence[Box]
    text: str = ""  # what was asked of the network
    lines: Sequence[Line] = ()  # what it said
    answers: Sequence[Answer] = ()  # the same where it chose among answers, best first
    score: float | None = None  # the same where it judged how well text and image match: a logit


class Curve(NamedTuple):
    """How much is right as the bar is moved."""

    what: str  # the heights, percent
    along: str  # what the bar is
    at: Sequence[float]
    lines: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Scored:
    """N samples that were scored.

    Args:
        metric: the one that ``score`` is of.
        images: (N,) image of each; those of one image are right or wrong together.
        score: (N,) how right each is, 0 to 1.
        certainty: (N,) how sure the network was of it, 0 to 1.
        order: (N,) the higher the better, for the best and the worst; NaN where nothing is to be shown.
        values: by metric (N,) numbers whose mean it is; NaN where a sample does not count.
        totals: metrics that are sums of others, by name.
        groups: by what samples differ in (N,): numbers, or texts with "" where it is not known.
        baselines: by name (N,) what ``score`` would be without the network.
        said: (N,) what was said, where that is one of many classes.
        meant: (N,) what would have been right, "" where none of them.
        curve: with the bar moved.
    """

    metric: str
    images: np.ndarray
    score: np.ndarray
    certainty: np.ndarray
    order: np.ndarray
    values: Mapping[str, np.ndarray]
    groups: Mapping[str, np.ndarray]
    baselines: Mapping[str, np.ndarray]
    totals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    said: np.ndarray | None = None
    meant: np.ndarray | None = None
    curve: Curve | None = None
