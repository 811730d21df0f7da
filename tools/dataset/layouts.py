"""Samples as the files of the tasks' public data sets: what data/README.md calls their layouts, with ids of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.files import atomic_write, write_json
from tasks.itm import LAYOUTS
from tasks.vgd import FEATURES as VGD_FEATURES
from tasks.vqa import FEATURES as VQA_FEATURES
from tasks.vqa import OWN_ANSWERS, PARTS
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
    files: Callable[[Iterable[str]], list[str]]  # what it writes for such splits, below the root
    arguments: str = ""  # of make, for the task to read it
    texts: str = ""  # folder of what is written


def picture_name(number: int) -> str:
    """What the picture of an image is called, without its ending."""
    return f"{number:012d}"


def _itm_files(splits: Iterable[str]) -> list[str]:
    flickr = LAYOUTS["flickr"]
    names = [f"{flickr.splits[split]}_{kind}.txt" for split in splits for kind in ("caps", "ids")]
    return [flickr.ids[0], *(f"{flickr.texts[0]}/{name}" for name in names)]


def _vqa_files(splits: Iterable[str]) -> list[str]:
    return [f"vqa/{name}" for split in splits for name in (PARTS[split].questions, _annotations(split))]


def _annotations(split: str) -> str:
    return PARTS[split].annotations or OWN_ANSWERS


def _vgd_files(splits: Iterable[str]) -> list[str]:
    return [f"refs/refcocog/{split}.json" for split in splits]


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
        write_json(root / "vqa" / _annotations(split), {"annotations": answered}, indent=None)


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
    "itm": Layout(LAYOUTS["flickr"].features[0], {}, _write_itm, _itm_files, texts="itm"),
    "vqa": Layout(VQA_FEATURES[0], _VQA_PARTS, _write_vqa, _vqa_files, texts="vqa"),
    "vgd": Layout(VGD_FEATURES["vg_woref"][0], {}, _write_vgd, _vgd_files, " DATASET=refcocog", "refs"),
}
