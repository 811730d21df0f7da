"""A data root around the reference tensors: their images as feature files, their token ids as words of the data set.

Words and answers are spelt so that their alphabetical order is not the one in which they first occur: an import that
forgot to put rows in order would not pass.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

WORDS, ANSWERS = 100, 50
SPECIAL = 3  # PAD, UNK, CLS


def word(token: int) -> str:
    """How a token id is spelt."""
    return f"w{token * 37 % 97:03d}"


def answer(number: int) -> str:
    """How an answer is spelt."""
    return f"ans{number * 7 % ANSWERS:02d}"


def make_root(root: Path, task: str, given: SimpleNamespace, more: Sequence[str] = ()) -> Path:
    """All files of a task: the first training text has every word in order, val is what the reference holds."""
    texts = [[word(token) for token in row[row > 0].tolist()] for row in given.inputs.tokens]
    every = [*(word(token) for token in range(SPECIAL, WORDS)), *more]
    _WRITERS[task](root, given, texts, every)
    return root


def options(task: str, root: Path) -> list[str]:
    """The keys under which an import finds such a root."""
    return [f"--task={task}", f"--data.root={root}", *(["--data.answer_min=0"] if task == "vqa" else [])]


def _images(folder: Path, given: SimpleNamespace) -> None:
    folder.mkdir(parents=True)
    for place, regions in enumerate(given.inputs.regions):
        real = ~given.inputs.regions_pad[place].numpy()
        height, width = given.inputs.image_hw[place].tolist()
        boxes = given.inputs.boxes[place].numpy()[real]
        np.savez(folder / f"{place + 1}.npz", x=regions.numpy()[real].T, bbox=boxes, image_h=height, image_w=width)


def _matching(root: Path, given: SimpleNamespace, texts: list[list[str]], every: list[str]) -> None:
    _images(root / "flickr_rois_resnet101_fix36", given)
    folder = root / "itm/f30k_precomp"
    folder.mkdir(parents=True)
    images = [{"imgid": 10 + place, "filename": f"{place + 1}.jpg"} for place in range(len(texts))]
    (root / "itm/dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    five = [text for text in texts for _ in range(5)]
    for stem, captions in (("train", [every, *five[1:]]), ("dev", five), ("test", five)):
        (folder / f"{stem}_caps.txt").write_text("".join(f"{' '.join(text)}\n" for text in captions))
        (folder / f"{stem}_ids.txt").write_text("".join(f"{image['imgid']}\n" for image in images))


def _answering(root: Path, given: SimpleNamespace, texts: list[list[str]], every: list[str]) -> None:
    _images(root / "coco_extract/val2014", given)
    other = root / "coco_extract/train2014"
    other.mkdir()
    shutil.copy(root / "coco_extract/val2014/1.npz", other / "9.npz")
    asked = {
        "v2_OpenEnded_mscoco_train2014": [(9, every)] * ANSWERS,
        "v2_OpenEnded_mscoco_val2014": [(place + 1, text) for place, text in enumerate(texts)],
        "v2_OpenEnded_mscoco_test2015": [(9, every[:1])],
        "VG": [(9, every[:2])],
    }
    (root / "vqa").mkdir()
    for name, entries in asked.items():
        questions = [
            {"question_id": number, "image_id": image, "question": " ".join(text)}
            for number, (image, text) in enumerate(entries)
        ]
        (root / f"vqa/{name}_questions.json").write_text(json.dumps({"questions": questions}))
        annotations = [
            {"question_id": number, "answer_type": "other", "question_type": "what"}
            | {"multiple_choice_answer": answer(number), "answers": [{"answer": answer(number)}] * 10}
            for number in range(len(entries))
        ]
        (root / f"vqa/{name.replace('OpenEnded_', '')}_annotations.json").write_text(
            json.dumps({"annotations": annotations})
        )


def _grounding(root: Path, given: SimpleNamespace, texts: list[list[str]], every: list[str]) -> None:
    _images(root / "detfeat100_woref", given)
    folder = root / "refs/refcoco"
    folder.mkdir(parents=True)
    for split, spoken in (("train", [every]), ("val", texts), ("testA", texts[:1]), ("testB", texts[:1])):
        entries = [
            {"tokens": text, "image_id": place + 1, "bbox": [10, 10, 50, 50]} for place, text in enumerate(spoken)
        ]
        (folder / f"{split}.json").write_text(json.dumps(entries))


_WRITERS: dict[str, Callable[[Path, SimpleNamespace, list[list[str]], Sequence[str]], None]] = {
    "itm": _matching,
    "vqa": _answering,
    "vgd": _grounding,
}
