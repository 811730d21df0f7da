"""Pictures under two ids are found, and no more is read than it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audit.copies import copies
from readers.feature_store import FeatureStore

GRID = np.array([[0, 0, 5, 5], [5, 0, 9, 5], [0, 5, 5, 9]], np.float32)


def write(folder: Path, image: int, x: np.ndarray, boxes: np.ndarray = GRID) -> None:
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{image}.npz", x=x, bbox=boxes, image_h=10, image_w=10)


def store(folder: Path, boxes: bool) -> FeatureStore:
    """Eight images, the eighth a copy of the third; the second differs from the first in its last region alone."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, 4, 3))
    features[2], features[8] = features[1], features[3]
    features[2, :, 2] += 1
    for image in range(1, 9):
        places = GRID + (0 if not boxes else 0.01 * (3 if image == 8 else image))
        write(folder, image, features[image], places)
    return FeatureStore([folder])


@pytest.mark.parametrize("boxes", [True, False])
def test_a_copy_is_found_and_little_is_read(tmp_path: Path, boxes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path / "features", boxes)
    read, original = [], type(kept._packs[0]).read_regions
    monkeypatch.setattr(
        type(kept._packs[0]), "read_regions", lambda *given: (read.append(len(given[2])), original(*given))
    )
    found = copies({"train": np.arange(1, 6), "val": np.arange(6, 9)}, {"train": kept, "val": kept})
    assert found.keys() == {3, 8} and found[3] == found[8]
    # Boxes tell all but the two apart; of one grid for all a region is read of each, and four images as wholes.
    assert sorted(read) == ([1, 1, 3, 3] if boxes else [1] * 8 + [3] * 4)


def test_a_copy_in_another_folder(tmp_path: Path) -> None:
    kept = store(tmp_path / "features", boxes=False)
    write(tmp_path / "others", 20, np.load(tmp_path / "features/5.npz")["x"])
    other = FeatureStore([tmp_path / "others"])
    parts = {"train": np.arange(1, 6), "test": np.array([20, 99])}  # 99 has no features there
    assert copies(parts, {"train": kept, "test": other}).keys() == {5, 20}
    assert copies({"train": np.array([1, 2])}, {"train": kept}) == {}
