"""How many searches, networks and training seeds, what they take, and what a budget leaves of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.errors import UserError
from evidence.cells import Done


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Args:
        search_seeds: searches.
        random: random networks.
        training_seeds: trainings of every network.
    """

    search_seeds: int = 5
    random: int = 20
    training_seeds: int = 2


LEAST = Sizes(2, 5, 2)  # fewer tell nothing
CUT_IN_ORDER = ("training_seeds", "random", "search_seeds")
CONTROLS = 4  # networks; those with a guided attention are mostly among the random ones


@dataclass(frozen=True)
class Times:
    """Seconds of a cell of each kind, and how they are known."""

    search: float
    training: float
    source: str


def measured(searches: Sequence[Done], trainings: Sequence[Done]) -> Times | None:
    """Times of the cells that are done; None where a kind has none. Those that ran in one go are believed more."""

    def middle(done: Sequence[Done]) -> float:
        whole = [one.seconds for one in done if one.attempts == 1]
        return float(np.median(whole or [one.seconds for one in done]))

    if not searches or not trainings:
        return None
    return Times(middle(searches), middle(trainings), f"measured on {len(searches)} and {len(trainings)} cells")


def trainings(sizes: Sizes) -> int:
    """About how many trainings: one found twice is trained once, and a tiny space may take a few more controls."""
    return (sizes.search_seeds + sizes.random + CONTROLS) * sizes.training_seeds


def hours(sizes: Sizes, times: Times, jobs: int) -> float:
    """Hours that all of it takes, ``jobs`` side by side."""
    return (sizes.search_seeds * times.search + trainings(sizes) * times.training) / jobs / 3600


def cut(sizes: Sizes, times: Times, jobs: int, budget: float) -> Sizes:
    """The sizes that fit into so many hours: training seeds are cut first, then random networks, then searches.

    Raises:
        UserError: what must remain (two searches, five random networks, two training seeds) takes longer.
    """
    for smaller in _smaller(sizes):
        if hours(smaller, times, jobs) <= budget:
            return smaller
    least = hours(smaller, times, jobs)
    raise UserError(
        f"BUDGET={budget:g} hours are too few: {smaller.search_seeds} searches, {smaller.random} random networks and "
        f"{smaller.training_seeds} training seeds, the least there is, take {least:.2g}; raise BUDGET or JOBS, or "
        "choose a smaller PROFILE"
    )


def _smaller(sizes: Sizes) -> Iterator[Sizes]:
    yield sizes
    for key in CUT_IN_ORDER:
        while getattr(sizes, key) > getattr(LEAST, key):
            sizes = replace(sizes, **{key: getattr(sizes, key) - 1})
            yield sizes


def check(sizes: Sizes) -> None:
    """Refuse what no statistics can be made of.

    Raises:
        UserError: naming what is too small.
    """
    for key in CUT_IN_ORDER:
        if getattr(sizes, key) < getattr(LEAST, key):
            raise UserError(f"{key}={getattr(sizes, key)} is too few; it takes {getattr(LEAST, key)} at least")


def describe(sizes: Sizes, times: Times | None, jobs: int, budget: float | None, wanted: Sizes) -> Iterator[str]:
    """The plan in lines: what, how long, and what was cut."""
    yield (
        f"plan: {sizes.search_seeds} searches, {sizes.random} random networks and up to {CONTROLS} controls, each "
        f"trained with {sizes.training_seeds} seeds: {sizes.search_seeds} + about {trainings(sizes)} cells, {jobs} "
        "side by side"
    )
    for key in CUT_IN_ORDER:
        if getattr(sizes, key) < getattr(wanted, key):
            yield f"cut to fit BUDGET={budget:g}: {key} {getattr(wanted, key)} -> {getattr(sizes, key)}"
    if times is None:
        yield "hours: not known until one search and one training are done, which is the first thing a run does"
        yield "       (give search_minutes and training_minutes to know them now)"
    else:
        yield (
            f"hours: {hours(sizes, times, jobs):.2f} (a search {times.search / 60:.1f} min, a training "
            f"{times.training / 60:.1f} min; {times.source})"
        )
