"""Where the features of pictures come from: an extractor that makes them now, or files that hold them already"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.errors import UserError, why
from pictures.contract import Extractor
from pictures.extraction import extract_batch
from pictures.reading import Picture, Upload, read_picture, upright
from readers.feature_pack import open_pack
from readers.features import Features, read_npz, stem

Pictured = Path | Upload | Image.Image


class Source(ABC):
    """Gives the features of pictures."""

    batch = 16  # pictures at once
    facts: Mapping[str, str]  # of the extractor; none where others made the features

    @abstractmethod
    def features(self, pictures: Sequence[Pictured], names: Sequence[str]) -> list[Features | str]:
        """The features of each picture, or in a sentence why there are none; ``names`` are for people."""


class Fresh(Source):
    """Features that an extractor makes."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor, self.batch, self.facts = extractor, extractor.batch, extractor.facts()

    def features(self, pictures: Sequence[Pictured], names: Sequence[str]) -> list[Features | str]:
        """Read and extracted, all in one batch."""
        read = [self._read(*one) for one in zip(pictures, names, strict=True)]
        done = extract_batch([Path(name) for name in names], read, self.extractor)
        return [one.refused if features is None else features for one, features in done]

    def _read(self, picture: Pictured, name: str) -> Picture | str:
        try:
            if not isinstance(picture, Image.Image):
                return read_picture(picture, self.extractor.longest)
            # A copy, since it is made smaller and whoever opened it keeps it as it is.
            return upright(Path(name), picture.copy(), self.extractor.longest)
        except UserError as error:
            return str(error)
        except Exception as error:  # damaged files fail in as many ways as there are decoders
            return f"cannot read {name} ({why(error)}); it is damaged"


class Stored(Source):
    """Features that are there, called like the pictures: a folder of npz files, its pack, or one npz.

    Raises:
        UserError: there are none, or they are broken.
    """

    def __init__(self, where: Path) -> None:
        self.where = where
        self.pack = None if where.suffix == ".npz" else open_pack(where)
        self.facts = {} if self.pack is None else self.pack.extractor
        self._one = {stem(where.name): read_npz(where)} if self.pack is None else {}
        self._rows = {} if self.pack is None else {name: row for row, name in enumerate(self.pack.stems.tolist())}

    def features(self, pictures: Sequence[Pictured], names: Sequence[str]) -> list[Features | str]:
        """Those of the pictures' names; pictures themselves are not read."""
        return [self._of(name) for name in names]

    def _of(self, name: str) -> Features | str:
        called = stem(Path(name).name)
        if called in self._one:
            return self._one[called]
        if called not in self._rows:
            return f"{name} has no features in {self.where}, which must be called like the picture"
        first, last = self.pack.offsets[self._rows[called] :][:2].tolist()
        x = np.empty((last - first, self.pack.width), np.float16)
        self.pack.read_regions(first, x)
        return Features(x, self.pack.boxes[first:last], self.pack.hw[self._rows[called]])
