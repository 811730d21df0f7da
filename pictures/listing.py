"""Which pictures a folder holds, and which feature folder those of each folder below it go to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from pictures.reading import ENDINGS
from readers.features import number_in, stem


class Folder(NamedTuple):
    """The pictures of one folder, in the order of their features."""

    place: Path  # of the folder below the one that was named
    pictures: list[Path]
    stamp: str  # hash of names, sizes and times: changes when a picture does
    twins: list[Path]  # pictures whose name, but for its ending, is already that of another


def list_pictures(folder: Path) -> list[Folder]:
    """The folders under a folder, itself among them, that hold pictures.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"the folder of pictures {folder} does not exist; name another as PICTURES")
    found = list(_walk(folder))
    if not found:
        raise UserError(f"{folder} holds no picture ({' '.join(sorted(ENDINGS))}); name another folder as PICTURES")
    return found


def _walk(folder: Path) -> Iterator[Folder]:
    seen = set()
    for here, below, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        below[:] = [] if real in seen else sorted(name for name in below if not name.startswith("."))
        named = [name for name in files if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")]
        if real not in seen and named:
            yield _folder(Path(here), Path(here).relative_to(folder), named)
        seen.add(real)


def _folder(here: Path, place: Path, names: list[str]) -> Folder:
    # As readers/features.py orders feature files.
    names.sort(key=lambda name: (-1 if (number := number_in(name)) is None else number, name))
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(stem(name), name)
    kept = list(first.values())
    facts = [(name, *_size_and_time(here / name)) for name in kept]
    stamp = hashlib.blake2b(repr(facts).encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return Folder(place, [here / name for name in kept], stamp, [here / n for n in names if first[stem(n)] != n])


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError:  # a link to nowhere, which reading will name
        return 0, 0
    return told.st_size, told.st_mtime_ns
