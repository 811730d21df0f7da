"""What a study comes to, by hand: equal cost counts the search, the margin is half of what seeds do, gaps are noted."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from evidence.cells import Done
from evidence.recipe import Splits
from evidence.results import collect
from genotypes.genotype import Genotype

SEARCHED = {"s0": (70, 74), "s1": (72, 72)}
RANDOM = {f"r{i}": (60 + i, 62 + i) for i in range(6)}


def study(search: float, training: float, failed: str = "") -> SimpleNamespace:
    """Two searched and six random networks whose cells took so many seconds."""
    scores = {**SEARCHED, **RANDOM}
    groups = {
        group: {name: Genotype(None, ("relu",), (name,)) for name in of}
        for group, of in (("searched", SEARCHED), ("random", RANDOM))
    }

    def trainings(network: Genotype) -> list[Done | None]:
        (name,) = network.decoder
        made = [Done(name, training, 1, {"metrics": {"test": {"accuracy": score}}}) for score in scores[name]]
        return [made[0], None] if name == failed else made

    task = SimpleNamespace(name="vqa", objective="accuracy")
    return SimpleNamespace(
        recipe=SimpleNamespace(task=task, splits=Splits(("train",), (), ("test",)), identity={}),
        training_seeds=range(2),
        drawn={"random": [*groups["random"].values()]},
        groups=lambda: groups,
        cost=lambda network: {"flops": 1, "parameters": 1},
        done_searches=lambda: [Done("", search, 1, {})] * 2,
        done_trainings=trainings,
    )


@pytest.mark.parametrize(("search", "k"), [(99, 1), (100, 2), (199, 2), (250, 3), (500, 6), (2000, 6)])
def test_equal_cost_is_as_many_random_networks_as_the_search_and_its_training_take(search: float, k: int) -> None:
    found = collect(study(search, 100), resamples=99)
    best = np.mean([max(some) for some in combinations([sum(pair) / 2 for pair in RANDOM.values()], k)])
    assert found.k == k and found.expected_best == pytest.approx(best)
    assert (found.search_seconds, found.training_seconds) == (search, 100)
    differences = {one.kind: one.difference for one in found.comparisons}
    assert differences == pytest.approx({"independent": 72 - 63.5, **({"best of k": 72 - best} if k > 1 else {})})
    notes = " ".join(found.notes)
    assert ("a search costs less than a training" in notes) == (k == 1)
    assert ("cost 21 trainings, but there are 6 random networks: best of 6" in notes) == (search == 2000)


def test_the_margin_is_half_the_deviation_of_training_seeds() -> None:
    # Variances of seeds: 8 of s0, 0 of s1, 2 of each random one.
    assert collect(study(99, 100), resamples=99).verdict.margin == pytest.approx(np.sqrt(20 / 8) / 2)


def test_a_network_with_a_training_missing_is_left_out_and_said_to_be() -> None:
    found = collect(study(99, 100, failed="r5"), resamples=99)
    assert [one.name for one in found.groups[1].networks] == ["r0", "r1", "r2", "r3", "r4"]
    assert found.notes[0] == "left out, as a training of theirs failed: r5"
