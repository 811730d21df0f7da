"""The demo data: whole, the same for the same seed, true to their scenes, and no answer given away."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections import Counter, defaultdict
from math import dist
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tools.demo.make
from common.errors import UserError
from readers.features import number_in, read_npz
from tasks.itm import LAYOUTS, ImageTextMatching, ItmData
from tools.demo.detector import detect
from tools.demo.make import main, make_demo
from tools.demo.scenes import ROUND, make_scenes, split_sizes

SCENES = 40
# The readers below know the language on their own, so that a slip in the writers' word lists is found.
MEANS = {
    **{word: word for word in ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "gray")},
    **{word: word for word in ("cone", "pyramid")},
    **{"grey": "gray", "sphere": "sphere", "ball": "sphere", "cylinder": "cylinder", "tube": "cylinder"},
    **{"ring": "ring", "donut": "ring", "cube": "cube", "block": "cube", "box": "cube", "boxe": "cube"},
    **{"small": "small", "little": "small", "tiny": "small", "large": "large", "big": "large"},
    **{"matte": "matte", "dull": "matte", "shiny": "shiny", "glossy": "shiny", "polished": "shiny"},
}
RELATIONS = {
    r"(to the |on the )?left (side )?of": lambda a, b: a[0] < b[0],
    r"(to the |on the )?right (side )?of": lambda a, b: a[0] > b[0],
    r"behind|above": lambda a, b: a[1] < b[1],
    r"in front of|below": lambda a, b: a[1] > b[1],
    r"next to|near|beside": lambda a, b: dist(a, b) < 92,
}
RANKS = {r"(closest|nearest) to": dist, r"(farthest|furthest) from": lambda a, b: -dist(a, b)}
EDGES = {
    r"left|leftmost": lambda a: a[0],
    r"right|rightmost": lambda a: -a[0],
    r"top|topmost|back": lambda a: a[1],
    r"bottom|bottommost|front": lambda a: -a[1],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=SCENES)


@pytest.fixture(scope="module")
def scenes(root: Path) -> dict[int, dict[str, Any]]:
    return {scene["image_id"]: scene for scene in json.loads((root / "scenes.json").read_text())}


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(path: Path) -> Any:
    return pickle.loads(path.read_bytes()) if path.suffix == ".p" else json.loads(path.read_text())


def stated(text: str) -> set[str]:
    words = re.findall("[a-z]+", text.lower())
    return {MEANS[word] for raw in words for word in (raw, raw.removesuffix("s")) if word in MEANS}


def look(thing: dict[str, Any]) -> set[str]:
    return {thing["size"], thing["material"], thing["color"], thing["shape"]}


def fitting(things: list[dict[str, Any]], text: str) -> list[int]:
    return [i for i, thing in enumerate(things) if stated(text) <= look(thing)]


def test_same_seed_same_bytes(root: Path, tmp_path: Path) -> None:
    again, other = make_demo(tmp_path / "again", SCENES), make_demo(tmp_path / "other", SCENES, seed=1)
    assert digests(again) == digests(root)
    unlike = digests(other)
    assert unlike["scenes.json"] != digests(root)["scenes.json"]
    assert unlike["vqa/VG_questions.json"] != digests(root)["vqa/VG_questions.json"]


@pytest.mark.parametrize(
    ("folder", "splits"),
    [
        ("coco_extract/train2014", ["train"]),
        ("coco_extract/val2014", ["val"]),
        ("coco_extract/test2015", ["test"]),
        ("rois_resnet101_fix36/train2014", ["train"]),
        ("rois_resnet101_fix36/val2014", ["val", "test"]),
        ("flickr_rois_resnet101_fix36", ["train", "val", "test"]),
        ("detfeat100_woref", ["train", "val", "test"]),
        ("vgd_coco/fix100/refcoco_unc", ["train", "val", "test"]),
        ("vgd_coco/fix100/refcoco+_unc", ["train", "val", "test"]),
        ("vgd_coco/fix100/refcocog_umd", ["train", "val", "test"]),
    ],
)
def test_every_feature_folder_has_its_images(root: Path, scenes: dict, folder: str, splits: list[str]) -> None:
    files = {number_in(path.name): path for path in (root / folder).iterdir()}
    assert files.keys() == {i for i, scene in scenes.items() if scene["split"] in splits}
    for number, path in files.items():
        features = read_npz(path)
        count, width = features.x.shape
        assert 10 <= count <= 24 and width == 96 and features.hw.tolist() == [240, 320]
        assert np.array_equal(features.x, read_npz(root / f"flickr_rois_resnet101_fix36/{number}.npz").x)
        with np.load(path) as file:
            assert file["num_bbox"] == count and file["bbox"].shape == (count, 4)
            assert ({"fc7", "pool5"} if folder.startswith("vgd") else {"x"}) < set(file.files)


def test_splits_and_pictures(root: Path, scenes: dict) -> None:
    assert Counter(scene["split"] for scene in scenes.values()) == split_sizes(SCENES)
    assert min(split_sizes(SCENES).values()) >= 5
    assert len(list((root / "images").rglob("COCO_*.jpg"))) == SCENES
    assert json.loads((root / "demo.json").read_text()).items() >= {"format": 4, "scenes": SCENES, "seed": 0}.items()


def test_five_captions_an_image(root: Path, scenes: dict) -> None:
    for name, layout in LAYOUTS.items():
        task = ImageTextMatching(ItmData(root=str(root), dataset=name))
        for split in layout.splits:
            images = Counter(task.captions(split).images.tolist())
            assert set(images.values()) == {5} and len(images) >= 5
            assert {scenes[i]["split"] for i in images} == {"test" if split == "testall" else split}


def test_near_twins_differ_in_one_respect_which_captions_name(root: Path, scenes: dict) -> None:
    entries = read(root / "itm/dataset_flickr30k.json")["images"]
    said = {int(entry["filename"][:-4]): [s["raw"] for s in entry["sentences"]] for entry in entries}
    twins = [scene for scene in scenes.values() if scene["twin"]]
    assert {scene["split"] for scene in twins} == {"train", "val", "test"}
    for scene in twins:
        other = scenes[scene["twin"]]
        assert other["twin"] == scene["image_id"] and other["split"] == scene["split"]
        pairs = list(zip(scene["things"], other["things"], strict=True))
        assert [i for i, (a, b) in enumerate(pairs) if a != b] == scene["focus"]
        for a, b in (pairs[i] for i in scene["focus"]):
            moved = (a["cx"], a["cy"]) != (b["cx"], b["cy"])
            assert [moved, len(look(a) - look(b))] == ([True, 0] if scene["change"] == "place" else [False, 1])
            if not moved:
                assert sum(a[scene["change"]] in stated(text) for text in said[scene["image_id"]]) >= 3


def test_features_tell_looks_but_not_places() -> None:
    found = [detect(scene, 0) for scene in make_scenes(300, 0)]
    x = np.concatenate([regions["x"].T for regions in found]).astype(float)
    boxes = np.concatenate([regions["bbox"] for regions in found])
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2, len(x) // 2
    ones = np.c_[x, np.ones(len(x))]
    guessed = ones[half:] @ np.linalg.lstsq(ones[:half], centres[:half], rcond=None)[0]
    error, mean_error = (((centres[half:] - g) ** 2).sum(0) for g in (guessed, centres[:half].mean(0)))
    assert (error > 0.98 * mean_error).all()


def test_most_things_have_a_region(root: Path, scenes: dict) -> None:
    hits = []
    for number, scene in scenes.items():
        boxes = read_npz(root / f"flickr_rois_resnet101_fix36/{number}.npz").boxes
        for x1, y1, x2, y2 in (thing["box"] for thing in scene["things"]):
            shared = (np.minimum(boxes[:, 2:], [x2, y2]) - np.maximum(boxes[:, :2], [x1, y1])).clip(0).prod(1)
            union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (x2 - x1) * (y2 - y1) - shared
            hits.append((shared / union).max() >= 0.5)
    assert np.mean(hits) > 0.94


def understood(things: list[dict[str, Any]], text: str) -> list[int]:
    """All things the expression may mean, without any margin for near ties."""
    at = [(thing["cx"], thing["cy"]) for thing in things]
    for ways in (RELATIONS, RANKS):
        for pattern, measure in ways.items():
            parts = re.split(rf"\b(?:{pattern.replace('(', '(?:')})\b", text)
            if len(parts) == 2:
                (anchor,) = fitting(things, parts[1])
                candidates = [i for i in fitting(things, parts[0]) if i != anchor]
                if ways is RANKS:
                    return [min(candidates, key=lambda i: measure(at[i], at[anchor]))]
                return [i for i in candidates if measure(at[i], at[anchor])]
    for pattern, measure in EDGES.items():
        if re.search(rf"\b({pattern})\b", text):
            return [min(fitting(things, text), key=lambda i: measure(at[i]))]
    return fitting(things, text)


@pytest.mark.parametrize("file", ["refcoco/refs(unc).p", "refcoco+/refs(unc).p", "refcocog/refs(umd).p"])
def test_expressions_mean_one_thing(root: Path, scenes: dict, file: str) -> None:
    instances = read(root / "refs" / file.split("/")[0] / "instances.json")
    annotations = {a["id"]: a for a in instances["annotations"]}
    shapes = {c["id"]: c["name"] for c in instances["categories"]}
    refs = read(root / "refs" / file)
    assert (root / "refs" / file).read_bytes()[:2] == b"\x80\x02"
    sent_ids = [sentence["sent_id"] for ref in refs for sentence in ref["sentences"]]
    assert len(set(sent_ids)) == len(sent_ids)
    said = [sentence["sent"] for ref in refs for sentence in ref["sentences"]]
    far = sum(bool(re.search("close|near|far[^ ]* from|furthest|next|beside", one)) for one in said)
    assert file.startswith("refcoco/") == (0.6 < far / len(sent_ids) < 0.85)
    for ref in refs:
        annotation, things = annotations[ref["ann_id"]], scenes[ref["image_id"]]["things"]
        (target,) = (i for i, t in enumerate(things) if np.allclose(t["box"][:2], annotation["bbox"][:2], atol=0.01))
        x1, y1, x2, y2 = things[target]["box"]
        assert np.allclose(annotation["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=0.02)
        assert annotation["image_id"] == ref["image_id"] and shapes[ref["category_id"]] == things[target]["shape"]
        for sentence in ref["sentences"]:
            assert understood(things, sentence["sent"]) == [target], sentence["sent"]
            if "+" in file:
                assert fitting(things, sentence["sent"]) == [target]
                assert not re.search("left|right|top|bottom|near|front|behind|above|below|of|from", sentence["sent"])


def test_splits_of_expressions(root: Path, scenes: dict) -> None:
    for file in ("refcoco/refs(unc).p", "refcoco+/refs(unc).p"):
        images, families = defaultdict(set), defaultdict(set)
        shapes = {c["id"]: c["name"] for c in read(root / "refs/refcoco/instances.json")["categories"]}
        for ref in read(root / "refs" / file):
            images[ref["split"]].add(ref["image_id"])
            families[ref["split"]].add(shapes[ref["category_id"]] in ROUND)
        assert images.keys() == {"train", "val", "testA", "testB"} and min(map(len, images.values())) >= 5
        assert not images["testA"] & images["testB"]
        assert families["testA"] == {True} and families["testB"] == {False}
    assert {ref["split"] for ref in read(root / "refs/refcocog/refs(umd).p")} == {"train", "val", "test"}
    assert {ref["split"] for ref in read(root / "refs/refcocog/refs(google).p")} == {"train", "val"}


def answered(things: list[dict[str, Any]], text: str) -> str | None:
    """The answer by brute force to the kinds of question that need no relation; None for the others."""
    if found := re.match(r"(?:is there an?|can you see an?|are there any) (.*)\?", text):
        return "yes" if fitting(things, found[1]) else "no"
    if found := re.match(r"(?:how many|what number of) (.*)\?", text):
        return str(len(fitting(things, found[1])))
    if found := re.match(r"are there (more|fewer|as many) (.*) (?:than|as) (.*)\?", text):
        left, right = (len(fitting(things, found[group])) for group in (2, 3))
        return "yes" if {"more": left > right, "fewer": left < right, "as many": left == right}[found[1]] else "no"
    related = any(re.search(rf"\b({pattern})\b", text) for pattern in (*RELATIONS, *RANKS))
    if (found := re.match(r"(?:what (color|shape) is|what is the (color|shape) of) the (.*)\?", text)) and not related:
        (target,) = fitting(things, found[3])
        return things[target][found[1] or found[2]]
    return None


def questions(root: Path, folder: str) -> dict[int, dict[str, Any]]:
    listed = read(root / f"vqa/v2_OpenEnded_mscoco_{folder}_questions.json")["questions"]
    assert len({q["question_id"] for q in listed}) == len(listed)
    return {q["question_id"]: q for q in listed}


def test_answers_are_true_and_even(root: Path, scenes: dict) -> None:
    checked, yes_no = 0, defaultdict(Counter)
    for folder in ("train2014", "val2014"):
        asked = questions(root, folder)
        annotations = read(root / f"vqa/v2_mscoco_{folder}_annotations.json")["annotations"]
        assert {a["question_id"] for a in annotations} == asked.keys()
        for annotation in annotations:
            question, answer = asked[annotation["question_id"]], annotation["multiple_choice_answer"]
            truth = answered(scenes[annotation["image_id"]]["things"], question["question"].lower())
            assert question["image_id"] == annotation["image_id"] and truth in (None, answer), question
            checked += truth is not None
            given = Counter(a["answer"] for a in annotation["answers"])
            assert given.total() == 10 and given[answer] >= 7
            if annotation["answer_type"] == "yes/no":
                yes_no[folder, annotation["question_type"]][answer] += 1
    assert checked > 100
    for template, counts in yes_no.items():
        assert abs(counts["yes"] - counts["no"]) <= 2, template


def test_test_questions_have_no_annotations(root: Path, scenes: dict) -> None:
    whole, dev = questions(root, "test2015"), questions(root, "test-dev2015")
    assert dev.items() < whole.items()
    assert {scenes[q["image_id"]]["split"] for q in whole.values()} == {"test"}
    assert {path.name for path in (root / "vqa").glob("*annotations.json")} == {
        "v2_mscoco_train2014_annotations.json",
        "v2_mscoco_val2014_annotations.json",
        "VG_annotations.json",
    }
    extra = read(root / "vqa/VG_questions.json")["questions"]
    assert [q["question_id"] for q in extra] == [
        a["question_id"] for a in read(root / "vqa/VG_annotations.json")["annotations"]
    ]
    taken = whole.keys() | questions(root, "train2014").keys() | questions(root, "val2014").keys()
    assert not taken & {q["question_id"] for q in extra}
    assert {scenes[q["image_id"]]["split"] for q in extra} == {"train"}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    main(["--out", str(out), "--scenes", "30"])
    assert f"make search TASK=itm DATA={out}" in capsys.readouterr().out
    (out / "kept").touch()
    main(["--out", str(out), "--scenes", "30"])
    assert "nothing to do" in capsys.readouterr().out and (out / "kept").exists()
    main(["--out", str(out), "--scenes", "31"])
    assert json.loads((out / "demo.json").read_text())["scenes"] == 31 and not (out / "kept").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_mistakes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/features.npz").touch()
    with pytest.raises(UserError, match="holds no demo data of ours"):
        make_demo(tmp_path / "mine", SCENES)
    with pytest.raises(UserError, match="too few"):
        make_demo(tmp_path / "few", 10)
    with pytest.raises(UserError, match="negative"):
        make_demo(tmp_path / "seed", SCENES, seed=-1)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tools.demo.make, "write_itm", full)
    with pytest.raises(UserError, match="No space left"):
        make_demo(tmp_path / "demo", 30)
    assert not list(tmp_path.iterdir())


def test_what_another_process_made_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, write = tmp_path / "demo", tools.demo.make.write_itm

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(tools.demo.make, "write_itm", write)
        make_demo(out, 30)
        (out / "kept").touch()
        write(*arguments)

    monkeypatch.setattr(tools.demo.make, "write_itm", overtaken)
    make_demo(out, 30)
    assert (out / "kept").exists() and [path.name for path in tmp_path.iterdir()] == ["demo"]
