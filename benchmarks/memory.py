"""Memory of the training process at the full published size of the data, in a process of its own.

Index, boxes, tokens and answers are as large as the real ones. The regions are a sparse file: of them only counts what
a process holds itself (RssAnon), as with real ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from benchmarks.data import SHAPES, Shape, random_boxes, random_texts, region_counts, split_of, task_of
from benchmarks.measure import status
from benchmarks.steps import network_of, supernet_of
from engine.batches import EpochBatches
from engine.runtime import Runtime, start
from readers.feature_store import FeatureStore
from retrain.settings import RetrainSettings
from retrain.stage import RetrainStage
from search.settings import SearchSettings
from search.stage import SearchStage
from space.settings import SpaceSettings
from tasks.base import Task

STEPS = 6
LOOK_EVERY_SECONDS = 0.005


# Full data sets: images by task, and what to call them.
SCALES = {
    "itm": (29_000, "29,000 images and 145,000 captions"),
    "vqa": (123_287, "123,287 images of 10 to 100 regions and 616,435 questions"),
    "vgd": (20_000, "20,000 images of 10 to 100 regions and 140,000 phrases"),
}


def memory_rows(root: Path, quick: bool) -> dict[str, float]:
    """MB of anonymous memory at the peak of each scale; a hundredth of the images where only asked whether it runs."""
    found = {}
    for name, (images, title) in SCALES.items():
        images, folder = images // (100 if quick else 1), root / "memory" / name
        write_pack(folder, SHAPES[name], images, np.random.default_rng(0))
        for stage in STAGES:
            argv = [sys.executable, "-m", "benchmarks.memory", stage, name, str(images), str(folder)]
            run = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
            found[f"{stage} {name}, {title}"] = float(run.stdout.splitlines()[-1])
    return found


def write_pack(folder: Path, shape: Shape, images: int, rng: np.random.Generator) -> None:
    """The pack of a feature folder that is not there: its regions are a hole in a file, its index is real."""
    place = folder.parent / ".packed" / folder.name
    place.mkdir(parents=True)
    offsets = np.concatenate(([0], np.cumsum(region_counts(shape, images, rng))))
    size = (int(offsets[-1]), shape.width)
    np.lib.format.open_memmap(place / "regions.npy", mode="w+", dtype="<f2", shape=size)
    facts = {"format": 1, "width": shape.width, "stamp": "", "fingerprint": "0" * 64}
    np.savez(
        place / "index.npz",
        ids=np.arange(images),
        offsets=offsets,
        boxes=random_boxes(size[0], rng),
        hw=np.full((images, 2), 500, np.float32),
        facts=np.array(json.dumps(facts)),
    )


class Watch(threading.Thread):
    """Notes the most anonymous memory this process holds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.over = 0.0, threading.Event()

    def run(self) -> None:
        """Look every few milliseconds until it is over."""
        while not self.over.wait(LOOK_EVERY_SECONDS):
            self.most = max(self.most, status("RssAnon"))


def searching(task: Task, runtime: Runtime) -> SearchStage:
    """A search at the published sizes whose every second step is an architecture step."""
    settings = SearchSettings(alpha_start=0, alpha_every=2)
    supernet = supernet_of(task.name, SpaceSettings(), settings.width, runtime)
    return SearchStage(task, supernet, settings, runtime, lambda _: None)


def retraining(task: Task, runtime: Runtime) -> RetrainStage:
    """The published network of a task in training."""
    settings = RetrainSettings()
    model = network_of(task.name, settings.width, runtime)
    return RetrainStage(task, model, settings, runtime, lambda *_: None)


STAGES = {"search": searching, "retrain": retraining}


def train(stage: str, name: str, images: int, folder: Path) -> float:
    """Some steps over a full data set; MB at the peak."""
    watch = Watch()
    watch.start()
    shape, rng = SHAPES[name], np.random.default_rng(0)
    store = FeatureStore([folder])
    task = task_of(name, store)
    of = np.repeat(np.arange(images), shape.per_image)
    split = split_of(task, store, random_texts(name, shape, len(of), rng), of, shape)
    task.split = lambda _: split
    runtime = start("cpu", 0, "auto")
    training = STAGES[stage](task, runtime)
    batches = EpochBatches(training.split, training.settings.batch_size, runtime, "train", 0)
    for step in range(STEPS):
        training.train_step(batches[step], 1e-4, 0)
    watch.over.set()
    return watch.most


if __name__ == "__main__":
    stage, name, images, folder = sys.argv[1:]
    print(train(stage, name, int(images), Path(folder)))
