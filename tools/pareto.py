"""Draw what trained networks score against what they cost: ``python -m tools.pareto --task itm``"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.files import read_json
from tasks.find import find_task
from tools.pareto_figure import draw

COSTS = ("flops", "parameters")
MARK = "metrics_"
LOGS = Path("logs")
KEYS = {"task", "checkpoint", "date", "data"}
CELL = "train-"  # what the trainings of a study are called


class Trained(NamedTuple):
    """A trained network and its scores: the files that are of one checkpoint, taken together."""

    name: str  # of its run
    cost: float
    scores: dict[str, float]  # by split
    data: dict[str, str]  # fingerprints of the splits' features


class Point(NamedTuple):
    """A network in the plane of cost and score."""

    name: str
    cost: float
    score: float


def front(points: Sequence[Point]) -> list[Point]:
    """The Pareto front, cheapest first: no other point is better in cost or score and at least as good in the other."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.score)):
        if not best or point.score > best[-1].score or point[1:] == best[-1][1:]:
            best.append(point)
    return best


def reports(logs: Path) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """What retraining wrote: name of the run, file and content, of single runs and of the trainings of studies.

    Raises:
        UserError: a file is not JSON.
    """
    for path in sorted((logs / "ckpts" / "result_test").glob(f"{MARK}*.json")):
        yield path.stem.removeprefix(MARK), path, read_json(path, "the numbers of a retraining")
    for path in sorted((logs / "evidence").glob(f"*/cells/{CELL}*.json")):
        cell = read_json(path, "a cell that is done")
        inner = cell.get("output") if isinstance(cell, dict) else None
        yield f"{path.parents[1].name}/{path.stem.removeprefix(CELL)}", path, inner


def trained(logs: Path, task: str, metric: str, cost: str) -> tuple[list[Trained], list[str]]:
    """The networks of a task, and the files that do not say what theirs cost.

    Args:
        logs: where runs write.
        task: its name.
        metric: what scores are.
        cost: a key of the costs.

    Raises:
        UserError: a file is not one that retraining writes.
    """
    by_checkpoint: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    without = []
    for name, path, report in reports(logs):
        if not isinstance(report, dict) or not isinstance(report.get("metrics"), dict) or not set(report) >= KEYS:
            raise UserError(f"{path} is no file of this program's retraining; move it elsewhere")
        if report["task"] != task:
            continue
        if cost in (report.get("cost") or {}):
            by_checkpoint[report["checkpoint"]].append((name, report))
        else:
            without.append(str(path))
    found = []
    for several in by_checkpoint.values():
        several.sort(key=lambda one: one[1]["date"])
        scores, data = {}, {}
        for _, report in several:
            scores |= {split: numbers[metric] for split, numbers in report["metrics"].items() if metric in numbers}
            data |= report["data"]
        # The training was the first to report; whoever scored its network again did so under another name.
        name, first = several[0]
        found.append(Trained(name, first["cost"][cost], scores, data))
    return found, without


class Comparable(NamedTuple):
    """Networks that were scored on the same splits of the same data."""

    points: list[Point]
    splits: tuple[str, ...]
    others: list[str]  # names of the networks that were not


def comparable(networks: Sequence[Trained], split: str | None) -> Comparable:
    """The networks that can be held against each other: of those scored on the same splits of the same data the most.

    Args:
        networks: of one task.
        split: the split that counts; None for all that most have in common, whose scores are averaged.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Trained]] = defaultdict(list)
    others = []
    for one in networks:
        splits = [name for name in one.scores if split in (None, name)]
        key = tuple((name, one.data.get(name, "")) for name in sorted(splits))
        (groups[key] if key else others).append(one)
    if not groups:
        return Comparable([], (), [one.name for one in networks])
    key = max(groups, key=lambda one: len(groups[one]))
    splits = tuple(name for name, _ in key)
    points = [Point(one.name, one.cost, sum(one.scores[s] for s in splits) / len(splits)) for one in groups.pop(key)]
    left = [one.name for one in (*others, *(one for group in groups.values() for one in group))]
    return Comparable(points, splits, left)


def table_of(points: Sequence[Point], best: Sequence[Point], metric: str, cost: str, where: str) -> Table:
    """All points, cheapest first, with a mark at those of the front."""
    title = f"{len(best)} of {len(points)} on the front; {where}"
    shown = Table("front", "run", cost, metric, title=title, title_justify="left")
    for point in sorted(points, key=lambda one: (one.cost, -one.score)):
        shown.add_row("*" if point in best else "", point.name, f"{point.cost / 1e6:,.3f} M", f"{point.score:.2f}")
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and what was trained, print the table, draw."""
    parser = Parser(prog="python -m tools.pareto", description=__doc__)
    parser.add_argument("--task", required=True, help="name of a task, or the dotted name of a module of your own")
    parser.add_argument("--cost", choices=COSTS, default=COSTS[0], help="what is counted of the backbone")
    parser.add_argument("--split", help="the split that counts; by default those that most networks were scored on")
    parser.add_argument("--logs", type=home_path, default=LOGS, help="where runs write")
    given = parser.parse_args(arguments)
    task = find_task(given.task)[0]
    networks, without = trained(given.logs, task.name, task.objective, given.cost)
    points, splits, others = comparable(networks, given.split)
    if without:
        print(
            f"note: left out, as they say no cost (score them again: make retrain RUN=test CKPT=...): {_few(without)}"
        )
    if others:
        print(f"note: left out, as they were scored on other splits or data: {_few(others)}")
    if not points:
        scored = f" scored on {given.split}" if given.split else ""
        raise UserError(
            f"there is no trained network of {task.name}{scored} under {given.logs} yet; train one with make retrain "
            "GENO=<a genotype>, and several of different cost for a front"
        )
    best = front(points)
    where = f"{task.objective}{', mean of' if len(splits) > 1 else ' on'} {', '.join(splits)}"
    Console().print(table_of(points, best, task.objective, given.cost, where))
    path = draw(points, best, given.cost, where, given.logs / "pareto" / f"{task.name}.svg")
    print(f"figure  {path}")
    print(f"next: {_next(best, given.logs)}")


def _next(best: Sequence[Point], logs: Path) -> str:
    """The page of the runs on the front, or where all are of studies that of the first one's study."""
    own = [point.name for point in best if "/" not in point.name] or [best[0].name.partition("/")[0]]
    elsewhere = f" ARGS={shlex.quote(f'logs={logs}')}" if logs != LOGS else ""
    return f"make report RUN={shlex.quote(','.join(dict.fromkeys(own)))}{elsewhere}"


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


if __name__ == "__main__":
    run(main)
