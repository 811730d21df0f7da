"""Answers: the official normalisation and accuracy against cases by hand and against the definition word by word."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence

import numpy as np
import pytest

from common.errors import UserError
from tasks.answers import AnswerTable, AnswerVocabulary, by_kind, normalise, official_form, vqa_accuracy


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The two Dogs.", "2 dogs"),
        (" none\n", "0"),
        ("1,000", "1000"),  # a comma inside a number goes without a space,
        ("1,000-2", "10002"),  # and so does any other mark beside such a number
        ("black,white", "black white"),
        ("black, white", "black white"),
        ("black - white", "black white"),
        ("t-shirt", "t shirt"),
        ("3.5 p.m.", "3.5 pm"),
        (".5", ".5"),
        ("yes!", "yes"),
        ("what?!", "what"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("ow's'at", "'ow's'at"),
        ("12:30", "12:30"),
        ("it's", "it's"),
        ("Im", "im"),
        ("An", "an"),
        ("(A).", "a"),
        ("(B).", "b"),
        (" The  a", "the a"),
        ("?", "?"),
        (" + -\n", "+ -"),
        (" \t", ""),
        ("ten o clock", "10 o clock"),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_the_official_form_may_be_empty() -> None:
    assert [official_form(text) for text in ("An", "(a)", "?", "...", "The dog")] == ["", "", "", "", "dog"]


def test_no_more_than_thirty_two_periods_go() -> None:
    assert normalise("." * 40 + "x") == "." * 8 + "x"


@pytest.mark.parametrize(("matches", "percent"), [(0, 0), (1, 30), (2, 60), (3, 90), (4, 100), (10, 100)])
def test_accuracy_of_ten_is_official_and_the_published_target(matches: int, percent: float) -> None:
    assert 100 * vqa_accuracy(matches, 10) == pytest.approx(percent)
    assert np.float32(vqa_accuracy(matches, 10)) == np.float32(min(1.0, 0.3 * matches))


@pytest.mark.parametrize("annotators", range(2, 14))
def test_accuracy_of_any_number_averages_over_those_left_out(annotators: int) -> None:
    enough = min(3, annotators - 1)
    for matches in range(annotators + 1):
        said = [1] * matches + [0] * (annotators - matches)
        # Every subset of all but one annotator, as the evaluation is described.
        worth = [min(1, sum(others) / enough) for others in itertools.combinations(said, annotators - 1)]
        assert vqa_accuracy(matches, annotators) == pytest.approx(sum(worth) / annotators)


@pytest.mark.parametrize("annotators", [1, 2, 3, 4, 5, 10, 50])
def test_a_unanimous_answer_is_right_and_any_answer_is_worth_something(annotators: int) -> None:
    worth = [vqa_accuracy(matches, annotators) for matches in range(annotators + 1)]
    assert worth[0] == 0 and worth[-1] == 1 and worth == sorted(worth) and min(worth[1:]) > 0
    if annotators <= 4:
        assert worth == pytest.approx([matches / annotators for matches in range(annotators + 1)])


def definition(given: Sequence[str], answer: str) -> float:
    """The evaluation of one question, written as it is described: the official one of ten, ours of other numbers."""
    people, said = [text.strip() for text in given], answer.strip()
    if len(people) != 10 or any(one != people[0] for one in people):
        people, said = [normalise(one) for one in people], normalise(said)
    if len(people) == 1:
        return float(people[0] == said)
    scores = []
    for left_out in range(len(people)):
        others = people[:left_out] + people[left_out + 1 :]
        scores.append(min(1, sum(one == said for one in others) / min(3, len(others))))
    return sum(scores) / len(scores)


def test_table_equals_the_definition() -> None:
    rng = random.Random(0)
    pool = ["yes", "Yes", "yes.", "no", "two", "2", "the dog", "dog", "dogs", "dont", "don't", "1,000", "1000", "an"]
    vocabulary = AnswerVocabulary([*sorted({normalise(answer) for answer in pool}), "two", "never"])
    given = [[rng.choice(rng.sample(pool, 3)) for _ in range(rng.choice((10, 10, 1, 2, 3, 5, 12)))] for _ in range(400)]
    table, rows = AnswerTable(given, vocabulary), np.arange(400)
    totals = np.zeros(len(vocabulary))
    for answer, word in enumerate(vocabulary.words):
        expected = [definition(people, word) for people in given]
        np.testing.assert_allclose(table.accuracy(rows, np.full(400, answer)), expected, atol=1e-12)
        totals[answer] = sum(expected)
    shuffled, answers = np.array(rng.sample(range(400), 90)), np.array(rng.choices(range(len(vocabulary)), k=90))
    expected = [definition(given[row], vocabulary.words[answer]) for row, answer in zip(shuffled, answers, strict=True)]
    np.testing.assert_allclose(table.accuracy(shuffled, answers), expected, atol=1e-12)
    best, mean = table.best_constant(rows)
    assert best == totals.argmax() and mean == pytest.approx(totals.max() / 400)


def test_agreement_to_the_letter_is_judged_as_it_stands() -> None:
    vocabulary = AnswerVocabulary(["2", "two"])
    table = AnswerTable([["two"] * 10, ["two"] * 9 + ["2"]], vocabulary)
    assert table.accuracy(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])).tolist() == [0, 1, 1, 1]
    # What the network learns is normalised all the same.
    assert table.targets(np.array([0, 1])).tolist() == [[1, 0], [1, 0]]


def test_other_than_ten_answers_are_never_judged_to_the_letter() -> None:
    vocabulary = AnswerVocabulary(["2", "red"])
    table = AnswerTable([["Two"], ["Red."] * 3, ["Red."] * 10], vocabulary)
    assert table.accuracy(np.arange(3), np.array([0, 1, 1])).tolist() == [1, 1, 0]
    assert table.targets(np.arange(3)).tolist() == [[1, 0], [0, 1], [0, 1]]


def test_answers_without_an_official_form_count_as_spelled() -> None:
    vocabulary = AnswerVocabulary.of(["A", "?", "the", "", " "], 0)
    assert vocabulary.words == ["?", "a", "the"]
    table = AnswerTable([["A"] * 10, ["a"] * 9 + ["the"], ["?"] * 6 + ["red"] * 4], vocabulary)
    scores = [[0, 1, 0], [0, 1, 0.3], [1, 0, 0]]
    np.testing.assert_allclose(table.targets(np.arange(3)), scores, rtol=1e-6)
    given = [table.accuracy(np.arange(3), np.full(3, answer)) for answer in range(3)]
    np.testing.assert_allclose(np.transpose(given), scores)


def test_targets_are_soft_scores_of_known_answers() -> None:
    asked = [["yes", "yes", "Yes.", "no", *["maybe"] * 6], ["what"]]
    table = AnswerTable(asked, AnswerVocabulary(["no", "yes"]))
    np.testing.assert_allclose(table.targets(np.array([1, 0, 0])), [[0, 0], [0.3, 0.9], [0.3, 0.9]], rtol=1e-6)
    assert table.accuracy(np.array([1]), np.array([0])).tolist() == [0]


def test_nothing_known_is_worth_nothing() -> None:
    table = AnswerTable([["what"]], AnswerVocabulary(["no"]))
    assert table.accuracy(np.array([0]), np.array([0])).tolist() == [0]
    assert table.targets(np.array([0])).tolist() == [[0]]
    assert table.best_constant(np.array([0])) == (0, 0)


def test_vocabulary_by_frequency() -> None:
    counted = ["yes"] * 4 + ["Yes."] * 2 + ["no"] * 3 + ["an apple"] * 3 + ["rare"] * 2
    assert AnswerVocabulary.of(counted, 2).words == ["yes", "apple", "no"]
    with pytest.raises(UserError, match="more than 8 questions; lower data.answer_min"):
        AnswerVocabulary.of(counted, 8)


def test_by_kind() -> None:
    assert by_kind(np.array([1.0, 0.5, 0.0]), np.array(["b", "a", "b"])) == {"a": 50.0, "b": 50.0}
    assert by_kind(np.array([1.0, 0.5]), np.array(["", "a"])) == {"a": 50.0}
    assert by_kind(np.array([1.0]), np.array([""])) == {}


def test_the_whole_validation_split_takes_seconds() -> None:
    rng = random.Random(0)
    words = [f"word{n}" for n in range(3129)]
    kinds = [[rng.choice(words)] * 7 + rng.choices(words, k=3) for _ in range(5000)]
    began = time.process_time()
    table = AnswerTable(kinds * 4, AnswerVocabulary(words))
    table.accuracy(np.arange(len(table)), np.zeros(len(table), np.int64))
    # 20,000 questions; the validation split has 214,354 and may take 20 s.
    assert time.process_time() - began < 20 * len(table) / 214_354


def test_what_most_people_gave_is_told_though_fewer_are_as_good() -> None:
    vocabulary = AnswerVocabulary(["yes", "no", "maybe"])
    table = AnswerTable([["no"] * 6 + ["yes"] * 4, ["never"] * 10, ["maybe"]], vocabulary)
    assert table.most_given(np.arange(3)).tolist() == [1, -1, 2]
    assert table.most_given(np.array([1])).tolist() == [-1]
