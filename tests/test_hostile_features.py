"""Spoilt region features and packs: each is read, or refused in one sentence."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import answered, for_numbers, fuzzed, spoilt_bytes, spoilt_tree

from readers.feature_store import FeatureStore
from readers.features import read_npz

IMAGE: dict[str, Any] = {
    "x": np.linspace(-1, 1, 8 * 5, dtype=np.float32).reshape(8, 5),
    "bbox": np.tile(np.float32([[5, 5, 50, 40]]), (5, 1)),
    "image_h": np.array(80),
    "image_w": np.array(100),
    "num_bbox": np.array(5),
}
ARRAYS: tuple[Any, ...] = (
    *(np.array(value) for value in (0, -1, 2.5, np.nan, np.inf, 1e300, 2**63, 10**30, "abc", b"\xff", True, None)),
    *(np.zeros(shape) for shape in ((0,), (5,), (5, 4), (4, 5), (0, 4), (8, 5, 1), (1, 1, 1, 1), (5, 5))),
    *(np.full((5, 4), value) for value in (np.nan, 1e39, -1e39)),
    *(np.ones((5, 4), kind) for kind in ("c16", "m8[s]", "M8[s]", "f2", "U3", "?", "i1", "f4,i4", ">f8")),
    np.array([{}, []], dtype=object),
    np.ones((5, 4), order="F"),
)


def zipped(arrays: dict[str, Any], rng: random.Random) -> bytes:
    held = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(held, **{str(key) or "x": value for key, value in arrays.items()})
    return held.getvalue()


def spoilt_npz(arrays: dict[str, Any], rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return spoilt_bytes(zipped(arrays, rng), rng)
    tree = spoilt_tree(arrays, rng, ARRAYS)
    return zipped({f"k{n}" if not str(key).isprintable() else key: tree[key] for n, key in enumerate(tree)}, rng)


@fuzzed
def test_npz(many: bool, tmp_path: Path) -> None:
    path = tmp_path / "9.npz"

    def check(rng: random.Random) -> None:
        path.write_bytes(spoilt_npz(IMAGE, rng))
        square = rng.random() < 0.5
        if answered("npz", lambda: read_npz(path, square)) is None:
            x, boxes, hw = read_npz(path, square)
            assert len(x) == len(boxes) and np.isfinite(x).all() and np.isfinite(boxes).all() and (hw > 0).all()

    for_numbers(many, check, 200)


@fuzzed
def test_packs(many: bool, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for image in range(1, 4):
        np.savez(folder / f"{image}.npz", **IMAGE)
    FeatureStore([folder])
    shutil.rmtree(folder)
    index, regions = (tmp_path / ".packed" / "features" / name for name in ("index.npz", "regions.npy"))
    whole = {path: path.read_bytes() for path in (index, regions)}
    with np.load(index) as file:
        arrays = dict(file)
    facts = json.loads(arrays["facts"].item())

    def read() -> None:
        store = FeatureStore([folder])
        given, boxes, hw, _ = store.gather(store.ids, 100)
        assert given.shape[:2] == boxes.shape[:2] and len(hw) == len(store)
        assert boxes.isfinite().all() and (hw > 0).all()

    def check(rng: random.Random) -> None:
        match rng.randrange(4):
            case 0:
                regions.write_bytes(spoilt_bytes(whole[regions], rng))
            case 1:
                index.write_bytes(zipped({**arrays, "facts": np.array(json.dumps(spoilt_tree(facts, rng)))}, rng))
            case _:
                index.write_bytes(spoilt_npz(arrays, rng))
        try:
            answered("packs", read)
        finally:
            for path, content in whole.items():
                path.write_bytes(content)

    for_numbers(many, check, 100)
