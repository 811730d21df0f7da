"""Halving: finalists train on their own, alike, from the supernet's weights, and the slower half goes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from tiny import inputs, loss, supernet
from torch import Tensor

from common.copies import allow
from engine import optim
from engine.runtime import Runtime
from search.selectors import Halving
from search.supernet import Supernet
from search.tuning import Tuner
from space.settings import Path
from tasks.base import Batch

BEST: Path = (1, 0, 2, 1, 3)


class Judging:
    """A supernet's view: the fewer choices differ from all zeros, the lower the loss; BEST comes fifth by decoder."""

    def losses(self, paths: list[Path]) -> np.ndarray:
        first = [BEST[2:], (0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 1, 0)]
        rank = {decoder: number for number, decoder in enumerate([*first[1:], first[0]])}
        return np.array([[rank.get(path[2:], 9) + 0.1 * np.not_equal(path[:2], BEST[:2]).sum()] for path in paths])


class Curves:
    """A tuner of known curves: over the whole first round BEST is worst, over its second half best."""

    planned_steps = 400

    def __init__(self) -> None:
        self.taken: Counter[Path] = Counter()
        self.begun: dict[Path, int] = {}
        self.steps: set[int] = set()

    def begin(self, path: Path, steps: int) -> Curve:
        self.steps.add(steps)
        self.begun[path] = len(self.begun) + 1
        return Curve(self, path)


class Curve:
    """One of them."""

    def __init__(self, curves: Curves, path: Path) -> None:
        self.curves, self.path, self.number = curves, path, curves.begun[path]

    def train(self, steps: int, what: str) -> tuple[list[Tensor], int]:
        return [self.step() for _ in range(steps)], self.state_dict()

    def step(self) -> Tensor:
        self.curves.taken[self.path] += 1
        step = self.curves.taken[self.path]
        return torch.tensor(2.6 - 0.125 * step if self.path == BEST else 1 + 0.01 * sum(self.path) - 0.001 * step)

    def state_dict(self) -> int:
        return self.curves.taken[self.path]

    def load_state_dict(self, taken: int) -> None:
        self.curves.taken[self.path] = taken


def test_halving_finds_what_learns_fastest_among_those_the_supernet_thinks_best() -> None:
    curves = Curves()
    assert Halving(supernet(), Judging(), torch.Generator(), curves).pick() == BEST
    # 400 / 20 = 20 steps a round, for all eight, the better half of them and the last two.
    assert sorted(curves.taken.values()) == [20, 20, 20, 20, 40, 40, 60, 60]
    assert curves.steps == {60}
    assert len({path[2:] for path in curves.taken}) == 8  # decoders all differ
    assert {path[:2] for path in curves.taken if path[2:] in {(0, 0, 0), (0, 0, 1)}} == {BEST[:2]}


def test_where_the_decoder_has_no_choice_encoders_compete() -> None:
    net, curves = supernet(2, 0), Curves()
    assert Halving(net, Judging(), torch.Generator(), curves).pick() == (0, 0)  # the fewest choices above nought
    assert len(curves.taken) == 4


@pytest.mark.parametrize(("finalists", "rounds"), [(1, 0), (3, 2), (5, 3), (7, 3)])
def test_any_number_of_finalists_ends_with_one(monkeypatch: pytest.MonkeyPatch, finalists: int, rounds: int) -> None:
    monkeypatch.setattr(Halving, "finalists", finalists)
    curves = Curves()
    picked = Halving(supernet(), Judging(), torch.Generator(), curves).pick()
    assert max(curves.taken.values(), default=0) == 20 * rounds
    assert len(curves.taken) == (finalists if rounds else 0) and len(picked) == 5


def test_a_round_of_one_step_counts_it() -> None:
    curves = Curves()
    curves.planned_steps = 3
    Halving(supernet(), Judging(), torch.Generator(), curves).pick()
    assert sorted(curves.taken.values()) == [1, 1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("number", range(1, 9))
def test_who_diverges_does_not_win(monkeypatch: pytest.MonkeyPatch, loss: str, number: int) -> None:
    curves = Curves()
    monkeypatch.setattr(Curve, "step", lambda self: torch.tensor(1.0 if self.number == number else float(loss)))
    picked = Halving(supernet(), Judging(), torch.Generator(), curves).pick()
    assert curves.begun[picked] == number


class Endless:
    """Batches by number, as a split gives them."""

    image_ids = sizes = np.zeros(12, int)

    def __len__(self) -> int:
        return 12

    def draw(self, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return which

    def batch(self, which: np.ndarray) -> Batch:
        return Batch(inputs(seed=int(which.sum())), {})


def tuner(net: Supernet) -> Tuner:
    settings = optim.Training(epochs=4, batch_size=4, lr=1e-2)
    runtime = Runtime(torch.device("cpu"), 0)
    return Tuner(net, Endless(), lambda model, batch: {"loss": loss(model, batch.inputs)}, settings, runtime)


def test_paths_train_alike_and_the_supernet_keeps_its_weights() -> None:
    net = supernet()
    for module in net.model.modules():
        if hasattr(module, "p"):
            module.p = 0.3  # what a step draws must come from its own seed
    before, random = {name: value.clone() for name, value in net.model.state_dict().items()}, torch.get_rng_state()
    made = tuner(net)
    assert made.planned_steps == 12
    first, again, other = (made.begin(path, 6) for path in (BEST, BEST, (0, 0, 0, 0, 0)))
    losses = [[float(one.step()) for _ in range(6)] for one in (first, other, again)]
    assert losses[0] == losses[2] != losses[1] and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in net.model.state_dict().items())


def test_copies_that_train_for_this_process_change_no_number() -> None:
    found = []
    for processes in (1, 3):
        allow(processes)
        net = supernet()
        halving = Halving(net, Judging(), torch.Generator(), tuner(net))
        halving.tuner.settings.epochs = 40  # six steps a round
        found.append((halving.pick(), halving.rounds))
    allow(0)
    assert found[0] == found[1] and [len(one) for one in found[0][1]] == [8, 4, 2]


def test_the_rate_rises_and_falls_to_nothing() -> None:
    one = tuner(supernet()).begin(BEST, 20)
    rates = []
    for _ in range(20):
        one.step()
        rates.append(one.optimiser.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.5e-2) and rates[1] > 0.9e-2
    assert rates[1:] == sorted(rates[1:], reverse=True) and rates[-1] < 1e-4


def test_a_step_is_a_step_of_the_path_alone() -> None:
    net = supernet()
    one = tuner(net).begin(BEST, 10)
    net.choose(BEST)
    plain = net.discretise().train()
    (batch,) = one.batches.parts(0, 1)
    wanted = loss(plain, batch.inputs)
    wanted.backward()
    optim.step(optim.adam(plain.parameters()), 1e-2, 1.0)
    assert float(one.step()) == float(wanted.detach())
    for mine, theirs in zip(one.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
