"""Train what the table holds, or go on with it: ``python -m benchmarks.tabular.fill --jobs 2``, a night or two."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tabular import grid
from benchmarks.tabular.table import SHIPPED, Search, Table, load
from common import processor
from common.arguments import Parser, expanded, home_path
from common.errors import UserError, run
from engine.run import commit, today
from evidence.cells import Cell, Folder, key
from evidence.locked import Locked, first_difference
from evidence.recipe import Recipe, read, sizes
from evidence.results import score
from evidence.runner import Runner
from space.cost import genotype_cost

VERSION, SEARCH = "tabular", "supernet"
AGAIN = 17  # of so many trainings one is done again; no divisor of what a table has, so that they are of all kinds


def main(argv: Sequence[str] | None = None) -> int:
    """Train every architecture, then search in rounds; the table is written after each. Gives 1 if a cell failed.

    Raises:
        UserError: the table whose scores are taken is of another recipe.
    """
    options = _options(argv)
    recipe, folder = read((*grid.FLAGS, *options.flags)), Folder(options.logs, VERSION)
    known = options.scores and _of_recipe(options.scores, recipe)
    locked = Locked(0, recipe.identity, {}, None)
    locked.kept_sizes(folder)
    locked.save(folder)
    runner = Runner(folder, options.jobs, lambda line: print(line, flush=True))
    usual = grid.Way(recipe.search.search.estimator, recipe.search.search.sampler)
    searches: list[Cell] = []
    trainings = _trainings(recipe, folder)[:: AGAIN if known else 1]
    for cells in (trainings, *([*_searches(recipe, folder, one)] for one in grid.rounds(usual))):
        failures = runner.run(cells)
        for one in failures:
            print(f"FAILED {one.cell.label}: {one.line} (all it said: {one.log}); the same command tries it again")
        if failures:
            return 1
        searches += cells if cells[0].name.startswith(SEARCH) else []
        collect(recipe, folder, searches, known).save(options.out)
        print(
            f"{'table':>12}  {options.out}: every architecture, {len(searches)} searches\nnext: make tabular",
            flush=True,
        )
    return 0


def _trainings(recipe: Recipe, folder: Folder) -> list[Cell]:
    cells = []
    for seed in grid.TRAINING_SEEDS:
        for number, network in enumerate(grid.networks(recipe.search.space)):
            folder.write_genotype(network.replace(task=recipe.task.name))
            cells.append(folder.training(network, seed, recipe.retrain_flags, f"architecture {number}"))
    return cells


def _searches(recipe: Recipe, folder: Folder, wanted: Sequence[tuple[grid.Way, int]]) -> Iterator[Cell]:
    for way, seed in wanted:
        name = f"{SEARCH}-{way.estimator}-{way.sampler}-{seed}"
        flags = (*recipe.search_flags, *way.flags, f"--seed={seed}", f"--genotypes={folder.genotypes}")
        label = f"{way.estimator}, {way.sampler}, search seed {seed}"
        output = folder.genotypes / recipe.task.name / f"{name}.json"
        yield folder.cell(name, label, "benchmarks.tabular.supernet", flags, output)


def _of_recipe(path: Path, recipe: Recipe) -> Table:
    """A table whose scores are of this recipe, however it searches; settings that its program did not have are off."""
    table = load(path)
    before = _of_scores(table.made_with.get("scores", table.made_with)["recipe"])
    now = _of_scores(json.loads(json.dumps(recipe.identity)))
    now = {name: value for name, value in now.items() if value or name in before}
    if name := first_difference(before, now):
        raise UserError(
            f"the scores of {path} are of {name}={before.get(name)}, not {now.get(name)}; "
            "say the same, or leave --scores out to train every architecture"
        )
    return table


def _of_scores(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in identity.items() if not name.startswith("search:search.")}


def collect(recipe: Recipe, folder: Folder, searches: Sequence[Cell], known: Table | None = None) -> Table:
    """The table of searches that are done, and of all architectures, trained with every seed here or ``known``."""
    space, metric = recipe.search.space, recipe.task.objective
    networks = grid.networks(space)
    trained = {
        (number, seed): done
        for number, one in enumerate(networks)
        for seed in grid.TRAINING_SEEDS
        if (done := folder.done(f"train-{key(one)}-{seed}"))
    }
    scores = {at: score(done.output["metrics"], metric) for at, done in trained.items()}
    made_with = {"commit": commit(), "date": today(), "processor": processor.name(), "recipe": recipe.identity}
    if known:
        made_with["scores"] = known.made_with.get("scores", known.made_with)
    return Table(
        made_with,
        [space.encoder.candidates] * space.encoder.blocks,
        [space.decoder.candidates] * space.decoder.blocks,
        [genotype_cost(one.encoder, one.decoder, **sizes(recipe))["flops"] for one in networks],
        known.scores if known else [[scores[n, seed] for seed in grid.TRAINING_SEEDS] for n in range(len(networks))],
        float(np.median([done.seconds for done in trained.values()])),
        [Search(**folder.done(one.name).output, seconds=folder.done(one.name).seconds) for one in searches],
        [(*at, value) for at, value in scores.items()] if known else (),
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.tabular.fill",
        description="Train every architecture of a small space, and search in it in every way.",
        epilog="Whatever else is said goes to search and retrain, such as --gpu=cpu.",
        allow_abbrev=False,
    )
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side")
    parser.add_argument("--logs", type=expanded, default="logs", help="folder for everything a run writes")
    parser.add_argument(
        "--scores", type=home_path, help=f"take the scores of this table, and train one architecture in {AGAIN} again"
    )
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the table goes")
    options, options.flags = parser.parse_known_args(argv)
    return options


if __name__ == "__main__":
    run(main)
