"""Region features by image id, from one or several feature folders, ready for a batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError, brief
from common.progress import track
from readers.entries import first_few
from readers.feature_pack import open_pack
from readers.features import image_ids

NO_IMAGE = np.iinfo(np.int64).min
HOW = ("boxes", "region", "all")  # what of an image ``prints`` hashes, from the cheapest on
MOST_NAMED = 6  # more than an error names, so that it says there are others


class FeatureStore:
    """The regions of all images in some folders. Folders are packed when first used (readers/feature_pack.py).

    Args:
        folders: feature folders with one npz per image; ids must not repeat across them (those of COCO do not).
        id_of: the image id of every stem of a file's name; files of other names are left out. None takes the last
            number in each name, as COCO has it.

    Raises:
        UserError: a folder is missing or broken, widths or extractors differ, a name has no id, or an image is there
            twice.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]], id_of: Mapping[str, int] | None = None) -> None:
        # The same folder may serve several splits; it is opened once.
        self._folders = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
        ids_in = partial(_ids, id_of)
        self._packs = [open_pack(folder, partial(ids_in, folder)) for folder in self._folders]
        self.width = self._packs[0].width
        for folder, pack in zip(self._folders, self._packs, strict=True):
            if pack.width != self.width:
                raise UserError(
                    f"the features of {folder} have width {pack.width} but those of {self._folders[0]} {self.width}; "
                    "use features of one kind"
                )
        self.extractor = self._extractor()  # its facts; none where others made the features
        self.called = next((pack.called for pack in self._packs if pack.called), "")  # the extractor, as EXTRACTOR
        ids = np.concatenate([ids_in(f, pack.stems) for f, pack in zip(self._folders, self._packs, strict=True)])
        order = np.argsort(ids, kind="stable")
        order = order[ids[order] != NO_IMAGE]
        self.ids = ids[order]  # (n,) int64, ascending
        self._stems = np.concatenate([pack.stems for pack in self._packs])[order]
        self._home = np.repeat(np.arange(len(self._packs)), [len(pack) for pack in self._packs])[order]
        self._first = np.concatenate([pack.offsets[:-1] for pack in self._packs])[order]
        self._count = np.concatenate([np.diff(pack.offsets) for pack in self._packs])[order]
        self._hw = np.concatenate([pack.hw for pack in self._packs])[order]
        self._refuse_twins()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """A short hash of all features, boxes and ids; the same data give the same one anywhere."""
        parts = sorted(pack.fingerprint for pack in self._packs)
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]

    @property
    def files(self) -> list[str]:
        """What all feature files are called, without endings, also those that are no image of the data set."""
        return [stem for pack in self._packs for stem in pack.stems.tolist()]

    def stems(self, image_ids: Sequence[int] | np.ndarray) -> list[str]:
        """What the images' files were called, without endings."""
        return self._stems[self._rows(np.asarray(image_ids, dtype=np.int64))].tolist()

    def require(self, image_ids: Sequence[int] | np.ndarray, what: str, hint: str = "") -> None:
        """Make sure that all images have features.

        Args:
            image_ids: the images.
            what: whose they are: "the questions of v2_....json".
            hint: what may be the matter where most of them have none.

        Raises:
            UserError: naming the first few that have none, and where that is most of them what the files look like.
        """
        wanted = np.unique(np.asarray(image_ids, dtype=np.int64))
        missing = np.setdiff1d(wanted, self.ids, assume_unique=True)
        if missing.size:
            none = f"{missing.size} of the {wanted.size} images of {what} have no features under {self._where()}"
            if 2 * missing.size <= wanted.size:
                raise UserError(f"{none}: {first_few(missing)}; add their npz files or leave these images out")
            names = first_few([f"{stem}.npz" for stem in self._packs[0].stems[:MOST_NAMED]])
            hint = hint or "use features and texts of one release"
            raise UserError(f"{none}: {first_few(missing)}, while the files there are named {names}; {hint}")

    def counts(self, image_ids: Sequence[int] | np.ndarray, limit: int) -> np.ndarray:
        """(I,) number of regions that ``gather`` gives for each image."""
        return np.minimum(self._count[self._rows(np.asarray(image_ids, dtype=np.int64))], limit)

    def gather(self, image_ids: Sequence[int] | np.ndarray, limit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The first (highest ranked) ``limit`` regions of I images, padded with zeros to the longest among them.

        Returns:
            regions (I,R,D) float16 as they are stored, boxes (I,R,4) float32 xyxy in pixels, image_hw (I,2) float32 in
            pixels, regions_pad (I,R) bool, True = padding.

        Raises:
            UserError: an image has no features.
        """
        rows = self._rows(np.asarray(image_ids, dtype=np.int64))
        counts = np.minimum(self._count[rows], limit)
        longest = int(counts.max(initial=0))
        regions = np.empty((len(rows), longest, self.width), dtype=np.float16)
        boxes = np.zeros((len(rows), longest, 4), dtype=np.float32)
        for place, (home, first, count) in enumerate(zip(self._home[rows], self._first[rows], counts, strict=True)):
            pack = self._packs[home]
            pack.read_regions(int(first), regions[place, :count])
            regions[place, count:] = 0
            boxes[place, :count] = pack.boxes[first : first + count]
        pad = np.arange(longest) >= counts[:, None]
        return tuple(map(torch.from_numpy, (regions, boxes, self._hw[rows], pad)))

    def boxes(self, image_id: int, limit: int) -> np.ndarray:
        """(R,4) float32 boxes of the first ``limit`` regions of an image, whose features are not read."""
        (row,) = self._rows(np.array([image_id], np.int64))
        first, count = self._first[row], min(self._count[row], limit)
        return self._packs[self._home[row]].boxes[first : first + count]

    def sizes(self, image_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(I,2) float32 height and width of each image in pixels, as its npz says."""
        return self._hw[self._rows(np.asarray(image_ids, dtype=np.int64))]

    def prints(self, image_ids: Sequence[int] | np.ndarray, how: str) -> np.ndarray:
        """(I,) uint64 hashes, the same for images whose bytes are the same, wherever they are stored.

        Args:
            image_ids: the images.
            how: of ``HOW``: sizes and boxes, which are in memory; with one region's features; or with those of all.
        """
        rows = self._rows(np.asarray(image_ids, dtype=np.int64))
        places = zip(self._home[rows], self._first[rows], self._count[rows], self._hw[rows], strict=True)
        found = np.empty(len(rows), np.uint64)
        for place, (home, first, count, hw) in enumerate(track(places, "comparing features", len(rows))):
            pack, start = self._packs[home], first + count // 2 if how == "region" else first
            read = {"boxes": 0, "region": 1, "all": count}[how]
            features = np.empty((read, self.width), np.float16)
            if read:
                pack.read_regions(int(start), features)
            parts = hw.tobytes(), pack.boxes[first : first + count].tobytes(), features.tobytes()
            found[place] = int.from_bytes(hashlib.blake2b(b"".join(parts), digest_size=8).digest(), "little")
        return found

    def _rows(self, image_ids: np.ndarray) -> np.ndarray:
        if not len(self.ids) and len(image_ids):
            raise UserError(f"no file under {self._where()} is named like an image of this data set")
        rows = np.minimum(np.searchsorted(self.ids, image_ids), len(self.ids) - 1)
        unknown = self.ids[rows] != image_ids
        if unknown.any():
            raise UserError(f"image {image_ids[unknown][0]} has no features under {self._where()}; add its npz file")
        return rows

    def _extractor(self) -> dict[str, str]:
        """Two extractors may well give features of one width, which mean nothing to each other."""
        told = [
            (folder, pack.extractor) for folder, pack in zip(self._folders, self._packs, strict=True) if pack.extractor
        ]
        for folder, extractor in told:
            first_folder, first = told[0]
            if differ := difference(extractor, first):
                both = f"the features of {folder} and {first_folder} are of two extractors"
                raise UserError(f"{both}, which differ in {differ}; make both by the same")
        return told[0][1] if told else {}

    def _refuse_twins(self) -> None:
        twice = np.flatnonzero(self.ids[1:] == self.ids[:-1])
        if twice.size:
            both = slice(twice[0], twice[0] + 2)
            one, other = (
                self._folders[home] / name for home, name in zip(self._home[both], self._stems[both], strict=True)
            )
            raise UserError(f"image {self.ids[twice[0]]} is there twice, as {one}.npz and {other}.npz; keep only one")

    def _where(self) -> str:
        return ", ".join(map(str, self._folders))


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """In what two extractors differ, for people; nothing where they do not, or of one no facts are known."""
    if not one or not other or one == other:
        return ""
    key = next(key for key in (*other, *one) if other.get(key) != one.get(key))
    return f"{key} ({brief(one.get(key))} and {brief(other.get(key))})"


def _ids(id_of: Mapping[str, int] | None, folder: Path, stems: Sequence[str]) -> np.ndarray:
    """(n,) int64 ids of the images of a folder, NO_IMAGE for files that the rule does not know."""
    if id_of is None:
        return image_ids(folder, stems)
    named = ((str(stem), str(stem).lstrip("0") or "0") for stem in stems)  # numbers may be filled up with zeros
    return np.fromiter((id_of.get(one, id_of.get(other, NO_IMAGE)) for one, other in named), np.int64, len(stems))
