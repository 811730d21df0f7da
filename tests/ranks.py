"""Steps and scores of every task, in one process or under torchrun: ``python ranks.py <demo> <out>``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from engine.batches import EpochBatches
from engine.runtime import Runtime, start
from genotypes.genotype import Genotype
from retrain.model import build
from retrain.settings import RetrainSettings
from retrain.stage import RetrainStage
from search.run import build as supernet_of
from search.selection import judge_of
from search.settings import SearchSettings
from search.stage import SearchStage
from search.supernet import Supernet
from search.tuning import Tuner
from space.settings import ModelSettings, SpaceSettings
from tasks.base import Task, eval_mode
from tasks.find import find_task, task_names

WIDTH, BATCH, STEPS = 64, 9, 3  # nine samples come apart unevenly
MODEL = ModelSettings(dropout=0.0, pool_hidden=16, word_width=16)
# Without relations, and without anybody who reads the text: some weights get no gradient.
BLIND = Genotype("", ("feed_forward",), ("self_att_64", "feed_forward"))
SEEING = Genotype("", ("self_att_64",), ("rel_self_att_64", "guided_att_64"))


def task_of(name: str, demo: str) -> Task:
    """The task over the demo, with negatives to mine."""
    task, _ = find_task(name)
    mined = {"hard_from": 0, "hard_pool": 4, "hard_kept": 2} if name == "itm" else {}
    return task(task.Data(root=demo, word_vectors=None, **mined))


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all of them."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def trained(stage: SearchStage | RetrainStage, runtime: Runtime, count: int) -> list[dict[str, float]]:
    """What some steps say."""
    stage.count = count
    stage.start_epoch(0)
    batches = EpochBatches(stage.split, BATCH, runtime, "train", 0, count)
    return [
        {name: float(value) for name, value in stage.train_step(batches[step], 1e-3, 0).items()}
        for step in range(STEPS)
    ]


def searched(task: Task, runtime: Runtime, count: int) -> dict[str, object]:
    """A supernet after weight and architecture steps, its validation and its pick."""
    space = SpaceSettings()
    space.encoder.blocks = space.decoder.blocks = 1
    settings = SearchSettings(
        width=WIDTH, batch_size=BATCH, epochs=2, alpha_start=0, alpha_every=1, blend_steps=1, val_images=7, judged=12
    )
    torch.manual_seed(0)
    config = SimpleNamespace(space=space, search=settings, model=MODEL)
    supernet: Supernet = supernet_of(task, config, runtime)
    stage = SearchStage(task, supernet, settings, runtime, lambda history: None)
    said = trained(stage, runtime, count)
    found = weights(supernet.model)
    # Scored with weights that are equal to the last bit.
    torch.manual_seed(1)
    for weight in supernet.weights:
        weight.detach().normal_(0, 0.05)
    paths = [(0, 0), (0, 1), (1, 2)]
    judged = judge_of(stage).losses(paths).tolist()
    tuned = Tuner(supernet, stage.split, stage.losses, settings, runtime, count).begin(paths[0], 4)
    curve = [float(tuned.step()) for _ in range(2)]
    return {"said": said, "weights": found, "scores": [stage.validated(), judged], "curve": curve}


def retrained(task: Task, genotype: Genotype, runtime: Runtime, count: int) -> dict[str, object]:
    """A network after steps, and its scores over a split that processes cannot divide evenly."""
    torch.manual_seed(0)
    model = build(task, genotype, MODEL, WIDTH)
    stage = RetrainStage(task, model, RetrainSettings(width=WIDTH, batch_size=BATCH), runtime, lambda *_: None)
    said = trained(stage, runtime, count)
    runtime.ranks.check_same(stage.replicas())
    found = weights(model)
    # Scored with weights that are equal to the last bit.
    torch.manual_seed(1)
    scored = build(task, genotype, MODEL, WIDTH)
    with eval_mode(scored):
        metrics = task.evaluate(scored, stage.val, 4).metrics
    return {"said": said, "weights": found, "scores": metrics}


def main(demo: str, out: str, count: int) -> None:
    """Everything, into a file that the first process writes."""
    torch.set_num_threads(1)
    runtime = start("cpu", 0, "fp32")
    found: dict[str, object] = {}
    for name in task_names():
        task = task_of(name, demo)
        found[name] = {
            "search": searched(task, runtime, count),
            "seeing": retrained(task, SEEING, runtime, count),
            "blind": retrained(task, BLIND, runtime, count),
        }
    if runtime.ranks.first:
        torch.save(found, Path(out))
    runtime.ranks.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
