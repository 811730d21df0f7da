"""Boxes against features before training: what is refused with its cause, what is remarked, what passes in silence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from readers.box_check import check_boxes
from readers.expressions import Expression
from readers.feature_store import FeatureStore

IMAGES, SIZE = 30, (200, 90)  # width and height


def store_of(folder: Path, size: tuple[int, int] = SIZE, stretch: tuple[float, float] = (1, 1)) -> FeatureStore:
    """Features of 30 images with two regions each, which say that every image has this size."""
    folder.mkdir(exist_ok=True)
    regions = np.array([[10, 20, 39, 39], [50, 40, 89, 79]]) * np.tile(stretch, 2)
    for image in range(IMAGES):
        np.savez(folder / f"{image}.npz", x=np.ones((3, 2)), bbox=regions, image_w=size[0], image_h=size[1])
    return FeatureStore([folder])


def said(box: list[float], count: int = 2 * IMAGES, size: tuple[int, int] | None = SIZE) -> list[Expression]:
    """Expressions about this box, two of every image."""
    return [Expression(n, n, n // 2, "train", ["red"], box, size) for n in range(count)]


FIRST, SECOND, NOWHERE = [10.0, 20.0, 30.0, 20.0], [50.0, 40.0, 40.0, 40.0], [150.0, 1.0, 9.0, 9.0]


def test_what_fits_passes_in_silence(tmp_path: Path) -> None:
    for size in (SIZE, None):
        assert check_boxes("phrases", said(FIRST, size=size), store_of(tmp_path), 100) == []


@pytest.mark.parametrize(
    ("covered", "lines"),
    [
        (54, []),
        (53, ["note: 88.3 % of 60 phrases have a region that overlaps the true box by half; the others train nothing"]),
        (36, ["note: 60.0 % of 60 phrases have a region that overlaps the true box by half; the others train nothing"]),
        (30, ["note: only 50.0 % of 60 phrases .* so better regions would help more"]),
        (12, ["note: only 20.0 % of 60 phrases"]),
    ],
)
def test_few_regions_are_remarked(tmp_path: Path, covered: int, lines: list[str]) -> None:
    given = said(FIRST)[:covered] + said(NOWHERE)[covered:]
    found = check_boxes("phrases", given, store_of(tmp_path), 100)
    assert len(found) == len(lines) and all(map(re.match, lines, found)), found


def test_hardly_any_region_is_refused(tmp_path: Path) -> None:
    given = said(FIRST)[:11] + said(NOWHERE)[11:]
    with pytest.raises(UserError, match=r"^only 18.3 % of 60 phrases .*no other form, .*\(data.max_regions\)"):
        check_boxes("phrases", given, store_of(tmp_path), 100)
    # So few may miss their regions by chance.
    assert len(check_boxes("phrases", said(NOWHERE, 19), store_of(tmp_path), 100)) == 1


def test_regions_beyond_the_limit_cover_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    assert check_boxes("phrases", said(SECOND), store, 2) == []
    with pytest.raises(UserError, match="only 0.0 % of 60 phrases"):
        check_boxes("phrases", said(SECOND), store, 1)


def test_the_cause_and_both_shares_are_named(tmp_path: Path) -> None:
    given = said([50, 40, 89, 79])[:40] + said(FIRST)[40:]
    expected = r"^only 33.3 % of 60 phrases .*; read as x1, y1, x2, y2 it would be 66.7 %: write x, y, width, height"
    with pytest.raises(UserError, match=expected):
        check_boxes("phrases", given, store_of(tmp_path), 100)


def test_pictures_of_another_size_are_named(tmp_path: Path) -> None:
    store = store_of(tmp_path, size=(600, 600), stretch=(3, 600 / 90))
    expected = r"scaled to .* \(image 0 is 600 x 600 in the features, 200 x 90 in the annotations\) it would be 100.0 %"
    with pytest.raises(UserError, match=expected):
        check_boxes("phrases", said(SECOND), store, 100)


def test_sizes_that_differ_where_boxes_agree_are_remarked(tmp_path: Path) -> None:
    given = said(FIRST, 50) + said(FIRST, size=(210, 90))[50:]
    (line,) = check_boxes("phrases", given, store_of(tmp_path), 100)
    assert line.startswith(
        "note: 5 of 30 images of phrases have two sizes (image 25 is 200 x 90 in the features, 210 x 90"
    )
    assert check_boxes("phrases", said(FIRST, size=(202, 88)), store_of(tmp_path), 100) == []  # rounding


def test_exchanged_sides_are_refused(tmp_path: Path) -> None:
    given = said(FIRST, size=SIZE[::-1])
    with pytest.raises(UserError, match=r"width and height are exchanged .*\(image 0 is 200 x 90 .*, 90 x 200"):
        check_boxes("phrases", given, store_of(tmp_path), 100)
    turned = given[:10] + said(FIRST)[10:]  # a camera held upright now and then is no mistake of a program
    assert "5 of 30 images" in check_boxes("phrases", turned, store_of(tmp_path), 100)[0]


@pytest.mark.parametrize("size", [None, SIZE])
def test_boxes_outside_their_image_are_refused(tmp_path: Path, size: tuple[int, int] | None) -> None:
    given = said(FIRST, size=size)
    for row in (7, 8):
        given[row] = given[row]._replace(bbox=[190.0, 5.0, 20.0, 9.0], box_at=f"train.json, entry {row}")
    expected = r"^train.json, entry 7: the box \[190.0, 5.0, .*\] .* outside .* 200 x 90 pixels \(2 of 60 phrases"
    with pytest.raises(UserError, match=expected):
        check_boxes("phrases", given, store_of(tmp_path), 100)


def test_exchanged_sides_of_the_features_are_told_though_no_annotation_has_sizes(tmp_path: Path) -> None:
    low = [50.0, 40.0, 40.0, 40.0], [150.0, 40.0, 40.0, 40.0]
    given = said(low[0], size=None)[:40] + said(low[1], size=None)[40:]
    store = store_of(tmp_path, size=SIZE[::-1])
    with pytest.raises(UserError, match=r"^20 of 60 phrases have .* none would if width and height were exchanged"):
        check_boxes("phrases", given, store, 100)


def test_a_sample_of_many_images_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readers.box_check.IMAGES", 12)
    given = said(FIRST)[::2] + said(NOWHERE)[1::2]
    one, other = (check_boxes("phrases", part, store_of(tmp_path), 100) for part in (given, given[::-1]))
    assert one == other and one[0].startswith("note: only 50.0 % of 24 phrases")
