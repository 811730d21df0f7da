"""The features of a folder of pictures: read in worker processes, computed in batches, kept as a pack."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from common.errors import UserError
from common.files import atomic_write
from common.progress import track
from pictures.contract import Extractor, Regions
from pictures.journal import Done, Journal
from pictures.listing import Folder
from pictures.reading import Picture, read_picture
from readers.feature_pack import JOURNAL, Pack, lock_pack, pack_places
from readers.features import FP16_MAX, Features, list_source, stem

PARENT_CHECK_SECONDS = 1.0
Read = Picture | str  # a picture, or why there is none


class Extracted(NamedTuple):
    """What came of a folder of pictures."""

    pack: Pack
    refused: list[Done]
    noted: list[Done]
    before: int  # pictures that an earlier call had done


def extract_folder(folder: Folder, extractor: Extractor, target: Path, workers: int, npz: bool = False) -> Extracted:
    """Make the pack of a feature folder from pictures, going on with what an earlier call began.

    Args:
        folder: the pictures.
        extractor: what finds regions in them.
        target: the feature folder that the pack stands for; it need not be there.
        workers: processes that read pictures.
        npz: also write a file of features per picture there.

    Raises:
        UserError: features of another origin are there, nowhere to write, or no picture could be used.
    """
    path = pack_places(target)[0]
    facts = extractor.facts()
    with _held(path):
        found = _pack(path)
        current = found is not None and (found.pictures, found.extractor) == (folder.stamp, facts)
        # Names of files are made of a pack's stems.
        current = current and {*found.stems.tolist()} <= {stem(picture.name) for picture in folder.pictures}
        _refuse_others(target, path, found, current, npz)
        if current:
            return Extracted(_with_npz(found, target) if npz else found, [], [], len(folder.pictures))
        batches = _batches(folder.pictures, extractor.batch)
        head = {"extractor": facts, "batch": extractor.batch, "pictures": folder.stamp}
        journal = Journal(path, head, [[stem(picture.name) for picture in batch] for batch in batches])
        before = len(journal.pictures)
        with contextlib.closing(journal):
            _fill(journal, folder, extractor, batches, workers)
            refused = [one for one in journal.pictures if one.refused]
            if len(refused) == len(folder.pictures):
                raise UserError(f"none of the {len(refused)} pictures for {target} can be used: {refused[0].refused}")
            journal.finish({"stamp": "", "extractor": facts, "called": extractor.called, "pictures": folder.stamp})
        pack = _with_npz(Pack(path), target) if npz else Pack(path)
        return Extracted(pack, refused, [one for one in journal.pictures if one.note], before)


def _held(path: Path) -> IO[str]:
    try:
        return lock_pack(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another root as DATA") from error


def _pack(path: Path) -> Pack | None:
    try:
        return Pack(path)
    except Exception:  # whatever is no pack is made anew
        return None


def _refuse_others(target: Path, path: Path, found: Pack | None, current: bool, npz: bool) -> None:
    """Make sure that nothing is lost, or read instead, that did not come from these pictures."""
    source = list_source(target)
    begun = (path / JOURNAL).exists() or (found is not None and found.pictures and not found.stamp)
    foreign_npz = source is not None and not begun and (found is None or found.stamp != source.stamp)
    if (found is not None and not found.pictures) or foreign_npz:
        raise UserError(f"{target} already has features that were not made here; name another folder as FEATURES")
    if source is not None and not npz and not current:
        raise UserError(f"{target} holds npz files of other pictures or another extractor; move them, or say NPZ=1")


def _batches(paths: Sequence[Path], size: int) -> list[Sequence[Path]]:
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def _fill(
    journal: Journal, folder: Folder, extractor: Extractor, batches: Sequence[Sequence[Path]], workers: int
) -> None:
    todo, done = batches[len(journal.done) :], len(journal.pictures)
    what = f"features of {folder.place}" if folder.place.name else "features"
    for _ in track(_work(journal, extractor, todo, workers), what, len(folder.pictures), done):
        pass


def _work(journal: Journal, extractor: Extractor, batches: Sequence[Sequence[Path]], workers: int) -> Iterator[None]:
    """Once for every picture whose batch is done."""
    loader = DataLoader(
        _Reader(batches, extractor.longest),
        batch_size=None,
        num_workers=min(workers, len(batches)),
        worker_init_fn=_follow_the_parent,
        collate_fn=_as_it_is,
    )
    for paths, read in zip(batches, loader, strict=True):
        journal.add(extract_batch(paths, read, extractor))
        yield from itertools.repeat(None, len(paths))


class _Reader(Dataset[list[Read]]):
    """Reads batches of pictures; a broken one gives its error's text, which crosses processes."""

    def __init__(self, batches: Sequence[Sequence[Path]], longest: int) -> None:
        self.batches, self.longest = batches, longest

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> list[Read]:
        return [self._read(path) for path in self.batches[index]]

    def _read(self, path: Path) -> Read:
        try:
            return read_picture(path, self.longest)
        except UserError as error:
            return str(error)


def _as_it_is(read: list[Read]) -> list[Read]:
    return read


def _follow_the_parent(_: int) -> None:
    """Leave Ctrl-C to the parent, and end where that was killed: nobody reads what a worker still has to hand over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


def extract_batch(
    paths: Sequence[Path], read: Sequence[Read], extractor: Extractor
) -> list[tuple[Done, Features | None]]:
    """What became of each picture of a batch, and its features unless it was refused.

    Args:
        paths: what the pictures are called.
        read: they themselves, or why they cannot be read.
        extractor: what finds regions in them.

    Raises:
        UserError: the extractor gave another number of results.
    """
    pictures = [one for one in read if isinstance(one, Picture)]
    found = extractor.extract([one.image for one in pictures]) if pictures else []
    if len(found) != len(pictures):
        raise UserError(f"{type(extractor).__name__}.extract gave {len(found)} results for {len(pictures)} pictures")
    regions = iter(found)
    return [_one(path, picture, regions) for path, picture in zip(paths, read, strict=True)]


def _one(path: Path, picture: Read, regions: Iterator[Regions]) -> tuple[Done, Features | None]:
    name = stem(path.name)
    if isinstance(picture, str):
        return Done(name, refused=picture), None
    try:
        return Done(name, note=picture.note), _features(path, picture, next(regions))
    except UserError as error:
        return Done(name, refused=str(error)), None


def _features(path: Path, picture: Picture, regions: Regions) -> Features:
    """Regions as a pack has them: the best first, boxes in pixels of the whole picture and inside of it.

    Raises:
        UserError: the extractor gave none, shapes that do not fit, or numbers that half precision does not hold.
    """
    boxes, x = np.asarray(regions.boxes, np.float32), np.asarray(regions.features)
    scores = None if regions.scores is None else np.asarray(regions.scores)
    if boxes.shape != (len(x), 4) or x.ndim != 2 or (scores is not None and scores.shape != (len(x),)):
        shapes = f"{boxes.shape}, features {x.shape}" + ("" if scores is None else f", scores {scores.shape}")
        raise UserError(f"{path}: the extractor gave boxes {shapes}; they must be (R, 4), (R, D) and (R,)")
    if not len(x):
        raise UserError(f"{path}: the extractor found no region")
    # Not below the peak, not a number at all, or the boxes so.
    if not (np.abs(x).max() <= FP16_MAX and np.isfinite(boxes).all()):
        raise UserError(f"{path}: the extractor gave numbers that half precision does not hold; scale them down")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise UserError(f"{path}: the extractor gave boxes whose corners are exchanged; they must be x1 y1 x2 y2")
    order = slice(None) if scores is None else np.argsort(-scores, kind="stable")
    size = np.array([picture.width, picture.height], np.float32)
    boxes = (boxes * np.tile(size / np.array(picture.image.size, np.float32), 2)).clip(0, np.tile(size, 2))
    return Features(np.ascontiguousarray(x[order], np.float16), np.ascontiguousarray(boxes[order]), size[::-1].copy())


def _with_npz(pack: Pack, target: Path) -> Pack:
    """Write the files that a pack could have been made of, and let it stand for them."""
    strange = [path.name for path in target.glob("*.npz") if stem(path.name) not in set(pack.stems.tolist())]
    if strange:
        raise UserError(f"{target} holds {min(strange)}, which is of no picture here; move it, or say another FEATURES")
    for row, name in enumerate(track(pack.stems.tolist(), f"writing {target}")):
        first, last = pack.offsets[row : row + 2].tolist()
        x = np.empty((last - first, pack.width), np.float16)
        pack.read_regions(first, x)
        height, width = pack.hw[row]
        with atomic_write(target / f"{name}.npz", "wb") as file:
            np.savez(file, x=x, bbox=pack.boxes[first:last], image_h=height, image_w=width)
    source = list_source(target)
    return pack if source is None else pack.restamped(source.stamp)
