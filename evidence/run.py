"""Evidence from the command line to the verdict: plan, cells, statistics, files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from rich.console import Console

from common.arguments import Parser, expanded
from evidence import plan, results
from evidence.cells import Folder
from evidence.drawing import draw
from evidence.locked import Locked
from evidence.plan import Sizes, Times
from evidence.recipe import Recipe, read
from evidence.runner import Failure, Runner
from evidence.slurm import Slurm, parse_parameters
from evidence.study import RANDOM, Study
from report.page import leave_study


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study, or go on with it; ``python -m evidence --help`` lists its options. Gives 1 if a cell failed."""
    options, rest = _options(argv)
    plan.check(_wanted(options))
    recipe = read(rest)
    folder = Folder(options.logs, options.version or recipe.task.name)
    console = Console(highlight=False)
    console.print(f"{recipe.task.title}: {recipe.splits.describe()}", soft_wrap=True)
    study, certain = _planned(recipe, folder, options, console)
    if options.dry_run:
        return 0
    place = Slurm(folder.root / "slurm", parse_parameters(options.slurm)) if options.slurm else None
    runner = Runner(folder, options.jobs, lambda line: console.print(line, soft_wrap=True), place)
    try:
        if not certain:
            # One of each kind tells how long all take, before a budget cuts.
            failures = runner.run([study.searches()[0], study.trainings([RANDOM])[0]])
            if failures:
                return _told(failures, console)
            study, _ = _planned(recipe, folder, options, console)
        failures = runner.run([*study.searches(), *study.trainings(study.drawn)])
        failed = {one.cell.name for one in failures}
        failures += runner.run([cell for cell in study.trainings(study.groups()) if cell.name not in failed])
    except KeyboardInterrupt:
        console.print("what is done is kept; the same command goes on", soft_wrap=True)
        raise
    status = _told(failures, console)
    _finish(study, folder, console, argv)
    return status


def _wanted(options: argparse.Namespace) -> Sizes:
    return Sizes(options.search_seeds, options.random, options.training_seeds)


def _planned(recipe: Recipe, folder: Folder, options: argparse.Namespace, console: Console) -> tuple[Study, bool]:
    """The study as far as a budget lets it, and whether it is known what a cell takes; the plan is shown and kept."""
    wanted = _wanted(options)
    study = Study(recipe, folder, wanted, options.seed)
    times = _times(study, options)
    locked = Locked(
        options.seed, recipe.identity, {**asdict(wanted), "budget": options.budget, "jobs": options.jobs}, None
    )
    sizes = locked.kept_sizes(folder)
    if sizes is None:
        sizes = plan.cut(wanted, times, options.jobs, options.budget) if options.budget and times else wanted
    for line in plan.describe(sizes, times, options.jobs, options.budget, wanted):
        console.print(line, soft_wrap=True)
    if not options.dry_run:
        replace(locked, sizes=asdict(sizes) if times else None).save(folder)
    return Study(recipe, folder, sizes, options.seed), times is not None


def _times(study: Study, options: argparse.Namespace) -> Times | None:
    """What a cell takes, as given or as measured."""
    given = (options.search_minutes, options.training_minutes)
    if None not in given:
        search, training = (60 * minutes for minutes in given)
        return Times(search, training, "as given")
    trained = [done for networks in study.drawn.values() for one in networks for done in study.done_trainings(one)]
    return plan.measured(study.done_searches(), [done for done in trained if done])


def _told(failures: Sequence[Failure], console: Console) -> int:
    """Say which cells failed; the status to exit with."""
    for one in failures:
        console.print(f"FAILED {one.cell.label}: {one.line} (all it said: {one.log})", soft_wrap=True)
    if failures:
        console.print("the same command tries them again", soft_wrap=True)
    return 1 if failures else 0


def _finish(study: Study, folder: Folder, console: Console, argv: Sequence[str] | None) -> None:
    evidence = results.collect(study, ["python", "-m", "evidence", *(sys.argv[1:] if argv is None else argv)])
    results.write(evidence, folder)
    draw(evidence, folder.figure)
    for part in (*results.tables(evidence), *results.summary(evidence)):
        console.print(part, soft_wrap=isinstance(part, str))
    for what, where in (
        ("everything", folder.results),
        ("table", folder.table),
        ("figure", folder.figure),
        ("genotypes", folder.genotypes),
        ("report", leave_study(folder.root)),
    ):
        console.print(f"{what:>12}  {where}", soft_wrap=True)
    console.print(f"next: {results.next_command(study)}", soft_wrap=True)


def _options(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser(
        prog="python -m evidence",
        description="Does a searched network beat random ones? Search, train and compare under one recipe.",
        epilog="Whatever else is said goes to search and retrain: --task, --profile, --data.root, --retrain.epochs",
        allow_abbrev=False,
    )
    usual = Sizes()
    parser.add_argument("--version", type=_text, help="name of the evidence; by default the task's")
    parser.add_argument("--logs", type=_text, default="logs", help="folder for everything a run writes")
    parser.add_argument(
        "--seed", type=_from(0), default=0, help="the first search and training seed, and that of draws"
    )
    parser.add_argument("--search_seeds", type=_from(1), default=usual.search_seeds, help="searches")
    parser.add_argument("--random", type=_from(1), default=usual.random, help="random networks")
    parser.add_argument("--training_seeds", type=_from(1), default=usual.training_seeds, help="seeds of every network")
    parser.add_argument("--jobs", type=_from(1), default=1, help="cells side by side; threads are divided among them")
    parser.add_argument("--slurm", nargs="+", help="run cells as jobs of Slurm: key=value, parameters of sbatch")
    parser.add_argument(
        "--budget", type=_amount, help="hours; cuts training seeds, then random networks, then searches"
    )
    parser.add_argument("--search_minutes", type=_amount, help="what a search takes, where none was measured")
    parser.add_argument("--training_minutes", type=_amount, help="what a training takes, where none was measured")
    parser.add_argument("--dry_run", action="store_true", help="only show the plan and its hours")
    return parser.parse_known_args(argv)


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("needs a value")
    return expanded(text)


def _from(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, {least} or more")
        return int(text)

    return number


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number above 0")
    return value
