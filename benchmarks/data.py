"""Synthetic data of the published shapes: batches for training steps, and small data sets on disk to score and load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.textbook import Dense
from engine.batches import WINDOW
from readers.expressions import Expression
from readers.feature_store import FeatureStore
from space.inputs import Inputs, rows
from tasks.answers import AnswerTable, AnswerVocabulary
from tasks.base import Batch, Split, Task
from tasks.itm import ImageTextMatching, ItmData, ItmSplit
from tasks.vgd import VgdData, VgdSplit, VisualGrounding, loss_totals
from tasks.vqa import Samples, VisualQuestionAnswering, VqaData, VqaSplit
from texts.words import SPECIAL, TokenStore, Vocabulary

ANSWERS = 3129
WORDS = 10_000
SIDE = (480.0, 640.0)


@dataclass(frozen=True)
class Shape:
    """How large a task's inputs are.

    Args:
        regions: at most.
        tokens: at most.
        width: D of a region.
        fixed: whether all images have ``regions`` regions; else 10 to ``regions``, 37 on average, as the bottom-up
            detector gives.
        per_image: texts an image.
    """

    regions: int
    tokens: int
    width: int
    fixed: bool
    per_image: int


SHAPES = {
    "itm": Shape(36, 50, 2048, True, 5),
    "vqa": Shape(100, 14, 2048, False, 5),
    "vgd": Shape(100, 14, 2048, False, 7),
}
# What people have who sit at a laptop: task and shape of small real sets, and of the demo.
LAPTOP = {
    "colors": ("vgd", Shape(3, 14, 54, True, 1)),
    "easyvqa": ("vqa", Shape(16, 14, 320, True, 5)),
    "flickr8k": ("itm", Shape(36, 14, 512, True, 5)),
}
DEMO = {
    "itm": Shape(12, 50, 96, True, 5),
    "vqa": Shape(12, 14, 96, True, 5),
    "vgd": Shape(12, 14, 96, True, 7),
}


def region_counts(shape: Shape, images: int, rng: np.random.Generator) -> np.ndarray:
    """(images,) numbers of regions."""
    if shape.fixed:
        return np.full(images, shape.regions)
    low = min(10, shape.regions)
    return np.clip(np.round(low + rng.gamma(2.2, 12.5, images)), low, shape.regions).astype(np.int64)


def text_lengths(name: str, shape: Shape, texts: int, rng: np.random.Generator) -> np.ndarray:
    """(texts,) numbers of words: captions 12 on average and at most 30, questions 6.5, phrases 3.5."""
    drawn = {
        "itm": np.minimum(3 + rng.gamma(3.2, 2.9, texts), 30),
        "vqa": 3 + rng.gamma(2.5, 1.4, texts),
        "vgd": 1 + rng.poisson(2.5, texts),
    }[name]
    return np.clip(np.round(drawn), 1, shape.tokens).astype(np.int64)


def random_texts(name: str, shape: Shape, texts: int, rng: np.random.Generator) -> list[list[int]]:
    """Token ids."""
    lengths = text_lengths(name, shape, texts, rng)
    return [rng.integers(len(SPECIAL), WORDS, size).tolist() for size in lengths]


def random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,4) float32 xyxy inside an image of SIDE."""
    height, width = SIDE
    corner = rng.random((count, 2)) * (0.7 * width, 0.7 * height)
    size = (0.04 + 0.25 * rng.random((count, 2))) * (width, height)
    return np.concatenate((corner, corner + size), axis=1).astype(np.float32)


def training_batches(name: str, shape: Shape, samples: int, rng: np.random.Generator) -> list[Batch]:
    """Batches as training meets them on a large set: one, or where images differ in size some of every size."""
    if shape.fixed:
        return [training_batch(name, shape, region_counts(shape, samples, rng), rng)]
    # What engine/batches.py makes of a window of samples; every second batch from the larger end stands for all.
    window = np.sort(region_counts(shape, samples * WINDOW, rng)).reshape(WINDOW, samples)
    return [training_batch(name, shape, counts, rng) for counts in window[1::2]]


def training_batch(name: str, shape: Shape, counts: np.ndarray, rng: np.random.Generator) -> Batch:
    """A batch of images with so many regions, in which no image or text occurs by chance twice."""
    samples = len(counts)
    counts = np.tile(counts, 2) if name == "itm" else counts
    images = len(counts)
    pad = torch.from_numpy(np.arange(counts.max()) >= counts[:, None])
    regions = torch.from_numpy(rng.random((images, counts.max(), shape.width), np.float32)).half()
    boxes = torch.from_numpy(np.stack([random_boxes(counts.max(), rng) for _ in range(images)]))
    regions, boxes = (part.masked_fill(pad[..., None], 0) for part in (regions, boxes))
    texts = TokenStore(random_texts(name, shape, images, rng)).gather(np.arange(images))
    own, other = torch.arange(samples), torch.arange(samples, images)
    text, image = (torch.cat((own, other, own)), torch.cat((own, own, other))) if name == "itm" else (None, own)
    inputs = Inputs(regions, boxes, torch.tensor([SIDE] * images), pad, *texts)
    targets = {} if name == "itm" else _targets(name, pad, rng)
    totals = loss_totals(targets["overlap"]) if name == "vgd" else {}
    return Batch(inputs._replace(text_index=text, image_index=image), targets, totals)


def _targets(name: str, pad: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    samples = len(pad)
    if name == "vqa":
        scores = torch.zeros(samples, ANSWERS)
        scores[torch.arange(samples), torch.from_numpy(rng.integers(ANSWERS, size=samples))] = 0.9
        return {"scores": scores}
    overlap = torch.zeros(pad.shape)
    overlap[:, :2] = torch.from_numpy(0.5 + 0.5 * rng.random((samples, 2), np.float32))
    offsets = torch.from_numpy(rng.standard_normal((*pad.shape, 4), np.float32)) * (overlap > 0)[..., None]
    return {"overlap": overlap, "offsets": offsets}


def expand(batch: Batch, shape: Shape) -> tuple[Dense, dict[str, Tensor]]:
    """The same batch as a plain loader makes it: a text and an image for every sample, padded to constants."""
    given = batch.inputs
    more = shape.regions - given.regions.shape[1]
    dense = Dense(
        F.pad(rows(given.regions, given.image_index).float(), (0, 0, 0, more)),
        F.pad(rows(given.boxes, given.image_index), (0, 0, 0, more)),
        F.pad(rows(given.regions_pad, given.image_index), (0, more), value=True),
        F.pad(rows(given.tokens, given.text_index), (0, shape.tokens - given.tokens.shape[1])),
        F.pad(rows(given.tokens_pad, given.text_index), (0, shape.tokens - given.tokens.shape[1]), value=True),
    )
    targets = dict(batch.targets)
    if "overlap" in targets:
        targets["overlap"] = F.pad(targets["overlap"], (0, more))
        targets["offsets"] = F.pad(targets["offsets"], (0, 0, 0, more))
    return dense, targets


class _Itm(ImageTextMatching):
    def __init__(self, store: FeatureStore | None, vocabulary: Vocabulary) -> None:
        self.data, self.store, self.vocabulary = ItmData(), store, vocabulary


class _Vqa(VisualQuestionAnswering):
    def __init__(self, store: FeatureStore | None, vocabulary: Vocabulary) -> None:
        self.data, self.store, self.vocabulary = VqaData(), store, vocabulary
        self.answers = AnswerVocabulary([f"answer{number}" for number in range(ANSWERS)])


class _Vgd(VisualGrounding):
    def __init__(self, store: FeatureStore | None, vocabulary: Vocabulary) -> None:
        self.data, self.store, self.vocabulary = VgdData(), store, vocabulary


def task_of(name: str, store: FeatureStore | None = None) -> Task:
    """A task whose data are made up; without a store it only has a vocabulary, a head and a loss."""
    vocabulary = Vocabulary([*SPECIAL, *(f"word{number}" for number in range(WORDS - len(SPECIAL)))])
    return {"itm": _Itm, "vqa": _Vqa, "vgd": _Vgd}[name](store, vocabulary)


@dataclass
class World:
    """A data set on disk and what it holds.

    Args:
        task: over the store.
        split: all samples.
        folder: of one npz an image.
        texts: (samples,) token ids.
        images: (samples,) image ids.
        shape: see Shape.
    """

    task: Any
    split: Split
    folder: Path
    texts: list[list[int]]
    images: np.ndarray
    shape: Shape


def make_world(name: str, root: Path, images: int, shape: Shape, seed: int = 0) -> World:
    """Write ``images`` npz with float32 features, uncompressed, and make a split over them."""
    rng, folder = np.random.default_rng(seed), root / name
    folder.mkdir(parents=True)
    for image, count in enumerate(region_counts(shape, images, rng)):
        # Halves kept in float32: packed and unpacked features are then the same numbers.
        x = rng.random((shape.width, count), np.float32).astype(np.float16).astype(np.float32)
        size = {"image_h": SIDE[0], "image_w": SIDE[1]}
        np.savez(folder / f"{image}.npz", x=x, bbox=random_boxes(count, rng), **size)
    texts = random_texts(name, shape, images * shape.per_image, rng)
    of = np.repeat(np.arange(images), shape.per_image)
    store = FeatureStore([folder])
    task = task_of(name, store)
    return World(task, split_of(task, store, texts, of, shape), folder, texts, of, shape)


def split_of(task: Task, store: FeatureStore, texts: list[list[int]], images: np.ndarray, shape: Shape) -> Split:
    """All texts and their images as a split of a task."""
    tokens, everything = TokenStore(texts), np.arange(len(texts))
    if task.name == "itm":
        return ItmSplit(task.data, store, tokens, everything, images)
    if task.name == "vqa":
        kinds = np.full(len(texts), "other")
        given = AnswerTable(([task.answers.words[number % ANSWERS]] * 10 for number in everything), task.answers)
        return VqaSplit(Samples(everything, images, tokens, given, kinds, kinds), everything, store, shape.regions)
    expressions = [
        Expression(number, number, image, "val", [], [100.0, 100.0, 80.0, 60.0])
        for number, image in enumerate(images.tolist())
    ]
    return VgdSplit(task.data, store, expressions, tokens, everything)
