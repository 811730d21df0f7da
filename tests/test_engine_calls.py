"""What steps ask of a GPU, counted without one: no step waits for it, and none asks more than it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from counted import META, Calls, stand_in_for_a_gpu

from engine.runtime import Runtime
from genotypes.genotype import Genotype, load
from retrain.model import build
from retrain.settings import RetrainSettings
from retrain.stage import RetrainStage
from search.estimators import ESTIMATORS
from search.mixed import MixedOp
from search.settings import SearchSettings
from search.stage import SearchStage
from search.supernet import Supernet
from space.settings import ModelSettings
from tasks.assemble import assemble
from tasks.base import Batch, Task
from tasks.find import find_task

WIDTH, BATCH = 64, 8  # the number of calls depends on neither
RUNTIME = Runtime(META, seed=0)
ENCODER = ("self_att_64", "feed_forward")
DECODER = ("self_att_64", "rel_self_att_64", "guided_att_64", "feed_forward")
SMALL = Genotype("itm", ENCODER, ("rel_self_att_64", "guided_att_64"))

# Calls of a weight step on the task's published network, in a search and in a retraining, and of an architecture step
# of the published space. What has become less is written down here.
CALLS = {
    ("itm", 0): (740, 1232),
    ("itm", 16): (1120, 1508),  # with the alignment
    ("vqa", 0): (673, 1187),
    ("vgd", 0): (715, 1199),
}
MORE, FEWER = 1.03, 0.95  # what goes through unnoticed


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_a_gpu(monkeypatch)


def task_of(name: str, demo: Path) -> Task:
    task, _ = find_task(name)
    return task(task.Data(root=str(demo), word_vectors=None))


def searching(task: Task, align: int, path: Genotype, **settings: object) -> SearchStage:
    """A search that is sure of a path."""

    def blocks(**sizes: float) -> tuple[list[MixedOp], list[MixedOp]]:
        sides = (path.encoder, ENCODER), (path.decoder, DECODER)
        return tuple([MixedOp(candidates, **sizes) for _ in side] for side, candidates in sides)

    supernet = Supernet(assemble(task, ModelSettings(align_width=align), WIDTH, blocks)).to(META)
    supernet.start_from(path.encoder, path.decoder, lead=50.0)
    search = SearchSettings(width=WIDTH, batch_size=BATCH, alpha_start=0, alpha_every=1, **settings)
    return SearchStage(task, supernet, search, RUNTIME, lambda history: None)


def calls(step, *args: object) -> Calls:
    """Of a step after the optimisers' first, which make their moments."""
    with Calls():
        step(*args)
    with Calls() as counted:
        step(*args)
    return counted


def batch_of(stage: SearchStage | RetrainStage) -> list[Batch]:
    split = stage.split
    return [split.batch(split.draw(np.arange(BATCH), np.random.default_rng(0))).to(META)]


def hold(counted: Calls, known: int) -> None:
    found = sum(counted.work.values())
    assert found <= MORE * known, f"{found} calls instead of {known}: {counted.work.most_common(12)}"
    assert found >= FEWER * known, f"only {found} calls instead of {known}: write it down, so that it stays"


@pytest.mark.parametrize(("name", "align"), CALLS)
def test_steps_wait_for_nothing_and_make_no_more_calls(name: str, align: int, demo: Path) -> None:
    task, path, (step, arch_step) = task_of(name, demo), load(f"mmnas_{name}"), CALLS[name, align]
    model = build(task, path, ModelSettings(align_width=align), WIDTH).to(META)
    retraining = RetrainStage(task, model, RetrainSettings(width=WIDTH, batch_size=BATCH), RUNTIME, lambda *_: None)
    search = searching(task, align, path)
    # Architecture steps begin with epoch 0.
    for stage, epoch in ((retraining, 0), (search, -1)):
        counted = calls(stage.train_step, batch_of(stage), 1e-3, epoch)
        assert not counted.waits
        hold(counted, step)
    counted = calls(search._arch_step)
    # The next path depends on what the gates' gradients make of alpha.
    assert dict(counted.waits) == {"_to_copy": 1}
    hold(counted, arch_step)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_architecture_step_waits_once_whatever_is_estimated(estimator: str, demo: Path) -> None:
    search = searching(task_of("itm", demo), 0, SMALL, estimator=estimator)
    assert sum(calls(search._arch_step).waits.values()) == (estimator != "none")


def test_blended_steps_wait_for_nothing(demo: Path) -> None:
    search = searching(task_of("itm", demo), 0, SMALL, blend_steps=9)
    assert not calls(search.train_step, batch_of(search), 1e-3, -1).waits


@pytest.mark.parametrize("waits", [lambda x: x[x > 0], lambda x: x.sum().item(), lambda x: bool((x > 0).any())])
def test_the_stand_in_refuses_what_a_gpu_would_have_to_be_waited_for(waits) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)), Calls():
        waits(torch.zeros(3, device=META))


@pytest.mark.parametrize("waits", [lambda x: x.cpu(), lambda x: torch.ones(3).to(x), lambda x: x.multinomial(1)])
def test_the_stand_in_counts_what_would_wait_unseen(waits) -> None:
    with Calls() as counted:
        waits(torch.zeros(3, device=META))
    assert sum(counted.waits.values()) == 1
