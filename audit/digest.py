"""Which images something was made on, in a few bytes an image, to be asked later about images that are tested.

Ids are kept exactly: the gaps between them, byte plane by byte plane, deflated. 100,000 ids of COCO take about 60 kB.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from readers.feature_store import FeatureStore
from tasks.base import COCO, FLICKR, Task

DEMO = "demo.json"  # the file in a data root that says it is the built-in demo data, and which
PROBES = 16  # images whose features are remembered, to know ids of one's own again
MOST = 10_000_000  # images; a digest that claims more is damaged
COCO_SIDE = 640  # pixels, the longer side of most of COCO's pictures
PHOTO = 10**6  # Flickr's numbers of photographs are larger


class Digest(NamedTuple):
    """Some images.

    Args:
        namespace: whose ids these are: "coco", "flickr", "demo ...", or "" for a data root's own.
        ids: (n,) int64, ascending, each once.
        probes: hashes of the features of some of them by id.
    """

    namespace: str
    ids: np.ndarray
    probes: dict[int, int]

    @classmethod
    def of(cls, task: Task, images: np.ndarray) -> Digest:
        """Of images of a task's data."""
        ids = np.unique(images)
        there = ids[np.isin(ids, task.store.ids)]
        some = there[np.linspace(0, len(there) - 1, min(PROBES, len(there))).astype(np.int64)]
        prints = task.store.prints(some, "all")
        return cls(namespace_of(task), ids, dict(zip(some.tolist(), prints.tolist(), strict=True)))

    @property
    def packed(self) -> bytes:
        """The ids alone."""
        gaps = np.diff(self.ids, prepend=0).astype("<i8")
        return zlib.compress(gaps.view(np.uint8).reshape(-1, 8).T.tobytes(), 9)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "namespace": self.namespace,
            "images": len(self.ids),
            "ids": base64.b64encode(self.packed).decode(),
            "probes": {str(image): f"{print_:016x}" for image, print_ in self.probes.items()},
        }

    @classmethod
    def from_dict(cls, given: Any, where: str) -> Digest:
        """What ``as_dict`` gave; its ``ids`` may also be bytes.

        Args:
            given: the dict.
            where: what holds it, for the error to name.

        Raises:
            UserError: it is damaged.
        """
        try:
            packed = given["ids"] if isinstance(given["ids"], bytes) else base64.b64decode(given["ids"], validate=True)
            probes = {int(image): int(print_, 16) for image, print_ in given["probes"].items()}
            return cls(str(given["namespace"]), _unpacked(packed, int(given["images"])), probes)
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, zlib.error) as error:
            raise UserError(
                f"{where}: its list of training images ('trained_on') is damaged; use another copy of it"
            ) from error

    def means_the_same(self, task: Task, store: FeatureStore) -> bool:
        """Whether its ids and those of a task's data are of the same pictures."""
        if self.namespace and self.namespace == namespace_of(task):
            return True
        known = [*filter(set(store.ids.tolist()).__contains__, self.probes)]
        prints = store.prints(known, "all").tolist()
        same = sum(print_ == self.probes[image] for image, print_ in zip(known, prints, strict=True))
        return bool(known) and 2 * same >= len(known)


def _unpacked(packed: bytes, count: int) -> np.ndarray:
    if not 0 <= count <= MOST:
        raise ValueError(f"{count} images")
    planes = np.frombuffer(zlib.decompressobj().decompress(packed, 8 * count or 1), np.uint8)
    gaps = np.ascontiguousarray(planes.reshape(8, count).T).view("<i8")[:, 0]
    return np.cumsum(gaps, dtype=np.int64)


def namespace_of(task: Task) -> str:
    """Whose ids a task's image ids are, as far as they look like it: many keep data of their own in COCO's layout."""
    mark = Path(task.data.root) / DEMO
    if mark.is_file():
        return f"demo {hashlib.sha256(mark.read_bytes()).hexdigest()[:8]}"
    ids = task.store.ids
    if not len(ids):
        return ""
    if task.pictures == COCO:
        return COCO if np.mean(task.store.sizes(ids).max(1) == COCO_SIDE) > 0.5 else ""
    return FLICKR if task.pictures == FLICKR and np.median(ids) > PHOTO else ""
