"""Referring expressions: pickles safe whatever is in them, JSON files by split, and what is said about others."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vgd

from common.errors import UserError
from readers.expressions import Expression, files_of, load_pickle, read_expressions

REAL = Path(__file__).parents[2] / "shared" / "real" / "colors"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_vgd.make_root(tmp_path / "root")


def read(root: Path) -> list[Expression]:
    return read_expressions(files_of(root, "refcoco", "unc"))


def pickled(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(content)
    return load_pickle(path)


def test_one_expression_a_sentence(root: Path) -> None:
    found = read(root)
    assert found[:3] == [
        Expression(0, 0, 1, "train", ["the", "green", "one"], [10.5, 20.0, 28.0, 19.0]),
        Expression(0, 1, 1, "train", ["green", "box"], [10.5, 20.0, 28.0, 19.0]),
        Expression(1, 2, 1, "train", ["the", "blue", "one"], [55.5, 20.0, 28.0, 19.0]),
    ]
    assert list(Counter(one.split for one in found)) == ["train", "val", "testA", "testB"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not here")
def test_real_files() -> None:
    found = read(REAL)
    assert Counter(one.split for one in found) == {"train": 4000, "val": 700, "testA": 700, "testB": 240}
    assert found[0].tokens == ["click", "the", "bright", "purple"] and found[0].image == 13836


# ---- pickles ----


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_texts_and_numbers_are_read(tmp_path: Path, protocol: int) -> None:
    plain = [{"a": (1, 2.5, None, True, 10**30), "b": {"x", "y"}, "c": b"\xff\0", "d": frozenset([1]), "é": "日本"}]
    assert pickled(tmp_path, pickle.dumps(plain, protocol)) == plain
    assert pickled(tmp_path, pickle.dumps(OrderedDict(a=1), protocol)) == {"a": 1}
    numbers = [
        np.int64(7),
        np.int32(-7),
        np.float32(1.5),
        np.float64(0.1),
        np.bool_(True),
        np.str_("ab"),
        np.uint8(255),
    ]
    found = pickled(tmp_path, pickle.dumps(numbers, protocol))
    assert found == [7, -7, 1.5, 0.1, True, "ab", 255]
    assert not any(isinstance(value, np.generic) for value in found)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"(dp0\nS'tokens'\np1\n(lp2\nS'caf\\xe9'\np3\naVna\\u00efve\np4\nas.", {"tokens": ["café", "naïve"]}),
        (b"\x80\x02}q\x00U\x06ref_idq\x01\x8a\x01\x05s.", {"ref_id": 5}),
        (b"L123L\n.", 123),
        (b"c__builtin__\nset\n((lp0\nI1\naI2\natR.", {1, 2}),
        (b"c__builtin__\nlong\n(S'12'\ntR.", 12),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
            b"S'\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00'\ntR.",
            5,
        ),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb"
            b"S'?\\x80\\x00\\x00'\ntR.",
            1.0,
        ),
    ],
)
def test_what_python_2_writes_is_read(tmp_path: Path, content: bytes, value: Any) -> None:
    assert pickled(tmp_path, content) == value


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_harmful_pickle_does_not_run(tmp_path: Path, root: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps([Harmful(marker)], protocol)
    pickle.loads(content)
    assert marker.exists()
    marker.unlink()
    with pytest.raises(UserError, match=r"refs\(unc\).p asks for (posix|nt).system, which .* was not run"):
        pickled(tmp_path, content)
    (tiny_vgd.folder(root) / "refs(unc).p").write_bytes(content)
    with pytest.raises(UserError, match="system"):
        read(root)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"c__builtin__\neval\n(S'1'\ntR.", "asks for __builtin__.eval,"),
        (b"cbuiltins\ngetattr\n.", "asks for builtins.getattr,"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0dset.__class__\x93.", r"asks for builtins.set.__class__,"),
        (b"\x80\x04\x8c\x0anumpy.core\x8c\x06memmap\x93.", "asks for numpy.core.memmap,"),
        (b"creaders.expressions\nload_pickle\n.", "asks for readers.expressions.load_pickle,"),
        (b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.", "numpy value of type 'O8' is no number"),
        (b"cnumpy\ndtype\n(S'i4,O'\nI0\nI1\ntR.", "numpy value of type 'i4,O' is no number"),
        (b"Pelsewhere\n.", "refers to things outside itself"),
        (b"\x80\x02\x82\x01.", "cannot read"),
        (b"", "truncated"),
        (b"[]", "truncated"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        pickled(tmp_path, content)
    assert "refs(unc).p" in str(caught.value)


def test_arrays_and_objects_are_refused(tmp_path: Path) -> None:
    for value in (np.arange(3), Path("a")):
        with pytest.raises(UserError, match="asks for (numpy|pathlib)"):
            pickled(tmp_path, pickle.dumps(value))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_cut_anywhere_is_refused(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps([{"ref_id": 1, "sentences": [{"tokens": ["a", "bus"]}], "ann_id": np.int64(4)}], protocol)
    for end in range(len(whole)):
        with pytest.raises(UserError, match=r"refs\(unc\).p"):
            pickled(tmp_path, whole[:end])


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
        Expression(None, None, 1, "train", ["left", "bus"], [1, 2, 3, 4]),
        Expression(9, None, 2, "train", ["the", "mans", "hat"], [1.5, 2, 3, 4]),
    ]
    assert read(root) == expected
    (tiny_vgd.folder(root) / "instances.json").unlink()
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
    assert read_expressions(files_of(root, "refcoco", "unc", "mine")) == before
    assert files_of(root, "refcocog", "google", "mine").by_split["val"] == root / "mine/google/val.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": "1.5"}, "'image_id' is missing or not a whole number"),
        ({"image_id": True}, "'image_id' is missing or not a whole number"),
        ({"ref_id": "a"}, "'ref_id' is missing or not a whole number"),
        ({"split": 1}, "'split' is missing or not a text"),
        ({"split": "tests"}, "split='tests' is unknown .*choose one of train, val, testA, testB, test; .*mean 'test'"),
        ({"bbox": None}, "'bbox' is missing or not a list"),
        ({"bbox": [1, 2, 3]}, r"'bbox' is \[1, 2, 3\]; it should be four numbers"),
        ({"bbox": [1, 2, 3, "4"]}, "it should be four numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "it should be four numbers"),
        ({"bbox": [1, 2, 0, 4]}, r"the box \[1, 2, 0, 4\] is empty"),
        ({"bbox": [1, 2, 3, -4]}, "is empty"),
        ({"bbox": [1, 80, 3, 20]}, r"lies outside its image of 200 x 90 pixels"),
        ({"bbox": [-9, 2, 3, 4]}, "lies outside its image"),
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
        (lambda r, _: r[1].update(ann_id=5), r"refs\(unc\).p, entry 1 \(ref 1\): .* 5 is not in .*instances.json"),
        (lambda r, _: r[1].pop("ann_id"), r"refs\(unc\).p, entry 1: 'ann_id' is missing"),
        (lambda r, _: r[1].pop("split"), r"refs\(unc\).p, entry 1: 'split' is missing or not a text"),
        (lambda r, _: r[1].update(split="trian"), r"refs\(unc\).p, entry 1: split='trian' .*did you mean 'train'"),
        (lambda r, _: r[1].pop("sentences"), r"entry 1: 'sentences' is missing or not a list"),
        (lambda r, _: r[1]["sentences"][0].clear(), r"refs\(unc\).p, entry 1, sentence 0: it needs 'tokens'"),
        (lambda r, _: r[1].update(sentences=["the bus"]), r"entry 1, sentence 0: it needs 'tokens'"),
        (lambda r, _: r.__setitem__(1, 5), r"refs\(unc\).p, entry 1: 'ref_id' is missing"),
        (lambda r, _: r.clear(), r"refs\(unc\).p should be a list of referring expressions"),
        (lambda _, i: i.pop("images"), "instances.json has no list 'images'; it should be COCO's instances"),
        (lambda _, i: i["annotations"][1].pop("id"), r"instances.json, annotations\[1\]: 'id' is missing"),
        (lambda _, i: i["annotations"][1].pop("bbox"), "instances.json, annotation 101: 'bbox' is missing"),
        (lambda _, i: i["annotations"][1].pop("image_id"), "instances.json, annotation 101: 'image_id' is missing"),
        (lambda _, i: i["annotations"][1]["bbox"].__setitem__(2, 0), "instances.json, annotation 101: .* is empty"),
        (lambda _, i: i["annotations"][1]["bbox"].__setitem__(0, 190), "annotation 101: .* outside .* 200 x 90"),
        (lambda _, i: i["images"][0].pop("width"), "instances.json, image 1: 'width' is missing"),
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
