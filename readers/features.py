"""Region features as users keep them: a folder with one npz per image; whatever is wrong with one has its sentence."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError, brief, cut, why

MOST_BYTES = 2**28  # of an image's arrays: 16,000 regions of 4,096 numbers
FP16_MAX = float(np.finfo(np.float16).max)
LONGEST_ID = 18  # digits that always fit an int64
_PICTURE = re.compile(r"\.(jpe?g|png|bmp|gif|tiff?|webp)$", re.IGNORECASE)
BOX_SLACK = 0.5  # of the image side: detectors overshoot by pixels, boxes of a resized image by far more


class Features(NamedTuple):
    """The regions of one image, best ranked first."""

    x: np.ndarray  # (R,D) float16
    boxes: np.ndarray  # (R,4) float32 xyxy, pixels
    hw: np.ndarray  # (2,) float32 height and width of the image, pixels


class Source(NamedTuple):
    """The feature files of a folder, by the number in their names where they have one."""

    folder: Path
    names: list[str]
    stamp: str  # hash of names, sizes and times: changes when a file does


def read_npz(path: str | os.PathLike[str], square_is_region_first: bool = False) -> Features:
    """Read one image: x (D,R), or fc7 (R,D1) and pool5 (R,D2); bbox (R,4) xyxy, image_h, image_w, num_bbox if there.

    x may also be (R,D): the side that has as many as there are boxes counts regions. Of padded arrays the first
    num_bbox regions are read; without that number, rows at the end whose box and features are all zero are padding.

    Args:
        path: the file.
        square_is_region_first: how to read an x with as many features as regions, which tells nothing by itself.

    Raises:
        UserError: the file is damaged, lacks a key, has the wrong shape, or holds impossible numbers.
    """
    arrays = _load(path)
    hw = np.array([_side(path, arrays, "image_h"), _side(path, arrays, "image_w")], dtype=np.float32)
    rows = _count_boxes(path, arrays["bbox"])
    if "x" in arrays:
        x = _by_region(path, arrays["x"], rows, square_is_region_first)
    else:
        x = _two_layers(path, arrays, rows)
    regions = _count_regions(path, arrays, x)
    return Features(_to_fp16(path, x[:regions]), _boxes(path, arrays["bbox"][:regions], hw), hw)


def is_region_first(path: str | os.PathLike[str]) -> bool | None:
    """Whether x of a file stands region first, (R,D); None where its shape does not tell, or nothing can be read.

    It is asked to learn how a folder's files are written, so whatever is wrong with one is left to ``read_npz``.
    """
    try:
        arrays = _load(path)
    except UserError:
        return None
    sides = np.array(arrays["x"].shape if "x" in arrays else ()) == len(np.atleast_1d(arrays["bbox"]))
    return bool(sides[0]) if len(sides) == 2 and sides.sum() == 1 else None


def _load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = file.files
            kind = ["fc7", "pool5"] if "x" not in held and ("fc7" in held or "pool5" in held) else ["x"]
            wanted = [*kind, "bbox", "image_h", "image_w"]
            missing = [key for key in wanted if key not in held]
            if missing:
                raise UserError(
                    f"{path} lacks {', '.join(missing)} (it holds {cut(', '.join(held))}); see data/README.md"
                )
            # Extractors put more into their files, pickled objects too, which are never read.
            wanted += [key for key in ("num_bbox",) if key in held]
            size = sum(one.file_size for one in file.zip.infolist() if one.filename.removesuffix(".npy") in wanted)
            if size > MOST_BYTES:
                raise UserError(f"{path} unpacks to {size / 1e9:.3g} GB, more than an image can have; extract it again")
            return {key: _array(path, key, file[key]) for key in wanted}
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; it should hold the region features of an image") from error
    # A damaged zip fails in a dozen ways: BadZipFile, zlib.error, EOFError, ValueError, MemoryError, ...
    except Exception as error:
        # NumPy's advice for what is no archive is to load it unsafely, which nobody should follow.
        reason = "it is no archive of arrays" if "pickle" in str(error) else why(error)
        raise UserError(f"cannot read {path} ({reason}); it is damaged or no npz: copy or extract it again") from error


def _array(path: str | os.PathLike[str], key: str, held: object) -> np.ndarray:
    if not isinstance(held, np.ndarray):  # members that are no .npy come as bytes
        raise UserError(f"{key} of {path} is no array; it is damaged or no npz of features: extract it again")
    if held.dtype.kind not in "fiu":
        raise UserError(f"{key} of {path} holds {brief(str(held.dtype))}, not numbers; extract the file again")
    return held


def _side(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], key: str) -> float:
    value = arrays[key]
    if value.size != 1 or not 0 < value.item() < 2**31:
        raise UserError(f"{key} of {path} must be one positive number of pixels, not {brief(value.tolist())}")
    return value.item()


def _count_boxes(path: str | os.PathLike[str], boxes: np.ndarray) -> int:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"bbox of {path} has shape {boxes.shape}; it must be (R, 4), a row x1 y1 x2 y2 per region")
    return len(boxes)


def _count_regions(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], x: np.ndarray) -> int:
    """How many of the rows are regions, the others being padding."""
    rows = len(x)
    if "num_bbox" in arrays:
        given = arrays["num_bbox"]
        if given.size != 1 or given.item() != given.item() // 1 or not 0 <= given.item() <= rows:
            has = f"is {brief(given.tolist())} but bbox has {rows} rows"
            raise UserError(f"num_bbox of {path} {has}; it must be the number of regions")
        regions = int(given.item())
    else:
        filled = np.flatnonzero(arrays["bbox"].any(axis=1) | x.any(axis=1))
        regions = int(filled[-1]) + 1 if filled.size else 0
    if not regions:
        raise UserError(f"{path} holds no region; extract it again with at least one, or leave the image out")
    return regions


def _boxes(path: str | os.PathLike[str], boxes: np.ndarray, hw: np.ndarray) -> np.ndarray:
    boxes = boxes.astype(np.float32)
    if not np.isfinite(boxes).all():
        raise UserError(f"bbox of {path} holds NaN or infinite numbers; extract the file again")
    turned = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if turned.size:
        box = boxes[turned[0]].tolist()
        raise UserError(f"box {turned[0]} of {path} ends before it starts: {box}; boxes are x1 y1 x2 y2, not x y w h")
    if 0 < boxes.max() <= 1 < hw.min():
        raise UserError(f"bbox of {path} goes from 0 to 1; boxes must be in pixels of the image, x1 y1 x2 y2")
    height, width = hw.tolist()
    slack = BOX_SLACK * np.array([width, height])
    outside = (boxes[:, :2] < -slack) | (boxes[:, 2:] > [width, height] + slack)
    if outside.any():
        place = int(np.flatnonzero(outside.any(axis=1))[0])
        raise UserError(
            f"box {place} of {path} lies far outside the image of width {width:g} and height {height:g}: "
            f"{boxes[place].tolist()}; boxes must be in pixels of the image whose size the file gives"
        )
    return boxes


def _by_region(path: str | os.PathLike[str], x: np.ndarray, regions: int, square_is_region_first: bool) -> np.ndarray:
    """x as stored, (D,R) or (R,D), to (R,D)."""
    if x.ndim == 2 and x.size:
        if x.shape[1] == regions and not (x.shape[0] == regions and square_is_region_first):
            return x.T
        if x.shape[0] == regions:
            return x
    raise UserError(
        f"x of {path} has shape {x.shape} but bbox has {regions} boxes; x must be (D, {regions}) or ({regions}, D)"
    )


def _two_layers(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], regions: int) -> np.ndarray:
    """fc7 (R,D1) and pool5 (R,D2) to (R,D1+D2)."""
    for key in ("fc7", "pool5"):
        if arrays[key].ndim != 2 or len(arrays[key]) != regions or not arrays[key].size:
            has = f"has shape {arrays[key].shape} but bbox has {regions} boxes"
            raise UserError(f"{key} of {path} {has}; it must be ({regions}, D)")
    return np.concatenate((arrays["fc7"], arrays["pool5"]), axis=1)


def _to_fp16(path: str | os.PathLike[str], x: np.ndarray) -> np.ndarray:
    # Both max and min pass NaN on, so that two cheap reductions find NaN, infinity and overflow.
    peak = max(float(x.max()), -float(x.min()))
    if not np.isfinite(peak):
        raise UserError(f"the features of {path} hold NaN or infinite numbers; extract the file again")
    if peak > FP16_MAX:
        limit = f"half precision holds {FP16_MAX:g} at most"
        raise UserError(f"the features of {path} reach {peak:.6g} but {limit}; scale them down")
    return np.ascontiguousarray(x, dtype=np.float16)


def stem(name: str) -> str:
    """A file's name without the endings of features and pictures: ``"2_0a.jpg.npz"`` -> ``"2_0a"``."""
    return _PICTURE.sub("", name.removesuffix(".npz"))


def number_in(name: str) -> int | None:
    """The last run of digits in a file's stem, COCO's image id: COCO_train2014_000000000009.jpg.npz is image 9.

    None where there is no digit, or more of them than an id can have.
    """
    runs = re.findall("[0-9]+", stem(name))
    return int(runs[-1]) if runs and len(runs[-1].lstrip("0")) <= LONGEST_ID else None


def image_ids(folder: str | os.PathLike[str], stems: Iterable[str]) -> np.ndarray:
    """(n,) int64 ids of images by the numbers in the stems of their files.

    Raises:
        UserError: a name has no number, or two have the same.
    """
    found: dict[int, str] = {}
    for name in map(str, stems):
        number = number_in(name)
        if number is None:
            raise UserError(
                f"{folder}: no image id in the name {name}: it should end in a number, as "
                "COCO_train2014_000000000009.jpg.npz does; rename the file or move it away"
            )
        if number in found:
            raise UserError(f"{found[number]} and {name} in {folder} are both image {number}; move one of them away")
        found[number] = name
    return np.fromiter(found, np.int64, len(found))


def list_source(folder: Path) -> Source | None:
    """What feature files a folder holds; None where there is no folder or no npz in it.

    Raises:
        UserError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            # Names that start with a dot are other systems' side files, never features.
            found = [entry for entry in entries if entry.name.endswith(".npz") and not entry.name.startswith(".")]
            facts = [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot list the feature folder {folder}: {error.strerror or error}") from error
    if not facts:
        return None
    facts.sort(key=lambda fact: (-1 if (number := number_in(fact[0])) is None else number, fact[0]))
    stamp = hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
    return Source(folder, [fact[0] for fact in facts], stamp)
