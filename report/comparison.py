"""Several runs beside each other: what they were set otherwise, what they scored, where their architectures differ"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genotypes.genotype import SIDES
from report.facts import Run, Score

NAMES = ("version", "resume", "logs", "genotypes", "ckpt", "workers", "threads", "gpu")  # make no run another one

RANKS = ("_median", "_mean")  # end the names of metrics of which less is better


@dataclass(frozen=True)
class Setting:
    """A key of the configuration in which runs differ; a run without it has None."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class ScoreRow:
    """A metric on a split; a run that was not scored so has None."""

    split: str
    metric: str
    scores: tuple[Score | None, ...]

    @property
    def baselines(self) -> dict[str, float]:
        """What is scored without a network, by name, as the first run that was scored so says it."""
        return next((score.baselines for score in self.scores if score and score.baselines), {})

    @property
    def best(self) -> float | None:
        """The highest value, where runs differ and more is better."""
        values = {score.value for score in self.scores if score}
        return max(values) if len(values) > 1 and not self.metric.endswith(RANKS) else None


@dataclass(frozen=True)
class Place:
    """A block of every run's architecture; a run whose side is shorter has None."""

    side: str
    number: int
    operations: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether not all have the same operation there."""
        return len(set(self.operations)) > 1


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other."""

    runs: tuple[Run, ...]
    settings: tuple[Setting, ...]
    scores: tuple[ScoreRow, ...]
    places: tuple[Place, ...]


def compare(runs: Sequence[Run]) -> Comparison:
    """Hold runs against each other."""
    return Comparison(tuple(runs), tuple(differing(runs)), tuple(_scores(runs)), tuple(_places(runs)))


def differing(runs: Sequence[Run]) -> list[Setting]:
    """The keys in which runs differ that can have them: what is of one stage alone makes no difference to the other."""
    found = []
    for key in dict.fromkeys(key for run in runs for key in run.settings if key not in NAMES):
        stages = {run.stage for run in runs if key in run.settings}
        values = [run.setting(key) for run in runs if run.stage in stages]
        if any(value != values[0] for value in values):
            found.append(Setting(key, tuple(run.setting(key) for run in runs)))
    return found


def _scores(runs: Sequence[Run]) -> list[ScoreRow]:
    """Rows of all scores; what counts in the first run stands first of its split."""
    by_run = [{(score.split, score.metric): score for score in run.scores} for run in runs]
    keys = list(dict.fromkeys(key for scores in by_run for key in scores))
    splits = [split for split, _ in keys]
    keys.sort(key=lambda key: (splits.index(key[0]), key[1] not in {run.objective for run in runs}))
    return [ScoreRow(*key, tuple(scores.get(key) for scores in by_run)) for key in keys]


def _places(runs: Sequence[Run]) -> list[Place]:
    found = []
    for side in SIDES:
        columns = [getattr(run.genotype, side) if run.genotype else () for run in runs]
        for index in range(max(map(len, columns), default=0)):
            operations = tuple(column[index] if index < len(column) else None for column in columns)
            found.append(Place(side, index + 1, operations))
    return found
