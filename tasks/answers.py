"""Answers to questions: the official normalisation, the official accuracy, the soft scores a network is trained on.

The rules are those of the VQA evaluation (github.com/GT-Vision-Lab/VQA, vqaEval.py), its oddities included, so that
a number from here is the number its server gives. Two things that VQA does not have are added: questions that other
than ten people answered (``vqa_accuracy``), and answers of which the normalisation leaves nothing (``normalise``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError

ANNOTATORS = 10  # people who answered a question of VQA
ENOUGH = 3  # of the others must have said the same
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS_DROPPED = 32  # the official code passes re.UNICODE, which is 32, where re.sub takes its count
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
_ARTICLES = {"a", "an", "the"}
# Words the official table mends when one apostrophe is missing. Its capital forms (Im, Ive) can never match a text in
# lower case and are left out.
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {
    full[:place] + full[place + 1 :]: full
    for full in _CONTRACTED.split()
    for place, character in enumerate(full)
    if character == "'"
}
_CONTRACTIONS["somebody'd"] = "somebodyd"  # the wrong way round in the official table


def clean(text: str) -> str:
    """Without line breaks and tabs inside, and without white space around."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=1 << 18)
def official_form(text: str) -> str:
    """Lower case, no punctuation, articles or number words, whole contractions: ``"The two dogs."`` -> ``"2 dogs"``."""
    words = [_DIGITS.get(word, word) for word in _without_punctuation(clean(text)).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@lru_cache(maxsize=1 << 18)
def normalise(text: str) -> str:
    """The official form, or where that is empty the spelling in lower case: ``"A."`` -> ``"a"``, ``"?"`` -> ``"?"``.

    Letters and signs are answers too, of which the official form keeps all but "a", and no sign. Articles are kept
    without punctuation, so that "(a)" and "a" are one answer as "(b)" and "b" are. Only a blank text gives "".
    """
    spellings = (_without_punctuation(clean(text)), clean(text))
    return official_form(text) or next(filter(None, (" ".join(one.lower().split()) for one in spellings)), "")


def _without_punctuation(text: str) -> str:
    number = _COMMA_IN_NUMBER.search(text) is not None
    # A mark between two words parts them; one at a word's edge, or any mark beside a number like 1,000, just goes.
    goes = {mark: "" if number or f"{mark} " in text or f" {mark}" in text else " " for mark in _PUNCTUATION}
    return _PERIOD.sub("", text.translate(str.maketrans(goes)), _PERIODS_DROPPED)


@lru_cache(maxsize=1 << 10)
def vqa_accuracy(matches: int, annotators: int) -> float:
    """Accuracy of an answer that ``matches`` of the annotators gave: min(1, matches among the others / 3), averaged.

    The average runs over the annotators, each being left out once. Ten annotators give 0, 0.3, 0.6, 0.9, 1, ...: the
    official accuracy, and the published training target min(1, 0.3 * matches).

    With fewer than four annotators there are no three others to agree, and the formula would never reach 1, with one
    annotator never leave 0. All the others are then enough. So the formula gives matches / annotators for one to four
    annotators, a unanimous answer is worth 1 for any number of them, and one that anybody gave is worth something. The
    one annotator has no others: the answer is right if it is theirs.
    """
    if annotators == 1:
        return float(matches)
    enough = min(ENOUGH, annotators - 1)
    left_out = matches * min(1.0, (matches - 1) / enough) + (annotators - matches) * min(1.0, matches / enough)
    return left_out / annotators


def to_the_letter(given: Sequence[str]) -> bool:
    """Whether answers are compared as they stand: the official evaluation normalises nothing where all ten agree.

    Where others than ten answered, normalised answers are compared: one answer agrees with itself, and a network, which
    gives normalised answers, could never be right where it is spelled "Two". So are those without an official form.
    """
    return len(given) == ANNOTATORS and len(set(map(clean, given))) == 1 and official_form(given[0]) != ""


class AnswerVocabulary:
    """The answers a network can give, by id.

    Args:
        words: normalised answers, each once.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.ids = {word: index for index, word in enumerate(self.words)}

    @classmethod
    def of(cls, most_common: Iterable[str], more_than: int) -> AnswerVocabulary:
        """The answers that occur more than so many times, the most frequent first; blank ones are none.

        Args:
            most_common: every question's most common answer, as annotated.
            more_than: the threshold; 8 as published.

        Raises:
            UserError: no answer occurs that often.
        """
        counts = Counter(map(normalise, most_common))
        kept = sorted((-count, word) for word, count in counts.items() if word and count > more_than)
        if not kept:
            raise UserError(
                f"no answer is the most common one of more than {more_than} questions; lower data.answer_min"
            )
        return cls([word for _, word in kept])

    def __len__(self) -> int:
        return len(self.words)


class AnswerTable:
    """What every answer of a vocabulary is worth for each of Q questions, kept only where it is worth anything.

    Args:
        answers: (Q,) the annotators' answers to each question, at least one.
        vocabulary: the answers that can be given.
    """

    def __init__(self, answers: Sequence[Sequence[str]], vocabulary: AnswerVocabulary) -> None:
        self.size = len(vocabulary)
        by_spelling: dict[str, list[int]] = {}
        for word, answer in vocabulary.ids.items():
            by_spelling.setdefault(normalise(word), []).append(answer)
        offsets, ids, soft, accuracy, people = [0], [], [], [], []
        for given in answers:
            counts = _counts(given, vocabulary.ids)
            scores = {answer: [vqa_accuracy(n, len(given)), 0.0] for answer, n in counts.items()}
            for answer, n in _compared_counts(given, vocabulary.ids, by_spelling).items():
                scores.setdefault(answer, [0.0, 0.0])[1] = vqa_accuracy(n, len(given))
            ids += scores
            soft += [values[0] for values in scores.values()]
            accuracy += [values[1] for values in scores.values()]
            people += [counts[answer] for answer in scores]
            offsets.append(len(ids))
        self._offsets, self._ids = np.array(offsets, np.int64), np.array(ids, np.int64)
        self._soft, self._accuracy = np.array(soft, np.float32), np.array(accuracy)
        self._people = np.array(people, np.int64)  # who gave each; of ten, four are as good as ten in the scores

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def targets(self, rows: np.ndarray) -> Tensor:
        """(B, answers) float32 soft scores of these questions."""
        entries, valid = self._entries_of(rows)
        question, _ = np.nonzero(valid)
        scores = np.zeros((len(rows), self.size), np.float32)
        scores[question, self._ids[entries[valid]]] = self._soft[entries[valid]]
        return torch.from_numpy(scores)

    def accuracy(self, rows: np.ndarray, given: np.ndarray) -> np.ndarray:
        """(B,) official accuracy, 0 to 1, of giving the answer ``given[b]`` (an id) to the question ``rows[b]``."""
        entries, valid = self._entries_of(rows)
        if not len(self._ids):
            return np.zeros(len(rows))
        entries = np.minimum(entries, len(self._ids) - 1)
        hit = valid & (self._ids[entries] == given[:, None])
        return np.where(hit, self._accuracy[entries], 0.0).sum(1)

    def best_constant(self, rows: np.ndarray) -> tuple[int, float]:
        """The answer that scores best when it is given to all of these questions, and its mean accuracy, 0 to 1."""
        entries, valid = self._entries_of(rows)
        totals = np.bincount(self._ids[entries[valid]], self._accuracy[entries[valid]], minlength=self.size)
        return int(totals.argmax()), float(totals.max() / len(rows))

    def most_given(self, rows: np.ndarray) -> np.ndarray:
        """(B,) the known answer that most people gave to each; -1 where they gave none of those."""
        entries, valid = self._entries_of(rows)
        if not entries.size or not len(self._ids):
            return np.full(len(rows), -1)
        entries = np.minimum(entries, len(self._ids) - 1)
        people = np.where(valid, self._people[entries], 0)
        most = people.argmax(1)[:, None]
        found = np.take_along_axis(self._ids[entries], most, 1), np.take_along_axis(people, most, 1)
        return np.where(found[1] > 0, found[0], -1)[:, 0]

    def _entries_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, last = self._offsets[rows], self._offsets[rows + 1]
        entries = first[:, None] + np.arange((last - first).max(initial=0))
        return entries, entries < last[:, None]


def _counts(given: Sequence[str], ids: dict[str, int]) -> Counter[int]:
    """How many annotators gave each answer of the vocabulary, all normalised."""
    return Counter(ids[word] for word in map(normalise, given) if word in ids)


def _compared_counts(given: Sequence[str], ids: dict[str, int], by_spelling: dict[str, list[int]]) -> dict[int, int]:
    """The same as the evaluation counts, which does not always normalise."""
    if to_the_letter(given):
        answer = ids.get(clean(given[0]))
        return {} if answer is None else {answer: len(given)}
    return {answer: n for word, n in Counter(map(normalise, given)).items() for answer in by_spelling.get(word, ())}


def of_kinds(accuracy: np.ndarray, kinds: np.ndarray) -> dict[str, np.ndarray]:
    """By kind, the accuracies of its questions among NaN; "" is none."""
    return {str(kind): np.where(kinds == kind, accuracy, np.nan) for kind in np.unique(kinds) if kind != ""}


def by_kind(accuracy: np.ndarray, kinds: np.ndarray) -> dict[str, float]:
    """Mean accuracy in percent of every kind of question, by name; questions whose kind is "" are left out."""
    told = kinds != ""
    names, which = np.unique(kinds[told], return_inverse=True)
    means = np.bincount(which, accuracy[told]) / np.bincount(which)
    return {str(name): float(100 * mean) for name, mean in zip(names, means, strict=True)}
