"""Which epoch of a training is kept, and what a training is gone on with."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ranks import BATCH, MODEL, SEEING, WIDTH, task_of, trained
from test_slow_kills import same

from engine.runtime import Runtime
from retrain.model import build
from retrain.settings import RetrainSettings
from retrain.stage import RetrainStage
from tasks.base import Evaluation


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([1, 3, 2, 3, 4], [0, 1, 4]), ([5, 1], [0]), ([-2, -1], [0, 1]), ([0, 0], [0]), ([1, float("nan"), 2], [0, 2])],
)
def test_the_best_epoch_is_kept_and_of_equals_the_first(scores: list[float], kept: list[int]) -> None:
    told, found = list(scores), []
    split = SimpleNamespace(image_ids=np.arange(4), subset=lambda rows: split)
    model = torch.nn.Linear(2, 2)

    def evaluate(network: torch.nn.Module, scored: object, *_: object) -> Evaluation:
        assert scored == "val"
        assert not network.training and not torch.is_grad_enabled()
        return Evaluation({"accuracy": told.pop(0)})

    splits = {"train": split, "val": SimpleNamespace(image_ids=np.arange(4), subset=lambda rows: "val")}
    task = SimpleNamespace(split=splits.__getitem__, evaluate=evaluate, objective="accuracy")
    runtime = Runtime(torch.device("cpu"), seed=0)
    stage = RetrainStage(task, model, RetrainSettings(), runtime, lambda epoch, _: found.append(epoch))
    for epoch in range(len(scores)):
        stage.end_epoch(epoch, True)
    assert found == kept and model.training
    assert stage.best == scores[kept[-1]]


def test_a_stage_takes_back_all_that_it_gives(demo: Path) -> None:
    runtime, stages = Runtime(torch.device("cpu"), seed=0), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        task = task_of("itm", str(demo))
        model = build(task, SEEING, MODEL, WIDTH)
        stages.append(RetrainStage(task, model, RetrainSettings(width=WIDTH, batch_size=BATCH), runtime, str))
    one, other = stages
    trained(one, runtime, 1)
    one.best = 7.0
    given, fresh = copy.deepcopy(one.state_dict()), other.state_dict()
    # Of every part there is something to take back; fp16 alone has something of the scaler.
    assert [key for key in given if same(given[key], fresh[key])] == ["scaler"]
    other.load_state_dict(given)
    assert same(other.state_dict(), given)
    # And it is used: both go on alike.
    assert trained(one, runtime, 1) == trained(other, runtime, 1)
