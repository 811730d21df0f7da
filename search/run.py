"""A search from the command line to the genotype's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audit.leaks import Audit, audit_training
from common.errors import UserError
from engine import about
from engine.config import Config, load_config
from engine.course import Course
from engine.log import PICKED, RunLog
from engine.run import RunFiles, RunOptions, commit, identity, today
from engine.runtime import Runtime, start
from engine.shortages import allow_files, shortages_told
from engine.stops import told_how_to_go_on
from genotypes.drawing import draw
from genotypes.genotype import SEARCHED, Genotype, load, save_epochs
from genotypes.table import table
from report.page import leave
from search.diagnosis import Diagnosis, summary, warnings
from search.estimators import ESTIMATORS
from search.mixed import MixedOp
from search.prices import prices_of, sizes_of
from search.samplers import SAMPLERS
from search.selection import selected
from search.selectors import SELECTORS
from search.settings import SearchSettings
from search.stage import SearchStage
from search.supernet import Supernet
from space.budget import Budget
from space.cost import genotype_cost
from space.ops import OPS
from space.settings import ModelSettings, SpaceSettings
from tasks.assemble import assemble
from tasks.base import Task
from tasks.find import find_task, task_names

Finish = Callable[[Task, Config, SearchStage, RunFiles, RunLog, Path, Audit], None]


@dataclass
class SearchOptions(RunOptions):
    """Options of a search.

    Args:
        genotypes: folder of the final genotypes.
    """

    genotypes: str = str(SEARCHED)


def main(argv: Sequence[str] | None = None, finish: Finish | None = None) -> None:
    """Search for a genotype of a task; ``python -m search --help`` explains every key.

    Args:
        argv: the command line.
        finish: what is made of a trained supernet; by default the genotype and its files.
    """
    config = load_config(
        "search",
        argv,
        find=find_task,
        usual=task_names()[0],
        top=SearchOptions,
        sections={"model": ModelSettings, "space": SpaceSettings, "search": SearchSettings},
    )
    config.space.validate()
    config.search.validate()
    SELECTORS[config.search.selector].check(config.space.architectures)
    config.model.check_width(config.search.width, [*config.space.encoder.candidates, *config.space.decoder.candidates])
    budget = budget_of(config)
    runtime = start(config.top.gpu, config.top.seed, config.top.precision, config.search.width)
    allow_files(config.top.workers)
    with shortages_told(), RunFiles(config.top, f"{config.task.name}-search", ranks=runtime.ranks) as files:
        run(config, budget, runtime, files, argv, finish or leave_genotype)
    runtime.ranks.close()


def run(
    config: Config,
    budget: Budget | None,
    runtime: Runtime,
    files: RunFiles,
    argv: Sequence[str] | None,
    finish: Finish,
) -> None:
    """Search, or go on, to the end."""
    ranks = runtime.ranks
    path = Path(config.top.genotypes) / config.task.name / f"{files.version}.json"
    with ranks.in_turn():
        task = config.task(config.data)

    def report(history: list[Genotype]) -> None:
        if ranks.first:
            save_epochs(history, files.architectures)

    supernet = build(task, config, runtime)
    stage = SearchStage(task, supernet, config.search, runtime, report, budget)
    audit = audit_training(task, (stage.split, stage.arch_split)).enforce(config.top.allow_leak)
    # Latencies that were measured anew in the meantime are another budget.
    measured = {"latencies": budget.fingerprint} if budget and budget.kind == "latency" else {}
    course = Course(files, runtime, identity("search", config.as_dict(), **task.identity, **measured))
    if course.state is None and path.exists():
        raise UserError(f"{path} exists and would be overwritten; choose another VERSION")
    log = course.open("search", config.as_dict(), argv, task.identity, len(audit.all_leaks))
    course.note(**facts(task, config, stage, audit))
    remarks = [*files.remarks, *audit.lines, *task.remarks]
    log.info("\n".join([*remarks, describe(task, config.space.architectures, stage, runtime)]))
    course.train(stage, config.search, config.top, log)
    with told_how_to_go_on(files, log):
        finish(task, config, stage, files, log, path, audit)


def budget_of(config: Config) -> Budget | None:
    """The budget that is configured, or None.

    Raises:
        UserError: nothing is as cheap, or latencies are to be measured first.
    """
    for kind, most in config.search.budget.given().items():
        return Budget(kind, most, config.search.cost_weight, config.space, prices_of(kind, config))
    return None


def build(task: Task, config: Config, runtime: Runtime) -> Supernet:
    """The supernet of the configured space, alphas uniform or led by the configured genotype."""
    space: SpaceSettings = config.space

    def blocks(**sizes: float) -> tuple[list[nn.Module], list[nn.Module]]:
        encoder = [MixedOp(space.encoder.candidates, **sizes) for _ in range(space.encoder.blocks)]
        decoder = [MixedOp(space.decoder.candidates, **sizes) for _ in range(space.decoder.blocks)]
        return encoder, decoder

    model = assemble(task, config.model, config.search.width, blocks, task.word_vectors)
    supernet = Supernet(model).to(runtime.device)
    if config.search.start is not None:
        genotype = load(config.search.start)
        supernet.start_from(genotype.encoder, genotype.decoder)
    return supernet


def facts(task: Task, config: Config, stage: SearchStage, audit: Audit) -> dict[str, Any]:
    """What a report says of a search besides its configuration."""
    halves = {"weights": len(stage.split), "architecture": len(stage.arch_split), "validation": len(stage.val)}
    return {
        "title": task.title,
        "objective": task.objective,
        "samples": halves,
        "words": len(task.words),
        "weights": sum(p.numel() for p in stage.supernet.weights),
        "architectures": config.space.architectures,
        "sources": list(config.sources),
        "names": named(config),
        "audit": audit.as_dict(),
        "remarks": list(task.remarks),
    }


def named(config: Config) -> dict[str, str]:
    """What the names of estimator, sampler and selector stand for, in a line each."""
    parts = {"estimator": ESTIMATORS, "sampler": SAMPLERS, "selector": SELECTORS}
    chosen = {part: getattr(config.search, part) for part in parts}
    return {f"{part} {name}": getdoc(parts[part][name]).splitlines()[0] for part, name in chosen.items()}


def describe(task: Task, architectures: int, stage: SearchStage, runtime: Runtime) -> str:
    """What is about to happen, in two lines, and a third about a budget."""
    weights = sum(p.numel() for p in stage.supernet.weights)
    budget = f"\n{stage.budget.describe()}" if stage.budget else ""
    return (
        f"{task.title}: searching {architectures:,} architectures on {runtime.place}, {weights:,} weights\n"
        f"{len(stage.split):,} samples train weights, {len(stage.arch_split):,} the architecture, "
        f"{len(stage.val):,} validate; {len(task.words):,} words{budget}"
    )


def leave_genotype(
    task: Task, config: Config, stage: SearchStage, files: RunFiles, log: RunLog, path: Path, audit: Audit
) -> None:
    """Write the final genotype and its figure; show the table, how the search went and what to type next."""
    with stage.runtime.part("selection"):
        genotype, diagnosis = complete(selected(stage), task, config, audit), stage.diagnosis()
    if not stage.runtime.ranks.first:
        return
    genotype.save(path)
    genotype.save(files.log / about.FOUND)
    log.record(PICKED, len(stage.history), genotype.supernet)
    try:
        figure = draw(genotype, path.with_suffix(".svg"), {name: op.kind for name, op in OPS.items()})
    except UserError as error:  # what was found is worth as much without it
        figure = f"none: {error}"
    log.info(table(genotype))
    if stage.budget is not None:
        log.info(budget_line(stage.budget, stage.supernet.numbers()))
    lines, last = summary(diagnosis, genotype.supernet), last_words(genotype, diagnosis, path, config)
    *warned, after = last
    about.add(
        files.log,
        seconds=stage.runtime.clock.seconds(),
        chance=stage.chance,
        diagnosis=lines,
        warnings=warned,
        **{about.NEXT: after},
    )
    for line in lines:
        log.info(line)
    for what, where in (
        ("genotype", path),
        ("figure", figure),
        ("every epoch", files.architectures),
        ("checkpoint", files.last),
        ("log", files.log),
        ("report", leave(files.log)),
    ):
        log.info(f"{what:>12}  {where}")
    for line in last:
        log.info(line)
    log.close()


def budget_line(budget: Budget, path: tuple[int, ...]) -> str:
    """Whether the budget is kept, and where it is not what would."""
    remedy = "search.selector=exact, evolution or halving keeps to it, a higher search.cost_weight leads there"
    return budget.verdict(path) + ("" if budget.keeps(path) else f"; {remedy}")


def last_words(genotype: Genotype, diagnosis: Diagnosis, path: Path, config: Config) -> list[str]:
    """What has to be said of how the search went, and what to type next."""
    said = warnings(diagnosis, genotype.supernet, config.search)
    if diagnosis.moved or not config.search.moves_alpha:
        return [*said, f"next: make retrain GENO={path}{config.make_arguments()}"]
    return [
        *said,
        f"next: look at the losses in {config.top.logs}/log, mend the data or lower search.lr, and search again under "
        "another VERSION",
    ]


def complete(genotype: Genotype, task: Task, config: Config, audit: Audit) -> Genotype:
    """The genotype with everything one needs to know where it came from and what it costs."""
    provenance: dict[str, Any] = {
        **genotype.provenance,
        "config": config.as_dict(),
        "seed": config.top.seed,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "data": task.fingerprint,
        "extractor": task.store.extractor,
        "audit": audit.as_dict(),
        "trained_on": audit.trained_on.as_dict(),
        "date": today(),
        "torch": torch.__version__,
    }
    cost = genotype_cost(genotype.encoder, genotype.decoder, **sizes_of(config))
    return genotype.replace(space=config.as_dict()["space"], provenance=provenance, cost=cost)
