"""Samples as the files of the tasks' public data sets: what data/README.md calls their layouts, with ids of our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.files import atomic_write, write_json
from tasks.itm import LAYOUTS
from tasks.vgd import FEATURES as VGD_FEATURES
from tasks.vqa import FEATURES as VQA_FEATURES
from tasks.vqa import PARTS
from tools.dataset.samples import Sample

Ids = Mapping[str, int]  # image id by name of the picture
Splits = Mapping[str, Sequence[Sample]]  # samples by split


class Size(NamedTuple):
    """Of a picture, upright, in pixels."""

    width: int
    height: int


class Layout(NamedTuple):
    """How a task's data lie under a root."""

    features: str  # folder
    parts: Mapping[str, str]  # by split the folder in it, "" where all splits share one
    write: Callable[[Path, Splits, Ids, Mapping[str, Size]], None]
    arguments: str = ""  # of make, for the task to read it
    texts: str = ""  # folder of what is written


def picture_name(number: int) -> str:
    """What the picture of an image is called, without its ending."""
    return f"{number:012d}"


def _write_itm(root: Path, splits: Splits, ids: Ids, sizes: Mapping[str, Size]) -> None:
    flickr = LAYOUTS["flickr"]
    # Readers ask for the number alone; the name people know stands beside it.
    entries = [{"imgid": n, "filename": f"{picture_name(n)}.jpg", "picture": name} for name, n in ids.items()]
    write_json(root / flickr.ids[0], {"images": entries}, indent=None)
    for split, samples in splits.items():
        for kind, lines in {"caps": [one.text for one in samples], "ids": [ids[one.image] for one in samples]}.items():
            with atomic_write(root / flickr.texts[0] / f"{flickr.splits[split]}_{kind}.txt") as file:
                file.writelines(f"{line}\n" for line in lines)


def _write_vqa(root: Path, splits: Splits, ids: Ids, sizes: Mapping[str, Size]) -> None:
    number = 0
    for split, samples in splits.items():
        asked: list[dict[str, Any]] = []
        answered: list[dict[str, Any]] = []
        for one in samples:
            number += 1
            own = {"question_id": number, "image_id": ids[one.image]}
            asked.append({**own, "question": one.text})
            answered.append({**own, "answers": list(one.answers)})
        write_json(root / "vqa" / PARTS[split].questions, {"questions": asked}, indent=None)
        # Those of test are read by nothing here: they are for whoever scores the submission.
        name = PARTS[split].annotations or "test_answers.json"
        write_json(root / "vqa" / name, {"annotations": answered}, indent=None)


def _write_vgd(root: Path, splits: Splits, ids: Ids, sizes: Mapping[str, Size]) -> None:
    number = 0
    for split, samples in splits.items():
        entries = []
        for one in samples:
            number += 1
            width, height = sizes[one.image]
            told = {"image_id": ids[one.image], "bbox": one.box, "width": width, "height": height}
            entries.append({"sent": one.text, **told, "split": split, "ref_id": number, "sent_id": number})
        write_json(root / "refs" / "refcocog" / f"{split}.json", entries, indent=None)


_VQA_PARTS = {split: PARTS[split].features[0] for split in ("train", "val", "test")}
OWN = {
    "itm": Layout(LAYOUTS["flickr"].features[0], {}, _write_itm, texts="itm"),
    "vqa": Layout(VQA_FEATURES[0], _VQA_PARTS, _write_vqa, texts="vqa"),
    "vgd": Layout(VGD_FEATURES["vg_woref"][0], {}, _write_vgd, " DATASET=refcocog", "refs"),
}
