"""What a diagnosis says of planted searches: each number by hand, each warning where it belongs and only there."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import pytest

from genotypes.genotype import Genotype
from search.diagnosis import (
    Diagnosis,
    alpha_numbers,
    changed_blocks,
    entropy,
    kinds,
    stable_epochs,
    standing,
    summary,
    total_variation,
    warnings,
)
from search.settings import SearchSettings

DECODER = ("self_att_64", "rel_self_att_64", "guided_att_64", "feed_forward")
EVEN = {"encoder": [{"relu": 1.0}], "decoder": [dict.fromkeys(DECODER, 0.25)] * 4}  # an encoder without a choice
GOOD = standing(1.0, 1.5, [2.0, 3.0, 4.0])


def epoch(steps: int, sure: float, decoder: Sequence[str], moved: bool = True) -> Genotype:
    """After so many architecture steps, with the probability of the most probable operations."""
    rest = (1 - sure) / 3
    blocks = [{name: sure if name == best else rest for name in DECODER} for best in decoder]
    probabilities = {"encoder": [{"relu": 1.0}], "decoder": blocks}
    provenance = {"architecture_steps": steps, "moved": moved}
    return Genotype("itm", ("relu",), tuple(decoder), None, provenance, probabilities)


MIXED = ("self_att_64", "guided_att_64", "feed_forward", "feed_forward")
SAME = ("guided_att_64",) * 4


def said(
    history: Sequence[Genotype], supernet: dict[str, float] = GOOD, unmoved: Sequence[str] = (), **chosen: str
) -> list[str]:
    return warnings(Diagnosis(history, EVEN, unmoved), supernet, SearchSettings(**chosen))


def test_entropy_is_that_of_the_blocks_in_nats() -> None:
    even, sure = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}, {"a": 1.0, "b": 0.0}
    assert entropy([even]) == pytest.approx(log(4))
    assert entropy([sure]) == 0
    assert entropy([even, sure, {"a": 0.5, "b": 0.5}]) == pytest.approx((log(4) + 0 + log(2)) / 3)


def test_total_variation_is_half_of_what_moved() -> None:
    start = [{"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.25, "c": 0.25}]
    assert total_variation(start, start) == 0
    assert total_variation([{"a": 1.0, "b": 0.0}, start[1]], start) == pytest.approx(0.25)  # 0.5 and 0
    assert total_variation([start[0], {"b": 0.5, "c": 0.5, "a": 0.0}], start) == pytest.approx(0.25)
    assert total_variation([{"a": 1.0, "b": 0.0}], [{"a": 0.0, "b": 1.0}]) == 1


@pytest.mark.parametrize(
    ("steps", "found", "stable", "changed"),
    [
        ([0, 0, 0], "aaa", 0, None),  # alpha has not begun
        ([0, 0, 3], "aab", 0, None),  # begun in the last
        ([0, 3, 6], "aba", 0, 50.0),
        ([3, 6, 9, 12], "abbb", 2, 0.0),
        ([3, 6, 6, 6, 9], "aabbb", 1, 0.0),  # steps in the first, second and fifth epoch
        ([3, 6, 9, 12], "aaac", 0, 100.0),
        ([3, 6, 9], "aaa", 2, 0.0),
    ],
)
def test_stability_counts_epochs_with_architecture_steps(
    steps: list[int], found: str, stable: int, changed: float | None
) -> None:
    other = ("self_att_64", "guided_att_64", "self_att_64", "self_att_64")  # two of MIXED's four
    none = ("feed_forward", "feed_forward", "guided_att_64", "self_att_64")
    layouts = {"a": MIXED, "b": other, "c": none}
    history = [epoch(number, 0.7, layouts[letter]) for number, letter in zip(steps, found, strict=True)]
    assert (stable_epochs(history), changed_blocks(history)) == (stable, changed)


def test_kinds_are_shares_of_the_blocks_and_name_those_that_none_has() -> None:
    assert kinds(epoch(1, 0.7, MIXED), "decoder") == {
        "self attention": 25.0,
        "relation attention": 0.0,
        "guided attention": 25.0,
        "feed forward": 50.0,
    }
    two = {"encoder": [{"self_att_64": 0.5, "self_att_32": 0.5}] * 2, "decoder": [{"relu": 1.0}]}
    assert kinds(Genotype(None, ("self_att_64", "self_att_32"), ("relu",), probabilities=two), "encoder") == {
        "self attention": 100.0
    }


def test_an_epoch_logs_sides_that_have_a_choice() -> None:
    history = [epoch(2, 0.4, SAME), epoch(4, 0.7, MIXED)]
    found = alpha_numbers(Diagnosis(history, EVEN))
    own = -0.7 * log(0.7) - 0.3 * log(0.1)
    assert found["search"] == pytest.approx(
        {
            "alpha_entropy": own,
            "alpha_entropy_decoder": own,
            "alpha_total_variation": 0.45,
            "argmax_stable_epochs": 0,
            "argmax_changed": 75.0,
        }
    )
    assert found.keys() == {"search", "search/decoder"}
    assert found["search/decoder"]["feed forward"] == 50.0


def test_a_pick_is_ranked_among_random_paths() -> None:
    found = standing(2.0, 5.0, [1.0, 2.0, 3.0, 4.0])
    # One is lower and one is the same: 1 + 1/2 of 4.
    assert found == {"loss": 2.0, "argmax_loss": 5.0, "random_loss": 2.5, "percentile": 37.5, "argmax_percentile": 100}
    assert standing(0.5, 0.5, [1.0, 2.0])["percentile"] == 0


def test_a_search_that_went_well_has_no_warning() -> None:
    assert said([epoch(4, 0.5, MIXED), epoch(8, 0.99, MIXED)]) == []


def test_a_collapse_is_certainty_early_and_one_kind_everywhere() -> None:
    early = [epoch(4, 0.9, MIXED), epoch(8, 0.99, SAME), epoch(16, 0.99, SAME)]
    (line,) = said(early)
    assert line.startswith("warning: alpha of the decoder may have collapsed: after 50 % of the architecture steps")
    assert "entropy was 0.07 of at most 1.39 nats, and guided attention fills every block in the end" in line
    assert said([epoch(8, 0.9, SAME), epoch(16, 0.99, SAME)]) == []  # open for half of the search
    assert said([epoch(9, 0.99, SAME), epoch(16, 0.99, SAME)]) == []  # not early
    assert said([epoch(8, 0.99, SAME), epoch(16, 0.99, MIXED)]) == []  # not one kind


def test_few_blocks_and_one_kind_to_choose_from_are_no_collapse() -> None:
    def side(names: tuple[str, ...], blocks: int) -> list[str]:
        sure = [{name: float(name == names[0]) for name in names}] * blocks
        sides = {"encoder": sure, "decoder": [{"relu": 1.0}]}
        history = [
            Genotype(None, names[:1] * blocks, ("relu",), None, {"architecture_steps": n}, sides) for n in (1, 2)
        ]
        even = {**sides, "encoder": [dict.fromkeys(names, 1 / len(names))] * blocks}
        return warnings(Diagnosis(history, even), GOOD, SearchSettings())

    assert len(side(("self_att_64", "feed_forward"), 3)) == 1
    assert side(("self_att_64", "feed_forward"), 2) == []
    assert side(("self_att_64", "self_att_32"), 3) == []


def test_a_pick_worse_than_the_median_random_path_is_warned_of() -> None:
    history, random = [epoch(4, 0.5, MIXED), epoch(8, 0.99, MIXED)], [1.0, 2.0, 3.0, 4.0]
    (line,) = said(history, standing(3.5, 3.5, random))
    assert (
        "worse than the median random path: 75 % of 100 random paths have a lower loss than its 3.5 (median 2.5)"
        in line
    )
    assert said(history, standing(2.5, 2.5, random)) == []
    assert said(history, standing(3.5, 3.5, random), selector="halving") == []  # which has trained it alone


def test_what_never_moved_is_said_too() -> None:
    (line,) = said([epoch(8, 0.25, SAME, moved=False)])
    assert line.startswith("warning: THIS GENOTYPE WAS NOT FOUND: 8 architecture steps moved no alpha of any block")
    (line,) = said([epoch(0, 0.25, SAME, moved=False)], estimator="none")
    assert line.startswith("note: search.estimator=none left alpha where the search began")
    (line,) = said([epoch(8, 0.5, MIXED)], unmoved=["decoder 1", "decoder 2"])
    assert line.startswith("note: alpha of decoder 1, decoder 2 never moved")


def test_a_summary_says_it_in_lines() -> None:
    history = [epoch(2, 0.4, SAME), epoch(4, 0.7, MIXED)]
    lines = summary(Diagnosis(history, EVEN), {**standing(2.0, 5.0, [1.0, 2.0, 3.0, 4.0]), "val/accuracy": 61.25})
    assert lines == [
        "alpha: entropy 0.94 nats (decoder 0.9404), total variation from the start 0.45",
        "most probable path: decoder 25 % self attention, 25 % guided attention, 50 % feed forward; the same for 0 "
        "epochs, 75 % of its blocks new in the last one",
        "supernet's loss: pick 2, most probable path 5, median of 100 random paths 2.5; 38 % of these are better than "
        "the pick, 100 % than the most probable path",
        "supernet's validation of the pick: accuracy 61.25",
    ]
