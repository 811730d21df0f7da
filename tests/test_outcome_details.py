"""What follows from samples: intervals, groups, calibration, confusions, words alone, each against something simple"""

from __future__ import annotations

import numpy as np
import pytest
import tiny_run
from scipy import stats

from outcome.beginnings import Beginnings
from outcome.details import details, extremes
from outcome.intervals import of_share, of_sum
from outcome.samples import Scored


@pytest.mark.parametrize(("right", "count"), [(0, 20), (7, 20), (20, 20), (400, 500)])
def test_samples_of_as_many_images_have_wilson_s_interval(right: int, count: int) -> None:
    values = (np.arange(count) < right).astype(float)
    wanted = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert of_share(values, np.arange(count)) == pytest.approx(wanted, abs=0.01)


def test_samples_that_images_decide_are_worth_as_many_as_there_are_images() -> None:
    images = np.repeat(np.arange(50), 8)
    values = (images < 30).astype(float)
    together, alone = of_share(values, images), of_share(values, np.arange(400))
    assert together == pytest.approx(of_share((np.arange(50) < 30).astype(float), np.arange(50)), abs=1e-9)
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), []
    for _ in range(400):
        chance = np.repeat(rng.beta(2, 1, 40), 5)  # 2 in 3 on average, images differ
        low, high = of_share((rng.random(200) < chance).astype(float), np.repeat(np.arange(40), 5))
        held.append(low <= 2 / 3 <= high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_the_interval_of_a_sum_equals_a_bootstrap_over_images() -> None:
    rng = np.random.default_rng(1)
    images, values = np.repeat(np.arange(60), 5), (rng.random(300) < 0.4).astype(float)
    once = np.where(np.arange(300) % 5 == 0, (rng.random(300) < 0.7).astype(float), np.nan)
    drawn = rng.integers(60, size=(2000, 60))
    per_image, first = values.reshape(60, 5).mean(1), once.reshape(60, 5)[:, 0]
    wanted = np.quantile(per_image[drawn].mean(1) + first[drawn].mean(1), [0.025, 0.975])
    assert of_sum([values, once], images) == pytest.approx(wanted, abs=0.02)


def test_groups_bins_and_confusions_are_counted() -> None:
    scored = tiny_run.scored()
    found = details("testA", scored)
    assert (found.samples, found.images) == (40, 10)
    assert found.groups.keys() == {"kind", "words"}  # in "alike" all are alike
    for name, rows in found.groups.items():
        assert sum(row.count for row in rows) == 40, name
        mean = sum(row.count * row.score for row in rows) / 40
        assert mean == pytest.approx(100 * scored.score.mean())
    (row,) = [row for row in found.groups["kind"] if row.label == "how many"]
    assert (row.count, row.score, row.baselines["guessing"]) == (8, 75.0, pytest.approx(11.0))
    assert [row.label for row in found.groups["words"]] == ["0", "1", "2", "3 to 4", "5 to 6", "7 to 8"]
    assert sum(one.count for one in found.calibration) == 40
    apart = sum(one.count * abs(one.certainty - one.score) for one in found.calibration) / 40
    assert found.calibration_error == pytest.approx(apart)
    (confusion,) = found.confusions
    assert confusion == ("red", "blue", 10, 40)
    low, high = found.beside["how many"].low, found.beside["how many"].high
    assert low < 75.0 < high


def test_best_and_worst_are_of_different_images_and_never_the_same_samples() -> None:
    scored = tiny_run.scored()
    best, worst = extremes(scored, 12)
    for some in (best, worst):
        assert len(set(scored.images[some])) == len(some) == 10
    assert not set(best) & set(worst)
    assert scored.order[best[0]] == scored.order.max() and scored.order[worst[0]] == scored.order.min()
    few = {**vars(scored), "order": np.where(np.arange(40) < 3, scored.order, np.nan)}
    assert [len(some) for some in extremes(type(scored)(**few))] == [1, 1]


def test_kinds_beyond_the_most_frequent_are_told_together() -> None:
    kinds = np.array([f"kind {number % 60:02}" for number in range(110)] + [""] * 10)
    score = np.arange(120) % 2.0
    base = {**vars(tiny_run.scored()), "images": np.arange(120), "score": score, "certainty": score, "order": score}
    base |= {"values": {}, "totals": {}, "baselines": {"guessing": 1 - score}, "said": None}
    rows = details("val", Scored(**{**base, "groups": {"kind": kinds}})).groups["kind"]
    assert len(rows) == 41 and rows[-1].label == "20 others"
    assert [row.count for row in rows] == [2] * 40 + [30] and sum(row.count for row in rows) == 110
    others = np.isin(kinds, [f"kind {number:02}" for number in range(40, 60)])
    assert rows[-1].score == pytest.approx(100 * score[others].mean())
    assert rows[-1].baselines["guessing"] == pytest.approx(100 - rows[-1].score)


def test_a_network_that_is_sure_of_nothing_has_no_calibration() -> None:
    scored = tiny_run.scored()
    unknown = {**vars(scored), "certainty": np.full(40, np.nan)}
    assert details("val", Scored(**unknown)).calibration == []
    half = {**vars(scored), "certainty": np.where(np.arange(40) < 20, scored.certainty, np.nan)}
    assert sum(one.count for one in details("val", Scored(**half)).calibration) == 20


def test_words_alone_take_the_longest_beginning_that_training_knows() -> None:
    texts = ["what color is it", "what color is that", "what color was it", "is it red", "is it blue"]
    alone = Beginnings([text.split() for text in texts], [7, 7, 8, 1, 2])
    assert alone.guess(["what", "color", "is", "the", "dog"]) == 7
    assert alone.guess(["what", "color", "was", "it"]) == 8
    assert alone.guess(["is", "it", "here"]) == 1  # as often as 2
    assert alone.guess(["who"]) == 7


def test_one_image_is_worth_one_sample_and_a_sum_in_which_nothing_varies_has_no_interval() -> None:
    alone = of_share(np.array([1.0, 0.0, 0.0]), np.array([7, 7, 7]))
    assert alone[1] - alone[0] > 0.75
    assert of_sum([np.ones(5), np.ones(5)], np.arange(5)) is None
    low, high = of_sum([np.array([1.0, 1, 1, 1, 0])] * 6, np.arange(5))
    assert low >= 0 and high <= 6


def test_samples_of_an_image_that_make_up_for_each_other_are_worth_no_more_than_they_are() -> None:
    values, images = np.tile([1.0, 0.0], 20), np.repeat(np.arange(20), 2)
    values[:4] = 1, 1, 0, 0  # of every other image one of two is right
    assert of_share(values, images) == pytest.approx(of_share(values, np.arange(40)), abs=0.002)


def test_the_interval_of_two_images_is_as_wide_as_two_images_allow() -> None:
    assert of_sum([np.array([0.4, 0.6])], np.arange(2)) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-4)


def test_an_answer_that_few_gave_is_a_mistake_and_the_twelve_most_frequent_mistakes_are_told() -> None:
    meant = np.repeat([f"meant {number:02}" for number in range(14)], np.arange(14, 0, -1))
    count = len(meant)
    base = {**vars(tiny_run.scored()), "images": np.arange(count), "values": {}, "totals": {}, "groups": {}}
    base |= {"score": np.full(count, 0.6), "certainty": np.full(count, 0.5), "baselines": {}}
    found = details("val", Scored(**{**base, "said": np.full(count, "said"), "meant": meant})).confusions
    assert [(one.meant, one.count) for one in found] == [(f"meant {number:02}", 14 - number) for number in range(12)]
    right = {**base, "score": np.full(count, 0.9), "said": np.full(count, "said"), "meant": meant}
    assert details("val", Scored(**right)).confusions == []


def test_baselines_stand_beside_the_score_that_they_are_of_alone() -> None:
    beside = details("testA", tiny_run.scored()).beside
    assert beside["accuracy"].baselines.keys() == {"guessing", "words alone"}
    other = {**vars(tiny_run.scored()), "values": {"overlap": np.linspace(0, 1, 40)}, "totals": {}}
    assert details("testA", Scored(**other)).beside["overlap"].baselines == {}
