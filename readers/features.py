"""Region features as users keep them: a folder with one npz per image; whatever is wrong with one has its sentence."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError

FP16_MAX = float(np.finfo(np.float16).max)
LONGEST_ID = 18  # digits that always fit an int64
BOX_SLACK = 0.5  # of the image side: detectors overshoot by pixels, boxes of a resized image by far more


class Features(NamedTuple):
    """The regions of one image, best ranked first."""

    x: np.ndarray  # (R,D) float16
    boxes: np.ndarray  # (R,4) float32 xyxy, pixels
    hw: np.ndarray  # (2,) float32 height and width of the image, pixels


class Source(NamedTuple):
    """The feature files of a folder, by image id."""

    folder: Path
    names: list[str]
    ids: np.ndarray  # (n,) int64, ascending
    stamp: str  # hash of names, sizes and times: changes when a file does


def read_npz(path: str | os.PathLike[str]) -> Features:
    """Read one image: keys x (D,R) feature first, or fc7 (R,D1) and pool5 (R,D2); bbox (R,4) xyxy, image_h, image_w.

    Raises:
        UserError: the file is damaged, lacks a key, has the wrong shape, or holds impossible numbers.
    """
    arrays = _load(path)
    for key, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise UserError(f"{key} of {path} holds {array.dtype}, not numbers; extract the file again")
    hw = np.array([_side(path, arrays, "image_h"), _side(path, arrays, "image_w")], dtype=np.float32)
    boxes = _boxes(path, arrays["bbox"], hw)
    x = _feature_first(path, arrays["x"], len(boxes)) if "x" in arrays else _region_first(path, arrays, len(boxes))
    return Features(_to_fp16(path, x), boxes, hw)


def _load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = file.files
            kind = ["fc7", "pool5"] if "x" not in held and ("fc7" in held or "pool5" in held) else ["x"]
            wanted = [*kind, "bbox", "image_h", "image_w"]
            missing = [key for key in wanted if key not in held]
            if missing:
                raise UserError(f"{path} lacks {', '.join(missing)} (it holds {', '.join(held)}); see data/README.md")
            return {key: file[key] for key in wanted}
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; it should hold the region features of an image") from error
    # A damaged zip fails in a dozen ways: BadZipFile, zlib.error, EOFError, ValueError, MemoryError, ...
    except Exception as error:
        # NumPy's advice for what is no archive is to load it unsafely, which nobody should follow.
        why = "it is no archive of arrays" if "pickle" in str(error) else error
        raise UserError(f"cannot read {path} ({why}); it is damaged or no npz: copy or extract it again") from error


def _side(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], key: str) -> float:
    value = arrays[key]
    if value.size != 1 or not 0 < value.item() < np.inf:
        raise UserError(f"{key} of {path} must be one positive number of pixels, not {value.tolist()}")
    return value.item()


def _boxes(path: str | os.PathLike[str], boxes: np.ndarray, hw: np.ndarray) -> np.ndarray:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"bbox of {path} has shape {boxes.shape}; it must be (R, 4), a row x1 y1 x2 y2 per region")
    if not len(boxes):
        raise UserError(f"{path} holds no region; extract it again with at least one, or leave the image out")
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


def _feature_first(path: str | os.PathLike[str], x: np.ndarray, regions: int) -> np.ndarray:
    """(D,R) as stored to (R,D)."""
    if x.ndim == 2 and x.shape[1] == regions and x.shape[0]:
        return x.T
    if x.ndim == 2 and x.shape[0] == regions:
        raise UserError(f"x of {path} has shape {x.shape}, region first; it must be feature first: save x transposed")
    raise UserError(f"x of {path} has shape {x.shape} but bbox has {regions} boxes; x must be (D, {regions})")


def _region_first(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], regions: int) -> np.ndarray:
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


def image_id(name: str) -> int:
    """The id in a feature file's name: its last run of digits (COCO_train2014_000000000009.jpg.npz is image 9).

    Raises:
        UserError: there is none, or one too long for an id.
    """
    runs = re.findall("[0-9]+", name.removesuffix(".npz"))
    if not runs or len(runs[-1].lstrip("0")) > LONGEST_ID:
        raise UserError(
            f"no image id in the name {name}: it should end in a number, as COCO_train2014_000000000009.jpg.npz does; "
            "rename the file or move it away"
        )
    return int(runs[-1])


def list_source(folder: Path) -> Source | None:
    """What feature files a folder holds; None where there is no folder or no npz in it.

    Raises:
        UserError: the folder cannot be listed, a name has no image id, or two names have the same.
    """
    try:
        with os.scandir(folder) as entries:
            # Names that start with a dot are other systems' side files, never features.
            found = [entry for entry in entries if entry.name.endswith(".npz") and not entry.name.startswith(".")]
            facts = sorted((image_id(e.name), e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in found)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot list the feature folder {folder}: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    if not facts:
        return None
    ids = np.array([fact[0] for fact in facts], dtype=np.int64)
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if twice.size:
        first, second = facts[twice[0]][1], facts[twice[0] + 1][1]
        raise UserError(f"{first} and {second} in {folder} are both image {ids[twice[0]]}; move one of them away")
    stamp = hashlib.blake2b(repr([fact[1:] for fact in facts]).encode(), digest_size=8).hexdigest()
    return Source(folder, [fact[1] for fact in facts], ids, stamp)
