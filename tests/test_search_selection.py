"""Which paths train the weights, how architectures are judged, and which one is picked."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from tiny import inputs, loss, supernet

from common.copies import allow
from common.errors import UserError
from search import run
from search.judge import Judge
from search.mixed import MixedOp
from search.samplers import SAMPLERS, Alpha, Fair, Uniform
from search.selectors import Argmax, Evolution, Exact
from search.supernet import Supernet
from space.settings import Path

PARTS = [inputs(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def net() -> Supernet:
    return supernet()


def everything(net: Supernet) -> list[Path]:
    return list(product(*(range(len(block.candidates)) for block in net.blocks)))


def judge(net: Supernet) -> Judge:
    return Judge(net, PARTS, lambda part: loss(net.model, part), seed=0)


@torch.no_grad()
def alone(net: Supernet, path: Path) -> list[float]:
    net.choose(path)
    return [float(loss(net.model, part)) for part in PARTS]


@pytest.mark.parametrize("processes", [1, 3])
def test_architectures_judged_together_score_bit_for_bit_as_alone(net: Supernet, processes: int) -> None:
    paths = everything(net)
    shuffled = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
    own = []
    allow(processes)
    found = Judge(net, PARTS, lambda part: own.append(part) or loss(net.model, part), seed=0).losses(shuffled)
    allow(0)
    assert found.tolist() == [alone(net, path) for path in shuffled]
    assert len(own) == pytest.approx(found.size / processes, rel=0.3)  # copies have their own
    assert len(np.unique(found[:, 0])) == len(paths)


def test_what_paths_share_runs_once(net: Supernet) -> None:
    ran = Counter()
    handles = [
        candidate.register_forward_hook(lambda *_, place=place: ran.update([place]))
        for place, block in enumerate(net.blocks)
        for candidate in block.candidates
    ]
    judge(net).losses(everything(net))
    for handle in handles:
        handle.remove()
    assert [ran[place] // len(PARTS) for place in range(5)] == [2, 4, 4 * 4, 4 * 4**2, 4 * 4**3]


def test_the_supernet_forgets_when_it_has_been_judged(net: Supernet) -> None:
    judge(net).losses(everything(net)[:3])
    assert all(block.memory is None for block in net.blocks)
    net.choose((1, 1, 3, 3, 3))
    with torch.no_grad():
        assert float(loss(net.model, PARTS[0])) == alone(net, (1, 1, 3, 3, 3))[0]


def test_what_a_loss_draws_is_the_same_for_every_architecture_and_leaves_the_stream_alone(net: Supernet) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    drawn = Judge(net, PARTS, lambda part: loss(net.model, part) * 0 + torch.rand(()), seed=3).losses(everything(net))
    assert (drawn == drawn[0, 0]).all() and torch.equal(before, torch.get_rng_state())


def test_swaps_are_changes_of_the_loss_with_an_interval(net: Supernet) -> None:
    path = (0, 1, 2, 3, 0)
    found, own = judge(net).swaps(path), np.array(alone(net, path))
    assert [len(block) for block in found] == [1, 1, 3, 3, 3]
    for place, number in ((1, 0), (2, 0), (4, 3)):
        other = np.array(alone(net, (*path[:place], number, *path[place + 1 :])))
        changes = (other - own) / own.mean()
        change = found[place][net.blocks[place].names[number]]
        reach = 4.302653 * changes.std(ddof=1) / 3**0.5  # Student's t of two degrees of freedom, from a table
        assert change == pytest.approx((changes.mean(), changes.mean() - reach, changes.mean() + reach), rel=1e-5)


def test_exact_picks_the_lowest_loss_of_all(net: Supernet) -> None:
    wanted = min(everything(net), key=lambda path: np.mean(alone(net, path)))
    assert Exact(net, judge(net), torch.Generator(), None).pick() == wanted


def test_exact_refuses_spaces_that_are_too_large_before_a_search_begins() -> None:
    Exact.check(10_000)
    Evolution.check(10**12)
    space = ["--space.decoder.blocks=7", "--search.selector=exact"]
    with pytest.raises(UserError, match=r"this space has 65,536, more than 10,000; choose search.selector=evolution"):
        run.main(["--task=itm", "--profile=demo", "--data.root=nowhere", *space])


class Known:
    """A judge of a loss that is known without a network: the distance from one path."""

    def __init__(self, best: Path) -> None:
        self.best, self.judged = best, []

    def losses(self, paths: list[Path]) -> np.ndarray:
        self.judged += paths
        return np.array([[float(np.not_equal(path, self.best).sum())] for path in paths])


def test_evolution_finds_in_a_large_space_what_drawing_as_many_does_not() -> None:
    net, best = supernet(6, 12), (1, 0, 1, 1, 0, 0, 3, 1, 2, 0, 3, 3, 1, 0, 2, 2, 1, 0)
    known = Known(best)
    picked = Evolution(net, known, torch.Generator().manual_seed(0), None).pick()
    drawn = [Uniform().draw(net.blocks, torch.Generator().manual_seed(seed))[0] for seed in range(len(known.judged))]
    assert np.not_equal(picked, best).sum() < Known(best).losses(drawn).min() - 1
    assert (
        len(known.judged) == len(set(known.judged)) <= Evolution.population + Evolution.generations * Evolution.sample
    )


def test_evolution_begins_with_the_most_probable_path() -> None:
    net = supernet(2, 8)
    with torch.no_grad():
        for block in net.blocks:
            block.alpha[1] = 12.0
    known = Known((1,) * 10)
    assert Evolution(net, known, torch.Generator().manual_seed(0), None).pick() == (1,) * 10
    assert known.judged[0] == (1,) * 10
    # All that were drawn are that path, and children differ from it in few blocks.
    assert np.median([np.not_equal(path, 1).sum() for path in known.judged[1:20]]) <= 2


class Watched(Evolution):
    """Notes who lives whenever a parent is chosen."""

    population, sample, generations = 6, 3, 5

    def _some(self, alive: deque[Path]) -> list[Path]:
        self.judge.alive.append([*alive])
        return super()._some(alive)


def test_the_oldest_die_however_good_they_are() -> None:
    known = Known((1,) * 10)
    known.alive = []
    Watched(supernet(2, 8), known, torch.Generator().manual_seed(0), None).pick()
    generations = known.alive[::3]  # of three births each
    assert len(generations) == 5
    for before, after in pairwise(generations):
        assert len(after) == 6 and after[:3] == before[3:]


def test_argmax_asks_no_judge() -> None:
    net = supernet()
    with torch.no_grad():
        net.decoder[1].alpha[2] = 1.0
    assert Argmax(net, None, torch.Generator(), None).pick() == (0, 0, 0, 2, 0)


def blocks(*sizes: int) -> list[MixedOp]:
    return [MixedOp(["relu", "gelu", "leakyrelu", "skip_connect"][:size]) for size in sizes]


def test_uniform_does_not_follow_alpha_and_alpha_does() -> None:
    some, generator = blocks(4, 2), torch.Generator().manual_seed(0)
    with torch.no_grad():
        some[0].alpha[3] = 4.0
    counts = {
        sampler: np.mean([draw[0] == 3 for _ in range(2000) for draw in sampler().draw(some, generator)])
        for sampler in (Uniform, Alpha)
    }
    assert counts[Uniform] == pytest.approx(0.25, abs=0.04)
    assert counts[Alpha] == pytest.approx(float(some[0].probabilities[3]), abs=0.02)


def test_fair_runs_every_candidate_once_a_step_in_random_company() -> None:
    some, generator = blocks(4, 2, 3), torch.Generator().manual_seed(0)
    draws = [Fair().draw(some, generator) for _ in range(200)]
    for paths in draws:
        first, second, third = (Counter(column) for column in zip(*paths, strict=True))
        assert first == {0: 1, 1: 1, 2: 1, 3: 1} and second == {0: 2, 1: 2} and max(third.values()) == 2
    assert len({path for paths in draws for path in paths}) == 24


def test_samplers_draw_the_same_paths_again() -> None:
    some = blocks(4, 3)
    for sampler in SAMPLERS.values():
        once, again = (sampler().draw(some, torch.Generator().manual_seed(1)) for _ in range(2))
        assert once == again
