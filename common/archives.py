"""What zip archives, such as npz files and checkpoints, say they hold, before any of it is unpacked."""

from __future__ import annotations

import os
import zipfile


def unpacked_size(path: str | os.PathLike[str]) -> int:
    """Bytes of all members together, unpacked; 0 for a file that is no zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    # A damaged directory fails in as many ways as it has fields; whoever reads the file says so.
    except Exception:
        return 0
