"""Image-text matching: reading both layouts, batches, the loss, the score matrix, and what is said about bad files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parity import load_reference, needs_reference

from common.errors import UserError
from genotypes.genotype import Genotype
from matching.scores import score_matrix
from outcome.retrieval import ranks
from retrain.details import in_detail
from retrain.model import build
from retrain.run import main as retrain
from space.inputs import Inputs
from space.settings import ModelSettings
from tasks.base import Batch, eval_mode
from tasks.itm import ImageTextMatching, ItmData, ItmSplit

GENOTYPE = Genotype("itm", ("self_att_64", "feed_forward"), ("rel_self_att_64", "guided_att_64", "self_att_64"))


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's Flickr part to spoil."""
    for part in ("flickr_rois_resnet101_fix36", "itm"):
        shutil.copytree(demo / part, tmp_path / "root" / part)
    return tmp_path / "root"


def small_model(task: ImageTextMatching) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(task, GENOTYPE, ModelSettings(pool_hidden=16, word_width=16), 64)


def drawn(split: ItmSplit, indices: np.ndarray) -> Batch:
    return split.batch(split.draw(indices, np.random.default_rng(0)))


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
    inputs = drawn(split, indices).inputs
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


@pytest.mark.parametrize("shortlist", [None, 4])
def test_a_report_shows_what_scoring_found_and_nothing_is_scored_or_ranked_again(
    demo: Path, monkeypatch: pytest.MonkeyPatch, shortlist: int | None
) -> None:
    task = ImageTextMatching(ItmData(root=str(demo), shortlist=shortlist))
    torch.manual_seed(0)
    model = build(task, GENOTYPE, ModelSettings(pool_hidden=16, word_width=16, align_width=12), 64)
    split, ranked = task.split("val"), []
    monkeypatch.setattr("outcome.retrieval.ranks", lambda *given: ranked.append(1) or ranks(*given))
    with eval_mode(model):
        shown = task.showcase(model, split, np.arange(0, len(split), 7))
        found = task.evaluate(model, split, 64)
        monkeypatch.setattr("tasks.itm.score_matrix", None)
        told = in_detail(task, model, "val", split, found)
        if shortlist is None:
            assert found.showcase(np.arange(0, len(split), 7)) == shown
    assert ranked == [1]
    assert told.beside["t2i_r1"].low <= found.metrics["t2i_r1"] <= told.beside["t2i_r1"].high
    assert told.best and all(len(one.prediction.lines) == 3 for one in (*told.best, *told.worst))


@torch.no_grad()
def contrast_by_hand(model: torch.nn.Module, split: ItmSplit, captions: np.ndarray) -> float:
    """Minus the log of how likely each caption's own image is among the batch's, and each image's own captions."""
    inputs = drawn(split, captions).inputs
    texts = model.network.encode_texts(inputs.tokens, inputs.tokens_pad)
    images = model.network.encode_images(inputs.regions, inputs.boxes, inputs.image_hw, inputs.regions_pad)
    similar = model.network.similarity(texts, images).tolist()
    pairs = list(zip(inputs.text_index.tolist(), inputs.image_index.tolist(), strict=True))[: len(captions)]
    lost = 0.0
    for text, image in pairs:
        row, column = similar[text], [line[image] for line in similar]
        lost -= row[image] - math.log(sum(map(math.exp, row)))
        own = [column[one] for one, other in dict.fromkeys(pairs) if other == image]
        lost -= sum(own) / len(own) - math.log(sum(map(math.exp, column)))
    return lost


def test_a_network_that_aligns_is_trained_by_contrast_and_scored_with_its_similarity(demo: Path) -> None:
    task = ImageTextMatching(ItmData(root=str(demo)))
    torch.manual_seed(0)
    model = build(task, GENOTYPE, ModelSettings(pool_hidden=16, word_width=16, align_width=12), 64)
    split = task.split("val")
    found = task.loss(model, drawn(split, np.arange(10)))
    assert found.keys() == {"loss", "pair_accuracy", "contrastive_loss"}
    found["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.alignment.parameters())
    wanted = contrast_by_hand(model.eval(), split, np.arange(10))
    undropped = task.loss(model, drawn(split, np.arange(10)))["contrastive_loss"]
    assert float(undropped.detach()) == pytest.approx(wanted, rel=1e-4)
    images = np.unique(split.image_ids)[:3]
    split.refresh(model, 5, np.random.default_rng(0))
    assert split.state_dict() == {}, "nothing is mined"
    with eval_mode(model):
        scores = score_matrix(model, split.tokens, split.rows[:7], split.store, images, 36)
        for i, image in enumerate(images):
            for c in range(7):
                one = Inputs(*split.store.gather([image], 36), *split.tokens.gather(split.rows[[c]]))
                assert abs(float(model(one)) - scores[i, c]) < 1e-4


def says(logits: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Stands for a model without alignment that gives these logits."""

    def model(_: object) -> torch.Tensor:
        return logits[:, None]

    model.network = SimpleNamespace(alignment=None)
    return model


def test_the_loss_by_hand() -> None:
    task = ImageTextMatching.__new__(ImageTextMatching)
    task.data = ItmData()
    p = torch.tensor([0.9, 0.5, 0.8, 0.6, 0.2, 0.4])  # two positives, two caption negatives, two image negatives
    found = task.loss(says(p.logit()), Batch(None, {}))
    wanted = -2 * math.log(0.9 * 0.5) - math.log(0.2 * 0.4) - math.log(0.8 * 0.6)
    assert float(found["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert float(found["pair_accuracy"]) == pytest.approx(75)  # 0.5 is no more than 0.6, elsewhere positives lead


@needs_reference
def test_the_loss_of_the_reference() -> None:
    facts, tensors = load_reference("itm")
    # The reference's network ends in the sigmoid that ours leaves to the loss.
    matches = torch.from_numpy(np.concatenate([tensors[f"loss_outputs/{part}"] for part in ("pos", "negc", "negi")]))
    task = ImageTextMatching.__new__(ImageTextMatching)
    task.data = ItmData()
    loss = task.loss(says(matches.logit()), Batch(None, {}))["loss"]
    assert float(loss) == pytest.approx(facts["loss"], rel=1e-5)


def test_a_margin_asks_for_a_lead_of_a_fifth() -> None:
    task = ImageTextMatching.__new__(ImageTextMatching)
    task.data = ItmData(loss="margin")
    p = torch.tensor([0.9, 0.5, 0.8, 0.6, 0.2, 0.4])  # two positives, two caption negatives, two image negatives
    loss = task.loss(says(p.logit()), Batch(None, {}))["loss"]
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
        (CAPS, 3, None, "train_caps.txt has .* captions and train_ids.txt .* then 5 captions in a row"),
        (IDS, 0, "12a", "train_ids.txt line 1 is '12a', not an image id"),
        (IDS, 0, "999999", "train_ids.txt names imgid 999999, which .*dataset_flickr30k.json does not have"),
        (CAPS, None, "", "train_caps.txt is empty"),
        ("itm/dataset_flickr30k.json", None, '{"images": [', r"dataset_flickr30k.json is not valid JSON at line 1"),
        ("itm/dataset_flickr30k.json", None, '{"images": [{"imgid": 1}]}', r"images\[0\]: 'filename' is missing"),
    ],
)
def test_bad_text_files_are_named(root: Path, file: str, line: int | None, text: str | None, said: str) -> None:
    spoil(root / file, line, text)
    with pytest.raises(UserError, match=said):
        ImageTextMatching(ItmData(root=str(root)))


def per_caption(root: Path, keep: Callable[[int], int]) -> None:
    """Write an id for every caption and keep so many captions of the image in each place."""
    for split in ("train", "dev", "test"):
        folder = root / "itm/f30k_precomp"
        captions = (folder / f"{split}_caps.txt").read_text().splitlines()
        ids = list(dict.fromkeys((folder / f"{split}_ids.txt").read_text().split()))
        kept = [(i, captions[5 * place + n]) for place, i in enumerate(ids) for n in range(keep(place))]
        (folder / f"{split}_ids.txt").write_text("".join(f"{i}\n" for i, _ in kept))
        (folder / f"{split}_caps.txt").write_text("".join(f"{caption}\n" for _, caption in kept))


@pytest.mark.parametrize("keep", [lambda place: 1, lambda place: 1 + place % 5], ids=["one each", "one to five"])
def test_images_may_have_any_number_of_captions(root: Path, keep: Callable[[int], int]) -> None:
    per_caption(root, keep)
    task = ImageTextMatching(ItmData(root=str(root), hard_pool=3))
    split, model = task.split("train"), small_model(task)
    inputs = drawn(split, np.arange(12)).inputs
    image, text = split.image_ids[:12], inputs.text_index
    assert len(image) == 12 and len(text) == 36
    with eval_mode(model):
        split.refresh(model, 0, np.random.default_rng(0))
        found = task.evaluate(model, task.split("test"), 64)
    for captions, images in zip(*split.negatives.draw(np.arange(len(split)), np.random.default_rng(1)), strict=True):
        assert captions < len(split) and images < len(split.negatives.images)
    hard = split.negatives.hard_captions
    assert (split.negatives.row_of[hard] != np.arange(len(hard))[:, None]).all()
    assert 0 <= found.metrics["rsum"] <= 600 and f"{len(task.split('test'))} captions" in found.notes[0]


def test_pictures_with_hexadecimal_names(root: Path) -> None:
    before = ImageTextMatching(ItmData(root=str(root)))
    listed = root / "itm/dataset_flickr30k.json"
    tree = json.loads(listed.read_text())
    for entry in tree["images"]:
        number = Path(entry["filename"]).stem
        entry["filename"] = f"{number}_d{int(number) % 7}c0.jpg"
        path = root / f"flickr_rois_resnet101_fix36/{number}.npz"
        path.rename(path.with_name(f"{entry['filename']}.npz"))
    listed.write_text(json.dumps(tree))
    after = ImageTextMatching(ItmData(root=str(root)))
    assert after.words == before.words and len(after.store) == len(before.store)
    for name in ("train", "val", "test"):
        old, new = before.split(name), after.split(name)
        first = [store.gather(split.image_ids[:3], 9)[0] for store, split in ((before.store, old), (after.store, new))]
        assert torch.equal(*first) and len(old) == len(new)


def test_features_named_by_imgid_are_told_and_taken(root: Path) -> None:
    before = ImageTextMatching(ItmData(root=str(root))).split("val")
    entries = json.loads((root / "itm/dataset_flickr30k.json").read_text())["images"]
    folder = root / "flickr_rois_resnet101_fix36"
    for entry in entries:
        (folder / f"{Path(entry['filename']).stem}.npz").rename(folder / f"new_{entry['imgid']:04d}.npz")
    for path in folder.glob("new_*.npz"):
        path.rename(folder / path.name.removeprefix("new_"))
    with pytest.raises(UserError, match=r"named 0000.npz, .*; these look like imgids: say data.feature_names=imgid"):
        ImageTextMatching(ItmData(root=str(root)))
    after = ImageTextMatching(ItmData(root=str(root), feature_names="imgid")).split("val")
    first = [split.store.gather(split.image_ids[:3], 9)[0] for split in (before, after)]
    assert torch.equal(*first)
    listed = root / "itm/dataset_flickr30k.json"
    hexadecimal = [{**entry, "filename": f"{entry['imgid']}_d0.jpg"} for entry in entries]
    listed.write_text(json.dumps({"images": hexadecimal}))
    with pytest.raises(UserError, match="these look like imgids: say data.feature_names=imgid"):
        ImageTextMatching(ItmData(root=str(root)))
    for path in folder.glob("*.npz"):
        path.rename(folder / f"{int(path.stem)}_d0.jpg.npz")
    with pytest.raises(UserError, match="these look like names of pictures: leave data.feature_names out"):
        ImageTextMatching(ItmData(root=str(root), feature_names="imgid"))
    with pytest.raises(UserError, match="data.feature_names='id' is unknown"):
        ImageTextMatching(ItmData(root=str(root), feature_names="id"))


def test_a_script_without_spaces_is_noticed_and_segmented(root: Path) -> None:
    shapes = ["红色的球", "蓝色的方块", "绿色的圆锥"]
    for split in ("train", "dev", "test"):
        path = root / f"itm/f30k_precomp/{split}_caps.txt"
        count = len(path.read_text().splitlines())
        texts = [f"{shapes[n % 3]}在{shapes[n // 3 % 3]}的左边{'很' * (n % 4)}近{n}。" for n in range(count)]
        path.write_text("".join(f"{text}\n" for text in texts))
    whole = ImageTextMatching(ItmData(root=str(root)))
    assert any('say ARGS="data.segmenter=zh"' in line for line in whole.remarks)
    segmented = ImageTextMatching(ItmData(root=str(root), segmenter="zh"))
    assert not any("segmenter" in line for line in segmented.remarks)
    assert "球" in segmented.words and max(map(len, segmented.words)) < 4 < min(map(len, whole.words[3:]))


@pytest.mark.usefixtures("every_word_known")
def test_with_given_vectors_the_words_of_all_splits_that_are_there(root: Path) -> None:
    whole = ImageTextMatching(ItmData(root=str(root), dataset="flickr", word_vectors="some")).words
    train = ImageTextMatching(ItmData(root=str(root))).words
    (root / "itm/f30k_precomp/test_caps.txt").unlink()
    (root / "itm/f30k_precomp/dev_caps.txt").write_text(5 * "a zebra\n")
    (root / "itm/f30k_precomp/dev_ids.txt").write_text("1\n")
    some = ImageTextMatching(ItmData(root=str(root), word_vectors="some")).words
    assert set(train) <= set(whole) and set(some) - set(train) == {"zebra"}


def test_missing_files_and_features_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="the data root nowhere does not exist; data/README.md shows what it should"):
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
    with pytest.raises(UserError, match="was trained for 'itm', not for vqa; name its own TASK"):
        retrain(["--task=vqa", "--run=test", ckpt, f"--data.root={demo}"])
    with pytest.raises(UserError, match="needs GENO="):
        retrain(["--task=itm", *options])
    with pytest.raises(UserError, match="RUN='tset' is unknown"):
        retrain(["--geno=one.json", "--run=tset", *options])
    with pytest.raises(UserError, match="RUN=val needs CKPT="):
        retrain(["--geno=one.json", "--run=val", *options])
