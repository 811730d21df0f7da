"""Retraining from the command line: RUN=train, val or test."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from audit.leaks import Audit, audit_scoring, audit_training
from common.errors import UserError, check_known, why
from common.files import write_json
from engine import about
from engine.batches import first_images
from engine.config import Config, asks_for_help, load_config, peek
from engine.course import Course
from engine.log import BEST, RunLog, Silence
from engine.run import RunFiles, RunOptions, commit, identity, today
from engine.runtime import Runtime, start
from engine.shortages import allow_files, shortages_told
from engine.stops import told_how_to_go_on
from engine.threads import take
from genotypes.genotype import SIDES, Genotype, load, published
from outcome.details import DETAILS
from readers.feature_store import difference
from report.page import leave
from retrain.details import in_detail
from retrain.model import Trained, build, check_extractor, restore, save, trained_for, width_of
from retrain.settings import RetrainSettings
from retrain.stage import RetrainStage
from space.cost import limits, network_cost
from space.network import Model
from space.ops import check
from space.settings import ModelSettings
from tasks.base import Evaluation, Split, Task, eval_mode
from tasks.find import find_task, task_names

RUNS = ("train", "val", "test")


@dataclass
class RetrainOptions(RunOptions):
    """Options of a retraining.

    Args:
        geno: the genotype: path, path@epoch, or the name of a published one.
        run: train (then val after every epoch and test at the end), val, or test.
        ckpt: the trained network for val and test; by default the best one of this version.
    """

    geno: str | None = None
    run: str = "train"
    ckpt: str | None = None


def main(argv: Sequence[str] | None = None) -> None:
    """Train or evaluate the network of a genotype; ``python -m retrain --help`` explains every key."""
    run, helping = peek(argv, "run") or RetrainOptions.run, asks_for_help(argv)
    if not helping:
        check_known("RUN", run, RUNS, "retraining")
    geno = peek(argv, "geno")
    genotype = load(geno) if geno else None
    if geno is None and run == "train" and not helping:
        raise UserError(f"RUN=train needs GENO=<path, path@epoch, or {', '.join(published())}>")
    ckpt = None if run == "train" or helping else trained_network(argv)
    config = load_config(
        "retrain",
        argv,
        task=(trained_for(ckpt) if ckpt and not peek(argv, "task") else None) or (genotype.task if genotype else None),
        find=find_task,
        usual=task_names()[0],
        top=RetrainOptions,
        sections={"model": ModelSettings, "retrain": RetrainSettings},
    )
    options: RetrainOptions = config.top
    with shortages_told():
        if options.run == "train":
            runtime = start(options.gpu, options.seed, options.precision, config.retrain.width)
            allow_files(options.workers)
            with RunFiles(options, f"{config.task.name}-retrain", ranks=runtime.ranks) as files:
                train(config, genotype, runtime, files, argv)
            runtime.ranks.close()
        else:
            evaluate(config, genotype, ckpt, argv)


def trained_network(argv: Sequence[str] | None) -> Path:
    """The file that RUN=val and RUN=test score, as the command line names it: CKPT, or the best of VERSION.

    Raises:
        UserError: it names neither.
    """
    ckpt, version, run, logs = (peek(argv, key) for key in ("ckpt", "version", "run", "logs"))
    if ckpt is None and version is None:
        raise UserError(f"RUN={run} needs CKPT=<a trained network> or VERSION=<the run that trained it>")
    return Path(ckpt) if ckpt is not None else RunFiles.best_of(Path(logs or RunOptions.logs), version)


def train(config: Config, genotype: Genotype, runtime: Runtime, files: RunFiles, argv: Sequence[str] | None) -> None:
    """Train from scratch (or go on), then score the best epoch."""
    for side in SIDES:
        check(getattr(genotype, side), side)
    config.model.check_width(config.retrain.width, [*genotype.encoder, *genotype.decoder])
    ranks = runtime.ranks
    with ranks.in_turn():
        task: Task = config.task(config.data)
    settings: RetrainSettings = config.retrain
    model = build(task, genotype, config.model, settings.width, task.word_vectors).to(runtime.device)

    def keep(epoch: int, metrics: Mapping[str, float]) -> None:
        if ranks.first:
            save(files.best, model, task, genotype, config.model, settings.width, epoch + 1, metrics, audit)

    stage = RetrainStage(task, model, settings, runtime, keep)
    blocks = {"encoder": list(genotype.encoder), "decoder": list(genotype.decoder)}
    course = Course(files, runtime, identity("retrain", config.as_dict(), genotype=blocks, **task.identity))
    for name in task.final_splits:
        task.split(name)  # whatever is wrong with it is better said before the training than after
    audit = audit_training(task, opened=task.final_splits, made=genotype.provenance).enforce(config.top.allow_leak)
    log = course.open("retrain", config.as_dict(), argv, task.identity, len(audit.all_leaks))
    course.note(**facts(task, stage, audit), sources=list(config.sources), architecture=genotype.origin)
    for line in [*files.remarks, *audit.lines, *task.remarks, *describe(task, genotype, stage)]:
        log.info(line)
    course.train(stage, settings, config.top, log)
    with told_how_to_go_on(files, log):
        trained = restore(files.best, task, genotype)
        beside = [*beside_supernet(task, genotype, trained, runtime, settings.batch_size)]
        for line in beside:
            log.info(line)
        course.note(diagnosis=beside, chance=stage.chance)
        report(config, task, files.best, trained, runtime, task.final_splits, log, files, audit)


def facts(task: Task, stage: RetrainStage, audit: Audit) -> dict[str, Any]:
    """What a report says of a training besides its configuration."""
    return {
        "title": task.title,
        "objective": task.objective,
        "samples": {"training": len(stage.split), "validation": len(stage.val)},
        "words": len(task.words),
        "weights": sum(p.numel() for p in stage.model.parameters()),
        "audit": audit.as_dict(),
        "remarks": list(task.remarks),
    }


def describe(task: Task, genotype: Genotype, stage: RetrainStage) -> Iterator[str]:
    """What is about to happen, and what should be known of the genotype."""
    if genotype.task and genotype.task != task.name:
        yield f"note: the genotype was searched for {genotype.task}, it is trained for {task.name}"
    searched_on = genotype.provenance.get("extractor")
    if isinstance(searched_on, dict) and (differ := difference(task.store.extractor, searched_on)):
        yield f"note: the genotype was searched on features of another extractor; these differ in {differ}"
    if genotype.provenance.get("moved") is False:
        yield "note: no search found this genotype: it is where one began, and no alpha moved"
    weights = sum(p.numel() for p in stage.model.parameters())
    yield (
        f"{task.title}: training {len(genotype.encoder)} + {len(genotype.decoder)} blocks, {weights:,} weights, on "
        f"{stage.runtime.place}\n{len(stage.split):,} samples train, {len(stage.val):,} validate; "
        f"{len(task.words):,} words"
    )


def beside_supernet(
    task: Task, genotype: Genotype, trained: Trained, runtime: Runtime, batch_size: int
) -> Iterator[str]:
    """The task's score of the architecture with its supernet's weights and with its own, both on what the search saw.

    Nothing, if no search scored it, or scored it on other data.
    """
    searched, name = genotype.supernet or {}, task.objective
    val, images = task.split("val"), int(searched.get("val_images", 0))
    indices = first_images(val.image_ids, images)
    was = genotype.task, genotype.provenance.get("data"), searched.get("val_samples")
    if f"val/{name}" not in searched or was != (task.name, task.fingerprint, len(indices)):
        return
    same = val.subset(indices)
    model = trained.model.to(runtime.device)
    with eval_mode(model), runtime.autocast():
        found = task.evaluate(model, same, batch_size).metrics[name]
    yield (
        f"{name} of this architecture on {images:,} validation images, with the supernet's weights: "
        f"{searched[f'val/{name}']:.2f}, retrained: {found:.2f}"
    )


def evaluate(config: Config, genotype: Genotype | None, ckpt: Path, argv: Sequence[str] | None) -> None:
    """Score a trained network on the validation split or on all test splits."""
    options: RetrainOptions = config.top
    # Scoring a run's own network adds to that run; scoring another file is a run of its own.
    options.resume = options.version is not None and options.ckpt is None
    runtime = start(options.gpu, options.seed, options.precision, width_of(ckpt))
    take(None if options.threads == "auto" else options.threads, runtime)
    with RunFiles(options, f"{config.task.name}-{options.run}", may_resume=False, ranks=runtime.ranks) as files:
        score(config, genotype, ckpt, runtime, files, argv)
    runtime.ranks.close()


def score(
    config: Config,
    genotype: Genotype | None,
    ckpt: Path,
    runtime: Runtime,
    files: RunFiles,
    argv: Sequence[str] | None,
) -> None:
    """Restore a trained network and report on it."""
    options: RetrainOptions = config.top
    with runtime.ranks.in_turn():
        task: Task = config.task(config.data)
    trained = restore(ckpt, task, genotype)
    splits = ["val"] if options.run == "val" else task.test_splits
    for name in splits:
        check_extractor(ckpt, trained.extractor, task.features(name).extractor, f"the features of {name}")
    audit = audit_scoring(task, splits, trained.trained_on, trained.genotype.provenance, trained.leaks)
    audit.enforce(options.allow_leak)
    files.create()
    log = RunLog(files.log) if runtime.ranks.first else Silence()
    log.leaks = len(audit.all_leaks)
    if runtime.ranks.first and is_own(options):
        log.config(scored_with(config))
        about.note(files.log, "retrain", argv, runtime, task.identity)
        about.add(files.log, title=task.title, objective=task.objective, audit=audit.as_dict())
    for line in audit.lines:
        log.info(line)
    report(config, task, ckpt, trained, runtime, splits, log, files, audit)


def is_own(options: RetrainOptions) -> bool:
    """Whether this is a run with a log of its own, and does not add to that of the training whose network it scores."""
    return options.run == "train" or not options.resume


def scored_with(config: Config) -> dict[str, Any]:
    """The part of the configuration that scoring goes by; what trains a network says nothing of one that is trained."""
    told = {key: value for key, value in config.as_dict().items() if key != "model"}
    return {**told, "retrain": {"batch_size": config.retrain.batch_size}}


Scores = dict[str, tuple[Split, Evaluation]]  # by the name of a split


def report(
    config: Config,
    task: Task,
    ckpt: Path,
    trained: Trained,
    runtime: Runtime,
    splits: Sequence[str],
    log: RunLog,
    files: RunFiles,
    audit: Audit,
) -> None:
    """Score a trained network on splits; write numbers and predictions; say where they are."""
    trained.model.to(runtime.device)
    scores, written = score_splits(config, task, trained, runtime, splits, log, files)
    # The numbers of the training stay beside those of scoring its network again.
    part = "" if config.top.run == "train" else f"_{config.top.run}"
    summary = files.results / f"metrics_{files.version}{part}.json"
    if not runtime.ranks.first:
        return
    write_json(summary, numbers(config, task, ckpt, trained, scores, audit))
    # Afterwards, as a run is none the worse without them.
    write_details(files.results / f"{DETAILS}{files.version}{part}.json", task, trained.model, scores, runtime, log)
    after = f"next: {next_command(config, task, ckpt, splits)}"
    if is_own(config.top):
        seconds = runtime.clock.seconds()
        about.add(files.log, threads=torch.get_num_threads(), seconds=seconds, **{about.NEXT: after})
    for what, where in [("network", ckpt), ("numbers", summary), *(("predictions", path) for path in written)]:
        log.info(f"{what:>12}  {where}")
    log.info(f"{'log':>12}  {files.log}")
    log.info(f"{'report':>12}  {leave(files.log)}")
    log.info(after)
    log.close()


def score_splits(
    config: Config, task: Task, trained: Trained, runtime: Runtime, splits: Sequence[str], log: RunLog, files: RunFiles
) -> tuple[Scores, list[Path]]:
    """Scores of a trained network, told as they come, and the files of predictions that the first process wrote."""
    scores: Scores = {}
    written: list[Path] = []
    said = set(task.remarks if config.top.run == "train" else ())
    for name in splits:
        split = task.split(name)
        with runtime.part("test"), eval_mode(trained.model), runtime.autocast():
            found = task.evaluate(trained.model, split, config.retrain.batch_size)
        scores[name] = split, found
        if not runtime.ranks.first:
            continue
        log.info("\n".join([f"{task.title}, {name}", *(note for note in found.notes if note not in said)]))
        said.update(found.notes)
        if results := metrics_of(found):
            log.record(f"{BEST}/{name}", trained.epoch, results)
            log.info(metrics_table(results))
        if found.predictions is not None:
            written += task.save_predictions(found.predictions, files.results, files.version, name)
    return scores, written


def metrics_of(found: Evaluation) -> dict[str, float]:
    """All numbers of a split."""
    return {**found.metrics, **found.details}


def numbers(config: Config, task: Task, ckpt: Path, trained: Trained, scores: Scores, audit: Audit) -> dict[str, Any]:
    """What stands in the file of numbers."""
    return {
        "task": task.name,
        "checkpoint": str(ckpt),
        "epoch": trained.epoch,
        "genotype": {"encoder": trained.genotype.encoder, "decoder": trained.genotype.decoder},
        "cost": network_cost(trained.model.network, **limits(config.data)),
        "data": {name: task.features(name).fingerprint for name in scores},
        "extractor": {name: task.features(name).extractor for name in scores},
        "seed": config.top.seed,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "date": today(),
        "audit": audit.as_dict(),
        "metrics": {name: metrics_of(found) for name, (_, found) in scores.items()},
        "chance": {name: found.chance for name, (_, found) in scores.items()},
        "notes": {name: found.notes for name, (_, found) in scores.items()},
    }


def write_details(
    path: Path, task: Task, model: Model, scores: Scores, runtime: Runtime, log: RunLog | Silence
) -> None:
    """Write splits in detail for the report; a failure is noted, and leaves its split out.

    The first process does so by itself: what fails in one alone may not leave the others waiting.
    """
    told = {}
    for name, (split, found) in scores.items():
        try:
            with runtime.part("test"), eval_mode(model), runtime.autocast():
                one = in_detail(task, model, name, split, found)
        except Exception as error:
            log.info(f"note: the report has no details of {name} ({why(error)})")
            continue
        if one is not None:
            told[name] = one.as_dict()
    try:
        if told:
            write_json(path, told, indent=None)
    except Exception as error:  # a full disk, or numbers of a user's task that JSON does not know
        log.info(f"note: the report has no details ({why(error)})")


def next_command(config: Config, task: Task, ckpt: Path, scored: Sequence[str]) -> str:
    """What a user may want to type after these numbers: the test, or where that was done a look at the answers."""
    network = f"CKPT={shlex.quote(str(ckpt))}"
    # The network has the words and answers of the data it was trained on, so what chose them is said again.
    if not set(task.test_splits) <= set(scored):
        return f"make retrain RUN=test {network}{config.make_arguments()}"
    # SPLIT is what is shown there, and sizes are the checkpoint's.
    return f"make show {network} SPLIT={scored[-1]}{config.make_arguments(('data.',), without=('SPLIT',))}"


def metrics_table(metrics: Mapping[str, float]) -> Table:
    """A small table of numbers."""
    shown = Table("metric", "value")
    for name, value in metrics.items():
        shown.add_row(name, f"{value:.2f}")
    return shown
