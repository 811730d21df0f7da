"""A search's steps by themselves, on two blocks: going on, which half does what, whose gradients are taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ranks import MODEL, WIDTH, task_of
from test_slow_kills import same
from torch import Tensor

from engine import optim
from engine.batches import EpochBatches
from engine.distributed import Ranks
from engine.runtime import Runtime
from search.arch_step import _fetch
from search.contract import Opening
from search.run import build
from search.selection import judge_of, selector
from search.settings import SearchSettings
from search.stage import SearchStage
from space.settings import SpaceSettings
from tasks.base import Task

RUNTIME = Runtime(torch.device("cpu"), seed=0)
SETTINGS = SearchSettings(width=WIDTH, batch_size=8, epochs=3, alpha_start=1, alpha_every=2, val_images=3, judged=12)


@pytest.fixture(scope="module")
def task(demo: Path) -> Task:
    return task_of("itm", str(demo))


@pytest.fixture
def stage(task: Task) -> Callable[..., SearchStage]:
    """Makes a search of one encoder and one decoder block."""

    def made(seed: int = 0, **changed: Any) -> SearchStage:
        space = SpaceSettings()
        space.encoder.blocks = space.decoder.blocks = 1
        settings = replace(SETTINGS, **changed)
        torch.manual_seed(seed)
        config = SimpleNamespace(space=space, search=settings, model=MODEL)
        return SearchStage(task, build(task, config, RUNTIME), settings, RUNTIME, lambda history: None)

    return made


def steps(stage: SearchStage, count: int, epoch: int = 1) -> list[float]:
    batches = EpochBatches(stage.split, stage.settings.batch_size, RUNTIME, "train", epoch)
    return [float(stage.train_step(batches[step], 1e-3, epoch)["loss"]) for step in range(count)]


def test_a_stage_takes_back_all_that_it_gives(stage: Callable[..., SearchStage]) -> None:
    one, other = stage(estimator="reinforce"), stage(seed=1, estimator="reinforce")
    one.start_epoch(1)
    steps(one, 3)
    one.end_epoch(1, False)
    given, fresh = copy.deepcopy(one.state_dict()), other.state_dict()
    # Of every part there is something to take back; fp16 alone has something of the scaler.
    assert [key for key in given if same(given[key], fresh[key])] == ["scaler"]
    other.load_state_dict(given)
    assert same(other.state_dict(), given)
    # And it is used: both go on alike.
    assert steps(one, 4, epoch=2) == steps(other, 4, epoch=2)
    assert same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize(("epoch", "both"), [(0, False), (1, True)])
def test_each_half_mines_with_the_most_probable_path_and_without_dropout(
    stage: Callable[..., SearchStage], epoch: int, both: bool
) -> None:
    one, mined = stage(), {}

    def noted(half: str) -> Callable[..., None]:
        def refresh(model: torch.nn.Module, epoch: int, rng: np.random.Generator) -> None:
            mined[half] = (model.training, one.supernet.numbers(), epoch, int(rng.integers(10**9)))

        return refresh

    one.split.refresh, one.arch_split.refresh = noted("weights"), noted("architecture")
    with torch.no_grad():
        for block, best in zip(one.supernet.blocks, (1, 2), strict=True):
            block.alpha[best] = 1.0
    one.start_epoch(epoch)
    assert [*mined] == ["weights", *(["architecture"] if both else [])]
    assert {told[:3] for told in mined.values()} == {(False, (1, 2), epoch)}
    assert len({told[3] for told in mined.values()}) == len(mined)
    assert one.supernet.model.training


def test_a_genotype_is_of_the_most_probable_path(stage: Callable[..., SearchStage]) -> None:
    one = stage()
    with torch.no_grad():
        one.supernet.decoder[0].alpha[2] = 1.0
    one.supernet.choose((1, 0))
    one.end_epoch(0, False)
    (genotype,) = one.history
    assert (genotype.encoder, genotype.decoder) == (("self_att_64",), (one.supernet.decoder[0].names[2],))


def test_alpha_s_first_step_is_as_long_as_its_rate(stage: Callable[..., SearchStage]) -> None:
    one = stage(alpha_lr=0.03)
    steps(one, 2)
    moved = torch.cat([alpha.detach().abs() for alpha in one.supernet.alphas])
    assert one.arch_steps == 1 and moved.max().item() == pytest.approx(0.03, rel=1e-3)


def gradients(one: SearchStage, paths: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What a weight step on these paths has the optimiser go by; nothing moves."""
    found: dict[str, Tensor] = {}

    def noted(optimiser: object, *_: object) -> Tensor:
        named = one.supernet.model.named_parameters()
        found.update({name: weight.grad for name, weight in named if weight.grad is not None})
        one.optimiser.zero_grad()
        return torch.zeros(())

    monkeypatch.setattr(optim, "step", noted)
    one.sampler = SimpleNamespace(draw=lambda blocks, generator: paths)
    steps(one, 1, epoch=0)
    one.weight_steps = 0
    return found


def test_a_step_on_several_paths_goes_by_the_mean_of_their_gradients(
    stage: Callable[..., SearchStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stage()
    first, second = ((0, 1), (1, 2))
    alone = [gradients(one, [path], monkeypatch) for path in (first, second)]
    together = gradients(one, [first, second], monkeypatch)
    assert together.keys() == alone[0].keys() | alone[1].keys() > alone[0].keys()
    for name, gradient in together.items():
        wanted = sum(part.get(name, torch.zeros_like(gradient)) for part in alone) / 2
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_a_step_on_several_paths_tells_the_mean_of_their_losses(stage: Callable[..., SearchStage]) -> None:
    told = []
    for paths in ([(0, 1)], [(1, 2)], [(0, 1), (1, 2)]):
        one = stage()
        one.sampler = SimpleNamespace(draw=lambda blocks, generator, paths=paths: paths)
        told += steps(one, 1, epoch=0)
    assert told[0] != told[1] and told[2] == pytest.approx((told[0] + told[1]) / 2, rel=1e-5)


def test_so_many_first_steps_run_all_candidates(stage: Callable[..., SearchStage]) -> None:
    one, blended = stage(blend_steps=2), []
    blend = one.supernet.blend
    one.supernet.blend = lambda: (blended.append(one.weight_steps), blend())
    steps(one, 4)
    assert blended == [0, 1]


def test_selectors_judge_by_the_architecture_s_half_and_train_on_the_weights(
    stage: Callable[..., SearchStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, drawn = stage(), []
    draw = one.arch_split.draw
    one.arch_split.draw = lambda indices, rng: (drawn.extend(indices), draw(indices, rng))[1]
    judge = judge_of(one)
    assert len(judge.parts) == 2 and len(set(drawn)) == len(drawn) == 12
    assert selector(one, judge, "halving").tuner.split is one.split


class Twice(Ranks):
    """Two processes, of which the other one has the same numbers."""

    def __init__(self) -> None:
        super().__init__(0, 2)

    def add_tensors(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            tensor *= 2


def test_gates_gradients_of_processes_add_up_as_their_losses_do() -> None:
    openings = [[Opening(0, [0, 1], torch.tensor([1.0, 0.0]), [0], torch.ones(2) / 2), Opening(1)]]
    losses, ((gates, none),) = _fetch([torch.tensor([5.0, 1.0, -2.0])], openings, Twice())
    assert losses.tolist() == [10.0] and gates.tolist() == [2.0, -4.0] and none.tolist() == []
