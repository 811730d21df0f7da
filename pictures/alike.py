"""Which pictures show the same: equal files, and copies saved again in another size or quality"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.errors import UserError
from common.progress import track
from pictures.reading import read_picture

SMALL = 16  # pixels: side of the picture that is compared
READ = 128  # pixels: side of the picture that is read for it
BITS, BANDS = 64, 4  # of a hash; two that differ in fewer bits than there are bands agree in a whole band
MOST_APART = 3.0  # of 255, on average over the small pictures: two that differ less show the same
MOST_ANYWHERE = 40.0  # of 255, at any place: a small thing that is elsewhere makes another picture


class Look(NamedTuple):
    """A picture, as far as comparing needs it."""

    width: int  # pixels
    height: int
    content: str  # hash of the file
    small: np.ndarray  # (16,16,3) uint8


def look_at(path: Path) -> Look:
    """Look at a picture.

    Raises:
        UserError: it cannot be read.
    """
    picture = read_picture(path, READ)
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the picture {path}: {error.strerror}") from error
    small = np.asarray(picture.image.resize((SMALL, SMALL), Image.Resampling.BOX))
    return Look(picture.width, picture.height, content, small)


def group_alike(looks: Mapping[str, Look]) -> list[list[str]]:
    """Pictures in groups of those that show the same, most of them alone; in the order given.

    Candidates are pictures whose difference hashes (64 bits: which of two neighbours is the brighter) agree in a
    quarter, which all have that differ in three bits at most. Of these the small pictures themselves decide.
    """
    names = list(looks)
    parent = list(range(len(names)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[str, int] = {}
    for place, name in enumerate(names):
        parent[place] = root(first.setdefault(looks[name].content, place))
    alone = [place for place in range(len(names)) if parent[place] == place]
    for one, other in _near([looks[names[place]] for place in alone]):
        low, high = sorted((root(alone[one]), root(alone[other])))
        parent[high] = low
    groups: dict[int, list[str]] = defaultdict(list)
    for place, name in enumerate(names):
        groups[root(place)].append(name)
    return list(groups.values())


def _near(looks: list[Look]) -> Iterator[tuple[int, int]]:
    """Pairs of pictures that show the same."""
    if len(looks) < 2:
        return
    small = np.stack([look.small for look in looks]).astype(np.int16)
    hashes = _hashes(small)
    brightness = small.mean(axis=(1, 2, 3))
    for band in range(BANDS):
        # Two differ by at least as much as their brightness does; else all plain ones would be compared.
        key = 1000.0 * hashes[:, band] + brightness
        order = np.argsort(key, kind="stable")
        ends = np.searchsorted(key[order], key[order] + MOST_APART)
        for start, end in enumerate(track(ends.tolist(), "comparing pictures", len(looks))):
            place, others = order[start], order[start + 1 : end]
            if len(others):
                apart = np.abs(small[others] - small[place]).reshape(len(others), -1)
                same = (apart.mean(axis=1) < MOST_APART) & (apart.max(axis=1) < MOST_ANYWHERE)
                yield from ((int(other), int(place)) for other in others[same])


def _hashes(small: np.ndarray) -> np.ndarray:
    """(n,4) uint16, four bands of 16 bits: whether a place of an 8 x 9 grey picture is brighter than the next."""
    grey = small.mean(axis=3)
    rows = grey.reshape(len(grey), 8, 2, SMALL).mean(axis=2)
    columns = rows[:, :, np.linspace(0, SMALL - 1, 9).round().astype(int)]
    bits = columns[:, :, :-1] > columns[:, :, 1:]
    return np.packbits(bits.reshape(len(grey), BITS), axis=1).view(np.uint16)
