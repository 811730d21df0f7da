"""Which way to search finds the best: ``make tabular``, or ``python -m benchmarks.tabular``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from benchmarks.tabular.compare import Truth, rows, tau, truth
from benchmarks.tabular.table import SHIPPED, Table, load
from common.arguments import Parser
from common.errors import run

HEAD = (
    "estimator",
    "sampler",
    "selector",
    "searches",
    "regret",
    "best 5 %",
    "> best of 2",
    "> equal cost",
    "tau",
    "in bins",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison of a table's searches."""
    table = load(_options(argv).table)
    known, console = truth(table), Console(highlight=False)
    for line in describe(table, known):
        console.print(line, soft_wrap=True)
    shown = Shown(*HEAD)
    for row in rows(table):
        shares = (f"{100 * share:.0f} %" for share in (row.among_best, row.above_two, row.above_equal))
        taus = (f"{value:+.2f}" for value in (row.tau, row.tau_within))
        names = (row.estimator, row.sampler, row.selector, str(row.searches))
        shown.add_row(*names, f"{row.regret:.2f}", *shares, *taus)
    console.print(shown)
    console.print("next: make evidence TASK=vgd DRY=1")


def describe(table: Table, known: Truth) -> Iterator[str]:
    """What the table is of, and what is reached in it without a search."""
    seeds = np.array(table.scores)
    best = known.scores.max()
    trained = table.made_with.get("scores", table.made_with)
    yield f"{len(seeds)} architectures, each trained with {seeds.shape[1]} seeds ({trained['processor']})"
    if table.again:
        change = np.array([score - seeds[number, seed] for number, seed, score in table.again])
        yield (
            f"{len(change)} of these trainings done again where the searches ran ({table.made_with['processor']}): "
            f"{change.mean():+.1f} points in the mean, {change.min():+.1f} to {change.max():+.1f}"
        )
    yield (
        f"scores {known.scores.min():.1f} to {best:.1f}, mean {known.scores.mean():.1f}; the best 5 % begin at "
        f"{known.scores[known.best].min():.1f}; Kendall's tau between two training seeds {tau(*seeds.T[:2]):.2f}"
    )
    regrets = ", ".join(f"{k}: {best - known.best_of(k):.2f}" for k in (1, 2, 4, 8))
    largest = known.scores[known.flops == known.flops.max()].mean()
    yield f"regret of the best of k random ones, {regrets}; of the one of most FLOPs {best - largest:.2f}"


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m benchmarks.tabular", description="Compare ways to search on a table of truths.")
    parser.add_argument("--table", type=Path, default=SHIPPED, help="what python -m benchmarks.tabular.fill wrote")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
