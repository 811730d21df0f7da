"""Which epoch of a training is kept."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.runtime import Runtime
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

    def evaluate(network: torch.nn.Module, *_: object) -> Evaluation:
        assert not network.training and not torch.is_grad_enabled()
        return Evaluation({"accuracy": told.pop(0)})

    task = SimpleNamespace(split=lambda name: split, evaluate=evaluate, objective="accuracy")
    runtime = Runtime(torch.device("cpu"), seed=0)
    stage = RetrainStage(task, model, RetrainSettings(), runtime, lambda epoch, _: found.append(epoch))
    for epoch in range(len(scores)):
        stage.end_epoch(epoch, True)
    assert found == kept and model.training
    assert stage.best == scores[kept[-1]]
