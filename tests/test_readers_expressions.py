"""Referring expressions as people have them: pickles, JSON files by split, and what is said about others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_vgd

from common.errors import UserError
from readers.expressions import Expression, entries_in, files_of, read_expressions

REAL = Path(__file__).parents[2] / "shared" / "real" / "colors"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_vgd.make_root(tmp_path / "root")


def read(root: Path, named: str | None = None) -> list[Expression]:
    """What the files say, without where they say it, which has a test of its own."""
    return [one._replace(box_at="") for one in read_expressions(files_of(root, "refcoco", "unc", named))]


def alone(root: Path, *entries: Any, split: str = "train") -> list[Expression]:
    """Read these entries from a JSON file that stands alone."""
    for name in ("refs(unc).p", "instances.json"):
        (tiny_vgd.folder(root) / name).unlink(missing_ok=True)
    (tiny_vgd.folder(root) / f"{split}.json").write_text(json.dumps(entries))
    return read(root)


def test_one_expression_a_sentence(root: Path) -> None:
    found = read(root)
    assert found[:3] == [
        Expression(0, 0, 1, "train", ["the", "green", "one"], [10.5, 20.0, 28.0, 19.0], (200, 90)),
        Expression(0, 1, 1, "train", ["green", "box"], [10.5, 20.0, 28.0, 19.0], (200, 90)),
        Expression(1, 2, 1, "train", ["the", "blue", "one"], [55.5, 20.0, 28.0, 19.0], (200, 90)),
    ]
    assert list(Counter(one.split for one in found)) == ["train", "val", "testA", "testB"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not here")
def test_real_files() -> None:
    found = read(REAL)
    assert Counter(one.split for one in found) == {"train": 4000, "val": 700, "testA": 700, "testB": 240}
    assert found[0].tokens == ["click", "the", "bright", "purple"] and found[0].image == 13836


# ---- JSON files ----


def test_json_files_of_other_tools_are_read(root: Path) -> None:
    (tiny_vgd.folder(root) / "refs(unc).p").unlink()
    entries = [
        {"tokens": ["Left", "bus"], "image_id": 1, "bbox": [1, 2, 3, 4], "split": "train"},
        {"sentence": "the man's hat.", "image_id": 2, "bbox": [1.5, 2, 3, 4], "ref_id": 9, "sent_id": None},
    ]
    path = tiny_vgd.folder(root) / "train.json"
    path.write_text(json.dumps(entries))
    expected = [
        Expression(None, None, 1, "train", ["left", "bus"], [1, 2, 3, 4], (200, 90)),
        Expression(9, None, 2, "train", ["the", "mans", "hat"], [1.5, 2, 3, 4], (200, 90)),
    ]
    assert read(root) == expected
    (tiny_vgd.folder(root) / "instances.json").unlink()
    assert read(root) == [one._replace(size=None) for one in expected]


def test_json_entries_may_be_those_of_the_pickles(root: Path) -> None:
    expected = [one for one in read(root) if one.split == "val"]
    refs, _ = tiny_vgd.read(root)
    (tiny_vgd.folder(root) / "refs(unc).p").unlink()
    for ref in refs:
        del ref["image_id"]
    kept = [ref for ref in refs if ref["split"] == "val"]
    (tiny_vgd.folder(root) / "val.json").write_text(json.dumps({"info": {"year": 2016}, "refs": kept}))
    assert read(root) == expected
    (tiny_vgd.folder(root) / "instances.json").unlink()
    with pytest.raises(UserError, match="val.json, entry 0: it needs 'bbox', or 'ann_id' and an annotation of that id"):
        read(root)


def test_ids_are_whole_numbers_however_they_are_written(root: Path) -> None:
    before = read(root)
    refs, instances = tiny_vgd.read(root)
    for ref in refs:
        ref.update(ref_id=float(ref["ref_id"]), ann_id=str(ref["ann_id"]))
    for one in instances["annotations"]:
        one.update(id=float(one["id"]), image_id=str(one["image_id"]), iscrowd=1, segmentation={"counts": [1]})
    for one in instances["images"]:
        one.update(id=str(one["id"]), width=float(one["width"]), height=str(one["height"]))
    tiny_vgd.write(root, refs, instances)
    assert read(root) == before and type(read(root)[0].ref_id) is int


def test_an_image_may_have_no_size(root: Path) -> None:
    refs, instances = tiny_vgd.read(root)
    del instances["images"][0]["width"]
    instances["images"][1]["height"] = None
    instances["images"][2].update(width=0, height=0)
    del instances["images"][3]
    tiny_vgd.write(root, refs, instances)
    sizes = {one.image: one.size for one in read(root)}
    assert [sizes[image] for image in (1, 2, 3, 4, 5)] == [None, None, None, None, (200, 90)]


@pytest.mark.parametrize("names", [("width", "height"), ("image_w", "image_h")])
def test_entries_may_give_the_size_of_their_image(root: Path, names: tuple[str, str]) -> None:
    entry = {"sentence": "bus", "image_id": 1, "bbox": [1, 2, 30, 40]}
    assert alone(root, entry | dict(zip(names, (60, 50), strict=True)))[0].size == (60, 50)
    with pytest.raises(UserError, match=f"train.json, entry 0: '{names[1]}' is missing or not a whole number"):
        alone(root, entry | dict(zip(names, (28, "high"), strict=True)))


@pytest.mark.parametrize(
    "sentence",
    [
        {"tokens": ["the", "bus"]},
        {"tokens": [""], "sent": "", "raw": "The bus."},
        {"tokens": [], "sent": "the bus", "raw": None},
        {"tokens": None, "sentence": "the bus"},
        {"tokens": "the bus"},
        "The bus!",
    ],
)
def test_words_come_from_the_first_text_that_holds_any(root: Path, sentence: Any) -> None:
    refs, instances = tiny_vgd.read(root)
    refs[1]["sentences"] = [sentence]
    tiny_vgd.write(root, refs, instances)
    assert read(root)[2].tokens == ["the", "bus"] and read(root)[2].ref_id == 1


def test_a_text_without_words_stays(root: Path) -> None:
    assert alone(root, {"sentence": "?", "image_id": 1, "bbox": [1, 2, 3, 4]})[0].tokens == []


@pytest.mark.parametrize("blank", [{"tokens": [""]}, {"tokens": [], "raw": " ", "sent": ""}, {"sentences": [""]}])
def test_a_blank_text_is_named(root: Path, blank: dict[str, Any]) -> None:
    good = {"image_id": 1, "bbox": [1, 2, 3, 4]}
    with pytest.raises(UserError, match="train.json, entry 1(, sentence 0)?: its text is empty"):
        alone(root, good | {"sentence": "bus"}, good | blank)


def test_where_a_box_is_written(root: Path) -> None:
    files = files_of(root, "refcoco", "unc")
    assert read_expressions(files)[2].box_at == f"{files.instances}, annotation 101"
    alone(root, {"sentence": "bus", "image_id": 1, "bbox": [1, 2, 3, 4]})
    assert read_expressions(files)[0].box_at == f"{files.by_split['train']}, entry 0"


@pytest.mark.parametrize("value", [[], {}, {"refs": []}, {"a": [1], "b": [2]}, {"0": {}}, "refs", None])
def test_what_is_no_list_of_entries_is_named(value: Any) -> None:
    assert entries_in(Path("val.json"), {"info": {}, "refs": [1]}) == entries_in(Path("val.json"), [1]) == [1]
    with pytest.raises(UserError, match="val.json should be a list of referring expressions with at least one"):
        entries_in(Path("val.json"), value)


def test_marks_of_windows_editors_are_dropped(root: Path) -> None:
    expected = alone(root, {"sentence": "bus", "image_id": 1, "bbox": [1, 2, 3, 4]})
    path = tiny_vgd.folder(root) / "train.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read(root) == expected


def test_json_files_of_a_division_that_is_not_the_usual_one(tmp_path: Path) -> None:
    umd, google = (files_of(tmp_path, "refcocog", name) for name in ("umd", "google"))
    for files, image in ((umd, 1), (google, 2)):
        files.by_split["train"].parent.mkdir(parents=True, exist_ok=True)
        files.by_split["train"].write_text(json.dumps([{"sentence": "a", "image_id": image, "bbox": [0, 0, 1, 1]}]))
    assert [read_expressions(files)[0].image for files in (umd, google)] == [1, 2]
    assert google.by_split["val"] == tmp_path / "refs/refcocog/google/val.json" and "test" not in google.by_split


def test_splits_of_other_divisions_are_known(root: Path) -> None:
    refs, instances = tiny_vgd.read(root)
    refs[0]["split"] = "test"
    tiny_vgd.write(root, refs, instances)
    assert read(root)[0].split == "test"


def test_another_folder(root: Path) -> None:
    before = read(root)
    tiny_vgd.folder(root).rename(root / "mine")
    assert read(root, "mine") == before
    assert files_of(root, "refcocog", "google", "mine").by_split["val"] == root / "mine/google/val.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": "1.5"}, "'image_id' is missing or not a whole number"),
        ({"image_id": True}, "'image_id' is missing or not a whole number"),
        ({"ref_id": "a"}, "'ref_id' is missing or not a whole number"),
        ({"split": 1}, "'split' is missing or not a text"),
        ({"split": "tests"}, "split='tests' is unknown .*choose one of train, val, testA, testB, test; .*mean 'test'"),
        ({"bbox": None}, "it needs 'bbox', or 'ann_id'"),
        ({"bbox": [1, 2, 3]}, r"'bbox' is \[1, 2, 3\]; it should be four numbers"),
        ({"bbox": None, "ann_id": "x"}, "'ann_id' is missing or not a whole number"),
        ({"sentences": "the bus"}, "'sentences' is missing or not a list"),
        ({"tokens": [1]}, "it needs 'tokens', a list of words"),
        ({"tokens": {"a": "b"}}, "it needs 'tokens', a list of words"),
    ],
)
def test_bad_entries_are_named(root: Path, change: dict[str, Any], said: str) -> None:
    (tiny_vgd.folder(root) / "refs(unc).p").unlink()
    path = tiny_vgd.folder(root) / "val.json"
    good = {"tokens": ["bus"], "image_id": 1, "bbox": [1, 2, 3, 4]}
    path.write_text(json.dumps([good, good | change]))
    with pytest.raises(UserError, match=f"val.json, entry 1: .*{said}"):
        read(root)


# ---- pickles and instances that do not fit ----

Change = Callable[[list[dict[str, Any]], dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r, _: r[1].update(ann_id=5), r"refs\(unc\).p, entry 1: .* 5 is not in .*instances.json"),
        (lambda r, _: r[1].pop("ann_id"), r"refs\(unc\).p, entry 1: it needs 'bbox', or 'ann_id'"),
        (lambda r, _: r[1].pop("split"), r"refs\(unc\).p, entry 1: 'split' is missing or not a text"),
        (lambda r, _: r[1].update(split="trian"), r"refs\(unc\).p, entry 1: split='trian' .*did you mean 'train'"),
        (lambda r, _: r[1].pop("sentences"), r"refs\(unc\).p, entry 1: it needs 'tokens'"),
        (lambda r, _: r[1]["sentences"][0].clear(), r"refs\(unc\).p, entry 1, sentence 0: it needs 'tokens'"),
        (lambda r, _: r[1].update(sentences=[5]), r"entry 1, sentence 0: it needs 'tokens'"),
        (lambda r, _: r.__setitem__(1, 5), r"refs\(unc\).p, entry 1 is 5; it should be an object"),
        (lambda r, _: r.clear(), r"refs\(unc\).p should be a list of referring expressions"),
        (lambda _, i: i.pop("images"), "instances.json has no list 'images'; it should be COCO's instances"),
        (lambda _, i: i["annotations"][1].pop("id"), r"instances.json, annotations\[1\]: 'id' is missing"),
        (lambda _, i: i["annotations"][1].pop("bbox"), "instances.json, annotation 101: 'bbox' is missing"),
        (lambda _, i: i["annotations"][1].pop("image_id"), "instances.json, annotation 101: 'image_id' is missing"),
        (lambda _, i: i["annotations"][1]["bbox"].__setitem__(2, 0), "instances.json, annotation 101: .* is empty"),
        (
            lambda _, i: i["images"][0].update(width="wide"),
            "instances.json, image 1: 'width' is missing or not a whole",
        ),
    ],
)
def test_bad_refs_are_named(root: Path, change: Change, said: str) -> None:
    refs, instances = tiny_vgd.read(root)
    change(refs, instances)
    tiny_vgd.write(root, refs, instances)
    with pytest.raises(UserError, match=said):
        read(root)


def test_missing_and_broken_files(root: Path) -> None:
    instances = tiny_vgd.folder(root) / "instances.json"
    instances.write_text(instances.read_text()[:99])
    with pytest.raises(UserError, match="instances.json is not valid JSON at line 1, column"):
        read(root)
    instances.write_text("[]")
    with pytest.raises(UserError, match="instances.json has no list 'annotations'"):
        read(root)
    instances.unlink()
    with pytest.raises(UserError, match="instances.json does not exist"):
        read(root)
    (tiny_vgd.folder(root) / "refs(unc).p").unlink()
    with pytest.raises(
        UserError, match=r"neither .*refs\(unc\).p nor one of .*train.json, .*testB.json; see data/README"
    ):
        read(root)
    (tiny_vgd.folder(root) / "val.json").write_text('[{"tokens": ["a"]')
    with pytest.raises(UserError, match="val.json is not valid JSON at line 1"):
        read(root)
