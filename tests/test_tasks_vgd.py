"""Visual grounding: targets, the reference's loss, predicted boxes, accuracy, and names that are not there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vgd
import torch
from parity import load_reference, needs_reference
from torch import nn

from common.errors import UserError
from genotypes.genotype import Genotype
from readers.boxes import encode, overlaps
from retrain.model import build
from retrain.run import main as retrain
from search.run import main as search
from space.settings import ModelSettings
from tasks.base import Batch, eval_mode
from tasks.vgd import OFFSET_SCALE, VgdData, VisualGrounding, grounding_loss, loss_totals, predicted_boxes


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
    batch = split.batch(indices)
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
    totals = loss_totals(t["targets/scores"])
    losses = grounding_loss(
        t["outputs/pred_scores"], t["outputs/pred_reg"], t["targets/scores"], t["targets/transformed_bbox"], **totals
    )
    # These scores are the reference's own, padded regions among them, which with ours would not count.
    assert float(losses["loss"]) == pytest.approx(facts["loss"], rel=1e-5)
    padded = t["inputs/frcn_feat"].eq(0).all(-1)
    ours = grounding_loss(
        t["outputs/pred_scores"].masked_fill(padded, torch.finfo(torch.float32).min),
        t["outputs/pred_reg"],
        t["targets/scores"],
        t["targets/transformed_bbox"],
        **totals,
    )
    assert float(ours["loss"]) < facts["loss"] and torch.isfinite(ours["loss"])


def test_phrases_without_a_region_teach_nothing_and_break_nothing() -> None:
    scores, offsets = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    loss = grounding_loss(scores, offsets, torch.zeros(2, 5), torch.zeros(2, 5, 4), phrases=0, regions=0)["loss"]
    loss.backward()
    assert float(loss.detach()) == 0 and not scores.grad.any() and not offsets.grad.any()


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

    def watched(self: object, indices: np.ndarray) -> Batch:
        oracle.batch = make(self, indices)
        return oracle.batch

    monkeypatch.setattr(type(split), "batch", watched)
    found = task.evaluate(oracle, split, 7)
    reachable = (make(split, np.arange(len(split))).targets["overlap"] > 0).any(1).float().mean()
    assert found.metrics["accuracy"] == pytest.approx(100 * float(reachable), abs=1e-3) and reachable > 0.8
    (path,) = task.save_predictions(found.predictions, tmp_path, "v", "val")
    written = json.loads(path.read_text())
    assert path.name == "result_run_v_val.json" and len(written) == len(split)
    assert written[3].keys() == {"ref_id", "sent_id", "box", "score"}
    hits = [overlaps(np.array([w["box"]]), box[None])[0, 0] > 0.99 for w, box in zip(written, split.boxes, strict=True)]
    assert np.mean(hits) == pytest.approx(float(reachable), abs=0.05)


def test_words_alone_find_what_training_says_of_places_and_not_what_only_colours_tell(tmp_path: Path) -> None:
    root = tiny_vgd.make_root(tmp_path / "root")
    colours = by_words(root, "val")
    refs, instances = tiny_vgd.read(root)
    for ref in refs:
        place = ref["ann_id"] % 100
        word = {0: "left", 2: "right"}.get(place, "other") if place < 3 else "other"
        ref["sentences"] = [{"tokens": [word], "raw": word, "sent": word, "sent_id": ref["ref_id"]}]
    tiny_vgd.write(root, refs, instances)
    told = by_words(root, "val")
    words = np.array([one.tokens[0] for one in VisualGrounding(VgdData(root=str(root))).expressions["val"]])
    assert told[words == "left"].all() and told[words == "right"].all() and (words == "right").sum() == 6
    assert 0.1 < colours.mean() < 0.5


def by_words(root: Path, split: str) -> np.ndarray:
    """What an untrained network's evaluation says that the words alone score."""
    task = VisualGrounding(VgdData(root=str(root), word_vectors=None))
    model = build(task, Genotype("vgd", ("self_att_64",), ("guided_att_64",)), ModelSettings(pool_hidden=8), 64)
    with eval_mode(model):
        scored = task.evaluate(model, task.split(split), 8).samples()
    assert [*scored.baselines] == ["guessing", "largest region", "most central region", "words alone"]
    return scored.baselines["words alone"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": "refcocos"}, "DATASET='refcocos' is unknown .*did you mean 'refcoco'"),
        ({"feat": "resnet"}, "FEAT='resnet' is unknown to Visual grounding; choose one of vg_woref, coco_mrcn"),
        ({"split_by": "umd"}, "data.split_by='umd' is unknown .*unc"),
        ({"features": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_unknown_names_are_refused(demo: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        VisualGrounding(VgdData(root=str(demo), **options))


def test_unknown_splits_are_refused(demo: Path) -> None:
    with pytest.raises(UserError, match="split='testC' is unknown to .* refcoco .*of train, val, testA, testB;"):
        VisualGrounding(VgdData(root=str(demo))).split("testC")


# ---- on a root that can be read ----


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_vgd.make_root(tmp_path / "root")


def tiny(root: Path, **options: Any) -> VisualGrounding:
    return VisualGrounding(VgdData(root=str(root), **options))


def test_true_boxes_have_both_corners_inside(root: Path) -> None:
    split = tiny(root).split("train")
    assert split.boxes[0].tolist() == [10.5, 20, 37.5, 38] and split.expressions[0].bbox == [10.5, 20, 28, 19]


def test_phrases_of_one_image_share_it(root: Path) -> None:
    split = tiny(root).split("train")
    wanted = np.array([0, 40, 1, 3, 41])
    inputs = split.batch(wanted).inputs
    images = np.unique(split.image_ids[wanted])
    assert len(inputs.regions) == len(images) == 2 and len(inputs.tokens) == 5 and inputs.text_index is None
    assert images[inputs.image_index].tolist() == split.image_ids[wanted].tolist()
    some = split.subset(wanted).subset(np.array([4, 0]))
    one, same = (part.batch(np.array([0])) for part in (some, split.subset(np.array([41]))))
    assert all(torch.equal(one.targets[name], same.targets[name]) for name in one.targets)
    assert torch.equal(one.inputs.tokens, same.inputs.tokens) and len(some) == 2


def test_more_boxes_than_the_maximum_are_cut(root: Path) -> None:
    whole, cut = (tiny(root, max_regions=n).split("train").batch(np.arange(8)) for n in (100, 2))
    assert whole.inputs.regions.shape[1] == 4 and cut.inputs.regions.shape[1] == 2
    assert torch.equal(cut.inputs.boxes, whole.inputs.boxes[:, :2])
    assert torch.equal(cut.targets["overlap"], whole.targets["overlap"][:, :2])
    # The third and fourth box is meant in every image, and nothing that is left overlaps it.
    assert (cut.targets["overlap"] > 0).any(1).sum() < len(cut.targets["overlap"])


def test_the_loss_by_hand() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.3, 0.1, 0.2]], requires_grad=True)
    offsets = torch.tensor([0.5, 3.0]).view(1, 2, 1).expand(2, 2, 4)
    offsets = torch.cat((offsets, torch.zeros(2, 1, 4)), 1)
    overlap = torch.tensor([[0.6, 0.9, 0.0], [0.0, 0.0, 0.0]])
    losses = grounding_loss(scores, offsets, overlap, torch.zeros(2, 3, 4), **loss_totals(overlap))
    p = np.exp([1.0, 2.0, 0.5]) / np.exp([1.0, 2.0, 0.5]).sum()
    # One phrase of the two has overlapping regions, two of them; Huber's loss of 0.5 is 0.125 and of 3 it is 2.5.
    divergence = 0.4 * np.log(0.4 / p[0]) + 0.6 * np.log(0.6 / p[1])
    assert float(losses["score_loss"].detach()) == pytest.approx(divergence, rel=1e-5)
    assert float(losses["loss"].detach()) == pytest.approx(divergence + 0.5 * 4 * (0.125 + 2.5) / 2, rel=1e-5)
    losses["loss"].backward()
    assert not scores.grad[1].any() and torch.isfinite(scores.grad).all()


def test_padded_regions_do_not_count() -> None:
    overlap = torch.tensor([[0.6, 0.9], [0.7, 0.0]])
    scores, offsets = torch.randn(2, 2), torch.randn(2, 2, 4)
    short = grounding_loss(scores, offsets, overlap, torch.ones(2, 2, 4), phrases=2, regions=3)
    lowest = torch.full((2, 3), torch.finfo(torch.float32).min)
    padded = torch.cat((scores, lowest), 1).requires_grad_()
    longer = [torch.nn.functional.pad(x, (0, 0, 0, 3)) for x in (offsets, torch.ones(2, 2, 4))]
    long = grounding_loss(padded, longer[0], torch.nn.functional.pad(overlap, (0, 3)), longer[1], phrases=2, regions=3)
    for name, value in short.items():
        torch.testing.assert_close(long[name].detach(), value, rtol=1e-6, atol=1e-6)
    long["loss"].backward()
    assert torch.isfinite(padded.grad).all() and not padded.grad[:, 2:].any()


def test_predicted_boxes_are_moved_clipped_and_never_padding(root: Path) -> None:
    split = tiny(root).split("train")
    three = int(np.flatnonzero(split.image_ids == 2)[0])  # three regions beside an image of four
    inputs = split.batch(np.array([0, three])).inputs
    scores = torch.zeros(2, 4).masked_fill(inputs.regions_pad[inputs.image_index], torch.finfo(torch.float32).min)
    scores[0, 3], scores[1, 1] = 1, 1
    offsets = torch.zeros(2, 4, 4)
    offsets[0, 3] = torch.tensor([10.0, 0, 0, 0])  # a whole width to the right
    offsets[1, 1] = torch.tensor([0.0, 0, 500, 500])
    boxes = predicted_boxes(scores, offsets, inputs)
    np.testing.assert_allclose(boxes, [[175.5, 20, 199, 39], [0, 0, 199, 89]])
    model = build(tiny(root), Genotype("vgd", ("self_att_64",), ("guided_att_64",)), ModelSettings(pool_hidden=16), 64)
    with eval_mode(model):
        scores = model(inputs)[0]
    assert inputs.regions_pad[inputs.image_index].sum() == 1 and scores[1, 3] < -1e30 < scores[:, :3].min()


def test_predictions_stand_in_the_order_of_the_sentences(root: Path) -> None:
    task = tiny(root)
    torch.manual_seed(0)
    model = build(task, Genotype("vgd", ("self_att_64",), ("guided_att_64",)), ModelSettings(pool_hidden=16), 64)
    split = task.split("train").subset(np.random.default_rng(0).permutation(40))
    with eval_mode(model):
        together = task.evaluate(model, split, 7).predictions
        alone = [task.evaluate(model, split.subset(np.array([row])), 1).predictions[0] for row in range(40)]
    assert [one["sent_id"] for one in together] == [one.sent_id for one in split.expressions]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one["box"], other["box"], atol=0.02)


def test_ids_that_are_unknown_are_left_out(root: Path) -> None:
    entries = [{"sentence": "red", "image_id": image, "bbox": [11, 20, 28, 19]} for image in (1, 2)]
    for name in ("train", "val"):
        (tiny_vgd.folder(root) / f"{name}.json").write_text(json.dumps(entries))
    (tiny_vgd.folder(root) / "refs(unc).p").unlink()
    task = tiny(root)
    model = build(task, Genotype("vgd", ("self_att_64",), ("guided_att_64",)), ModelSettings(pool_hidden=16), 64)
    with eval_mode(model):
        assert task.evaluate(model, task.split("val"), 8).predictions[0].keys() == {"box", "score"}
    with pytest.raises(UserError, match="testB.json, which .* testB is read from, does not exist: only train, val is"):
        task.split("testB")


def test_missing_and_empty_splits_are_named(root: Path) -> None:
    (tiny_vgd.folder(root) / "refs(unc).p").unlink()
    train, val = (tiny_vgd.folder(root) / f"{name}.json" for name in ("train", "val"))
    entry = {"sentence": "red", "image_id": 1, "bbox": [11, 20, 28, 19], "split": "train"}
    train.write_text(json.dumps([entry]))
    with pytest.raises(UserError, match="val.json, which the split val is read from, does not exist: only train is"):
        tiny(root).split("val")
    val.write_text(json.dumps([entry]))
    with pytest.raises(UserError, match="val.json, .*, has no entry whose 'split' is val: only train is there;"):
        tiny(root).split("val")
    val.write_text("[]")
    with pytest.raises(UserError, match="val.json should be a list of referring expressions with at least one"):
        tiny(root)


@pytest.mark.parametrize("spelt", ["refcocog_umd", "refcocg_umd"])
def test_both_spellings_of_a_feature_folder_are_found(root: Path, spelt: str) -> None:
    folder = root / "vgd_coco/fix100" / spelt
    folder.parent.mkdir(parents=True)
    (root / "detfeat100_woref").rename(folder)
    for path in folder.iterdir():
        with np.load(path) as file:
            x = file["x"].T
            kept = {key: file[key] for key in ("bbox", "image_h", "image_w")}
        np.savez(path, fc7=x, pool5=x[:, :2], **kept)
    (root / "refs/refcoco").rename(root / "refs/refcocog")
    (root / "refs/refcocog/refs(unc).p").rename(root / "refs/refcocog/refs(umd).p")
    task = tiny(root, dataset="refcocog", feat="coco_mrcn")
    assert task.region_width == tiny_vgd.WIDTH + 2 and len(task.split("train")) > 0
    with pytest.raises(UserError, match=r"refs\(umd\).p, .* has no entry whose 'split' is test: only train"):
        task.split("test")


def test_images_without_features_are_named(root: Path) -> None:
    (root / "detfeat100_woref/COCO_train2014_000000000031.jpg.npz").unlink()
    with pytest.raises(UserError, match="1 of the 6 images of the val expressions of .* have no features .*: 31;"):
        tiny(root).split("val")


def test_other_ids_are_shown_from_both_sides(root: Path) -> None:
    for number, path in enumerate(sorted((root / "detfeat100_woref").iterdir()), 90001):
        path.rename(path.with_name(f"{number}.npz"))
    expected = r"24 of the 24 images of the train .*: 1, 2, 3, 4, 5, \.\.\., while the files there are named 90001.npz"
    with pytest.raises(UserError, match=expected):
        tiny(root).split("train")


# ---- boxes and regions that are not of the same pixels ----


def by_corners(root: Path, sizes: bool) -> None:
    """Boxes as two corners, with their instances or as a JSON file that stands alone."""
    refs, instances = tiny_vgd.read(root)
    for one in instances["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    tiny_vgd.write(root, refs, instances)
    if not sizes:
        boxes = {one["id"]: one["bbox"] for one in instances["annotations"]}
        entries = [ref | {"bbox": boxes[ref["ann_id"]]} for ref in refs]
        for name in ("train", "val"):
            some = [one for one in entries if one["split"] == name]
            (tiny_vgd.folder(root) / f"{name}.json").write_text(json.dumps(some))
        for name in ("refs(unc).p", "instances.json"):
            (tiny_vgd.folder(root) / name).unlink()


@pytest.mark.parametrize("sizes", [True, False])
@pytest.mark.parametrize("split", ["train", "val"])
def test_boxes_as_corners_are_refused(root: Path, sizes: bool, split: str) -> None:
    by_corners(root, sizes)
    with pytest.raises(UserError, match=rf"^only \d.* % of \d+ {split} .*read as x1, y1, x2, y2 it would be"):
        tiny(root).split(split)


def squared(path: Path) -> None:
    """Features as a detector gives them that saw a picture of 600 x 600."""
    with np.load(path) as file:
        arrays = dict(file)
    scale = np.array([600 / tiny_vgd.HW[1], 600 / tiny_vgd.HW[0]])
    np.savez(path, **arrays | {"bbox": arrays["bbox"] * np.tile(scale, 2), "image_h": 600, "image_w": 600})


@pytest.mark.parametrize("stage", ["search", "retrain"])
def test_features_of_resized_pictures_are_refused_before_the_first_step(
    root: Path, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (root / "detfeat100_woref").iterdir():
        squared(path)
    monkeypatch.chdir(tmp_path)
    Path("g.json").write_text('{"task": "vgd", "encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    run, options = {"search": (search, ["--task=vgd"]), "retrain": (retrain, ["--geno=g.json"])}[stage]
    sizes = r"\(image 1 is 600 x 600 in the features, 200 x 90 in the annotations\)"
    with pytest.raises(UserError, match=rf"^only 0.0 % of .* scaled to .* {sizes} it would be 9\d.\d %: scale bbox"):
        run([*options, "--profile=demo", f"--data.root={root}", "--gpu=cpu"])
    assert not Path("logs").exists()


def test_phrases_that_train_nothing_are_remarked(root: Path) -> None:
    usual, few = tiny(root), tiny(root, max_regions=2)
    for task in (usual, few):
        task.split("train")
    assert len(usual.remarks) == 1
    assert few.remarks[:1] == usual.remarks and re.match(
        r"note: only 5\d.\d % of \d+ train expressions of .*refs\(unc\).p have a region .* train nothing",
        few.remarks[1],
    )


def test_training_learns_and_writes_predictions(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.json").write_text('{"task": "vgd", "encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    sizes = ["--model.pool_hidden=16", "--model.word_width=16", "--model.dropout=0", "--retrain.width=64"]
    rate = ["--retrain.epochs=15", "--retrain.lr=2e-3", "--retrain.batch_size=16", "--retrain.warmup_steps=10"]
    options = [f"--data.root={root}", "--gpu=cpu", "--retrain.val_every=5", *sizes, *rate]
    retrain(["--geno=g.json", "--version=a", *options])
    results = Path("logs/ckpts/result_test")
    scored = json.loads((results / "metrics_a.json").read_text())["metrics"]
    assert scored["testA"]["accuracy"] > 90 and scored["testB"]["accuracy"] > 90  # chance is below 40
    for name in ("testA", "testB"):
        predicted = json.loads((results / f"result_run_a_{name}.json").read_text())
        expressions = tiny(root).split(name).expressions
        assert [one["sent_id"] for one in predicted] == [one.sent_id for one in expressions]
        assert all(len(one["box"]) == 4 and 0 <= one["score"] <= 1 for one in predicted)
    retrain(["--geno=g.json", "--run=val", "--ckpt=logs/ckpts/a/best.pt", "--version=b", *options])
    assert (results / "result_run_b_val.json").exists()
