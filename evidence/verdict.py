"""What the comparisons amount to, in words, of which "no evidence" is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evidence.statistics import MEAN, Comparison

LEVEL = 0.05
NONE, SAME = "no evidence", "no difference that matters"
MATCHED = "FLOPs-matched"
AT_EQUAL_COST = "the best of as many random ones as the search's time would train"


@dataclass(frozen=True)
class Verdict:
    """The answer to whether searched networks are better than random ones.

    Args:
        word: better, better but not at equal cost, worse, no difference that matters, or no evidence.
        margin: the difference that has to be cleared, half the standard deviation over training seeds.
        words: of every comparison by name.
        sentence: all of it for people.
    """

    word: str
    margin: float
    words: dict[str, str]
    sentence: str


def judge(comparisons: Sequence[Comparison], margin: float) -> Verdict:
    """The verdict of all comparisons, that with the mean of random foremost."""
    words = {one.against: word(one, margin) for one in comparisons}
    first = words[MEAN]
    dear = [one for one in comparisons if one.kind == "best of k" and words[one.against] != "better"]
    overall = "better, but not at equal cost" if first == "better" and dear else first
    return Verdict(overall, margin, words, _sentence(overall, comparisons, words, margin))


def word(one: Comparison, margin: float) -> str:
    """One comparison: the interval has to clear the margin and the test to reject.

    Where there are so few networks that no scores at all would make the test reject, the interval alone gives the
    weaker words "ahead" and "behind".
    """
    low, high = one.interval.low, one.interval.high
    if -margin <= low and high <= margin:
        return SAME
    side = 1 if low > margin else -1 if high < -margin else 0
    if side and one.p_holm <= LEVEL:
        return "better" if side > 0 else "worse"
    if side and one.least_p > LEVEL and one.against != MEAN:
        return "ahead" if side > 0 else "behind"
    return NONE


def _sentence(overall: str, comparisons: Sequence[Comparison], words: dict[str, str], margin: float) -> str:
    mean = comparisons[0]
    interval, gap = mean.interval, f"{mean.difference:+.2f} against the mean random network"
    facts = f"{gap} ({interval.low:+.2f} to {interval.high:+.2f}, margin {margin:.2f}, p {mean.p_holm:.3g})"
    ending = {
        "better": "searched networks are better than random ones",
        "better, but not at equal cost": "searched networks are better than random ones",
        "worse": "searched networks are worse than random ones",
        SAME: "searched networks differ from random ones by less than training seeds do",
        NONE: "these runs do not tell searched networks from random ones",
    }[overall]
    if overall.startswith("better"):
        ending += _unshown(overall, comparisons, words)
    if overall in (NONE, SAME) and any(
        one.kind == "best of k" and words[one.against] == "worse" for one in comparisons
    ):
        ending += f", and they are worse than {AT_EQUAL_COST}"
    if overall == NONE and mean.least_p > LEVEL:
        ending += "; no scores of so few could, so run it with more search seeds and random networks"
    return f"{overall}: {ending}; {facts}"


def _unshown(overall: str, comparisons: Sequence[Comparison], words: dict[str, str]) -> str:
    """What networks that are better than the mean of random are not shown to be better than."""
    limits = [AT_EQUAL_COST] if overall != "better" else []
    matched = next((one for one in comparisons if one.against == MATCHED), None)
    if matched and words[MATCHED] not in ("better", "ahead"):
        limits.append(f"a random one of as many FLOPs ({matched.difference:+.2f} against it)")
    return f", but not shown to be better than {', nor than '.join(limits)}" if limits else ""
