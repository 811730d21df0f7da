"""What an extraction has done so far, on disk, so that it goes on after any stop as if there had been none."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import atomic_write
from readers.feature_pack import INDEX, JOURNAL, LOCK, REGIONS, identify, index_of, npy_header
from readers.features import Features

BOXES = "boxes.part"
MOST = 2**31  # of a width or a number of regions


class Done(NamedTuple):
    """What became of one picture."""

    stem: str
    regions: int = 0
    hw: tuple[float, float] = (0.0, 0.0)  # height and width, pixels
    digest: str = ""
    refused: str = ""  # why it has no features
    note: str = ""  # what was left out of it


class Journal:
    """A pack while it grows: regions.npy, the boxes, and a line in the journal for every batch of pictures.

    A batch counts once its line stands whole, names the batch's pictures, and the regions and boxes on disk are those
    that it says; whatever lies behind is cut off. So a batch that was stopped is computed again, of the same pictures.

    Args:
        path: the pack's folder, which is held (``lock_pack``).
        head: what must be the same for an extraction to go on.
        batches: the stems of each batch's pictures.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], batches: Sequence[Sequence[str]]) -> None:
        self.path, self.head, self.batches = path, dict(head), batches
        self.width = 0
        self.done: list[list[Done]] = []
        lines = self._lines()
        if next(lines, (None, 0))[0] != self.head or not all((path / name).is_file() for name in (REGIONS, BOXES)):
            self._begin()
            lines = iter(())
        # Closed by close, or by finish.
        self._files = [(path / name).open("r+b") for name in (JOURNAL, REGIONS, BOXES)]
        self._go_on(lines)

    @property
    def pictures(self) -> list[Done]:
        """All pictures so far."""
        return [one for batch in self.done for one in batch]

    def add(self, batch: Sequence[tuple[Done, Features | None]]) -> None:
        """Keep a batch; features of a refused picture are None.

        Raises:
            UserError: features of another width than those before, or the disk is full.
        """
        journal, regions, boxes = self._files
        done = []
        try:
            for one, features in batch:
                if features is not None:
                    self._check_width(one.stem, features.x.shape[1])
                    regions.write(features.x.tobytes())
                    boxes.write(features.boxes.tobytes())
                    hw = tuple(map(float, features.hw))
                    one = one._replace(regions=len(features.x), hw=hw, digest=_digest(features))
                done.append(one)
            regions.flush()
            boxes.flush()
            journal.write(_line({"width": self.width, "pictures": done}))
            journal.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}; free the disk and type this again") from error
        self.done.append(done)

    def close(self) -> None:
        """Leave what is there for another time."""
        for file in self._files:
            file.close()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Turn it into a pack; ``facts`` are those of the index, but width and fingerprint."""
        kept = [one for one in self.pictures if not one.refused]
        regions = sum(one.regions for one in kept)
        self._files[1].seek(0)
        self._files[1].write(npy_header(regions, self.width))
        self._files[1].flush()
        os.fsync(self._files[1].fileno())
        self.close()
        contents = hashlib.sha256(identify([one.stem for one in kept]))
        for one in kept:
            contents.update(bytes.fromhex(one.digest))
        boxes = np.fromfile(self.path / BOXES, np.float32).reshape(-1, 4)
        hw = np.array([one.hw for one in kept], np.float32)
        told = {"width": self.width, "fingerprint": contents.hexdigest(), **facts}
        with atomic_write(self.path / INDEX, "wb") as file:
            np.savez(file, **index_of([one.stem for one in kept], [0, *(one.regions for one in kept)], boxes, hw, told))
        for name in (JOURNAL, BOXES):
            (self.path / name).unlink()

    def _lines(self) -> Iterator[tuple[Any, int]]:
        """The whole lines of the journal and their lengths; what a kill cut short ends them."""
        try:
            content = (self.path / JOURNAL).read_bytes()
            for line in content.split(b"\n")[:-1]:
                yield json.loads(line), len(line) + 1
        except (OSError, ValueError, RecursionError):
            return

    def _begin(self) -> None:
        try:
            # The index goes first: without it whatever else lies here is no pack.
            (self.path / INDEX).unlink(missing_ok=True)
            for left in self.path.iterdir():
                if left.name != LOCK:
                    left.unlink()
            for name in (REGIONS, BOXES):
                (self.path / name).touch()
        except OSError as error:
            raise UserError(f"cannot empty {self.path}: {error.strerror}; remove it, or free the disk") from error
        with atomic_write(self.path / JOURNAL, "wb") as file:
            file.write(_line(self.head))

    def _go_on(self, lines: Iterator[tuple[Any, int]]) -> None:
        """Read what is done, as far as it holds, and cut off the rest."""
        _, regions, boxes = self._files
        ends = [len(_line(self.head)), len(npy_header(0, 1)), 0]
        for (line, length), names in zip(lines, self.batches, strict=False):
            if (told := _told(line)) is None:
                break
            width, done = told
            if [one.stem for one in done] != list(names) or self.width not in (0, width):
                break
            regions.seek(ends[1])
            boxes.seek(ends[2])
            if not all(_is_there(one, width, regions, boxes) for one in done):
                break
            self.width = width
            self.done.append(done)
            ends = [ends[0] + length, regions.tell(), boxes.tell()]
        for file, end in zip(self._files, ends, strict=True):
            file.truncate(end)
            file.seek(end)

    def _check_width(self, stem: str, width: int) -> None:
        if self.width not in (0, width):
            raise UserError(f"the extractor gives {stem} features of width {width}, pictures before it {self.width}")
        self.width = width


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _told(line: Any) -> tuple[int, list[Done]] | None:
    """The width and the pictures of a line, or None where it is none that was written here."""
    try:
        width, done = line["width"], [Done(one[0], one[1], tuple(one[2]), *one[3:]) for one in line["pictures"]]
    except (KeyError, TypeError, IndexError):
        return None
    return (width, done) if _is_size(width) and all(map(_is_whole, done)) else None


def _is_whole(one: Done) -> bool:
    texts = all(isinstance(text, str) for text in (one.stem, one.digest, one.refused, one.note))
    sides = len(one.hw) == 2 and all(type(side) is float and 0 <= side < MOST for side in one.hw)
    return texts and sides and _is_size(one.regions)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST


def _digest(features: Features) -> str:
    return hashlib.sha256(b"".join(part.tobytes() for part in features)).hexdigest()


def _is_there(one: Done, width: int, regions: IO[bytes], boxes: IO[bytes]) -> bool:
    """Whether what a line says of a picture is what the files hold next."""
    if one.refused:
        return True
    size = 2 * width * one.regions
    if not 0 < size <= os.fstat(regions.fileno()).st_size:  # or reading would ask for as much memory
        return False
    x, corners = regions.read(size), boxes.read(16 * one.regions)
    if len(corners) < 16 * one.regions or not np.isfinite(np.frombuffer(corners, np.float32)).all() or not all(one.hw):
        return False
    return hashlib.sha256(x + corners + np.array(one.hw, np.float32).tobytes()).hexdigest() == one.digest
