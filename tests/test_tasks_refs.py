"""Referring expressions: both kinds of files, pickles of Python 2 and 3, and pickles that must not be trusted."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from tasks.refs import load_pickle, read_expressions
from tools.prepare_refs import main as prepare

SPLITS = ("train", "val", "testA", "testB")


def instances(**changes: Any) -> dict[str, Any]:
    box = {"id": 7, "image_id": 3, "bbox": [10.0, 20.0, 30.0, 5.0], "category_id": 1, **changes}
    return {"images": [{"id": 3, "width": 100, "height": 80}], "annotations": [box]}


def refs(**changes: Any) -> list[dict[str, Any]]:
    sentence = {"tokens": ["the", "left", "one"], "raw": "The left one!", "sent": "the left one", "sent_id": 5}
    return [{"ref_id": 1, "ann_id": 7, "image_id": 3, "split": "train", "sentences": [sentence], **changes}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "refs" / "refcoco")


def write(folder: Path, held: Any = None, truth: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.json").write_text(json.dumps(truth or instances()))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs() if held is None else held, protocol=2))
    return folder


def test_a_pickle_with_instances(folder: Path) -> None:
    (one,) = read_expressions(folder, "unc", SPLITS)
    assert one == (1, 5, 3, "train", ["the", "left", "one"], (10.0, 20.0, 39.0, 24.0))


def test_json_by_split_is_read_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = read_expressions(folder, "unc", SPLITS)
    prepare([f"--data={folder.parent.parent}"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == str(folder / "unc" / "train.json") and said[-1].startswith("next: make search TASK=vgd")
    assert read_expressions(folder / "unc", "other", SPLITS) == expected
    (folder / "plain").mkdir()
    (folder / "plain" / "val.json").write_text(
        '[{"image_id": 3, "bbox": [1, 2, 3, 4], "sentence": "The red-hot one."}]'
    )
    (one,) = read_expressions(folder / "plain", "unc", SPLITS)
    assert (one.split, one.tokens, one.box) == ("val", ["the", "red", "hot", "one"], (1, 2, 3, 5))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_lists_are_made_of_is_read(tmp_path: Path, protocol: int) -> None:
    held = [
        {"text": "ü", "long": 2**70, "float": 0.5, "none": None, "true": True, "bytes": b"\xff", "set": {1}},
        OrderedDict(a=(1, 2)),
        [np.int64(-4), np.float32(0.25), np.bool_(True)],
    ]
    (tmp_path / "x.p").write_bytes(pickle.dumps(held, protocol=protocol))
    assert load_pickle(tmp_path / "x.p") == [held[0], {"a": (1, 2)}, [-4, 0.25, True]]


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    # {'raw': 'caf\xe9', u'n': numpy.int64(3), 's': set([1L])} as Python 2.7 wrote it, protocol 0 and 2 mixed by hand.
    text = (
        b"(dp0\nS'raw'\np1\nS'caf\\xe9'\np2\nsVn\np3\ncnumpy.core.multiarray\nscalar\np4\n(cnumpy\ndtype\np5\n"
        b"(S'i8'\nI0\nI1\ntp6\nRp7\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntp8\nbS'\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00'\n"
        b"tp9\nRp10\nsS's'\nc__builtin__\nset\np11\n((lp12\nL1L\natp13\nRp14\ns."
    )
    (tmp_path / "x.p").write_bytes(text)
    assert load_pickle(tmp_path / "x.p") == {"raw": "café", "n": 3, "s": {1}}


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("evil", "named"),
    [
        (Evil(os.system, "touch owned"), "posix.system|nt.system"),
        (Evil(eval, "open('owned', 'w')"), "builtins.eval|__builtin__.eval"),
        (Evil(getattr, "x", "upper"), "builtins.getattr|__builtin__.getattr"),
        (np.array([1, 2]), "numpy.*_reconstruct"),
        (Path("x"), "pathlib"),
    ],
)
def test_pickles_that_ask_for_more_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: Any, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.p").write_bytes(pickle.dumps([evil], protocol=2))
    with pytest.raises(UserError, match=f"evil.p asks for ({named})"):
        load_pickle(Path("evil.p"))
    assert not Path("owned").exists()


def test_broken_pickles(tmp_path: Path) -> None:
    whole = pickle.dumps(refs(), protocol=2)
    for cut in (0, 1, 20, len(whole) - 2):
        (tmp_path / "x.p").write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"x.p is truncated or no pickle"):
            load_pickle(tmp_path / "x.p")


@pytest.mark.parametrize(
    ("held", "truth", "said"),
    [
        (refs(ann_id=8), None, r"refs\(unc\).p, ref 1: annotation 8 is not in .*instances.json"),
        (refs(sentences=[{}]), None, r"ref 1: it lacks or misuses 'sent"),
        ([{"ref_id": 2}], None, "ref 2: it lacks or misuses 'ann_id'"),
        ([], None, "should be a list of referring expressions with at least one"),
        (refs(), instances(bbox=[10, 20, 0, 5]), r"ref 1: box \[10, 20, 0, 5\] is empty"),
        (refs(), instances(bbox=[90, 20, 30, 5]), r"ref 1: box \[90, 20, 30, 5\] lies outside its image"),
        (refs(), {"images": []}, "instances.json is not COCO's instances .*'annotations'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, held: Any, truth: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_expressions(write(tmp_path / "refcoco", held, truth), "unc", SPLITS)


def test_missing_and_truncated_files(folder: Path) -> None:
    (folder / "instances.json").write_text('{"images": [')
    with pytest.raises(UserError, match="instances.json is not valid JSON at line 1"):
        read_expressions(folder, "unc", SPLITS)
    with pytest.raises(UserError, match=r"holds neither refs\(umd\).p nor train.json, val.json, test.json"):
        read_expressions(folder, "umd", ("train", "val", "test"))
