"""Scoring, evaluating and loading to compare: both sides hold the same weights and read the same images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import textbook
from benchmarks.data import SHAPES, World, make_world
from benchmarks.measure import Planned, Row
from benchmarks.steps import BATCH, networks, relative
from engine.batches import WINDOW, shuffled
from engine.runtime import Runtime
from matching.scores import encode_images, encode_texts, score_pairs
from tasks.vqa import predict

PLAIN_PAIRS = 64  # pairs that the plain scoring takes at a time


def _scoring(mined: bool, width: int, root: Path, runtime: Runtime, samples: int) -> Row:
    """Scores of all pairs of some images and captions, or of as many drawn ones as for mined negatives."""
    world = make_world("itm", root / f"pairs-{mined}-{width}", max(4, samples // 2), SHAPES["itm"])
    count = len(np.unique(world.images))
    matrix = np.stack(np.divmod(np.arange(count * count), count), axis=1)
    drawn = np.random.default_rng(2).integers(count, size=(len(matrix), 2))
    return _pairs_row(world, drawn if mined else matrix, width, runtime)


def _pairs_row(world: World, pairs: np.ndarray, width: int, runtime: Runtime) -> Row:
    """Pairs (text, image); ours takes all of them, the plain side the first few, one text and one image a pair."""
    model, other = networks("itm", width, runtime)
    model.eval(), other.eval()
    shape, tokens, images = world.shape, world.split.tokens, np.unique(world.images)

    def scored(chosen: np.ndarray) -> np.ndarray:
        texts = encode_texts(model, tokens, np.arange(len(images)) * shape.per_image)
        encoded = encode_images(model, world.task.store, images, shape.regions)
        return score_pairs(model, texts, encoded, chosen)

    def ours() -> int:
        with torch.no_grad(), runtime.autocast():
            scored(pairs)
        return len(pairs)

    @torch.no_grad()
    def plain_scores(chosen: np.ndarray) -> torch.Tensor:
        read = textbook.read_npz(world.folder, images[chosen[:, 1]], shape.regions)
        words = textbook.pad_tokens([world.texts[text * shape.per_image] for text in chosen[:, 0]], shape.tokens)
        dense = textbook.Dense(*(part.to(runtime.device) for part in (*read, *words)))
        return other(dense).squeeze(-1)

    some = pairs[:: max(1, len(pairs) // PLAIN_PAIRS)][:PLAIN_PAIRS]

    def theirs() -> int:
        plain_scores(some).cpu()
        return len(some)

    def check() -> float:
        with torch.no_grad():
            return relative(torch.from_numpy(scored(some)), plain_scores(some))

    return Row("pairs", ours, theirs, check, 8)


def _evaluation(name: str, root: Path, runtime: Runtime, samples: int) -> Row:
    """Answers or boxes of a whole split, reading included."""
    world = make_world(name, root / "evaluation", samples, SHAPES[name])
    model, other = networks(name, 512, runtime)
    model.eval(), other.eval()
    split, count = world.split, len(world.split)

    @torch.no_grad()
    def ours() -> int:
        with runtime.autocast():
            if name == "vqa":
                predict(model, split, BATCH)
            else:
                world.task.evaluate(model, split, BATCH)
        return count

    @torch.no_grad()
    def outputs(first: int) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        some = slice(first, first + BATCH)
        read = textbook.read_npz(world.folder, world.images[some], world.shape.regions)
        words = textbook.pad_tokens(world.texts[some], world.shape.tokens)
        return other(textbook.Dense(*(part.to(runtime.device) for part in (*read, *words))))

    def theirs() -> int:
        outputs(0)
        return min(BATCH, count)

    @torch.no_grad()
    def check() -> float:
        batch = split.batch(np.arange(min(BATCH, count)))
        made, wanted = model(batch.inputs.to(runtime.device)), outputs(0)
        if name == "vqa":
            return relative(made, wanted)
        real = ~batch.inputs.regions_pad[batch.inputs.image_index]
        return relative(made[0].cpu()[real], wanted[0][:, : real.shape[1]].cpu()[real])

    return Row("samples", ours, theirs, check, 4)


def _loader(name: str, root: Path, runtime: Runtime, samples: int) -> Row:
    """Batches from the disk (from its cache, on both sides)."""
    world = make_world(name, root / "loader", WINDOW * samples, SHAPES[name])
    store, shape, draws = world.task.store, world.shape, np.random.default_rng(3)
    images = np.unique(world.images)
    # Ours reads the batches of an epoch; to the plain side, which pads to a constant, all batches are alike.
    epoch = images[shuffled(store.counts(images, shape.regions), samples, draws)].reshape(-1, samples)

    def ours() -> int:
        for some in epoch:
            store.gather(some, shape.regions)
        return len(images)

    def theirs() -> int:
        textbook.read_npz(world.folder, epoch[0], shape.regions)
        return samples

    def check() -> float:
        regions, boxes, _, pad = store.gather(images[:samples], shape.regions)
        others = textbook.read_npz(world.folder, images[:samples], shape.regions)
        wide = regions.shape[1]
        alike = torch.equal(pad, others[2][:, :wide]) and torch.equal(boxes, others[1][:, :wide])
        return relative(regions, others[0][:, :wide]) if alike else float("inf")

    return Row("images", ours, theirs, check, 8)


SCORING = [
    Planned(f"{what}-{width}", partial(_scoring, mined, width))
    for what, mined in (("scoring", False), ("mining", True))
    for width in (256, 512)
]
EVALUATION = [Planned(f"evaluation-{name}", partial(_evaluation, name)) for name in ("vqa", "vgd")]
LOADER = [Planned(f"loader-{name}", partial(_loader, name)) for name in SHAPES]
