"""Where things lie under a data root: releases laid folders out differently, and each layout is found by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.packing import is_packed


def locate(root: str | Path, candidates: Sequence[str], holds: str = "") -> Path:
    """The first of several places under a root that is there, or packed; else the first one, for the error to name.

    Args:
        root: the data root.
        candidates: files or folders relative to it, the one data/README.md leads with first.
        holds: what must be in a place for it to count, where folders of one name mean different things.
    """
    places = [Path(root) / candidate for candidate in candidates]
    return next((place for place in places if (place / holds).exists() or is_packed(place / holds)), places[0])
