"""Captions as the precomputed releases of Flickr30K and COCO give them: a file of texts, a file of ids."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from common.files import read_json, read_text
from readers.features import LONGEST_ID
from readers.words import tokenise

CAPTIONS = 5  # per image, in both data sets


class IdMap(NamedTuple):
    """What the ids of a data set's texts mean."""

    path: Path  # the file that says so
    images: dict[int, int]  # by id of the texts, the image id


class Captions(NamedTuple):
    """The captions of one split as read."""

    tokens: list[list[str]]
    images: np.ndarray  # (captions,) image id as in the feature files' names


def read_captions(caps_file: Path, ids_file: Path, id_map: IdMap | None) -> Captions:
    """Read a file with a caption a line and one with ids, which stand once per image or once per caption.

    Args:
        caps_file: <split>_caps.txt.
        ids_file: <split>_ids.txt.
        id_map: what the ids mean, as ``read_flickr_ids`` gives it; None where they are image ids themselves.

    Raises:
        UserError: a file is missing, an id is no number or unknown, or captions are not five per image.
    """
    # Only newlines end a caption: splitlines would also cut at rarer characters that captions hold.
    captions = read_text(caps_file, "a caption a line, five lines an image").rstrip("\n").split("\n")
    captions = [] if captions == [""] else captions
    ids = _read_ids(ids_file)
    if len(captions) == CAPTIONS * len(ids):
        ids = np.repeat(ids, CAPTIONS)
    if len(captions) != len(ids) or len(captions) % CAPTIONS or not captions:
        raise UserError(
            f"{caps_file} has {len(captions)} captions and {ids_file.name} {len(ids)} ids; "
            f"there must be {CAPTIONS} captions for each image and an id for each image or for each caption"
        )
    _check_blocks(caps_file, ids_file, ids.reshape(-1, CAPTIONS))
    if id_map is not None:
        missing = sorted(set(ids.tolist()) - id_map.images.keys())
        if missing:
            raise UserError(f"{ids_file} names imgid {missing[0]}, which {id_map.path} does not have")
        ids = np.array([id_map.images[i] for i in ids.tolist()], np.int64)
    return Captions([tokenise(caption) for caption in captions], ids)


def _check_blocks(caps_file: Path, ids_file: Path, per_image: np.ndarray) -> None:
    """Make sure that every row is of one image, and every image has one row."""
    broken = np.flatnonzero((per_image != per_image[:, :1]).any(1))
    if len(broken):
        raise UserError(
            f"{ids_file} lines {CAPTIONS * broken[0] + 1} to {CAPTIONS * broken[0] + CAPTIONS} name different images; "
            f"the {CAPTIONS} captions of an image must stand in a row"
        )
    _, first = np.unique(per_image[:, 0], return_index=True)
    repeated = np.setdiff1d(np.arange(len(per_image)), first)
    if len(repeated):
        start = CAPTIONS * repeated[0]
        raise UserError(
            f"{ids_file} names image {per_image[repeated[0], 0]} a second time, for lines {start + 1} to "
            f"{start + CAPTIONS} of {caps_file.name}; an image has {CAPTIONS} captions, so drop these or mend the id"
        )


def _read_ids(path: Path) -> np.ndarray:
    lines = read_text(path, "an image id a line").split()
    for number, line in enumerate(lines, 1):
        if not line.isdecimal() or len(line) > LONGEST_ID:
            raise UserError(f"{path} line {number} is {line!r}, not an image id")
    return np.array(lines, np.int64)


def read_flickr_ids(path: Path) -> IdMap:
    """From imgid to the number in the picture's file name, from Karpathy's dataset_flickr30k.json.

    Raises:
        UserError: the file is missing, malformed, or an entry has no imgid or no number in its filename.
    """
    what = "Karpathy's split file with a list 'images' of entries with 'imgid' and 'filename'"
    try:
        entries = [(int(entry["imgid"]), entry["filename"]) for entry in read_json(path, what)["images"]]
        return IdMap(path, {imgid: int(Path(filename).stem.split("_")[-1]) for imgid, filename in entries})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not {what} (at {error})") from error
