"""Captions as the precomputed releases of Flickr30K and COCO give them: a file of texts, a file of ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError, brief
from common.files import read_json, read_lines
from readers.entries import field, whole_number
from readers.features import number_in, stem

PER_IMAGE = 5  # captions of an image whose id stands once, as the releases have it
KARPATHY = "Karpathy's split file with a list 'images' of entries with 'imgid' and 'filename'"


class IdMap(NamedTuple):
    """What the ids of a data set's texts mean, and which image a feature file is of."""

    path: Path  # the file that says so
    images: dict[int, int]  # by id of the texts, the image id
    id_of: dict[str, int] | None  # by stem of a feature file's name, the image id; None: the last number in the name


class Captions(NamedTuple):
    """The captions of one split as read."""

    texts: list[str]
    images: np.ndarray  # (captions,) image id


def read_captions(caps_file: Path, ids_file: Path, id_map: IdMap | None) -> Captions:
    """Read a file with a caption a line and one with ids, which stand once per caption or once per image.

    Where every caption has its id an image may have any number of them, anywhere; where ids stand once per image there
    are five in a row for each.

    Args:
        caps_file: <split>_caps.txt.
        ids_file: <split>_ids.txt.
        id_map: what the ids mean; None where they are image ids themselves.

    Raises:
        UserError: a file is missing or empty, an id is no number or unknown, or the two files do not fit together.
    """
    texts, ids = read_lines(caps_file, "a caption a line"), _read_ids(ids_file)
    if not texts:
        raise UserError(f"{caps_file} is empty; it should have a caption a line")
    if len(ids) != len(texts):
        if len(texts) != PER_IMAGE * len(ids):
            raise UserError(_misfit(caps_file, texts, ids_file, ids))
        _refuse_repeated(caps_file, ids_file, ids)
        ids = np.repeat(ids, PER_IMAGE)
    return Captions(texts, ids if id_map is None else _look_up(ids_file, ids, id_map))


def _read_ids(path: Path) -> np.ndarray:
    lines = [line.strip() for line in read_lines(path, "an image id a line")]
    ids = [whole_number(line) for line in lines]
    if None in ids:
        number = ids.index(None)
        raise UserError(f"{path} line {number + 1} is {brief(lines[number])}, not an image id")
    return np.array(ids, np.int64)


def _misfit(caps_file: Path, texts: list[str], ids_file: Path, ids: np.ndarray) -> str:
    """Why captions and ids do not fit together, in one sentence."""
    empty = [number for number, text in enumerate(texts, 1) if not text.strip()]
    blank = f" (line {empty[0]} is empty)" if empty else ""
    return (
        f"{caps_file} has {len(texts)} captions{blank} and {ids_file.name} {len(ids)} ids; there must be an id for "
        f"each caption, or an id for each image and then {PER_IMAGE} captions in a row for each of them"
    )


def _refuse_repeated(caps_file: Path, ids_file: Path, ids: np.ndarray) -> None:
    _, first = np.unique(ids, return_index=True)
    repeated = np.setdiff1d(np.arange(len(ids)), first)
    if len(repeated):
        start = PER_IMAGE * repeated[0]
        raise UserError(
            f"{ids_file} names image {ids[repeated[0]]} a second time in line {repeated[0] + 1}, for lines "
            f"{start + 1} to {start + PER_IMAGE} of {caps_file.name}; mend it, or write an id for each caption"
        )


def _look_up(ids_file: Path, ids: np.ndarray, id_map: IdMap) -> np.ndarray:
    named = np.unique(ids)
    missing = np.setdiff1d(named, np.fromiter(id_map.images, np.int64, len(id_map.images)))
    if not len(missing):
        return np.array([id_map.images[i] for i in ids.tolist()], np.int64)
    hint = ""
    if np.isin(missing, np.fromiter(id_map.images.values(), np.int64, len(id_map.images))).mean() > 0.5:
        hint = "; they look like numbers of pictures: write imgids, or name the folders under DATASET=coco"
    raise UserError(
        f"{ids_file} names imgid {missing[0]}, which {id_map.path} does not have "
        f"({len(missing)} of {len(named)} are unknown){hint}"
    )


def read_flickr_ids(path: Path, by_imgid: bool = False) -> IdMap:
    """What the ids of Flickr30K's texts mean, from Karpathy's dataset_flickr30k.json.

    An image's id is the number in its picture's name; where names are not numbers (Flickr8k's have a hexadecimal
    tail) it is its imgid, and feature files are found by the whole name.

    Args:
        path: the file.
        by_imgid: the feature files are named by imgid instead of the picture's name.

    Raises:
        UserError: the file is missing or malformed, or two entries have one imgid or one filename.
    """
    tree = read_json(path, KARPATHY)
    entries = tree.get("images") if isinstance(tree, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} has no list 'images'; it should be {KARPATHY}")
    stems: dict[int, str] = {}
    for place, entry in enumerate(entries):
        where = f"{path}, images[{place}]"
        imgid = field(where, entry, "imgid", int)
        if imgid in stems:
            raise UserError(f"{where}: imgid {imgid} is there twice; keep one of the two entries")
        stems[imgid] = stem(Path(field(where, entry, "filename", str)).name)
    if by_imgid:
        _invert(path, stems)  # one picture under two imgids would be in two splits
        return IdMap(path, {imgid: imgid for imgid in stems}, {str(imgid): imgid for imgid in stems})
    numbers = {imgid: number_in(name) for imgid, name in stems.items() if name.rpartition("_")[2].isdecimal()}
    if len({number for number in numbers.values() if number is not None}) == len(stems):
        return IdMap(path, numbers, None)
    return IdMap(path, {imgid: imgid for imgid in stems}, _invert(path, stems))


def _invert(path: Path, stems: Mapping[int, str]) -> dict[str, int]:
    imgids: dict[str, int] = {}
    for imgid, name in stems.items():
        if imgids.setdefault(name, imgid) != imgid:
            raise UserError(
                f"{path} gives imgid {imgids[name]} and {imgid} the same filename {name!r}; mend one of them"
            )
    return imgids
