"""Whether to believe a run: what became of a search's alpha, what speaks for the numbers and against them, in words"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from outcome.details import Details
from report.charts import number
from report.facts import VAL, Run, Score
from report.summary import Fact

MOVED = "search/alpha_total_variation"
COLLAPSED = "may have collapsed"
MOST_KINDS = 5


def reasons(run: Run) -> list[Fact]:
    """What a reader should weigh, a line each."""
    own = _of_search(run) if run.stage == "search" else _of_training(run)
    return [*own, *_common(run)]


def _of_search(run: Run) -> Iterator[Fact]:
    yield Fact("moved", _moved(run))
    if told := run.names.get(f"selector {run.setting('search.selector')}"):
        yield Fact("picked by", f"{run.setting('search.selector')}: {told}")
    if run.blocks:
        yield Fact("settled", _settled(run))
    said = [line.removeprefix("warning: ") for line in run.warnings if COLLAPSED in line]
    yield Fact(
        "collapsed",
        "; ".join(said) or "no side did: none that ends in one kind of operation was sure of it by the middle",
    )
    if "percentile" in run.standing:
        yield Fact("better than chance", _than_chance(run))
    if run.genotype is not None and run.genotype.swaps:
        open_ = sum(any(swap.undecided for swap in block.swaps) for block in run.blocks)
        yield Fact(
            "decided",
            f"{len(run.blocks) - open_} of {len(run.blocks)} blocks: in the others the interval of another operation's "
            "change of the loss holds zero, so that it may stand there as well",
        )
    yield Fact(
        "against random networks",
        "a search does not know: its scores are those of shared weights; make retrain trains the architecture, and "
        "make evidence trains random ones beside it",
    )


def _than_chance(run: Run) -> str:
    """Of a pick that was chosen by the very loss, alpha's own path says more."""
    better = run.standing["percentile"]
    of_pick = f"by the supernet's loss {better:g} % of random architectures are better than the pick"
    if run.setting("search.selector") == "argmax" or "argmax_percentile" not in run.standing:
        return f"{'yes' if better < 50 else 'no'}: {of_pick}"
    by_alpha = run.standing["argmax_percentile"]
    return (
        f"{'yes' if by_alpha < 50 else 'no'}: by the supernet's loss {by_alpha:g} % of random architectures are better "
        f"than the most probable path; than the pick {better:g} %, which was chosen by losses"
    )


def _moved(run: Run) -> str:
    provenance = run.genotype.provenance if run.genotype else {}
    if provenance.get("moved") is False:
        return "no: alpha is where the search began, so this architecture was not found"
    way = run.series.get(MOVED)
    if way is None:
        return "not noted"
    return f"yes: softmax(alpha) is {number(way.values[-1])} away from where it began (total variation, at most 1)"


def _settled(run: Run) -> str:
    last = max(block.epochs[-1] for block in run.blocks)
    when = [block.settled for block in run.blocks if block.settled is not None]
    if not when:
        return "no: there was no architecture step"
    kept = [one for one in when if one < last]
    since = f"; half of these since epoch {median(kept):g} or earlier" if kept else ""
    return (
        f"{len(kept)} of {len(run.blocks)} blocks kept their most probable operation through the last epoch, number "
        f"{last}{since}"
    )


def _of_training(run: Run) -> Iterator[Fact]:
    for score in run.scores:
        if score.metric == run.objective and score.baselines:
            yield Fact(f"beyond baselines on {score.split}", _beyond(score))
    for one in run.details:
        if below := [*_below(one)]:
            yield Fact(f"kinds below a baseline on {one.split}", f"{len(below)}: {'; '.join(below[:MOST_KINDS])}")
    if any(name.startswith("train/") for name in run.series):
        yield Fact("chosen by", _chosen(run))
    for one in filter(lambda details: details.calibration, run.details):
        yield Fact(
            f"calibration on {one.split}",
            f"certainty and {one.metric} are {number(one.calibration_error)} points apart on average: {_sureness(one)}",
        )


def _chosen(run: Run) -> str:
    if f"{VAL}/{run.objective}" not in run.series:
        return "no split chose the epoch: the last one counts"
    if len(run.series[f"{VAL}/{run.objective}"].epochs) == 1:
        return f"no split chose the epoch: {VAL} was scored once, and that epoch counts"
    if any(score.split == VAL for score in run.scores):
        return f"the best epoch was chosen on {VAL}, whose score is too high by what choosing gains"
    return f"the best epoch was chosen on {VAL}; no other split chose anything"


def _beyond(score: Score) -> str:
    name, best = max(score.baselines.items(), key=lambda one: one[1])
    of_them = ", the best of them" if len(score.baselines) > 1 else ""
    if score.interval is None:
        return f"{score.metric} {number(score.value)} against {number(best)} by {name}; no interval is known"
    low, high = score.interval
    verdict = "yes" if low > best else "no" if high < best else "not shown, as the interval holds it"
    return (
        f"{verdict}: {score.metric} {number(score.value)} ({number(low)} to {number(high)}) against {number(best)} by "
        f"{name}{of_them}"
    )


def _sureness(details: Details) -> str:
    count = sum(one.count for one in details.calibration)
    sure, right = (
        sum(one.count * getattr(one, of) for one in details.calibration) / count for of in ("certainty", "score")
    )
    word = "too sure" if sure > right else "not sure enough"
    return f"{word}, with {number(sure)} where {number(right)} is right"


def _below(details: Details) -> Iterator[str]:
    """The kinds of samples of which a baseline scores more than the network, the furthest below first."""
    found = []
    for what, rows in details.groups.items():
        for row in rows:
            name, best = max(row.baselines.items(), key=lambda one: one[1], default=("", -1.0))
            if best > row.score:
                said = f"{row.label} ({what}, {row.count} samples): {number(row.score)}, {name} {number(best)}"
                found.append((row.score - best, said))
    yield from (said for _, said in sorted(found))


def _common(run: Run) -> Iterator[Fact]:
    yield Fact(
        "chance between runs",
        f"one seed ({run.setting('seed')}): another may come out otherwise"
        + (", by more than the intervals, which are over images" if run.details else ""),
    )
    yield Fact("leaks", run.audit.removeprefix("leak audit: ") if run.audit else "no leak audit was noted")
    if run.state != "done":
        yield Fact("complete", f"no: the run is {run.state}")
