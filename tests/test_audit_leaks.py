"""The leak audit as a user meets it: every known way to test on what was trained on is refused by the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_vgd
import tiny_vqa
import torch

from audit.leaks import _against, _sides
from common.errors import UserError
from retrain.run import main as retrain
from search.run import main as search

SIZES = [
    "--gpu=cpu",
    "--model.pool_hidden=16",
    "--model.word_width=16",
    "--model.dropout=0",
    "--data.word_vectors=null",
]
TRAIN = ["--geno=g.json", "--retrain.width=64", "--retrain.epochs=1", "--retrain.warmup_steps=1", *SIZES]
SEARCH = [*SIZES, "--search.width=64", "--search.epochs=1", "--search.alpha_start=0", "--search.alpha_every=1"]
SPACE = ["--space.encoder.blocks=1", "--space.decoder.blocks=1", "--search.warmup_steps=1", "--search.selector=argmax"]
RESULTS = Path("logs/ckpts/result_test")
VQA_QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"


@pytest.fixture
def itm(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's Flickr part to spoil."""
    for part in ("flickr_rois_resnet101_fix36", "itm"):
        shutil.copytree(demo / part, tmp_path / "itm" / part)
    return tmp_path / "itm"


@pytest.fixture
def vgd(tmp_path: Path) -> Path:
    return tiny_vgd.make_root(tmp_path / "vgd")


@pytest.fixture
def vqa(tmp_path: Path) -> Path:
    return tiny_vqa.make_root(tmp_path / "vqa")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.json").write_text('{"encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')


def train(task: str, root: Path, version: str, *more: str) -> None:
    own = ["--data.answer_min=3"] if task == "vqa" else ["--data.hard_from=null"] if task == "itm" else []
    retrain([f"--task={task}", f"--data.root={root}", f"--version={version}", *TRAIN, *own, *more])


def look(task: str, root: Path, version: str, *more: str) -> None:
    own = ["--data.answer_min=3"] if task == "vqa" else ["--data.hard_from=null"] if task == "itm" else []
    search([f"--task={task}", f"--data.root={root}", f"--version={version}", *SEARCH, *SPACE, *own, *more])


def refused(said: str, task: str, root: Path, *more: str) -> None:
    """Both stages refuse the data in these words, and leave nothing behind."""
    for run in (look, train):
        with pytest.raises(UserError, match=rf"^leak audit: .*{said}.*; mend .* or say allow_leak=true"):
            run(task, root, "v", *more)
        assert not Path("logs/log/v").exists()


# ---- image-text matching ----


def copy_lines(root: Path, kind: str, source: str, target: str) -> None:
    folder = root / "itm/f30k_precomp"
    lines = (folder / f"{target}_{kind}.txt").read_text().splitlines()
    given = (folder / f"{source}_{kind}.txt").read_text().splitlines()[: len(lines)]
    (folder / f"{target}_{kind}.txt").write_text("\n".join(given) + "\n")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_ids_of_train_in_another_split(itm: Path, split: str) -> None:
    ids = itm / f"itm/f30k_precomp/{split}_ids.txt"
    lines = ids.read_text().split()
    first = (itm / "itm/f30k_precomp/train_ids.txt").read_text().split()[0]
    ids.write_text("\n".join([first if line == lines[0] else line for line in lines]) + "\n")
    refused(rf"1 of {'val' if split == 'dev' else split}'s \d+ images are train's", "itm", itm)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_captions_of_train_in_another_split(itm: Path, split: str) -> None:
    copy_lines(itm, "caps", "train", split)
    refused(rf"of {'val' if split == 'dev' else split}'s \d+ sets of captions are train's", "itm", itm)


def test_val_is_test(itm: Path) -> None:
    for kind in ("ids", "caps"):
        shutil.copy(itm / f"itm/f30k_precomp/dev_{kind}.txt", itm / f"itm/f30k_precomp/test_{kind}.txt")
    refused(r"of test's \d+ images are val's", "itm", itm)


def test_an_imgid_of_val_that_names_a_file_of_train(itm: Path) -> None:
    """Whether files are named like pictures or by imgid."""
    path = itm / "itm/dataset_flickr30k.json"
    tree, ids = json.loads(path.read_text()), itm / "itm/f30k_precomp"
    one, other = (int((ids / f"{name}_ids.txt").read_text().split()[0]) for name in ("train", "dev"))
    by_id = {entry["imgid"]: entry for entry in tree["images"]}
    by_id[other]["filename"] = by_id[one]["filename"]
    path.write_text(json.dumps(tree))
    for names in ("filename", "imgid"):
        with pytest.raises(UserError, match="the same filename"):
            train("itm", itm, "v", f"--data.feature_names={names}")
    tree["images"].append(tree["images"][0])
    path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"imgid \d+ is there twice"):
        train("itm", itm, "v")


# ---- visual question answering ----


def test_questions_of_val_inside_train(vqa: Path) -> None:
    for name, key in ((VQA_QUESTIONS, "questions"), ("v2_mscoco_{}_annotations.json", "annotations")):
        both = [one for part in ("train2014", "val2014") for one in tiny_vqa.read(vqa, name.format(part), key)]
        tiny_vqa.write(vqa, name.format("train2014"), key, both)
    refused(r"8 of val's 8 images are train's \(101, 102, 103, 104, 105, ...\)", "vqa", vqa)


def test_questions_of_test_about_images_of_train(vqa: Path) -> None:
    asked = tiny_vqa.read(vqa, VQA_QUESTIONS.format("test2015"), "questions")
    tiny_vqa.write(vqa, VQA_QUESTIONS.format("test2015"), "questions", [{**asked[0], "image_id": 3}, *asked[1:]])
    refused(r"1 of test's 5 images are train's \(3\)", "vqa", vqa)


def test_one_picture_under_two_ids(vqa: Path) -> None:
    folder = vqa / "coco_extract"
    shutil.copy(
        folder / "train2014/COCO_train2014_000000000007.jpg.npz", folder / "val2014/COCO_val2014_000000000102.jpg.npz"
    )
    refused(r"1 of val's images have the very features of one of train's \(102 as 7\)", "vqa", vqa)


def test_val_that_is_trained_on_is_no_result(vqa: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("vqa", vqa, "v", "--data.split=train+val+vg")
    numbers = json.loads((RESULTS / "metrics_v.json").read_text())
    assert numbers["metrics"] == {"test": {}} and numbers["audit"]["leaks"] == []
    assert "leak audit: train 32, test 4 images: train shares none with another, by id or by features; " in (
        said := capsys.readouterr().out
    )
    assert "val is trained on and no result" in said
    # The network remembers, whatever SPLIT is said when it is scored.
    with pytest.raises(UserError, match="8 of val's 8 images are train's"):
        train("vqa", vqa, "w", "--run=val", "--ckpt=logs/ckpts/v/best.pt", "--data.split=train")


# ---- visual grounding ----


def change(root: Path, number: int, **fields: int | str) -> None:
    """Change one entry."""
    refs, instances = tiny_vgd.read(root)
    refs[number].update(fields)
    tiny_vgd.write(root, refs, instances)


def move(root: Path, images: tuple[int, ...], split: str) -> None:
    """Move all that is said of some images into another split."""
    refs, instances = tiny_vgd.read(root)
    moved = [one | {"split": split} if one["image_id"] in images else one for one in refs]
    tiny_vgd.write(root, moved, instances)


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_an_image_of_train_in_another_split(vgd: Path, split: str) -> None:
    change(vgd, 0, split=split)  # another thing of image 1 stays in train
    refused(rf"1 of {split}'s \d+ images are train's \(1\)", "vgd", vgd)


def test_a_ref_in_two_splits(vgd: Path) -> None:
    val = sum(3 + image % 2 for image in tiny_vgd.IMAGES["train"])
    change(vgd, val, ref_id=0)
    refused(r"1 of val's \d+ ref_ids are train's \(0\)", "vgd", vgd)


def test_an_image_in_val_and_a_test(vgd: Path) -> None:
    change(vgd, -1, ann_id=3100)
    refused(r"1 of testB's \d+ images are val's \(31\)", "vgd", vgd)


def test_a_division_by_object_shares_images_and_says_so(vgd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(vgd, 0, split="val")
    (vgd / "refs/refcoco").rename(vgd / "refs/refcocog")
    (vgd / "refs/refcocog/refs(unc).p").rename(vgd / "refs/refcocog/refs(google).p")
    google = ["--data.dataset=refcocog", "--data.split_by=google"]
    train("vgd", vgd, "v", *google)
    assert "divided by object, so 1 of val's are train's; no object is in both" in capsys.readouterr().out
    train("vgd", vgd, "w", *google, "--run=val", "--ckpt=logs/ckpts/v/best.pt")


# ---- what is allowed is recorded ----


def test_a_leak_that_is_allowed_stands_in_every_number(vgd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(vgd, 0, split="testA")
    look("vgd", vgd, "s", "--allow_leak=true")
    found = "genotypes/searched/vgd/s.json"
    (leak,) = json.loads(Path(found).read_text())["provenance"]["audit"]["leaks"]
    assert leak == "1 of testA's 5 images are train's (1)"
    assert f"leak audit: LEAK ALLOWED (allow_leak=true): {leak}" in capsys.readouterr().out
    tiny_vgd.make_root(Path("clean"))
    train("vgd", Path("clean"), "t", f"--geno={found}")  # no leak of its own, but built on one
    assert f"warning: builds on a leak that was allowed: in the search of the genotype: {leak}" in (
        capsys.readouterr().out
    )
    train("vgd", Path("clean"), "u", "--run=test", "--ckpt=logs/ckpts/t/best.pt", f"--geno={found}")
    for name in ("metrics_t", "metrics_u_test"):
        assert json.loads((RESULTS / f"{name}.json").read_text())["audit"]["leaks"] == [
            f"in the search of the genotype: {leak}"
        ]
    for version in ("s", "t", "u"):
        lines = Path(f"logs/log/{version}/metrics.jsonl").read_text().splitlines()
        assert lines and all(json.loads(line)["leaks"] == 1 for line in lines)


def test_a_leak_of_a_training_stands_in_whatever_its_network_scores(vgd: Path) -> None:
    change(vgd, 0, split="testA")
    train("vgd", vgd, "t", "--allow_leak=true")
    train("vgd", tiny_vgd.make_root(Path("clean")), "u", "--run=test", "--ckpt=logs/ckpts/t/best.pt")
    said = "in the training of this network: 1 of testA's 5 images are train's (1)"
    assert json.loads((RESULTS / "metrics_u_test.json").read_text())["audit"]["leaks"] == [said]


def test_a_network_knows_what_it_was_trained_on(vgd: Path) -> None:
    train("vgd", vgd, "v")
    move(vgd, (3, 4), "testA")
    scored = ["--run=test", "--ckpt=logs/ckpts/v/best.pt"]
    with pytest.raises(UserError, match=r"^leak audit: 2 of testA's 6 images are train's \(3, 4\); mend"):
        train("vgd", vgd, "w", *scored)
    assert not Path("logs/log/w").exists()
    train("vgd", vgd, "w", *scored, "--allow_leak=true")
    assert json.loads((RESULTS / "metrics_w_test.json").read_text())["audit"]["leaks"]


# ---- other data that have the same pictures ----


def as_coco(root: Path) -> Path:
    """Pictures of COCO's size; everything else stays."""
    for path in root.rglob("*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays | {"image_h": 480, "image_w": 640})
    return root


@pytest.mark.parametrize("coco", [True, False])
def test_a_genotype_says_that_it_saw_images_that_are_tested(
    vqa: Path, vgd: Path, coco: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if coco:
        as_coco(vqa)
        refs, instances = tiny_vgd.read(as_coco(vgd))
        for image in instances["images"]:
            image.update(width=640, height=480)
        tiny_vgd.write(vgd, refs, instances)
    look("vqa", vqa, "s")
    halves = (
        r"leak audit: train 24, val 8, test 4 images: .*; weights \d+, architecture \d+: none on both sides, negatives"
    )
    assert re.search(halves, capsys.readouterr().out)
    move(vgd, (1, 2), "testB")
    train("vgd", vgd, "v", "--geno=genotypes/searched/vqa/s.json")
    notes = json.loads((RESULTS / "metrics_v.json").read_text())["audit"]["notes"]
    said = ["note: the genotype was searched on 2 of the 5 images of testB (by coco ids)"] if coco else []
    assert notes == said and all(line in capsys.readouterr().out for line in said)


def test_ids_of_other_data_say_nothing(vgd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two roots that number their own pictures alike."""
    train("vgd", vgd, "v")
    other = tiny_vgd.make_root(tmp_path / "other")
    for path in (other / "detfeat100_woref").iterdir():
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays | {"x": arrays["x"] + 1})
    move(other, (3,), "testA")
    train("vgd", other, "w", "--run=test", "--ckpt=logs/ckpts/v/best.pt")
    assert "was trained on 24 images of another data root, whose ids say nothing here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "shared", "leaks"),
    [("images", 1, 1), ("ref_ids", 1, 1), ("sets of captions", 5, 0), ("sets of captions", 6, 1), ("images", 0, 0)],
)
def test_of_ids_one_is_too_many_and_of_texts_a_few_in_a_thousand_are_by_chance(
    what: str, shared: int, leaks: int
) -> None:
    own, others = np.arange(5000), np.arange(5000 - shared, 10_000)
    images = {"images": np.arange(2), "other": np.arange(2, 4)}
    parts = {"val": {"images": images["images"], what: own}, "train": {"images": images["other"], what: others}}
    found = [*_against(SimpleNamespace(divided_by="image"), parts, ["val"], "train", {})]
    assert len(found) == leaks and all(f"{shared} of val's 5,000 {what} are train's" in one for one in found)


def test_halves_that_share_an_image_are_told() -> None:
    one, other = (SimpleNamespace(seen_images=np.array(images)) for images in ([1, 2, 3], [3, 4]))
    assert [*_sides((one, other))] == ["1 images stand in the architecture's half and in the weights' (3)"]
    other.seen_images = np.array([4, 5])
    assert [*_sides((one, other))] == []


def test_an_older_network_is_held_against_what_the_data_train(vgd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("vgd", vgd, "v")
    path = Path("logs/ckpts/v/best.pt")
    state = torch.load(path, weights_only=True)
    del state["trained_on"], state["leaks"]
    torch.save(state, path)
    train("vgd", vgd, "w", "--run=val", f"--ckpt={path}")
    assert re.search("does not say what it was trained on, train is what", capsys.readouterr().out)
