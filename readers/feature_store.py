"""Region features by image id, from one or several feature folders, ready for a batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from readers.entries import first_few
from readers.feature_pack import open_pack


class FeatureStore:
    """The regions of all images in some folders. Folders are packed when first used (readers/feature_pack.py).

    Args:
        folders: feature folders with one npz per image; ids must not repeat across them (those of COCO do not).

    Raises:
        UserError: a folder is missing or broken, widths differ, or an image is in two folders.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]]) -> None:
        # The same folder may serve several splits; it is opened once.
        self._folders = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
        self._packs = [open_pack(folder) for folder in self._folders]
        self.width = self._packs[0].width
        for folder, pack in zip(self._folders, self._packs, strict=True):
            if pack.width != self.width:
                raise UserError(
                    f"the features of {folder} have width {pack.width} but those of {self._folders[0]} {self.width}; "
                    "use features of one kind"
                )
        ids = np.concatenate([pack.ids for pack in self._packs])
        order = np.argsort(ids, kind="stable")
        self.ids = ids[order]  # (n,) int64, ascending
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

    def require(self, image_ids: Sequence[int] | np.ndarray, what: str) -> None:
        """Make sure that all images have features; ``what`` says whose they are ("the questions of v2_....json").

        Raises:
            UserError: naming the first few that have none.
        """
        wanted = np.unique(np.asarray(image_ids, dtype=np.int64))
        missing = np.setdiff1d(wanted, self.ids, assume_unique=True)
        if missing.size:
            raise UserError(
                f"{missing.size} of the {wanted.size} images of {what} have no features under {self._where()}: "
                f"{first_few(missing)}; add their npz files or leave these images out"
            )

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

    def _rows(self, image_ids: np.ndarray) -> np.ndarray:
        rows = np.minimum(np.searchsorted(self.ids, image_ids), len(self.ids) - 1)
        unknown = self.ids[rows] != image_ids
        if unknown.any():
            raise UserError(f"image {image_ids[unknown][0]} has no features under {self._where()}; add its npz file")
        return rows

    def _refuse_twins(self) -> None:
        twice = np.flatnonzero(self.ids[1:] == self.ids[:-1])
        if twice.size:
            one, other = (self._folders[home] for home in self._home[twice[0] : twice[0] + 2])
            raise UserError(f"image {self.ids[twice[0]]} is in both {one} and {other}; name only one of these folders")

    def _where(self) -> str:
        return ", ".join(map(str, self._folders))
