"""Visual grounding: targets, the reference's loss, predicted boxes, accuracy, and names that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_reference, needs_reference
from torch import nn

from common.errors import UserError
from tasks.base import Batch
from tasks.boxes import encode, overlaps
from tasks.vgd import OFFSET_SCALE, VgdData, VisualGrounding, grounding_loss
from tools.demo_data import make_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=40)


@pytest.mark.parametrize(
    ("options", "tests"),
    [
        ({}, ["testA", "testB"]),
        ({"dataset": "refcoco+", "feat": "coco_mrcn"}, ["testA", "testB"]),
        ({"dataset": "refcocog", "feat": "coco_mrcn"}, ["test"]),
        ({"dataset": "refcocog", "split_by": "google"}, ["val"]),
    ],
)
def test_every_data_set_is_read(demo: Path, options: dict[str, str], tests: list[str]) -> None:
    task = VisualGrounding(VgdData(root=str(demo), **options))
    assert task.test_splits == tests
    train = set(task.split("train").image_ids.tolist())
    assert all(len(task.split(name)) and not train & set(task.split(name).image_ids.tolist()) for name in tests)


def test_targets_are_those_of_a_slow_count(demo: Path) -> None:
    split = VisualGrounding(VgdData(root=str(demo))).split("train")
    indices = np.arange(0, 30, 2)
    batch = split.batch(indices, np.random.default_rng(0))
    assert len(batch.inputs.regions) == len(np.unique(split.image_ids[indices]))
    for sample, index in enumerate(indices):
        image = int(batch.inputs.image_index[sample])
        for region, box in enumerate(batch.inputs.boxes[image].numpy()):
            found = overlaps(box[None], split.boxes[index][None])[0, 0]
            if batch.inputs.regions_pad[image, region] or found < 0.5:
                assert batch.targets["overlap"][sample, region] == 0
            else:
                assert batch.targets["overlap"][sample, region] == pytest.approx(found, rel=1e-5)
                wanted = encode(box[None], split.boxes[index][None])[0] / OFFSET_SCALE
                np.testing.assert_allclose(batch.targets["offsets"][sample, region], wanted, rtol=1e-4, atol=1e-5)


@needs_reference
def test_the_loss_of_the_reference() -> None:
    facts, tensors = load_reference("vgd")
    t = {name: torch.from_numpy(value) for name, value in tensors.items()}
    losses = grounding_loss(
        t["outputs/pred_scores"], t["outputs/pred_reg"], t["targets/scores"], t["targets/transformed_bbox"]
    )
    # These scores are the reference's own, padded regions among them, which with ours would not count.
    assert float(losses["loss"]) == pytest.approx(facts["loss"], rel=1e-5)
    padded = t["inputs/frcn_feat"].eq(0).all(-1)
    ours = grounding_loss(
        t["outputs/pred_scores"].masked_fill(padded, torch.finfo(torch.float32).min),
        t["outputs/pred_reg"],
        t["targets/scores"],
        t["targets/transformed_bbox"],
    )
    assert float(ours["loss"]) < facts["loss"] and torch.isfinite(ours["loss"])


def test_phrases_without_a_region_teach_nothing_and_break_nothing() -> None:
    scores, offsets = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    loss = grounding_loss(scores, offsets, torch.zeros(2, 5), torch.zeros(2, 5, 4))["loss"]
    loss.backward()
    assert float(loss) == 0 and not scores.grad.any() and not offsets.grad.any()


class Oracle(nn.Module):
    """Chooses the region that overlaps the truth most, with the true offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.batch: Batch | None = None

    def forward(self, inputs: object) -> tuple[torch.Tensor, torch.Tensor]:
        return self.batch.targets["overlap"], self.batch.targets["offsets"]


def test_an_oracle_scores_what_its_regions_allow(demo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task = VisualGrounding(VgdData(root=str(demo)))
    split, oracle = task.split("val"), Oracle()
    make = type(split).batch

    def watched(self: object, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        oracle.batch = make(self, indices, rng)
        return oracle.batch

    monkeypatch.setattr(type(split), "batch", watched)
    found = task.evaluate(oracle, split, 7)
    reachable = (make(split, np.arange(len(split)), None).targets["overlap"] > 0).any(1).float().mean()
    assert found.metrics["accuracy"] == pytest.approx(100 * float(reachable), abs=1e-3) and reachable > 0.8
    (path,) = task.save_predictions(found.predictions, tmp_path, "v", "val")
    written = json.loads(path.read_text())
    assert path.name == "result_run_v_val.json" and len(written) == len(split)
    assert written[3].keys() == {"ref_id", "sent_id", "box", "score"}
    hits = [overlaps(np.array([w["box"]]), box[None])[0, 0] > 0.99 for w, box in zip(written, split.boxes, strict=True)]
    assert np.mean(hits) == pytest.approx(float(reachable), abs=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": "refcocos"}, "DATASET='refcocos' is unknown .*did you mean 'refcoco'"),
        ({"feat": "resnet"}, "FEAT='resnet' is unknown .*vg_woref, coco_mrcn"),
        ({"split_by": "umd"}, "data.split_by='umd' is unknown .*unc"),
        ({"features": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_unknown_names_are_refused(demo: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        VisualGrounding(VgdData(root=str(demo), **options))


def test_unknown_splits_are_refused(demo: Path) -> None:
    with pytest.raises(UserError, match="no split 'testC'; choose one of train, val, testA, testB"):
        VisualGrounding(VgdData(root=str(demo))).split("testC")
