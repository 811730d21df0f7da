"""Room in a data root for a data set: what was made there before goes, what anybody else put there stays"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from pictures.finding import PICTURES
from readers.feature_pack import DATASET
from tools.dataset.layouts import OWN
from tools.dataset.made import made_for
from tools.dataset.samples import SPLITS

Named = Mapping[str, Mapping[str, str]]  # by the name of its link a picture's own name and its split


def make_room(root: Path, task: str, named: Named) -> Any:
    """Remove the links and the texts that this command made before, and the folders that are empty without them.

    Args:
        root: the data root, which is made where there is none.
        task: of the data set to be made.
        named: its pictures.

    Returns:
        The pictures of the data set before, None where there was none.

    Raises:
        UserError: something of other origin is in the way; nothing has been removed then.
    """
    before = made_for(root)
    pictures = read_json(root / DATASET, "what make dataset wrote").get("pictures") if before else None
    old = {*_files(root, before, _sound(pictures))} if before else set()
    texts = OWN[task].texts
    others = [] if before and texts == OWN[before].texts else [root / texts]
    # A picture that somebody put among the links would become one of the data set's.
    others += [path for path in sorted((root / PICTURES).rglob("*")) if not (path in old and path.is_symlink())]
    others += [path for path in _files(root, task, named) if path not in old]
    for path in others:
        if path.is_symlink() or path.is_file() or (path.is_dir() and not path.is_relative_to(root / PICTURES)):
            raise UserError(
                f"{path} is there and was not made by this command; move it elsewhere, or name another root as DATA"
            )
    _remove(root, old)
    root.mkdir(parents=True, exist_ok=True)
    return pictures


def links(root: Path, task: str, named: Named) -> list[Path]:
    """Where the link to each picture stands."""
    parts = OWN[task].parts
    return [
        root / PICTURES / parts.get(told["split"], "") / (stem + Path(told["picture"]).suffix.lower())
        for stem, told in named.items()
    ]


def _files(root: Path, task: str, named: Named) -> Iterator[Path]:
    """What the data set of such pictures consists of."""
    yield from links(root, task, named)
    yield from (root / name for name in OWN[task].files(sorted({told["split"] for told in named.values()})))


def _sound(pictures: Any) -> Named:
    """Those that are noted as this command notes them."""
    entries = pictures.items() if isinstance(pictures, dict) else ()
    return {stem: told for stem, told in entries if stem.isdigit() and _is_sound(told)}


def _is_sound(told: Any) -> bool:
    return isinstance(told, dict) and isinstance(told.get("picture"), str) and told.get("split") in SPLITS.values()


def _remove(root: Path, files: set[Path]) -> None:
    """Remove files, and then the folders in which nothing else was."""
    for path in files:
        path.unlink(missing_ok=True)
    above = {folder for path in files for folder in path.parents if folder != root and folder.is_relative_to(root)}
    for folder in sorted(above, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
