"""Captions: any number of them an image, ids once per caption or once per image, names of pictures and imgids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from readers.captions import IdMap, read_captions, read_flickr_ids


def files(folder: Path, captions: list[str], ids: list[object]) -> tuple[Path, Path]:
    caps_file, ids_file = folder / "train_caps.txt", folder / "train_ids.txt"
    caps_file.write_text("".join(f"{caption}\n" for caption in captions))
    ids_file.write_text("".join(f"{i}\n" for i in ids))
    return caps_file, ids_file


@pytest.mark.parametrize("counts", [[1, 1, 1], [5, 5], [7, 1, 6], [2]])
def test_any_number_of_captions_where_ids_stand_per_caption(tmp_path: Path, counts: list[int]) -> None:
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)) + 40, counts))
    texts = [f"text {n}" for n in range(len(ids))]
    captions = read_captions(*files(tmp_path, texts, ids.tolist()), None)
    assert captions.texts == texts and captions.images.tolist() == ids.tolist()


def test_five_captions_where_ids_stand_per_image(tmp_path: Path) -> None:
    captions = read_captions(*files(tmp_path, [f"text {n}" for n in range(10)], [8, 3]), None)
    assert captions.images.tolist() == [8] * 5 + [3] * 5
    assert read_captions(*files(tmp_path, ["a", "b"], ["8.0", " 3 "]), None).images.tolist() == [8, 3]


@pytest.mark.parametrize(
    ("captions", "ids", "said"),
    [
        (
            ["a"] * 6,
            [1, 2],
            r"caps.txt has 6 captions and train_ids.txt 2 ids; .* for each caption, or .* 5 captions",
        ),
        (["a", "", "b"], [1], r"has 3 captions \(line 2 is empty\) and train_ids.txt 1 ids"),
        (["a"] * 11, [1, 2], "has 11 captions and train_ids.txt 2 ids"),
        (["a"] * 15, [1, 2, 1], "names image 1 a second time in line 3, for lines 11 to 15 of train_caps.txt"),
        (["a\rb", "c"], [1, 2, 3], "caps.txt line 1 holds a carriage return in its middle; .* save it as UTF-8"),
        (["a"] * 2, [1, "2.jpg"], "train_ids.txt line 2 is '2.jpg', not an image id"),
        (["a"] * 2, [1, "9" * 200], "train_ids.txt line 2 is '9+[.][.][.]9+', not an image id"),
        ([], [1], "train_caps.txt is empty"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, captions: list[str], ids: list[object], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_captions(*files(tmp_path, captions, ids), None)
    assert "\n" not in str(caught.value)


def test_marks_ends_of_lines_and_empty_lines_at_the_end_count_for_nothing(tmp_path: Path) -> None:
    caps_file, ids_file = files(tmp_path, [], [])
    for encoding in ("utf-8-sig", "utf-16"):
        caps_file.write_bytes("a dog\r\na cat\r\n\r\n".encode(encoding))
        ids_file.write_bytes("1\r2\r\r\r".encode(encoding))
        assert read_captions(caps_file, ids_file, None).texts == ["a dog", "a cat"]


def karpathy(path: Path, entries: list[object]) -> Path:
    path.write_text(json.dumps({"images": entries}))
    return path


def test_pictures_with_numbers_for_names(tmp_path: Path) -> None:
    names = ["1000092795.jpg", "COCO_val2014_000000391895.jpg", "a/7.png"]
    path = karpathy(tmp_path / "d.json", [{"imgid": i, "filename": name} for i, name in enumerate(names)])
    assert read_flickr_ids(path) == IdMap(path, {0: 1000092795, 1: 391895, 2: 7}, None)
    assert read_flickr_ids(path, by_imgid=True) == IdMap(path, {0: 0, 1: 1, 2: 2}, {"0": 0, "1": 1, "2": 2})


def test_pictures_with_other_names_are_found_by_them(tmp_path: Path) -> None:
    names = ["142108_d886c74e0d.jpg", "27_0d0e0d0f00.jpg"]
    path = karpathy(tmp_path / "d.json", [{"imgid": float(i), "filename": name} for i, name in enumerate(names)])
    expected = IdMap(path, {0: 0, 1: 1}, {"142108_d886c74e0d": 0, "27_0d0e0d0f00": 1})
    assert read_flickr_ids(path) == expected
    captions = read_captions(*files(tmp_path, ["a", "b", "c"], [1, 0, 1]), expected)
    assert captions.images.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"imgid": 1}], r"d.json, images\[0\]: 'filename' is missing or not a text"),
        ([{"imgid": "x", "filename": "1.jpg"}], r"images\[0\]: 'imgid' is missing or not a whole number"),
        ([{"imgid": 1, "filename": "1.jpg"}] * 2, r"images\[1\]: imgid 1 is there twice"),
        ([{"imgid": i, "filename": "b_a.jpg"} for i in (1, 2)], "gives imgid 1 and 2 the same filename 'b_a'"),
        ([], "has no list 'images'"),
    ],
)
def test_bad_id_maps_are_told(tmp_path: Path, entries: list[object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_flickr_ids(karpathy(tmp_path / "d.json", entries))


def test_ids_that_the_map_does_not_have(tmp_path: Path) -> None:
    path = karpathy(tmp_path / "d.json", [{"imgid": i, "filename": f"{i + 100}.jpg"} for i in range(3)])
    with pytest.raises(UserError, match=r"names imgid 9, which .*d.json does not have \(1 of 2 are unknown\)$"):
        read_captions(*files(tmp_path, ["a", "b"], [0, 9]), read_flickr_ids(path))
    with pytest.raises(UserError, match=r"\(2 of 2 are unknown\); they look like numbers of pictures: write"):
        read_captions(*files(tmp_path, ["a", "b"], [101, 102]), read_flickr_ids(path))
