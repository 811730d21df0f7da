"""Checkpoints that are whole or absent, and load without running anything they contain."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.files import atomic_write

FORBIDDEN = "GLOBAL"  # in torch's message about code that it does not run


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings and containers of them) aside, then rename it into place."""
    with atomic_write(path, "wb") as file:
        torch.save(state, file)


def load(path: Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing but tensors and plain containers is accepted.

    Args:
        path: a file that ``save`` wrote.
        lazily: leave tensors on the disk until they are used; for whoever wants something else of it.

    Raises:
        UserError: there is no such file, it is damaged, or it asks for code.
    """
    if not path.is_file():
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.pt"))[:5]) if path.parent.is_dir() else ""
        raise UserError(f"checkpoint {path} does not exist" + (f"; its folder holds {near}" if near else ""))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily)
    # Bytes that are no checkpoint fail in as many ways as zip and pickle have opcodes.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and FORBIDDEN in str(error):
            what = "holds more than tensors and plain values, so it is not loaded"
            raise UserError(f"checkpoint {path} {what}") from error
        why = next(iter(str(error).splitlines()), type(error).__name__)
        # Torch's advice for such files is to load them unsafely, which nobody should follow.
        why = "torch did not write it" if "weights_only" in why or "mmap" in why else why
        raise UserError(f"checkpoint {path} is damaged or no checkpoint ({why}); use another one") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint of a run or a network; give a last.pt or best.pt")
    return state
