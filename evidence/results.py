"""The result of a study: scores of every network, comparisons and verdict, as JSON and as tables."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from common.errors import UserError
from common.files import atomic_write, write_json
from engine.run import commit, today
from evidence import statistics
from evidence.cells import Done, Folder
from evidence.plan import LEAST, measured
from evidence.statistics import Comparison, Improvement, Interval, Scores
from evidence.study import RANDOM, SEARCHED, Study
from evidence.verdict import Verdict, judge
from genotypes.genotype import Genotype

SCHEMA = 1


@dataclass(frozen=True)
class Network:
    """A network that was trained with every seed.

    Args:
        name: for people.
        encoder: its operations.
        decoder: its operations.
        flops: of its backbone, for one image and one text.
        parameters: of its backbone.
        scores: by training seed, on the reported splits.
    """

    name: str
    encoder: Sequence[str]
    decoder: Sequence[str]
    flops: int
    parameters: int
    scores: Sequence[float]


@dataclass(frozen=True)
class Group:
    """Networks of one kind: their mean score, its interval (none of a single network) and their mean FLOPs."""

    name: str
    mean: float
    interval: Interval | None
    flops: float
    networks: Sequence[Network]


@dataclass(frozen=True)
class Evidence:
    """Everything that came out.

    Args:
        task: name of the task.
        metric: what scores are, higher is better, mean over the reported splits.
        splits: which split does what.
        recipe: the locked configuration, by dotted key.
        training_seeds: of every network.
        search_seconds: of a search, the median.
        training_seconds: of a training, the median.
        k: random trainings that cost as much as a search and a training.
        expected_best: what the best of k random networks is expected to score.
        groups: every group.
        comparisons: of the searched networks with the others.
        improvement: percent over the mean random network; none where that scores nothing.
        verdict: the answer.
        notes: what has to be known besides.
        provenance: commit and date.
    """

    task: str
    metric: str
    splits: Mapping[str, Sequence[str]]
    recipe: Mapping[str, Any]
    training_seeds: Sequence[int]
    search_seconds: float
    training_seconds: float
    k: int
    expected_best: float
    groups: Sequence[Group]
    comparisons: Sequence[Comparison]
    improvement: Improvement | None
    verdict: Verdict
    notes: Sequence[str]
    provenance: Mapping[str, Any]


def collect(study: Study, command: Sequence[str] = (), resamples: int = statistics.RESAMPLES) -> Evidence:
    """The evidence of all networks whose trainings are done.

    Args:
        study: whose.
        command: that it was last started with.
        resamples: of every bootstrap and test.

    Raises:
        UserError: there are too few searched or random ones.
    """
    metric = study.recipe.task.objective
    groups, missing = _groups(study, metric, resamples)
    _check_enough(groups)
    trained = [done for network in study.drawn[RANDOM] for done in study.done_trainings(network) if done]
    splits = dataclasses.asdict(study.recipe.splits)
    splits["reported"] = [name for name, of_split in trained[0].output["metrics"].items() if metric in of_split]
    times = measured(study.done_searches(), trained)
    wanted, networks = 1 + int(times.search // times.training), len(groups[RANDOM].networks)
    k = min(wanted, networks)
    by_name = {name: _scores(group) for name, group in groups.items()}
    rest = {name: scores for name, scores in by_name.items() if name not in (SEARCHED, RANDOM)}
    scores = Scores(by_name[SEARCHED], by_name[RANDOM], rest)
    comparisons = statistics.compare(scores, k, resamples)
    verdict = judge(comparisons, statistics.seed_deviation([*by_name.values()]) / 2)
    return Evidence(
        task=study.recipe.task.name,
        metric=metric,
        splits=splits,
        recipe=study.recipe.identity,
        training_seeds=[*study.training_seeds],
        search_seconds=times.search,
        training_seconds=times.training,
        k=k,
        expected_best=float(statistics.expected_best(statistics.unit_means(scores.random), k)),
        groups=[*groups.values()],
        comparisons=comparisons,
        improvement=statistics.improvement(scores, resamples),
        verdict=verdict,
        notes=[*_leaks(study), *_notes(groups, comparisons, verdict.words, missing, wanted, k)],
        provenance={"commit": commit(), "date": today(), "command": [*command]},
    )


def _leaks(study: Study) -> list[str]:
    """The breaches of the leak audit that were allowed, each once."""
    trained = [done for networks in study.drawn.values() for one in networks for done in study.done_trainings(one)]
    held = [done.output.get("audit") for done in trained if done]
    held += [done.output.get("provenance", {}).get("audit") for done in study.done_searches()]
    return [f"LEAK ALLOWED: {leak}" for leak in dict.fromkeys(leak for one in held if one for leak in one["leaks"])]


def _groups(study: Study, metric: str, resamples: int) -> tuple[dict[str, Group], list[str]]:
    """Every group that has a network whose trainings are all done, and the names of networks that have not."""
    groups, missing = {}, []
    for name, networks in study.groups().items():
        made = []
        for title, network in networks.items():
            trained = study.done_trainings(network)
            if None in trained:
                missing.append(title)
            else:
                made.append(_network(title, network, study.cost(network), trained, metric))
        if made:
            scores = np.array([one.scores for one in made])
            flops = float(np.mean([one.flops for one in made]))
            groups[name] = Group(name, float(scores.mean()), statistics.mean_interval(scores, resamples), flops, made)
    return groups, missing


def _network(title: str, network: Genotype, cost: Mapping[str, int], trained: Sequence[Done], metric: str) -> Network:
    scores = [score(done.output["metrics"], metric) for done in trained]
    return Network(title, network.encoder, network.decoder, cost["flops"], cost["parameters"], scores)


def score(metrics: Mapping[str, Mapping[str, float]], metric: str) -> float:
    """The mean of a metric over the reported splits that have it; tests without answers have none.

    Raises:
        UserError: no split has it.
    """
    values = [of_split[metric] for of_split in metrics.values() if metric in of_split]
    if not values:
        raise UserError(f"the splits {', '.join(metrics)} have no {metric}; name a data.test_split with answers")
    return float(np.mean(values))


def _scores(group: Group) -> np.ndarray:
    return np.array([network.scores for network in group.networks])


def _check_enough(groups: Mapping[str, Group]) -> None:
    for name, least in ((SEARCHED, LEAST.search_seeds), (RANDOM, LEAST.random)):
        there = len(groups[name].networks) if name in groups else 0
        if there < least:
            raise UserError(
                f"{there} {name} networks are trained, and it takes {least}; run the same command again, which tries "
                "what failed once more"
            )


def _notes(
    groups: Mapping[str, Group],
    comparisons: Sequence[Comparison],
    words: Mapping[str, str],
    missing: Sequence[str],
    wanted: int,
    k: int,
) -> list[str]:
    searched = groups[SEARCHED].networks
    distinct = len({(one.encoder, one.decoder) for one in searched})
    notes = [f"left out, as a training of theirs failed: {', '.join(missing)}"] if missing else []
    if distinct < len(searched):
        notes.append(
            f"{len(searched)} searches found {distinct} different networks; one found twice is trained once, so that "
            "its training seeds' luck counts twice"
        )
    if k < wanted:
        notes.append(f"a search and a training cost {wanted} trainings, but there are {k} random networks: best of {k}")
    if k == 1:
        notes.append("a search costs less than a training, so at equal cost it is compared with the mean of random")
    by_percentile = [one.against for one in comparisons if one.interval.method != "BCa"]
    if by_percentile:
        notes.append(f"percentile intervals, as BCa is undefined there: {', '.join(by_percentile)}")
    if {"ahead", "behind"} & set(words.values()):
        notes.append("ahead, behind: by the interval alone, as no scores of so few networks could make the test reject")
    return notes


GROUP_HEAD = ("group", "networks", "score", "95 %", "GFLOPs")
COMPARISON_HEAD = ("searched against", "difference", "95 %", "p (Holm)", "verdict")


def group_rows(evidence: Evidence) -> list[tuple[str, ...]]:
    """Texts of the table of groups."""
    return [
        (
            group.name,
            str(len(group.networks)),
            f"{group.mean:.2f}",
            _span(group.interval, ".2f") if group.interval else "",
            f"{group.flops / 1e9:.3g}",
        )
        for group in evidence.groups
    ]


def comparison_rows(evidence: Evidence) -> list[tuple[str, ...]]:
    """Texts of the table of comparisons."""
    return [
        (
            one.against,
            f"{one.difference:+.2f}",
            _span(one.interval, "+.2f"),
            f"{one.p_holm:.3g}",
            evidence.verdict.words[one.against],
        )
        for one in evidence.comparisons
    ]


def _span(interval: Interval, form: str) -> str:
    return f"{interval.low:{form}} to {interval.high:{form}}"


def tables(evidence: Evidence) -> list[Table]:
    """Both tables for the terminal."""
    made = []
    for title, head, rows in (
        (f"{evidence.task}: {evidence.metric} on {', '.join(evidence.splits['reported'])}", GROUP_HEAD, group_rows),
        ("searched networks against others", COMPARISON_HEAD, comparison_rows),
    ):
        table = Table(*head, title=title, title_justify="left")
        for row in rows(evidence):
            table.add_row(*row)
        made.append(table)
    return made


def summary(evidence: Evidence) -> list[str]:
    """What stands below the tables."""
    gain = evidence.improvement
    return [
        *([f"over the mean random network: {gain.percent:+.1f} % ({_span(gain.interval, '+.1f')})"] if gain else []),
        f"a search takes {evidence.search_seconds:.0f} s, a training {evidence.training_seconds:.0f} s: equal cost is "
        f"the best of {evidence.k} random, {evidence.expected_best:.2f} expected",
        *(f"note: {note}" for note in evidence.notes),
        f"verdict: {evidence.verdict.sentence}",
    ]


def markdown(evidence: Evidence, figure: str) -> str:
    """The same as a Markdown file."""
    lines = [f"# Searched against random networks: {evidence.task}", ""]
    lines += [f"**Verdict: {evidence.verdict.sentence}**", "", f"![scores of every network by group]({figure})", ""]
    for head, rows in ((GROUP_HEAD, group_rows(evidence)), (COMPARISON_HEAD, comparison_rows(evidence))):
        lines += [_line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    lines += [f"- {line}" for line in summary(evidence)[:-1]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write(evidence: Evidence, folder: Folder) -> None:
    """Write evidence.json and evidence.md into the folder."""
    write_json(folder.results, {"schema": SCHEMA, **dataclasses.asdict(evidence)})
    with atomic_write(folder.table) as file:
        file.write(markdown(evidence, folder.figure.name))


def next_command(study: Study) -> str:
    """What to type next: look at what the first search found. Taking the best would select by what is reported."""
    first = next(iter(study.searched()))
    path = study.folder.genotypes / study.recipe.task.name / f"search-{first}.json"
    return f"make draw GENO={shlex.quote(str(path))}"
