"""Image-text matching: reading both layouts, batches, the loss, the score matrix, and what is said about bad files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_reference, needs_reference

from common.errors import UserError
from genotypes.genotype import Genotype
from retrain.model import build
from retrain.run import main as retrain
from space.inputs import Inputs
from space.settings import ModelSettings
from tasks.base import Batch, eval_mode
from tasks.itm import ImageTextMatching, ItmData
from tasks.matching import score_matrix
from tools.demo.make import make_demo

GENOTYPE = Genotype("itm", ("self_att_64", "feed_forward"), ("rel_self_att_64", "guided_att_64", "self_att_64"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=40)


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's Flickr part to spoil."""
    for part in ("flickr_rois_resnet101_fix36", "itm"):
        shutil.copytree(demo / part, tmp_path / "root" / part)
    return tmp_path / "root"


def small_model(task: ImageTextMatching) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(task, GENOTYPE, ModelSettings(pool_hidden=16, word_width=16), 64)


@pytest.mark.parametrize("dataset", ["flickr", "coco"])
def test_both_layouts_are_read(demo: Path, dataset: str) -> None:
    task = ImageTextMatching(ItmData(root=str(demo), dataset=dataset))
    images = [set(task.split(name).image_ids.tolist()) for name in ("train", "val", "test")]
    assert all(images) and sum(map(len, images)) == len(set.union(*images))
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [5 * len(ids) for ids in images]
    assert task.words[:3] == ["PAD", "UNK", "CLS"]


def test_a_batch_holds_every_image_and_text_once_and_true_negatives(demo: Path) -> None:
    split = ImageTextMatching(ItmData(root=str(demo))).split("train")
    indices = np.arange(0, 24)
    inputs = split.batch(indices, np.random.default_rng(0)).inputs
    assert len(inputs.image_index) == len(inputs.text_index) == 72
    assert len(inputs.tokens) == inputs.text_index.max() + 1 and len(inputs.regions) == inputs.image_index.max() + 1
    image, text = inputs.image_index.view(3, 24), inputs.text_index.view(3, 24)
    assert torch.equal(image[0], image[1]) and torch.equal(text[0], text[2])
    assert (image[0] != image[2]).all() and (text[0] != text[1]).all()
    tokens, _ = split.tokens.gather(split.rows[indices])
    width = tokens.shape[1]
    assert torch.equal(inputs.tokens[text[0]][:, :width], tokens[:, : inputs.tokens.shape[1]])


def test_the_matrix_equals_pair_by_pair(demo: Path) -> None:
    task = ImageTextMatching(ItmData(root=str(demo)))
    split, model = task.split("val"), small_model(task)
    images = np.unique(split.image_ids)
    with eval_mode(model):
        scores = score_matrix(model, split.tokens, split.rows, split.store, images, 36)
        for i, image in enumerate(images):
            for c in range(0, len(split), 3):
                one = Inputs(*split.store.gather([image], 36), *split.tokens.gather(split.rows[[c]]))
                assert abs(float(model(one)) - scores[i, c]) < 1e-5


def test_untrained_networks_are_at_chance(demo: Path) -> None:
    task = ImageTextMatching(ItmData(root=str(demo), test_split="train"))
    model = small_model(task)
    with eval_mode(model):
        found = task.evaluate(model, task.split("train"), 64)
    assert found.metrics["rsum"] < 2.5 * float(found.notes[0].split("chance ")[1])


@needs_reference
def test_the_loss_of_the_reference() -> None:
    facts, tensors = load_reference("itm")
    # The reference's network ends in the sigmoid that ours leaves to the loss.
    matches = torch.from_numpy(np.concatenate([tensors[f"loss_outputs/{part}"] for part in ("pos", "negc", "negi")]))
    task = ImageTextMatching.__new__(ImageTextMatching)
    task.data = ItmData()
    loss = task.loss(lambda _: matches.logit()[:, None], Batch(None, {}))["loss"]
    assert float(loss) == pytest.approx(facts["loss"], rel=1e-5)


def test_a_margin_asks_for_a_lead_of_a_fifth() -> None:
    task = ImageTextMatching.__new__(ImageTextMatching)
    task.data = ItmData(loss="margin")
    p = torch.tensor([0.9, 0.5, 0.8, 0.6, 0.2, 0.4])  # two positives, two caption negatives, two image negatives
    loss = task.loss(lambda _: p.logit()[:, None], Batch(None, {}))["loss"]
    assert float(loss) == pytest.approx((0.1 + 0.3) + (0 + 0.1), abs=1e-5)


CAPS, IDS = "itm/f30k_precomp/train_caps.txt", "itm/f30k_precomp/train_ids.txt"


def spoil(path: Path, line: int | None, text: str | None) -> None:
    """Replace a line of a file, drop it, or (no line) the whole text."""
    lines = path.read_text().splitlines()
    if line is None:
        path.write_text(text or "")
        return
    lines[line : line + 1] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "line", "text", "said"),
    [
        (CAPS, 3, None, "train_caps.txt has .* captions and train_ids.txt .* there must be 5 captions"),
        (IDS, 0, "12a", "train_ids.txt line 1 is '12a', not an image id"),
        (IDS, 0, "999999", "train_ids.txt names imgid 999999, which .*dataset_flickr30k.json does not have"),
        (CAPS, None, "", "train_caps.txt has 0 captions"),
        ("itm/dataset_flickr30k.json", None, '{"images": [', r"dataset_flickr30k.json is not valid JSON at line 1"),
        ("itm/dataset_flickr30k.json", None, '{"images": [{"imgid": 1}]}', "is not Karpathy's split file"),
    ],
)
def test_bad_text_files_are_named(root: Path, file: str, line: int | None, text: str | None, said: str) -> None:
    spoil(root / file, line, text)
    with pytest.raises(UserError, match=said):
        ImageTextMatching(ItmData(root=str(root)))


@pytest.mark.parametrize("each", ["image", "caption"])
def test_an_image_with_two_blocks_of_captions_is_refused(root: Path, each: str) -> None:
    ids = list(dict.fromkeys((root / IDS).read_text().split()))
    ids[4] = ids[1]
    (root / IDS).write_text("\n".join(np.repeat(ids, 1 if each == "image" else 5)))
    with pytest.raises(UserError, match=f"train_ids.txt names image {ids[1]} a second time, for lines 21 to 25 of"):
        ImageTextMatching(ItmData(root=str(root)))


def test_with_given_vectors_the_words_of_all_splits_that_are_there(root: Path) -> None:
    whole = ImageTextMatching(ItmData(root=str(root), dataset="flickr", word_vectors="some")).words
    train = ImageTextMatching(ItmData(root=str(root))).words
    (root / "itm/f30k_precomp/test_caps.txt").unlink()
    (root / "itm/f30k_precomp/dev_caps.txt").write_text(5 * "a zebra\n")
    (root / "itm/f30k_precomp/dev_ids.txt").write_text("1\n")
    some = ImageTextMatching(ItmData(root=str(root), word_vectors="some")).words
    assert set(train) <= set(whole) and set(some) - set(train) == {"zebra"}


def test_missing_files_and_features_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="nowhere/flickr_rois_resnet101_fix36 does not exist; it should hold one npz"):
        ImageTextMatching(ItmData(root="nowhere"))
    next(iter((root / "flickr_rois_resnet101_fix36").glob("*.npz"))).unlink()
    with pytest.raises(UserError, match="1 of the .* images of the .* have no features"):
        task = ImageTextMatching(ItmData(root=str(root)))
        for name in ("val", "test"):
            task.split(name)
    (root / CAPS).unlink()
    with pytest.raises(UserError, match="train_caps.txt does not exist; it should be a caption a line"):
        ImageTextMatching(ItmData(root=str(root)))


def test_unknown_names_are_refused(demo: Path) -> None:
    with pytest.raises(UserError, match="DATASET='flicker' is unknown .*did you mean 'flickr'"):
        ImageTextMatching(ItmData(root=str(demo), dataset="flicker"))
    with pytest.raises(UserError, match="data.loss='hinge' is unknown to Image-text matching; choose one of bce"):
        ImageTextMatching(ItmData(root=str(demo), loss="hinge"))
    with pytest.raises(UserError, match="split='testall' is unknown to .* on flickr; .* train, val, test;"):
        ImageTextMatching(ItmData(root=str(demo))).split("testall")


def test_checkpoints_that_do_not_fit_are_refused(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    GENOTYPE.save("one.json")
    GENOTYPE.replace(decoder=("guided_att_64",)).save("other.json")
    sizes = ["--model.pool_hidden=16", "--model.word_width=16", "--retrain.width=64", "--retrain.epochs=1"]
    options = [f"--data.root={demo}", "--gpu=cpu", *sizes, "--data.hard_from=null", "--retrain.warmup_steps=5"]
    retrain(["--geno=one.json", "--version=a", *options])
    ckpt = "--ckpt=logs/ckpts/a/best.pt"
    with pytest.raises(UserError, match="is of another genotype than GENO"):
        retrain(["--geno=other.json", "--run=test", ckpt, *options])
    with pytest.raises(UserError, match="checkpoint no.pt does not exist"):
        retrain(["--geno=one.json", "--run=test", "--ckpt=no.pt", *options])
    with pytest.raises(UserError, match="trained on features of width 96, the data root has 4"):
        narrow = tmp_path / "narrow"
        shutil.copytree(demo, narrow, ignore=shutil.ignore_patterns(".packed"))
        for path in (narrow / "flickr_rois_resnet101_fix36").glob("*.npz"):
            held = dict(np.load(path))
            path.unlink()
            np.savez(path, **{**held, "x": held["x"][:4]})
        retrain(["--geno=one.json", "--run=test", ckpt, f"--data.root={narrow}", *options[1:]])
    with pytest.raises(UserError, match="was trained for itm, not for vqa; name its own TASK"):
        retrain(["--task=vqa", "--run=test", ckpt, f"--data.root={demo}"])
    with pytest.raises(UserError, match="needs GENO="):
        retrain(["--task=itm", *options])
    with pytest.raises(UserError, match="RUN='tset' is unknown"):
        retrain(["--geno=one.json", "--run=tset", *options])
    with pytest.raises(UserError, match="RUN=val needs CKPT="):
        retrain(["--geno=one.json", "--run=val", *options])
