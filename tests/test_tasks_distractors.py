"""Distractors: phrases among regions that other images lend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_vgd
import torch

from engine.batches import EpochBatches
from engine.distributed import Ranks
from engine.learning import whole_totals
from engine.runtime import Runtime
from genotypes.genotype import Genotype
from retrain.model import build
from space.inputs import Inputs
from space.settings import ModelSettings
from tasks.distractors import WEIGHT, among_others, twice
from tasks.vgd import VgdData, VgdSplit, VisualGrounding

GENOTYPE = Genotype("vgd", ("self_att_64",), ("rel_self_att_64", "guided_att_64"))
SETTINGS = ModelSettings(pool_hidden=8, dropout=0.0, bbox_features=True)


@pytest.fixture
def split(tmp_path: Path) -> VgdSplit:
    """Phrases about images of three or four regions, with two lenders each."""
    root = tiny_vgd.make_root(tmp_path / "root")
    return VisualGrounding(VgdData(root=str(root), distractors=2)).split("train")


def test_lent_regions_stand_behind_ones_own() -> None:
    regions = torch.arange(1.0, 10).view(3, 3, 1)
    boxes = torch.tensor([10.0, 20, 30, 40]).expand(3, 3, 4)
    hw = torch.tensor([[100.0, 200], [50, 200], [100, 100]])
    pad = torch.tensor([[False, False, True], [False] * 3, [False, False, True]])
    tokens = torch.ones(2, 1, dtype=torch.int64)
    made = among_others(
        Inputs(regions, boxes, hw, pad, tokens, tokens == 0, image_index=torch.tensor([0, 2])), np.array([[1], [2]])
    )
    images = made.regions.squeeze(-1)[made.image_index].tolist()
    # The last lends itself nothing.
    assert images == [[1, 2, 0, 0, 0], [7, 8, 0, 0, 0], [1, 2, 4, 5, 6], [7, 8, 0, 0, 0]]
    assert made.regions_pad[made.image_index].tolist() == [[not region for region in image] for image in images]
    assert made.text_index.tolist() == [0, 1, 0, 1]
    assert torch.equal(made.image_hw[made.image_index], hw[[0, 2, 0, 2]])
    lent, own = made.boxes[made.image_index[2]][[2, 1]].tolist()
    assert lent == [10, 40, 30, 80] and own == [10, 20, 30, 40]  # from 50 pixels of height to 100


def test_targets_are_repeated_and_lent_regions_are_none() -> None:
    assert twice(torch.tensor([[0.5, 0], [0, 0.75]]), 3).tolist() == [[0.5, 0, 0], [0, 0.75, 0]] * 2
    assert twice(torch.ones(1, 2, 4), 3).shape == (2, 3, 4)


def test_phrases_are_shown_twice_in_training_and_once_in_scoring(split: VgdSplit) -> None:
    indices = np.arange(6)
    drawn = split.draw(indices, np.random.default_rng(0))
    assert drawn.shape == (6, 3) and (drawn[:, 0] == indices).all()
    assert np.array_equal(drawn, split.draw(indices, np.random.default_rng(0)))
    plain, made = split.batch(indices), split.batch(drawn)
    regions = plain.inputs.regions.shape[1]
    assert len(plain.targets["overlap"]) == 6 and len(made.targets["overlap"]) == 12 == len(made.inputs.image_index)
    for half in (slice(0, 6), slice(6, 12)):
        assert torch.equal(made.targets["overlap"][half, :regions], plain.targets["overlap"])
        assert torch.equal(
            made.inputs.regions[made.inputs.image_index[half], :3], plain.inputs.regions[plain.inputs.image_index, :3]
        )
    assert not made.targets["overlap"][:, regions:].any() and made.totals == plain.totals
    assert made.targets["weight"].tolist() == [1] * 6 + [WEIGHT] * 6


def test_their_loss_is_that_of_both_passes(split: VgdSplit) -> None:
    task = VisualGrounding(split.data)
    torch.manual_seed(0)
    model = build(task, GENOTYPE, SETTINGS, 64)
    made = split.batch(split.draw(np.arange(8), np.random.default_rng(1)))
    inputs, weight = made.inputs, made.targets.pop("weight")
    halves = []
    for half in (slice(0, 8), slice(8, 16)):
        targets = {name: target[half] for name, target in made.targets.items()}
        some = inputs._replace(image_index=inputs.image_index[half], text_index=None)
        halves.append(task.loss(model, made._replace(inputs=some, targets=targets)))
    whole = task.loss(model, made._replace(targets={**made.targets, "weight": weight}))
    assert halves[0]["loss"] != halves[1]["loss"]
    for name in whole:
        torch.testing.assert_close(whole[name], halves[0][name] + WEIGHT * halves[1][name])


def test_a_batch_in_parts_teaches_the_same(split: VgdSplit) -> None:
    task = VisualGrounding(split.data)
    torch.manual_seed(0)
    model = build(task, GENOTYPE, SETTINGS, 64)
    losses = []
    for count in (1, 3):
        parts = EpochBatches(split, 8, Runtime(torch.device("cpu"), seed=0), "train", 0, count)[0]
        assert len(parts) == count
        losses.append(sum(task.loss(model, part)["loss"] for part in whole_totals(parts, Ranks())))
    torch.testing.assert_close(*losses)


def test_images_of_a_part_are_lent_by_images_of_that_part(split: VgdSplit) -> None:
    some = split.subset(np.arange(10))
    batch = some.batch(some.draw(np.arange(10), np.random.default_rng(0)))
    seen = split.batch(np.arange(10)).inputs.regions.flatten(0, 1)
    shown = batch.inputs.regions[~batch.inputs.regions_pad]
    assert (torch.cdist(shown.float(), seen.float()).amin(1) < 1e-3).all()


def test_without_them_nothing_is_drawn(split: VgdSplit) -> None:
    split.data.distractors = 0
    indices = np.arange(3)
    assert split.draw(indices, np.random.default_rng(0)) is indices
    assert "weight" not in split.batch(indices).targets
