"""Expressions as JSON by split: the task reads the same from them as from the pickles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_vgd

from common.errors import UserError
from readers.expressions import files_of, read_expressions
from tools.prepare.refs import main


def test_the_same_is_read_from_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiny_vgd.make_root(tmp_path)
    shutil.copytree(tiny_vgd.folder(root), root / "refs/refcocog")
    google = files_of(root, "refcocog", "google")
    (root / "refs/refcocog/refs(unc).p").rename(google.pickle)
    unc = files_of(root, "refcoco", "unc")
    before = [one._replace(box_at="") for one in read_expressions(unc)]
    main([f"--data={root}"])
    assert f"{unc.by_split['testB']}: 16 sentences" in capsys.readouterr().out
    first = json.loads(unc.by_split["val"].read_text())[0]
    assert set(first) == {"tokens", "image_id", "bbox", "split", "ref_id", "sent_id", "width", "height"}
    for files in (unc, google):
        files.pickle.unlink()
        files.instances.unlink()
    assert [one._replace(box_at="") for one in read_expressions(unc)] == before
    assert [one._replace(box_at="") for one in read_expressions(google)] == [
        one for one in before if one.split in ("train", "val")
    ]
    with pytest.raises(UserError, match=r"none of .*refs\(unc\).p, .*refs\(google\).p is there"):
        main([f"--data={root}"])


def test_an_unknown_split_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = tiny_vgd.make_root(tmp_path)
    refs, instances = tiny_vgd.read(root)
    refs[-1]["split"] = "tesB"
    tiny_vgd.write(root, refs, instances)
    with pytest.raises(
        UserError, match=r"refs\(unc\).p, entry .*: split='tesB' is unknown .*choose one of train, val,"
    ):
        main([f"--data={root}"])
    assert not list(tiny_vgd.folder(root).glob("t*.json"))
