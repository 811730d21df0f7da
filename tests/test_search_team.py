"""A step on several paths: the mean of their gradients, and the same to the bit whoever computes them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from test_end_to_end import settings
from tiny import inputs, loss, supernet
from torch import Tensor

from common import copies
from common.copies import allow
from engine import checkpoint, optim
from engine.learning import learn
from search.run import main as search
from search.stage import SearchStage
from search.supernet import Supernet
from search.team import Team

PATHS = [(0, 1, 3, 2, 1), (1, 0, 1, 3, 2), (0, 0, 2, 1, 3), (1, 1, 0, 0, 0)]
NONE = sys.platform != "linux" or torch.cuda.device_count() > 0
COPIES = pytest.mark.skipif(NONE, reason="processes are copied only on Linux and where torch sees no GPU")


@pytest.fixture(autouse=True)
def enough(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory for every copy; none behind the test."""
    monkeypatch.setattr(copies, "free", lambda: 2**50)
    yield
    allow(0)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()


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


@pytest.mark.parametrize("processes", [0, 1, pytest.param(3, marks=COPIES)])
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
    assert len(multiprocessing.active_children()) == max(0, processes - 1)
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
            helpers = multiprocessing.active_children()
            if number != 2 or not kill:
                assert len(helpers) == processes - 1  # one that fails ends
            if number == 1 and kill:
                for copy in helpers:
                    os.kill(copy.pid, signal.SIGKILL)
            if number == 2:
                one.dismiss()
                assert not multiprocessing.active_children()
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


@COPIES
def test_more_paths_than_before_find_room() -> None:
    net = supernet()
    allow(2)
    one = team(net)
    for some in (PATHS[:2], PATHS, PATHS[:3]):
        found = one.learn(some, parts())
        got = gradients(net)
        allow(0)
        again = team(net).learn(some, parts())
        allow(2)
        assert float(found["loss"]) == pytest.approx(float(again["loss"]))
        for a, b in zip(got, gradients(net), strict=True):
            assert (a is None) == (b is None) and (a is None or torch.allclose(a, b, rtol=1e-4, atol=1e-6))


@COPIES
def test_where_no_memory_in_common_is_to_be_had_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise OSError("Cannot allocate memory")

    allow(1)
    net = supernet()
    expected = float(team(net).learn(PATHS, parts())["loss"]), gradients(net)
    for name in ("in_common", "common_zeros"):
        monkeypatch.setattr(f"search.team.{name}", refuse)
    allow(3)
    net = supernet()
    found = float(team(net).learn(PATHS, parts())["loss"]), gradients(net)
    assert not multiprocessing.active_children() and found[0] == expected[0] and same(found[1], expected[1])


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
    found, seen = [], set()

    def losses(stage: SearchStage, *args: object, _as: Callable = SearchStage.losses) -> dict[str, Tensor]:
        if stage.supernet.model.training:  # no others, which judge
            seen.update(copy.pid for copy in multiprocessing.active_children())
        return _as(stage, *args)

    monkeypatch.setattr(SearchStage, "losses", losses)
    few = ["--search.sampler=fair", "--search.blend_steps=2", "--threads=1", "--model.dropout=0.3"]
    for processes in (1, 3):
        monkeypatch.setattr("engine.threads.allow", lambda _, processes=processes: allow(processes))
        name = f"of-{processes}"
        search([*settings("search", "vgd", demo, name), *few, "--search.accumulate=2"])
        found.append(checkpoint.load(Path("logs/ckpts") / name / "last.pt")["stage"]["model"])
        assert len(seen) == 2 * (processes - 1)  # those of each epoch
    assert found[0].keys() == found[1].keys() and all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert not multiprocessing.active_children()
