"""Where things lie under a data root: releases laid folders out differently, and each layout is found by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from readers.feature_pack import is_packed


def find_path(root: str | Path, candidates: Sequence[str], holds: str = "") -> Path:
    """The first of several paths under a root that is there, or packed; else the first one, for the error to name.

    Args:
        root: the data root.
        candidates: files or folders relative to it, the one data/README.md leads with first.
        holds: what must be in a path for it to count, where folders of one name mean different things.
    """
    paths = [Path(root) / candidate for candidate in candidates]
    return next((path for path in paths if (path / holds).exists() or is_packed(path / holds)), paths[0])
