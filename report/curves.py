"""Which numbers of metrics.jsonl are drawn together, under which heading and with which remark"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from report.belief import MOVED
from report.charts import COLOURS
from report.facts import Run, Series

KINDS = re.compile(r"search/(encoder|decoder)/(.+)")


class Group(NamedTuple):
    """A chart of numbers over epochs."""

    title: str
    remark: str
    names: tuple[str, ...]  # full ones, as in metrics.jsonl


class _Rule(NamedTuple):
    pattern: str  # of the names in the chart, the whole of them
    title: str
    remark: str


def _rules(objective: str) -> list[_Rule]:
    return [
        _Rule(rf"val/{re.escape(objective)}", f"Validation: {objective}", ""),
        _Rule(r"train/(.*_)?loss", "Training loss", "mean over an epoch's steps"),
        _Rule(r"search/alpha_entropy.*", "Entropy of alpha", "nats, mean over blocks; 0 is sure"),
        _Rule(r"search/alpha_total_variation", "Way from the start", "total variation of softmax(alpha), 0 to 1"),
        _Rule(r"search/argmax_changed", "Blocks that changed", "percent of the blocks, on the most probable path"),
        _Rule(r"search/argmax_stable_epochs", "Epochs without change", "of the most probable path"),
        _Rule(r"search/budget_share", "Expected cost", "percent of the budget"),
        _Rule(r"train/.*accuracy", "Training accuracy", "percent"),
        _Rule(r"val/.*_(median|mean)", "Validation: ranks", "1 is best"),
        _Rule(r"val/reranked", "Pairs scored", "percent by the whole network"),
        _Rule(r"val/.*", "Validation: finer", "percent"),
        _Rule(r"train/lr", "Learning rate", "mean over an epoch's steps"),
        _Rule(r"train/grad_norm", "Gradient norm", "before it is clipped"),
        _Rule(r".*", "Other numbers", ""),
    ]


def groups(runs: Sequence[Run], together: int = COLOURS) -> Iterator[Group]:
    """The charts of all numbers that any of the runs has, each number once; shares of kinds are drawn otherwise.

    Args:
        runs: their names are gathered.
        together: at most so many numbers of one chart; what is left begins another of the same heading.
    """
    objective = runs[0].objective if runs else ""
    path = "the most probable path of every epoch" if runs and runs[0].stage == "search" else ""
    named = {name: series for run in runs for name, series in run.series.items() if not KINDS.fullmatch(name)}
    left = [name for name, series in named.items() if len(series.epochs) > 1]  # one epoch alone is no curve
    for rule in _rules(objective):
        names = [name for name in left if re.fullmatch(rule.pattern, name)]
        left = [name for name in left if name not in names]
        for first in range(0, len(names), together):
            of = path if rule.pattern.startswith("val/") else ""
            yield Group(rule.title, ", ".join(filter(None, (of, rule.remark))), tuple(names[first : first + together]))


def headings(found: Sequence[Group]) -> list[str]:
    """Of charts of one number each: their titles, and where several have the same also what each is of."""
    several = Counter(group.title for group in found)
    return [one.title + (f": {label(one.names[0])}" if several[one.title] > 1 else "") for one in found]


def kinds(run: Run) -> dict[str, dict[str, Series]]:
    """By side, the share of each kind of operation on the most probable path, from when there is one.

    Before alpha moves all operations are alike, unless it began from an architecture.
    """
    way = run.series.get(MOVED)
    moved = [epoch for epoch, value in zip(way.epochs, way.values, strict=True) if value > 0] if way else []
    first = 0 if way is None or run.setting("search.start") else min(moved, default=math.inf)
    found: dict[str, dict[str, Series]] = {}
    for name, series in run.series.items():
        match, since = KINDS.fullmatch(name), series.since(first)
        if match and since.epochs:
            found.setdefault(match[1], {})[match[2]] = since
    return found


def label(name: str) -> str:
    """A number's name in a legend."""
    return name.partition("/")[2].replace("_", " ")


def guessing(run: Run, group: Group) -> tuple[str, float] | None:
    """What a chart's lines are held against: validation against guessing, where its score is known."""
    score = run.chance.get(group.names[0].removeprefix("val/")) if len(group.names) == 1 else None
    return None if score is None or not group.names[0].startswith("val/") else ("guessing", score)
