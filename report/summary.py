"""What stands at the head of a report: a run in a few sentences, its most important numbers, and its set-up"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.config import DEMO_ROOT
from genotypes.genotype import SIDES
from report.charts import number
from report.facts import VAL, Run, Score
from report.studies import Study

BUDGETS = ("parameters", "flops", "latency")
MEAN_INTERVAL = "intervals are bootstrapped over networks, a network being the mean of its training seeds"


class Number(NamedTuple):
    """A number with its name, and what stands beside it to hold it against."""

    name: str
    value: float
    beside: str = ""


def numbers(run: Run) -> list[Number]:
    """The numbers that tell a run."""
    return [*_scores(run), *_standing(run), *_sizes(run)]


def _scores(run: Run) -> Iterator[Number]:
    for score in run.scores:
        if score.metric == run.objective:
            weights = ", with the supernet's weights" if run.stage == "search" else ""
            beside = [f"{name}: {number(value)}" for name, value in score.baselines.items()]
            if run.stage == "search" and "val_images" in run.standing:
                beside.append(f"of {number(run.standing['val_images'])} images")
            yield Number(f"{score.metric} on {score.split}{weights}", score.value, ", ".join(beside))
    series = run.series.get(f"{VAL}/{run.objective}")
    if run.stage == "retrain" and series:
        best = max(series.values)
        epoch = series.epochs[series.values.index(best)]
        of = f", {number(run.samples['validation'])} samples" if "validation" in run.samples else ""
        name = "best epoch by validation" if len(series.epochs) > 1 else "the epoch that was validated"
        yield Number(name, epoch, f"{run.objective} {number(best)} on {VAL}{of}; {max(series.epochs)} epochs in all")


def _standing(run: Run) -> Iterator[Number]:
    names = {
        "loss": ("supernet's loss of the pick", "on the samples that judge; it compares with the rows below alone"),
        "argmax_loss": ("supernet's loss of the most probable path", ""),
        "random_loss": ("supernet's loss of random paths, median", ""),
        "percentile": ("random paths better than the pick, percent", ""),
    }
    yield from (Number(said, run.standing[name], of) for name, (said, of) in names.items() if name in run.standing)
    if (series := run.series.get("search/alpha_entropy")) and run.stage == "search":
        yield Number("entropy of alpha in the end, nats", series.values[-1], f"at first {number(series.values[0])}")


def _sizes(run: Run) -> Iterator[Number]:
    sizes = ", ".join(f"{key} {number(run.cost[key])}" for key in ("width", "regions", "tokens") if key in run.cost)
    for name, said in (("parameters", "parameters"), ("flops", "FLOPs")):
        if name in run.cost:
            yield Number(f"{said} of the backbone", run.cost[name], sizes)
    whole = "supernet" if run.stage == "search" else "network"
    for name, said in (("weights", f"parameters of the whole {whole}"), ("words", "words in the vocabulary")):
        if isinstance(value := run.about.get(name), int):
            yield Number(said, value)
    if run.seconds:
        yield Number("seconds", sum(run.seconds.values()))


def abstract(run: Run) -> list[str]:
    """The run in sentences."""
    return [*(_searched(run) if run.stage == "search" else _trained(run)), *_outcome(run)]


def _searched(run: Run) -> Iterator[str]:
    sides = [_side(run, side) for side in SIDES]
    among = _size(run) or "the architectures"
    yield f"A search among {among} of a network for {_title(run)}: {' and '.join(sides)}."
    how = [f"{key} {run.setting(f'search.{key}')}" for key in ("estimator", "sampler", "selector")]
    epochs, width = (run.setting(f"search.{key}") for key in ("epochs", "width"))
    yield f"It was set to take {epochs} epochs with {', '.join(how)}, width {width}{_seed(run)}."


def _size(run: Run) -> str:
    count = run.about.get("architectures")
    return f"{count:,} architectures" if isinstance(count, int) else ""


def _side(run: Run, side: str) -> str:
    candidates = run.setting(f"space.{side}.candidates")
    count = len(candidates) if isinstance(candidates, list) else "?"
    return f"{_blocks(run.setting(f'space.{side}.blocks'), f'{side} block')} with a choice of {count} operations"


def _blocks(count: Any, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")


def _trained(run: Run) -> Iterator[str]:
    blocks = (
        f"{len(run.genotype.encoder)} encoder and {len(run.genotype.decoder)} decoder blocks" if run.genotype else ""
    )
    made = f"for {_title(run)}{f' of {blocks}' if blocks else ''}"
    if run.stage != "retrain":
        yield f"A network {made}, trained before ({run.setting('ckpt')}) and scored here on {run.stage}."
        return
    yield f"A network {made}, trained from scratch{_seed(run)}."
    if run.setting("retrain.epochs") is not None:
        epochs, width, batch, lr = (run.setting(f"retrain.{key}") for key in ("epochs", "width", "batch_size", "lr"))
        yield f"It was set to take {epochs} epochs with width {width}, batches of {batch}, rate {lr}."


def _title(run: Run) -> str:
    """The task's title within a sentence."""
    return run.title[:1].lower() + run.title[1:]


def _seed(run: Run) -> str:
    return "" if run.setting("seed") is None else f", seed {run.setting('seed')}"


def _outcome(run: Run) -> Iterator[str]:
    if run.best:
        without = ", ".join(f"{name} {number(value)}" for name, value in run.best.baselines.items())
        guess = f"; without a network: {without}" if without else ""
        with_ = " with the supernet's weights" if run.stage == "search" else ""
        yield f"It scores {run.best.metric} {number(run.best.value)} on {run.best.split}{with_}{guess}."
    if run.state != "done":
        yield f"The run is {run.state}; what stands here is how far it came."


class Fact(NamedTuple):
    """Something about a run in words."""

    name: str
    text: str


def setup(run: Run) -> list[Fact]:
    """What was run, on what, and where; whatever is not known is left out."""
    about = run.about
    given = {
        "task": f"{run.title} ({run.task})" if run.title != run.task else run.task,
        "data": _data(run),
        "data set": run.setting("data.dataset"),
        "settings from": ", then ".join(about.get("sources", ())),
        "fingerprint of the data": _pairs(about.get("data")),
        "samples": ", ".join(f"{number(count)} for {what}" for what, count in run.samples.items()),
        "space": "; ".join(filter(None, (_size(run), *(_space(run, side) for side in SIDES)))),
        "budget": ", ".join(f"{kind} {run.setting(f'search.budget.{kind}')}" for kind in _budgets(run)),
        "genotype": run.setting("geno"),
        "where it came from": about.get("architecture"),
        "seed": run.setting("seed"),
        "begun": about.get("date"),
        "gone on with": _times(about.get("goes", 1) - 1),
        "hardware": _pairs(about.get("hardware")),
        "threads": about.get("threads"),
        "precision": about.get("precision"),
        "versions": _pairs(about.get("versions")),
        "commit": about.get("commit"),
    }
    return [Fact(name, str(value)) for name, value in given.items() if value not in (None, "")]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times" if count > 1 else ""


def _data(run: Run) -> Any:
    root = run.setting("data.root")
    return (
        f"{root}: the built-in demo, synthetic scenes in the layout of the data set, made by make demo-data"
        if root == DEMO_ROOT
        else root
    )


def of_study(study: Study) -> list[Fact]:
    """What a study of evidence rests on."""
    searches, random = (sum(one.group == name for one in study.networks) for name in ("searched", "random"))
    # One that stands in two groups was trained once.
    different = len({(one.encoder, one.decoder) for one in study.networks})
    search, training = (f"{seconds:.0f} s" for seconds in study.seconds)
    seeds = (
        f"; a network counts as one training there, as people train it once, though the mean of its "
        f"{len(study.training_seeds)} seeds, which they would not know, finds the best: that is in favour of random"
        if study.best_of[0] > 1 < len(study.training_seeds)
        else ""
    )
    roles = {name: " and ".join(map(str, splits)) or "no split" for name, splits in study.roles.items()}
    return [
        Fact("networks", f"{searches} searched, {random} random, {different} different ones in all"),
        Fact("training seeds of each", ", ".join(map(str, study.training_seeds))),
        Fact(
            "splits",
            f"trained and searched on {roles.get('trained', '?')}; epochs chosen by {roles.get('chosen', '?')}; "
            f"compared on {roles.get('reported', '?')}, which chose nothing",
        ),
        Fact(
            "margin",
            f"{number(study.margin)}, half the deviation over training seeds, of all networks together: less is no "
            "difference that matters",
        ),
        Fact(
            "equal cost",
            f"a search takes {search}, a training {training}, so that searched networks are held against "
            + (f"the best of {study.best_of[0]} random ones" if study.best_of[0] > 1 else "the mean random one")
            + seeds,
        ),
        Fact("corrected", f"p of {len(study.comparisons)} comparisons by Holm; {MEAN_INTERVAL}"),
        Fact("date", str(study.about.get("date") or "not noted")),
    ]


SHARED = ("task", "data", "data set", "fingerprint of the data", "samples", "space")
SHARED += ("hardware", "threads", "precision", "versions")


def setup_of(runs: Sequence[Run]) -> list[Fact]:
    """What the runs of a study ran on: each thing once where all say the same, else by stage, of many the first."""
    answers: dict[str, dict[str, Counter[str]]] = {}
    for run in runs:
        for fact in setup(run):
            answers.setdefault(fact.name, {}).setdefault(run.stage, Counter())[fact.text] += 1
    return [Fact(name, _by_stage(answers[name])) for name in SHARED if name in answers]


def _by_stage(found: Mapping[str, Counter[str]]) -> str:
    if len(set().union(*found.values())) == 1:
        return next(iter(next(iter(found.values()))))
    return "; ".join(f"{stage}: {_first(texts)}" for stage, texts in found.items())


def _first(texts: Counter[str]) -> str:
    first, *others = texts
    differ = sum(texts[text] for text in others)
    return first + (f" (otherwise in {differ} of {texts.total()} runs)" if others else "")


def beyond(study: Study, runs: Sequence[Run]) -> list[Fact]:
    """Which groups of a study are above what is scored without a network, where its trainings know that."""
    trained = (run for run in runs if run.stage == "retrain" and run.scores)
    of_splits = [_on(score.baselines for score in run.scores if _counts(score, study)) for run in trained]
    baselines = next(filter(None, of_splits), {})
    return [Fact(f"beyond {name}", _above(study, name, value)) for name, value in baselines.items()]


def _above(study: Study, name: str, value: float) -> str:
    below = [group.name for group in study.groups if group.mean <= value]
    said = f"no: these groups are not above it: {', '.join(below)}" if below else "yes, the means of all groups"
    return f"{said}; {name} scores {number(value)}"


def _counts(score: Score, study: Study) -> bool:
    return score.metric == study.metric and score.split in study.splits


def _on(splits: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean over splits of what all of them have."""
    known = list(splits)
    shared = [name for name in known[0] if all(name in one for one in known)] if known else []
    return {name: sum(one[name] for one in known) / len(known) for name in shared}


def names_of(runs: Sequence[Run]) -> dict[str, str]:
    """What names of estimators, samplers and selectors stand for, as the searches noted it."""
    return {name: text for run in runs for name, text in run.names.items()}


def _budgets(run: Run) -> list[str]:
    return [kind for kind in BUDGETS if run.setting(f"search.budget.{kind}") is not None]


def _pairs(given: Any) -> str:
    """A mapping as words; anything else as it is."""
    if isinstance(given, dict):
        return ", ".join(f"{key} {value}" for key, value in given.items() if value is not None)
    return "" if given is None else str(given)


def _space(run: Run, side: str) -> str:
    candidates = run.setting(f"space.{side}.candidates")
    if not isinstance(candidates, list):
        return ""
    return f"{side}: {_blocks(run.setting(f'space.{side}.blocks'), 'block')} of {', '.join(map(str, candidates))}"
