"""Pack feature folders ahead of a run: ``python -m tools.pack --data data``, or ``--folders A B ...``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser, home_path
from common.errors import UserError, run
from readers.feature_pack import DATASET, open_pack

MARKS = {"itm": "itm", "vqa": "vqa", "vgd": "refs"}  # the folder of a data root that tells a task's data are there


def feature_folders(root: Path) -> list[Path]:
    """Every folder under a data root that holds npz files, in order; hidden folders (packs) are passed over.

    Raises:
        UserError: there is no such root, or no npz in it.
    """
    if not root.is_dir():
        raise UserError(f"the data root {root} does not exist; data/README.md shows what it should hold")
    found, seen = [], set()
    for here, below, files in os.walk(root, followlinks=True):
        # Links are followed, since data often lie on another disk; a link to a folder above would never end.
        real = os.path.realpath(here)
        below[:] = [] if real in seen else sorted(name for name in below if not name.startswith("."))
        if real not in seen and any(name.endswith(".npz") for name in files):
            found.append(Path(here))
        seen.add(real)
    if not found and (root / DATASET).exists():
        remedy = f"make features DATA={shlex.quote(str(root))} makes features and packs them"
        raise UserError(f"no npz anywhere under {root}; {remedy}")
    if not found:
        raise UserError(f"no npz anywhere under {root}; data/README.md shows where feature folders belong")
    return found


def pack(folders: Sequence[Path]) -> list[str]:
    """Pack each folder and say what stands; a broken one does not stop the others. Returns the errors."""
    errors = []
    for folder in folders:
        try:
            done = open_pack(folder)
        except UserError as error:
            errors.append(str(error))
            print(f"error: {error}", file=sys.stderr)
            continue
        size = f"{done.bytes / 1e9:.2f} GB" if done.bytes >= 1e8 else f"{done.bytes / 1e6:.1f} MB"
        what = f"{len(done):,} images, {len(done.boxes):,} regions of width {done.width}"
        print(f"{folder}: {what}, {size} in {done.path}")
    return errors


def _next(root: Path | None) -> str:
    tasks = [task for task, mark in MARKS.items() if root is not None and (root / mark).is_dir()]
    place = "" if root is None or root == Path("data") else f" DATA={root}"
    return "next: " + ", or ".join(f"make search TASK={task}{place}" for task in tasks or list(MARKS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and pack."""
    parser = Parser(prog="python -m tools.pack", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--data", type=home_path, default=Path("data"), help="pack every feature folder under this data root"
    )
    what.add_argument("--folders", type=home_path, nargs="+", help="pack these feature folders")
    given = parser.parse_args(arguments)
    folders = given.folders or feature_folders(given.data)
    errors = pack(folders)
    if errors:
        raise UserError(f"{len(errors)} of {len(folders)} folders could not be packed; mend them and run this again")
    print(_next(None if given.folders else given.data))


if __name__ == "__main__":
    run(main)
