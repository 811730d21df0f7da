"""A baseline by words alone: the answer that training texts with the same beginning had most often"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

LONGEST = 4  # words, such as "how many dogs are"


class Beginnings:
    """What training says of texts by their first words.

    Args:
        texts: of training, as words or their ids.
        answers: to each.
    """

    def __init__(self, texts: Iterable[Sequence[Hashable]], answers: Iterable[int]) -> None:
        self._answers: dict[tuple[Hashable, ...], Counter[int]] = defaultdict(Counter)
        for words, answer in zip(texts, answers, strict=True):
            for length in range(min(LONGEST, len(words)) + 1):
                self._answers[tuple(words[:length])][answer] += 1

    def guess(self, words: Sequence[Hashable]) -> int:
        """The most frequent answer after the longest beginning that training has; of equals the smallest id."""
        for length in range(min(LONGEST, len(words)), -1, -1):
            if known := self._answers.get(tuple(words[:length])):
                return min(known, key=lambda answer: (-known[answer], answer))
        raise ValueError("there is no training text")
