"""A data root in the layout of visual grounding, small enough to read: which of some colored boxes is meant."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

COLORS = ("red", "green", "blue", "gray")
WIDTH, HW = 6, (90, 200)
IMAGES = {"train": range(1, 25), "val": range(31, 37), "testA": range(41, 45), "testB": range(51, 54)}
ALONE = 24  # an image whose regions overlap no true box


def make_root(root: Path) -> Path:
    """RefCOCO's files and features of three or four regions an image; every second box is meant in two sentences."""
    features = root / "detfeat100_woref"
    features.mkdir(parents=True)
    annotations, refs, images = [], [], []
    for split, numbers in IMAGES.items():
        for image in numbers:
            np.savez(features / f"COCO_train2014_{image:012d}.jpg.npz", **_features(image))
            images.append({"id": image, "width": HW[1], "height": HW[0]})
            for place in range(regions(image)):
                annotation = 100 * image + place
                annotations.append({"id": annotation, "image_id": image, "bbox": true_box(image, place)})
                refs.append(_ref(len(refs), annotation, split, COLORS[(image + place) % 4]))
    write(root, refs, {"images": images, "annotations": annotations})
    return root


def regions(image: int) -> int:
    """How many regions an image has."""
    return 3 + image % 2


def true_box(image: int, place: int) -> list[float]:
    """x, y, width, height of a thing; regions are larger by two pixels on the right and one at the bottom."""
    return [10.5 + 45 * place, 60.0 if image == ALONE else 20.0, 28.0, 19.0]


def _features(image: int) -> dict[str, np.ndarray]:
    places = np.arange(regions(image))
    x = np.random.default_rng(image).normal(0, 0.1, (WIDTH, len(places))).astype(np.float32)
    x[(image + places) % 4, places] += 2
    corner = np.stack((10.5 + 45 * places, np.full(len(places), 20.0)), axis=1)
    return {"x": x, "bbox": np.concatenate((corner, corner + [29, 19]), 1), "image_h": HW[0], "image_w": HW[1]}


def _ref(ref_id: int, annotation: int, split: str, color: str) -> dict[str, Any]:
    said = [f"The {color} one."] if ref_id % 2 else [f"The {color} one.", f"{color} box"]
    sentences = [
        {"tokens": text.lower().strip(".").split(), "raw": text, "sent": text.lower(), "sent_id": 2 * ref_id + number}
        for number, text in enumerate(said)
    ]
    return {"ref_id": ref_id, "ann_id": annotation, "image_id": annotation // 100, "split": split} | {
        "sentences": sentences
    }


def folder(root: Path) -> Path:
    """Where RefCOCO's expressions lie."""
    return root / "refs/refcoco"


def write(root: Path, refs: Any, instances: Any) -> None:
    """Write RefCOCO's pickle and its instances."""
    folder(root).mkdir(parents=True, exist_ok=True)
    (folder(root) / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    (folder(root) / "instances.json").write_text(json.dumps(instances))


def read(root: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """RefCOCO's pickle and its instances."""
    refs = pickle.loads((folder(root) / "refs(unc).p").read_bytes())
    return refs, json.loads((folder(root) / "instances.json").read_text())
