"""What is planned, what a budget cuts, which networks are drawn, and which splits may be reported."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from common.errors import UserError
from evidence import architectures, plan
from evidence.cells import Done
from evidence.plan import LEAST, Sizes, Times
from evidence.recipe import Splits
from genotypes.genotype import Genotype
from space.cost import genotype_cost
from space.settings import SideSettings, SpaceSettings

SPACE = SpaceSettings(
    SideSettings(2, ["self_att_16", "feed_forward"]),
    SideSettings(4, ["self_att_16", "rel_self_att_16", "guided_att_16", "feed_forward"]),
)
TIMES = Times(240, 120, "as given")


@cache
def flops(network: Genotype) -> int:
    return genotype_cost(network.encoder, network.decoder, width=64)["flops"]


def test_a_budget_cuts_training_seeds_then_random_networks_then_searches() -> None:
    wanted = Sizes(4, 12, 3)
    steps = [*plan._smaller(wanted)]
    assert steps[0] == wanted and steps[-1] == LEAST
    assert steps[1] == Sizes(4, 12, 2)
    assert [one.random for one in steps[1:9]] == [12, 11, 10, 9, 8, 7, 6, 5]
    assert [one.search_seeds for one in steps[8:]] == [4, 3, 2]
    for one, smaller in pairwise(steps):
        budget = plan.hours(smaller, TIMES, 1)
        assert budget < plan.hours(one, TIMES, 1)
        assert plan.cut(wanted, TIMES, 1, budget) == smaller
    assert plan.cut(wanted, TIMES, 2, plan.hours(wanted, TIMES, 1) / 2) == wanted


def test_a_budget_below_the_least_is_refused() -> None:
    with pytest.raises(UserError, match=r"BUDGET=0.1 hours are too few: 2 searches, 5 random networks and 2 training"):
        plan.cut(Sizes(), TIMES, 1, 0.1)
    with pytest.raises(UserError, match="training_seeds=1 is too few; it takes 2 at least"):
        plan.check(Sizes(5, 20, 1))


def test_times_are_of_cells_that_ran_in_one_go() -> None:
    whole, stopped = Done("a", 100.0, 1, {}), Done("b", 900.0, 3, {})
    assert plan.measured([stopped], [whole, stopped]) == Times(900, 100, "measured on 1 and 2 cells")
    assert plan.measured([], [whole]) is None


def test_fewer_random_networks_of_a_seed_are_the_first_of_more() -> None:
    more = architectures.random(SPACE, 20, 3)
    assert len(set(more)) == 20 and architectures.random(SPACE, 5, 3) == more[:5]
    assert architectures.random(SPACE, 20, 4) != more


def test_every_architecture_is_as_likely_as_any_other() -> None:
    small = SpaceSettings(SideSettings(1, ["self_att_16"]), SideSettings(1, ["self_att_16", "guided_att_16"]))
    first = [next(architectures.draw(small, np.random.default_rng(seed))) for seed in range(400)]
    assert 160 <= sum(architectures.guides(one) for one in first) <= 240
    assert len(architectures.pool(small, 0)) == 2
    with pytest.raises(UserError, match="the space has 2 architectures, too few for 5"):
        architectures.random(small, 5, 0)


def test_controls_are_what_they_are_called() -> None:
    drawn, pooled = architectures.random(SPACE, 20, 0), architectures.pool(SPACE, 0)
    made = architectures.controls(SPACE, drawn, pooled, flops, 0)
    (all_guided,), (mcan,), (largest,) = made["all guided"], made["MCAN"], made["largest"]
    assert all_guided.decoder == ("guided_att_16", "feed_forward") * 2
    assert mcan.encoder == ("self_att_16", "feed_forward")
    assert mcan.decoder == ("self_att_16", "guided_att_16", "feed_forward", "self_att_16")
    assert len(pooled) == 200 and flops(largest) == max(map(flops, pooled))
    assert made["with guided attention"] == [one for one in drawn if architectures.guides(one)]
    few = architectures.controls(SPACE, [one for one in drawn if not architectures.guides(one)], pooled, flops, 0)
    assert len(few["with guided attention"]) == architectures.GUIDED
    assert all(map(architectures.guides, few["with guided attention"]))
    searched = [largest, mcan]
    matched = architectures.matched(pooled, searched, flops)
    gaps = [abs(flops(one) - np.mean([*map(flops, searched)])) for one in pooled if one not in searched]
    assert matched not in searched and abs(flops(matched) - np.mean([*map(flops, searched)])) == min(gaps)


def test_a_space_without_guided_attention_has_the_controls_it_can_hold() -> None:
    space = SpaceSettings(SPACE.encoder, SideSettings(2, ["self_att_16", "relu", "skip_connect", "feed_forward"]))
    drawn, pooled = architectures.random(space, 5, 0), architectures.pool(space, 0)
    assert architectures.controls(space, drawn, pooled, flops, 0).keys() == {"largest"}


def test_what_selects_is_never_reported() -> None:
    Splits(("train",), ("val",), ("testA", "testB")).check()
    Splits(("train",), (), ("val",)).check()
    with pytest.raises(UserError, match="'val' would be reported, but retrain.val_every chooses the best epoch by it"):
        Splits(("train",), ("val",), ("val", "test")).check()
    with pytest.raises(UserError, match="'val' would be reported, but it is trained on"):
        Splits(("train", "val"), (), ("val",)).check()
