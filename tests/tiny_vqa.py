"""A data root in VQA's layout, small enough to read: colours of one-region pictures, which the features give away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

COLORS = ("red", "green", "blue", "gray")
WIDTH = 6
IMAGES = {"train2014": range(1, 25), "val2014": range(101, 109), "test2015": range(201, 205)}


def make_root(root: Path) -> Path:
    """All files of train, val, test (without annotations) and Visual Genome."""
    for folder, images in IMAGES.items():
        (root / "coco_extract" / folder).mkdir(parents=True)
        for image in images:
            np.savez(root / "coco_extract" / folder / f"COCO_{folder}_{image:012d}.jpg.npz", **_features(image))
    (root / "vqa").mkdir()
    for folder, images in IMAGES.items():
        asked = [entry for image in images for entry in _ask(image)]
        write(root, f"v2_OpenEnded_mscoco_{folder}_questions.json", "questions", [q for q, _ in asked])
        if folder != "test2015":
            # Annotations stand in another order than questions.
            write(root, f"v2_mscoco_{folder}_annotations.json", "annotations", [a for _, a in asked][::-1])
    extra = [_ask(image, first=10**6)[0] for image in (1, 2, 101)]
    write(root, "VG_questions.json", "questions", [{**q, "question": "which hue has it?"} for q, _ in extra])
    bare = [{"question_id": a["question_id"], "answers": a["answers"]} for _, a in extra]
    write(root, "VG_annotations.json", "annotations", bare)
    return root


def _features(image: int) -> dict[str, np.ndarray]:
    regions = 1 + image % 3
    x = np.random.default_rng(image).normal(0, 0.1, (WIDTH, regions)).astype(np.float32)
    x[image % 4] += 2
    boxes = np.tile(np.array([[5, 5, 50, 40]], np.float32), (regions, 1))
    return {"x": x, "bbox": boxes, "image_h": np.array(80), "image_w": np.array(100)}


def _ask(image: int, first: int = 0) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    color = COLORS[image % 4]
    truth = "yes" if color == "red" else "no"
    asked = (("What color is it?", "what color is", "other", color), ("Is it red?", "is it", "yes/no", truth))
    made = []
    for number, (text, start, kind, answer) in enumerate(asked):
        own = {"question_id": first + 1000 * image + number, "image_id": image}
        given = [{"answer": answer, "answer_id": n} for n in range(1, 9)]
        given += [{"answer": other, "answer_id": 9 + n} for n, other in enumerate(("unsure", f"{answer}."))]
        annotation = {"question_type": start, "answer_type": kind, "multiple_choice_answer": answer, "answers": given}
        made.append(({**own, "question": text}, {**own, **annotation}))
    return made


def write(root: Path, name: str, key: str, entries: list[dict[str, Any]]) -> None:
    """Write a file in VQA's format."""
    (root / "vqa" / name).write_text(json.dumps({"info": {}, key: entries}))


def read(root: Path, name: str, key: str) -> list[dict[str, Any]]:
    """The entries of a file in VQA's format."""
    return json.loads((root / "vqa" / name).read_text())[key]
