"""Scores as tables: a row a metric and split, with its interval, and beside it what is scored without the network"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from report.facts import Run, Score


class Row(NamedTuple):
    """A score and what baselines score there, in the table's order; None where that is not known."""

    score: Score
    baselines: tuple[float | None, ...]


class Table(NamedTuple):
    """Scores of a run."""

    baselines: tuple[str, ...]
    rows: tuple[Row, ...]


def table(scores: Sequence[Score]) -> Table:
    """The table of these scores, in their order."""
    names = tuple(dict.fromkeys(name for score in scores for name in score.baselines))
    return Table(names, tuple(Row(score, tuple(map(score.baselines.get, names))) for score in scores))


def foremost(run: Run) -> list[Score]:
    """The scores but those of kinds of samples, which groups tell; by split, what counts before the others."""
    kinds = {(one.split, row.label) for one in run.details for rows in one.groups.values() for row in rows} - {
        (score.split, run.objective) for score in run.scores
    }
    splits = [score.split for score in run.scores]
    shown = [score for score in run.scores if (score.split, score.metric) not in kinds]
    return sorted(shown, key=lambda score: (splits.index(score.split), score.metric != run.objective))
