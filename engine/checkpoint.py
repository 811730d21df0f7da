"""Checkpoints that are whole or absent, checked when they are read, and load without running anything they contain.

Torch writes a zip with a CRC-32 of every tensor and does not look at it when it loads: a flipped bit is another weight.
"""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from common.archives import unpacked_size
from common.errors import UserError, why
from common.files import atomic_write

MOST_KEPT = 100
# What a system says of a file whose bytes may well be right.
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)
FORBIDDEN = "GLOBAL"  # in torch's message about code that it does not run
NO_MEMORY = "allocate memory"  # in its message about that


class Damaged(UserError):
    """A checkpoint whose bytes are not those that were written."""


def save(path: Path, state: dict[str, Any], keep: int = 1) -> None:
    """Write ``state`` (tensors, numbers, strings and containers of them) aside, then rename it into place.

    Args:
        path: where the newest of a run's checkpoints lies.
        state: what it holds.
        keep: how many stay; the one before the newest is renamed to ``last.1.pt``, and so on.

    Raises:
        UserError: it cannot be written; what was there stays.
    """
    with atomic_write(path, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # What the file said, a full disk for one, reaches torch's writer as a position that it did not expect.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        file.flush()
        os.fsync(file.fileno())
        # Only now: what is to replace the newest one is whole, and has found its room.
        _rotate(path, keep)


def kept(path: Path) -> Iterator[Path]:
    """The checkpoints that ``save`` kept, the newest first."""
    for number in range(MOST_KEPT):
        if (one := _older(path, number)).is_file():
            yield one


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}") if number else path


def _rotate(path: Path, keep: int) -> None:
    for number, one in reversed([*enumerate(kept(path), start=1)]):
        if one == path:
            if keep > 1:
                _also(path, _older(path, 1))
        elif number < keep:
            one.replace(_older(path, number))
        else:
            one.unlink()


def _also(path: Path, name: Path) -> None:
    """Give a file a second name, so that it is at no time without its first; where there are no links, only that."""
    try:
        name.hardlink_to(path)
    except OSError:
        path.replace(name)


def load(path: Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing but tensors and plain containers is accepted.

    Args:
        path: a file that ``save`` wrote.
        lazily: leave tensors on the disk until they are used; for whoever wants something else of it.

    Raises:
        Damaged: its bytes are not those that were written; of a file that is read lazily only few are looked at.
        UserError: there is no such file, it cannot be read, or it asks for code.
    """
    if not path.is_file():
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.pt"))[:5]) if path.parent.is_dir() else ""
        raise UserError(f"checkpoint {path} does not exist" + (f"; its folder holds {near}" if near else ""))
    if unpacked_size(path) > path.stat().st_size:
        raise Damaged(f"checkpoint {path} is compressed, which torch never does; use another one")
    try:
        if not lazily:
            _check_bytes(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
    # Bytes that are no checkpoint fail in as many ways as zip and pickle have opcodes.
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in UNREADABLE:
            raise UserError(f"cannot read checkpoint {path}: {error or 'memory does not suffice'}") from error
        if isinstance(error, pickle.UnpicklingError) and FORBIDDEN in str(error):
            what = "holds more than tensors and plain values, so it is not loaded"
            raise UserError(f"checkpoint {path} {what}") from error
        reason = why(error)
        if NO_MEMORY in reason:
            raise UserError(f"memory does not suffice to read checkpoint {path} ({reason})") from error
        # Torch's advice for such files is to load them unsafely, which nobody should follow.
        reason = "torch did not write it" if "weights_only" in reason or "mmap" in reason else reason
        raise Damaged(f"checkpoint {path} is damaged or no checkpoint ({reason}); use another one") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint of a run or a network; give a last.pt or best.pt")
    return state


def _check_bytes(path: Path) -> None:
    """Read a file once against the sums in it; files of older versions of torch, which are no zip, have none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as whole:
            if bad := whole.testzip():
                raise zipfile.BadZipFile(f"the bytes of {bad} are not those that were written")
