"""``python -m tools.pack``: it finds the feature folders of a data root, packs them and says what comes next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from tools.pack import feature_folders, main


def _save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=np.ones((4, 2)), bbox=np.array([[0, 0, 5, 5], [1, 1, 9, 9]]), image_h=10, image_w=10)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data"
    for place in ("coco_extract/train2014/COCO_train2014_000000000009.jpg.npz", "vgd_coco/fix100/refcoco_unc/12.npz"):
        _save(root / place)
    (root / "vqa").mkdir()
    return root


def test_packs_every_folder_of_a_root(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(root)])
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[:2]] == [
        str(root / "coco_extract" / "train2014"),
        str(root / "vgd_coco" / "fix100" / "refcoco_unc"),
    ]
    assert "1 images, 2 regions of width 4, 0.0 MB in " in said[0]
    assert said[2] == f"next: make search TASK=vqa DATA={root}"
    assert (root / "coco_extract" / ".packed" / "train2014" / "index.npz").is_file()
    # A second time the packs themselves, npz too, are not taken for features.
    assert len(feature_folders(root)) == 2


def test_default_root_and_named_folders(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out.splitlines()[-1] == "next: make search TASK=vqa"
    main(["--folders", "data/vgd_coco/fix100/refcoco_unc"])
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "next: make search TASK=itm, or make search TASK=vqa, or make search TASK=vgd"
    assert len(said) == 2 and said[0].startswith("data/vgd_coco/fix100/refcoco_unc: 1 images")


def test_a_broken_folder_does_not_stop_the_others(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "coco_extract" / "train2014" / "10.npz").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 2 folders could not be packed"):
        main(["--data", str(root)])
    caught = capsys.readouterr()
    assert "10.npz" in caught.err and "refcoco_unc: 1 images" in caught.out and "next" not in caught.out


def test_links_are_followed_once(root: Path) -> None:
    (root / "loop").symlink_to(root)
    disk = root.parent / "disk" / "flickr"
    _save(disk / "5.npz")
    (root / "flickr_rois_resnet101_fix36").symlink_to(disk)
    found = [folder.name for folder in feature_folders(root)]
    assert found == ["train2014", "flickr_rois_resnet101_fix36", "refcoco_unc"]


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no npz anywhere under"):
        main(["--data", str(tmp_path)])
    with pytest.raises(UserError, match="nope does not exist"):
        main(["--data", str(tmp_path / "nope")])
