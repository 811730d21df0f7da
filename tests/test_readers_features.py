"""Region features: what a good npz gives, what a bad one says; packs that are whole, current and equal to the npz."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.errors import UserError
from readers import feature_pack
from readers.feature_pack import open_pack
from readers.feature_store import FeatureStore
from readers.features import is_region_first, number_in, read_npz

REAL = Path(__file__).parents[2] / "shared" / "real"
WIDTH = 6


def arrays(regions: int = 3, seed: int = 0, width: int = WIDTH) -> dict[str, np.ndarray]:
    """The contents of a good file: an image of 100 x 80 pixels (width x height)."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (regions, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(0, 40, (regions, 2))), axis=1)
    x = rng.standard_normal((width, regions)).astype(np.float32)
    return {"x": x, "bbox": boxes.astype(np.float32), "image_h": np.array(80), "image_w": np.array(100)}


def folder_of(folder: Path, sizes: dict[int, int], width: int = WIDTH) -> Path:
    """A feature folder with images by id, each of its own number of regions."""
    folder.mkdir(parents=True)
    for image, regions in sizes.items():
        np.savez(folder / f"COCO_train2014_{image:012d}.jpg.npz", **arrays(regions, seed=image, width=width))
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return folder_of(tmp_path / "feats" / "train2014", {9: 3, 25: 5, 4: 1, 581857: 2})


# ---- one npz ----


def test_read_npz_gives_regions_first_in_half_precision(tmp_path: Path) -> None:
    good = arrays()
    np.savez(tmp_path / "9.npz", **good)
    features = read_npz(tmp_path / "9.npz")
    assert (features.x.dtype, features.boxes.dtype, features.hw.dtype) == (np.float16, np.float32, np.float32)
    assert features.x.shape == (3, WIDTH) and features.x.flags.c_contiguous
    for region in range(3):
        np.testing.assert_array_equal(features.x[region], good["x"][:, region].astype(np.float16))
    np.testing.assert_array_equal(features.boxes, good["bbox"])
    np.testing.assert_array_equal(features.hw, [80, 100])


def test_read_npz_joins_fc7_and_pool5(tmp_path: Path) -> None:
    good = arrays()
    fc7, pool5 = np.arange(12.0).reshape(3, 4), -np.arange(6.0).reshape(3, 2)
    del good["x"]
    np.savez(tmp_path / "9.npz", fc7=fc7, pool5=pool5, **good)
    np.testing.assert_array_equal(read_npz(tmp_path / "9.npz").x, np.hstack((fc7, pool5)))


def test_region_first_is_read_where_the_boxes_decide_it(tmp_path: Path) -> None:
    good = arrays()
    np.savez(tmp_path / "1.npz", **good)
    # Extractors put pickled objects beside the arrays, which are never looked at.
    turned = {**good, "x": np.ascontiguousarray(good["x"].T), "info": {"classes": [1, 2]}}
    np.savez(tmp_path / "2.npz", **turned)
    one, other = (read_npz(tmp_path / f"{name}.npz") for name in (1, 2))
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True)) and other.x.flags.c_contiguous
    assert [is_region_first(tmp_path / f"{name}.npz") for name in (1, 2, 3)] == [False, True, None]


def test_a_square_x_stands_as_the_others_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    square, oblong = arrays(WIDTH, seed=1), arrays(2, seed=2)
    for name, turned in (("feature_first", False), ("region_first", True)):
        folder = tmp_path / name
        folder.mkdir()
        for image, one in ((1, square), (2, oblong)):
            np.savez(folder / f"{image}.npz", **{**one, "x": one["x"].T if turned else one["x"]})
        regions = FeatureStore([folder]).gather([1], 100)[0][0].numpy()
        np.testing.assert_array_equal(regions, square["x"].T.astype(np.float16))


@pytest.mark.parametrize("region_first", [False, True])
@pytest.mark.parametrize("said", [True, False])
def test_padding_is_no_region(tmp_path: Path, region_first: bool, said: bool) -> None:
    good = arrays()
    x, boxes = np.zeros((WIDTH, 10), np.float32), np.zeros((10, 4), np.float32)
    x[:, :3], boxes[:3] = good["x"], good["bbox"]
    padded = {**good, "x": x.T if region_first else x, "bbox": boxes, **({"num_bbox": np.array([3])} if said else {})}
    np.savez(tmp_path / "9.npz", **padded)
    np.savez(tmp_path / "1.npz", **good)
    assert all(map(np.array_equal, read_npz(tmp_path / "9.npz"), read_npz(tmp_path / "1.npz")))


def test_of_two_layers_the_padding_goes_too(tmp_path: Path) -> None:
    good = arrays()
    del good["x"]
    layers = {"fc7": np.arange(1.0, 13).reshape(3, 4), "pool5": np.arange(1.0, 7).reshape(3, 2), "num_bbox": 2}
    np.savez(tmp_path / "9.npz", **layers, **good)
    features = read_npz(tmp_path / "9.npz")
    np.testing.assert_array_equal(features.x, np.hstack((layers["fc7"], layers["pool5"]))[:2])
    np.testing.assert_array_equal(features.boxes, good["bbox"][:2])


def _with(**changes: object) -> dict[str, object]:
    return {**arrays(), **changes}


def _without(key: str) -> dict[str, object]:
    return {name: value for name, value in arrays().items() if name != key}


_BOX = arrays()["bbox"]
BAD = {
    "no x": (_without("x"), "lacks x "),
    "no bbox": (_without("bbox"), "lacks bbox "),
    "no height": (_without("image_h"), r"lacks image_h \(it holds x, bbox, image_w\)"),
    "half of the fc7 kind": ({**_without("x"), "fc7": np.ones((3, 4))}, "lacks pool5"),
    "fc7 of other length": ({**_without("x"), "fc7": np.ones((2, 4)), "pool5": np.ones((3, 4))}, "fc7 .* must be"),
    "pool5 of no width": ({**_without("x"), "fc7": np.ones((3, 4)), "pool5": np.ones((3, 0))}, "pool5 .* must be"),
    "other count": (_with(x=np.ones((WIDTH, 4))), r"has shape \(6, 4\) but bbox has 3 boxes"),
    "flat x": (_with(x=np.ones(18)), r"x must be \(D, 3\) or \(3, D\)"),
    "x of no width": (_with(x=np.ones((0, 3))), r"x must be \(D, 3\) or \(3, D\)"),
    "NaN": (_with(x=np.where(np.eye(WIDTH, 3), np.nan, 1)), "NaN"),
    "infinite": (_with(x=np.full((WIDTH, 3), -np.inf)), "infinite"),
    "beyond half precision": (_with(x=np.full((WIDTH, 3), -7e4)), "70000 .*half precision"),
    "text": (_with(x=np.full((WIDTH, 3), "a")), "not numbers"),
    "pickled": (_with(x=np.full((WIDTH, 3), None)), "cannot read"),
    "no region": (_with(x=np.zeros((WIDTH, 2)), bbox=np.zeros((2, 4))), "no region"),
    "no region counted": (_with(num_bbox=np.array(0)), "no region"),
    "more regions than rows": (_with(num_bbox=np.array(4)), "num_bbox of .* is 4 but bbox has 3 rows"),
    "half a region": (_with(num_bbox=np.array(1.5)), "num_bbox .* must be the number of regions"),
    "several counts": (_with(num_bbox=np.array([1, 2])), "num_bbox .* must be the number of regions"),
    "empty": (_with(x=np.ones((WIDTH, 0)), bbox=np.ones((0, 4))), "no region|must be"),
    "boxes on their side": (_with(bbox=_BOX.T), r"bbox .* must be \(R, 4\)"),
    "boxes NaN": (_with(bbox=_BOX * np.nan), "bbox .* NaN"),
    "x y w h": (_with(bbox=np.array([[1, 2, 50, 60], [60, 50, 20, 20], [1, 2, 3, 4]])), "box 1 .* not x y w h"),
    "boxes from 0 to 1": (_with(bbox=_BOX / 100), "in pixels"),
    "boxes of a larger image": (_with(bbox=_BOX + [0, 0, 90, 0]), "far outside .* width 100 and height 80"),
    "no size": (_with(image_w=np.array(0)), "image_w .* positive"),
    "NaN size": (_with(image_h=np.array(np.nan)), "image_h .* positive"),
}


@pytest.mark.parametrize("contents, says", BAD.values(), ids=BAD)
def test_bad_npz_has_one_sentence_that_names_it(tmp_path: Path, contents: dict, says: str) -> None:
    path = tmp_path / "COCO_9.jpg.npz"
    np.savez(path, **contents)
    with pytest.raises(UserError, match=says) as caught:
        read_npz(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_boxes_a_little_outside_or_without_area_are_accepted(tmp_path: Path) -> None:
    boxes = np.array([[-3, 0, 104, 81], [50, 20, 50, 20], [0, 0, 0, 0]], dtype=np.float32)
    np.savez(tmp_path / "9.npz", **_with(bbox=boxes))
    np.testing.assert_array_equal(read_npz(tmp_path / "9.npz").boxes, boxes)


def test_damaged_file_is_refused_or_read_right(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.npz", tmp_path / "9.npz"
    np.savez_compressed(whole, **arrays())
    good, data = read_npz(whole), whole.read_bytes()
    rng = np.random.default_rng(0)
    cut = [data[:length] for length in range(0, len(data), 29)]
    for place in rng.integers(0, len(data), 150):
        cut.append(data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :])
    refused = 0
    for damaged in cut:
        path.write_bytes(damaged)
        try:
            read = read_npz(path)
        except UserError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert all(np.array_equal(one, other) for one, other in zip(read, good, strict=True))
    assert refused > len(cut) / 2


def test_no_npz_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_npz(tmp_path / "9.npz")
    with zipfile.ZipFile(tmp_path / "9.npz", "w") as file:
        file.writestr("x.txt", "hello")
    with pytest.raises(UserError, match="lacks x, bbox, image_h, image_w"):
        read_npz(tmp_path / "9.npz")


@pytest.mark.parametrize(
    "name, image",
    [
        ("COCO_train2014_000000000009.jpg.npz", 9),
        ("1015118661.npz", 1015118661),
        ("581857.jpg.npz", 581857),
        ("v2_000.npz", 0),
    ],
)
def test_the_number_in_a_name(name: str, image: int) -> None:
    assert number_in(name) == image


@pytest.mark.parametrize("name", ["readme.npz", "1234567890123456789.npz"])
def test_name_without_an_id_is_refused(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(
        UserError, match=f"train2014: no image id in the name {name.removesuffix('.npz')}: it should end in a number"
    ):
        FeatureStore([folder])


# ---- the store ----


def test_images_found_by_their_whole_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "feats"
    folder.mkdir()
    names = ["142108_d886c74e0d.jpg", "27_0d0e0d", "extra_1_0"]
    for seed, name in enumerate(names):
        np.savez(folder / f"{name}.npz", **arrays(seed=seed))
    with pytest.raises(UserError, match=r"142108_d886c74e0d and .* in .*feats are both image 0; move one of them away"):
        FeatureStore([folder])
    store = FeatureStore([folder], {"142108_d886c74e0d": 7, "27_0d0e0d": 3, "missing": 5})
    assert store.ids.tolist() == [3, 7] and store.stems([7, 3, 7]) == [Path(names[i]).stem for i in (0, 1, 0)]
    np.testing.assert_array_equal(store.gather([7], 9)[0][0], arrays(seed=0)["x"].T.astype(np.float16))
    shutil.rmtree(folder)
    assert FeatureStore([folder], {"27_0d0e0d": 1}).ids.tolist() == [1], "the pack knows the names"
    nobody = FeatureStore([folder], {"other": 1})
    with pytest.raises(
        UserError, match="1 of the 1 images of the captions .* the files there are named 142108_d8.*, 27"
    ):
        nobody.require([1], "the captions")
    with pytest.raises(UserError, match="no file under .*feats is named like an image of this data set"):
        nobody.gather([1], 9)


def test_a_pack_of_the_older_format_serves_until_its_folder_is_there(folder: Path) -> None:
    before = FeatureStore([folder])
    pack = open_pack(folder)
    facts = {"format": 1, "width": pack.width, "stamp": pack.stamp, "fingerprint": pack.fingerprint}
    arrays_of = {"offsets": pack.offsets, "boxes": pack.boxes, "hw": pack.hw, "facts": np.array(json.dumps(facts))}
    np.savez(pack.path / "index.npz", ids=before.ids, **arrays_of)
    aside = folder.rename(folder.with_name("aside"))
    older = FeatureStore([folder])
    assert older.fingerprint == before.fingerprint and older.ids.tolist() == before.ids.tolist()
    aside.rename(folder)
    assert open_pack(folder).format == 2


def test_packed_equals_npz(folder: Path) -> None:
    other = folder_of(folder.parent / "val2014", {7: 4, 100: 2})
    store = FeatureStore([folder, other])
    assert len(store) == 6 and store.width == WIDTH
    np.testing.assert_array_equal(store.ids, [4, 7, 9, 25, 100, 581857])
    images = [25, 7, 581857, 9, 7]
    regions, boxes, hw, pad = store.gather(images, limit=4)
    assert regions.shape == (5, 4, WIDTH) and regions.dtype == torch.float16 and pad.dtype == torch.bool
    assert boxes.dtype == hw.dtype == torch.float32
    for row, image in enumerate(images):
        path = next(path for path in [*folder.iterdir(), *other.iterdir()] if number_in(path.name) == image)
        with np.load(path) as file:  # independent of read_npz
            x, box = file["x"].T[:4].astype(np.float16), file["bbox"][:4]
            np.testing.assert_array_equal(hw[row], [file["image_h"], file["image_w"]])
        kept = len(x)
        np.testing.assert_array_equal(regions[row, :kept].numpy().astype(np.float16), x)
        np.testing.assert_array_equal(boxes[row, :kept], box)
        assert not regions[row, kept:].any() and not boxes[row, kept:].any()
        assert pad[row].tolist() == [False] * kept + [True] * (4 - kept)


def test_sizes_of_many_images(folder: Path) -> None:
    np.savez(folder / "77.npz", **arrays() | {"image_h": np.array(90)})
    sizes = FeatureStore([folder]).sizes([9, 77, 9])
    assert sizes.tolist() == [[80, 100], [90, 100], [80, 100]] and sizes.dtype == np.float32
    with pytest.raises(UserError, match="image 5 has no features"):
        FeatureStore([folder]).sizes([5])


def test_batch_is_padded_to_its_own_longest(folder: Path) -> None:
    store = FeatureStore([folder])
    assert store.gather([4, 581857], limit=100)[0].shape == (2, 2, WIDTH)
    assert store.gather([25], limit=100)[3].sum() == 0
    assert store.gather([], limit=100)[0].shape == (0, 0, WIDTH)


def test_regions_file_is_a_plain_npy(folder: Path) -> None:
    pack = open_pack(folder)
    x = np.load(pack.path / "regions.npy", mmap_mode="r")
    assert x.shape == (11, WIDTH) and x.dtype == np.float16
    np.testing.assert_array_equal(pack.offsets, [0, 1, 4, 9, 11])


def test_missing_images_are_named(folder: Path) -> None:
    store = FeatureStore([folder])
    store.require([9, 25, 9], "the questions")
    with pytest.raises(UserError, match=r"1 of the 4 images of the questions .*train2014: 7; add their npz files"):
        store.require([4, 7, 9, 25, 9], "the questions")
    mostly = r"6 of the 7 .*: 1, 2, 3, 5, 6, \.\.\., while the files there are named COCO_train2014_0+4.npz, .*; ask"
    with pytest.raises(UserError, match=mostly):
        store.require([1, 2, 3, 5, 6, 7, 9, 1], "the questions", "ask its author")
    for unknown in (1, 26, 10**9):
        with pytest.raises(UserError, match=f"image {unknown} has no features under .*train2014"):
            store.gather([9, unknown], limit=100)


def test_refused_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="feats/nope does not exist; it should hold one npz"):
        FeatureStore([tmp_path / "feats" / "nope"])
    with pytest.raises(UserError, match="feats holds no npz; .*did you mean its folder train2014"):
        FeatureStore([folder.parent])
    narrow = folder_of(tmp_path / "narrow", {1: 2}, width=WIDTH - 1)
    with pytest.raises(UserError, match="narrow have width 5 but those of .*train2014 6"):
        FeatureStore([folder, narrow])
    twin = folder_of(tmp_path / "twin", {25: 2})
    with pytest.raises(UserError, match=r"image 25 is there twice, as .*train2014/COCO_\S+ and .*twin/COCO_\S+; keep"):
        FeatureStore([folder, twin])
    assert len(FeatureStore([folder, folder / "."])) == 4
    (folder / "25.npz").touch()
    with pytest.raises(UserError, match="25.* are both image 25"):
        FeatureStore([folder])


def test_all_broken_files_of_a_folder_are_counted(folder: Path) -> None:
    for image in (50, 51, 52):
        (folder / f"{image}.npz").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(UserError, match=r"50\.npz .*\(2 more files in .*train2014 are broken\)"):
        FeatureStore([folder])
    for image in range(50, 90):
        (folder / f"{image}.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"at least 19 more"):
        FeatureStore([folder])


def test_widths_that_change_within_a_folder_are_refused(folder: Path) -> None:
    np.savez(folder / "30.npz", **arrays(width=WIDTH + 1))
    with pytest.raises(UserError, match="30.npz has features of width 7, images before it 6"):
        FeatureStore([folder])


# ---- the pack on disk ----


def _packed_at(folder: Path) -> int:
    return (folder.parent / ".packed" / folder.name / "index.npz").stat().st_mtime_ns


def test_a_standing_pack_is_used_and_a_changed_folder_noticed(folder: Path) -> None:
    store = FeatureStore([folder])
    first = _packed_at(folder)
    assert FeatureStore([folder]).fingerprint == store.fingerprint
    assert _packed_at(folder) == first

    np.savez(folder / "77.npz", **arrays(2, seed=77))
    added = FeatureStore([folder])
    assert _packed_at(folder) != first and 77 in added.ids and added.fingerprint != store.fingerprint

    np.savez(folder / "77.npz", **arrays(2, seed=78))  # as many bytes, other contents
    changed = FeatureStore([folder])
    np.testing.assert_allclose(changed.gather([77], 9)[0][0], arrays(2, seed=78)["x"].T, rtol=1e-3)

    (folder / "77.npz").unlink()
    assert FeatureStore([folder]).fingerprint == store.fingerprint


def test_fingerprint_is_of_the_contents_alone(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, moved)
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    assert FeatureStore([moved]).fingerprint == FeatureStore([folder]).fingerprint
    assert len(FeatureStore([moved]).fingerprint) == 12


def test_pack_outlives_its_folder(folder: Path) -> None:
    before = FeatureStore([folder]).gather([9, 25], 9)
    shutil.rmtree(folder)
    after = FeatureStore([folder]).gather([9, 25], 9)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def _fork(work: Callable[[], bool]) -> int:
    """Start a child that exits with 0 where ``work`` is true, and with 1 where it is not or raises."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return child


def _status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_half_a_pack_of_a_killed_run_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die_at_25(path: Path, region_first: bool) -> object:
        return os.kill(os.getpid(), 9) if "000025" in path.name else read_npz(path, region_first)

    with monkeypatch.context() as patch:
        patch.setattr(feature_pack, "read_npz", die_at_25)
        assert _status(_fork(lambda: len(FeatureStore([folder])) == 4)) == -9
    place = folder.parent / ".packed" / folder.name
    assert [path for path in place.iterdir() if path.name.startswith(".regions")], "the child left half a file"
    assert len(FeatureStore([folder])) == 4
    assert sorted(path.name for path in place.iterdir()) == [".lock", "index.npz", "regions.npy"]


@pytest.mark.parametrize("name", ["regions.npy", "index.npz"])
def test_damaged_pack_is_made_again(folder: Path, name: str) -> None:
    before = FeatureStore([folder]).gather([9, 25], 9)
    path = folder.parent / ".packed" / folder.name / name
    path.write_bytes(path.read_bytes()[:-7])
    after = FeatureStore([folder]).gather([9, 25], 9)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    path.write_bytes(path.read_bytes()[:-7])
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="does not exist"):
        FeatureStore([folder])


def test_pack_cut_short_while_in_use(folder: Path) -> None:
    store = FeatureStore([folder])
    os.truncate(folder.parent / ".packed" / folder.name / "regions.npy", 150)
    with pytest.raises(UserError, match="ended early; delete"):
        store.gather([25], 9)


@pytest.mark.parametrize("lock", ["file in the way", "no write permission"])
def test_data_root_that_cannot_be_written(folder: Path, tmp_path: Path, lock: str) -> None:
    if lock == "file in the way":
        (folder.parent / ".packed").touch()
    else:
        folder.parent.chmod(0o555)
    before = sorted(folder.parent.iterdir())
    store = FeatureStore([folder])
    assert sorted(folder.parent.iterdir()) == before
    assert len(list((tmp_path / "logs" / "packed").glob("train2014-*/index.npz"))) == 1
    assert store.fingerprint == FeatureStore([folder]).fingerprint
    folder.parent.chmod(0o755)


def test_nowhere_to_write(folder: Path, tmp_path: Path) -> None:
    (folder.parent / ".packed").touch()
    (tmp_path / "logs").touch()
    with pytest.raises(UserError, match="cannot pack .*, or name a data root that .* holds a link to these features"):
        FeatureStore([folder])


def test_a_linked_folder_is_packed_beside_the_link(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.parent.iterdir())
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train2014").symlink_to(folder)
    assert len(FeatureStore([tmp_path / "root" / "train2014"])) == 4
    assert (tmp_path / "root" / ".packed" / "train2014" / "index.npz").exists()
    assert sorted(folder.parent.iterdir()) == before


def test_full_disk_is_told_before_it_is_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_pack, "SPACE_CHECK_AT", 2)
    monkeypatch.setattr(feature_pack.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(
        UserError, match="needs .* GB more but .* free; free the disk, or name a data root on a larger one"
    ):
        FeatureStore([folder])
    assert [path.name for path in (folder.parent / ".packed" / folder.name).iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["regions.npy", "index.npz"])
def test_a_disk_that_fills_up_keeps_nothing_of_a_pack(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=f"cannot write .*{name}: No space left"):
        patch.setattr("os.replace", full)
        FeatureStore([folder])
    assert [path.name for path in (folder.parent / ".packed" / folder.name).iterdir()] == [".lock"]
    assert len(FeatureStore([folder])) == 4


def test_parallel_reading_gives_the_same_pack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "60.npz").write_bytes(b"")
    serial = open_pack(folder_of(folder.parent / "same", {9: 3, 25: 5, 4: 1, 581857: 2}))
    monkeypatch.setattr(feature_pack, "PARALLEL_FROM", 0)
    with pytest.raises(UserError, match="60.npz"):
        open_pack(folder)
    (folder / "60.npz").unlink()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    parallel = open_pack(folder)
    assert torch.equal(torch.rand(1), expected), "packing must leave the global generator alone"
    assert parallel.fingerprint == serial.fingerprint
    assert (parallel.path / "regions.npy").read_bytes() == (serial.path / "regions.npy").read_bytes()


@pytest.mark.parametrize(("allowed", "most"), [(40, 0), (128, 2), (100_000, feature_pack.MOST_WORKERS)])
def test_few_open_files_are_shared_by_few_readers(monkeypatch: pytest.MonkeyPatch, allowed: int, most: int) -> None:
    monkeypatch.setattr(feature_pack, "cores", lambda: 16)
    monkeypatch.setattr(feature_pack.resource, "getrlimit", lambda _: (allowed, allowed))
    assert feature_pack._workers() == most


def test_a_reader_that_outlives_its_run_holds_no_pack(tmp_path: Path) -> None:
    lock = feature_pack.lock_pack(tmp_path / "pack")
    reader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    reader.start()
    lock.close()  # as the kernel does it for a run that is killed
    try:
        with open(tmp_path / "pack" / feature_pack.LOCK) as again:
            for _ in range(100):  # until the reader is under way
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.05)
        raise AssertionError("the reader holds it")
    finally:
        reader.kill()
        reader.join()


def test_processes_that_start_together_pack_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = folder.parent / "made", feature_pack._make

    def noted(*arguments: object) -> object:
        with open(made, "a") as file:
            file.write("x")
        return make(*arguments)

    monkeypatch.setattr(feature_pack, "_make", noted)
    children = [_fork(lambda: len(FeatureStore([folder])) == 4) for _ in range(3)]
    assert [_status(child) for child in children] == [0, 0, 0]
    assert made.read_text() == "x"


def test_store_crosses_processes(folder: Path) -> None:
    store = FeatureStore([folder])
    expected = store.gather([9, 25], 9)

    def same(other: FeatureStore) -> bool:
        return all(torch.equal(one, two) for one, two in zip(other.gather([9, 25], 9), expected, strict=True))

    assert same(pickle.loads(pickle.dumps(store)))
    assert _status(_fork(lambda: same(store))) == 0
    assert same(store)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not here")
@pytest.mark.parametrize(
    "source, width, regions",
    [
        ("flickr1k/flickr_rois_resnet101_fix36", 512, 36),
        ("easyvqa/coco_extract/train2014", 320, 16),
        ("colors/detfeat100_woref", 54, 3),
    ],
)
def test_real_features(tmp_path: Path, source: str, width: int, regions: int) -> None:
    folder = tmp_path / Path(source).name
    folder.mkdir()
    for path in sorted((REAL / source).iterdir())[:8]:
        shutil.copyfile(path, folder / path.name)
    store = FeatureStore([folder])
    assert len(store) == 8 and store.width == width
    for path in folder.iterdir():
        with np.load(path) as file:
            x, boxes, _, pad = store.gather([int(path.name.split(".")[0].split("_")[-1])], 100)
            np.testing.assert_array_equal(x[0].numpy(), file["x"].T.astype(np.float16))
            np.testing.assert_array_equal(boxes[0], file["bbox"])
            assert pad.shape == (1, regions) and not pad.any()
