"""A step on several paths: the mean of their gradients, and the same to the bit whoever computes them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from test_end_to_end import settings
from tiny import inputs, loss, supernet
from torch import Tensor

from common.copies import allow
from engine import checkpoint, optim
from engine.learning import learn
from search.run import main as search
from search.supernet import Supernet
from search.team import Team

PATHS = [(0, 1, 3, 2, 1), (1, 0, 1, 3, 2), (0, 0, 2, 1, 3), (1, 1, 0, 0, 0)]
COPIES = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are processes copied")


@pytest.fixture(autouse=True)
def alone_behind() -> Iterator[None]:
    yield
    allow(0)


class Part(tuple):
    """Inputs as the half of a batch."""

    share = 0.5


def team(net: Supernet, dropout: float = 0.0) -> Team:
    """Of a supernet on a smooth loss of inputs, of which the network drops some."""
    net.model.train()

    def losses(part: Part) -> dict[str, Tensor]:
        kept = torch.nn.functional.dropout(part[0].regions, dropout)
        return {"loss": loss(net.model, part[0]._replace(regions=kept))}

    return Team(net, lambda parts, share: learn(parts, losses, lambda found: (found * share).backward()))


def parts(seed: int = 0) -> list[Part]:
    return [Part([inputs(seed=number)]) for number in (seed, seed + 100)]


def gradients(net: Supernet) -> list[Tensor | None]:
    found = [None if weight.grad is None else weight.grad.clone() for weight in net.weights]
    for weight in net.weights:
        weight.grad = None
    return found


def same(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> bool:
    return all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_the_gradient_is_the_mean_of_the_paths_and_weights_of_none_have_none(processes: int) -> None:
    net = supernet()
    total: list[Tensor | None] = [None] * len(net.weights)
    numbers = []
    for path in PATHS[:3]:
        net.choose(path)
        own = sum(loss(net.model, part[0]) for part in parts())
        own.backward()
        numbers.append(float(own.detach()))
        total = [b if a is None else a if b is None else a + b for a, b in zip(total, gradients(net), strict=True)]
    allow(processes)
    found = team(net).learn(PATHS[:3], parts())
    assert float(found["loss"]) == pytest.approx(sum(numbers) / 3)
    for expected, got in zip(total, gradients(net), strict=True):
        assert (expected is None) == (got is None)
        if expected is not None:
            torch.testing.assert_close(got, expected / 3, rtol=1e-4, atol=1e-6)
    assert any(one is None for one in total)  # the candidates of the fourth path


@COPIES
@pytest.mark.parametrize("killed", [False, True])
def test_however_many_share_the_paths_training_is_the_same_to_the_bit(killed: bool) -> None:
    def trained(processes: int, kill: bool = False) -> tuple[list[Tensor], list[float], Tensor]:
        net = supernet()
        allow(processes)
        one, optimiser = team(net, dropout=0.5), optim.adam(net.weights)
        torch.manual_seed(7)
        losses = []
        for number in range(4):
            losses.append(float(one.learn(PATHS, parts(number))["loss"]))
            optim.step(optimiser, 1e-3, 1.0)
            if number == 1 and kill:
                for copy in multiprocessing.active_children():
                    os.kill(copy.pid, signal.SIGKILL)
            if number == 2:
                one.dismiss()
        return [weight.detach().clone() for weight in net.weights], losses, torch.get_rng_state()

    alone, shared = trained(1), trained(3, killed)
    assert same(alone[0], shared[0]) and alone[1] == shared[1] and torch.equal(alone[2], shared[2])
    assert len(set(alone[1])) == 4


def test_where_none_may_help_the_paths_draw_the_same_numbers() -> None:
    found = []
    for processes in (0, 1):
        net = supernet()
        allow(processes)
        torch.manual_seed(3)
        found.append((float(team(net, dropout=0.5).learn(PATHS, parts())["loss"]), gradients(net)))
    assert found[0][0] == found[1][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_single_path_draws_on_from_where_the_run_is() -> None:
    net, once = supernet(), parts()
    torch.manual_seed(3)
    team(net, dropout=0.5).learn(PATHS[:1], once)
    found = gradients(net)
    torch.manual_seed(3)
    net.choose(PATHS[0])
    for part in once:
        kept = torch.nn.functional.dropout(part[0].regions, 0.5)
        loss(net.model, part[0]._replace(regions=kept)).backward()
    assert same(found, gradients(net))


@COPIES
def test_a_search_by_fair_sampling_is_the_same_with_copies_and_leaves_none_behind(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for processes in (1, 3):
        monkeypatch.setattr("engine.threads.allow", lambda _, processes=processes: allow(processes))
        name = f"of-{processes}"
        search([*settings("search", "vgd", demo, name), "--search.sampler=fair", "--threads=1", "--model.dropout=0.3"])
        found.append(checkpoint.load(Path("logs/ckpts") / name / "last.pt")["stage"]["model"])
    assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert not multiprocessing.active_children()
