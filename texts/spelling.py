"""Misspelt words: what no source of vectors knows and lies one letter away from a word of the same texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from difflib import SequenceMatcher

SHORTEST = 4  # letters; too many shorter words lie one letter apart
OFTEN = 5  # times as often as a mistake the word is written that is meant


def misspelt(counts: Mapping[str, int], known: Container[str]) -> dict[str, str]:
    """The word that is meant by each that is not known, where one is close and ``OFTEN`` times as frequent.

    Two are close where each has at most one letter that the other lacks: it was left out, added, changed or moved. Of
    several the most frequent is meant (as P. Norvig, "How to write a spelling corrector", 2007), then the most alike.
    Words of fewer than ``SHORTEST`` letters, and what has other characters than letters, are left alone.

    Args:
        counts: how often every word of the texts is in them.
        known: the words that are no mistakes.
    """
    near: dict[str, list[str]] = defaultdict(list)
    for word in filter(_spelt, counts):
        if word in known:
            for part in _parts(word):
                near[part].append(word)
    meant = {word: _meant(word, counts, near) for word in filter(_spelt, counts) if word not in known}
    return {word: other for word, other in meant.items() if other and counts[other] >= OFTEN * counts[word]}


def _meant(word: str, counts: Mapping[str, int], near: Mapping[str, list[str]]) -> str | None:
    close = {other for part in _parts(word) for other in near.get(part, ())}
    likely = {other: (counts[other], SequenceMatcher(None, word, other).ratio(), other) for other in close}
    return max(likely, key=likely.__getitem__, default=None)


def _spelt(word: str) -> bool:
    return len(word) >= SHORTEST and word.isalpha()


def _parts(word: str) -> set[str]:
    """The word, and what is left of it without one of its letters."""
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}
