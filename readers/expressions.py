"""Referring expressions as their data sets are given: pickles that are not trusted, or JSON files by split.

RefCOCO's pickles come from the internet, so they are read by an unpickler that builds containers, texts and numbers
and nothing else.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError, check_known
from common.files import read_json
from readers.data_root import find_path
from readers.entries import field
from readers.tokens import tokenise

# By data set who divided it, the usual one first, and into which splits.
DIVISIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "refcoco": {"unc": ("train", "val", "testA", "testB")},
    "refcoco+": {"unc": ("train", "val", "testA", "testB")},
    "refcocog": {"umd": ("train", "val", "test"), "google": ("train", "val")},
}
SPLITS = list(dict.fromkeys(split for known in DIVISIONS.values() for splits in known.values() for split in splits))
SLACK = 2.0  # pixels by which a box may overshoot its image: annotators' tools round
_INSTANCES = "COCO's instances, with the lists 'images' and 'annotations'"


class RefFiles(NamedTuple):
    """The files of one division of a data set: the pickle and its boxes, or a JSON file per split instead."""

    pickle: Path
    instances: Path
    by_split: dict[str, Path]


class Expression(NamedTuple):
    """One sentence about one box."""

    ref_id: int | None  # None where a JSON file does not say
    sent_id: int | None
    image: int
    split: str
    tokens: list[str]
    bbox: list[float]  # x, y, width, height in pixels, as COCO has it


def files_of(root: Path, dataset: str, split_by: str, named: str | None = None) -> RefFiles:
    """Where the expressions of a division lie under the data root.

    JSON files stand beside the pickles for the usual division, and in a folder of the division's name for others.

    Args:
        root: the data root.
        dataset: a data set of ``DIVISIONS``.
        split_by: a division of it.
        named: the folder of the data set's expressions instead of the usual one, relative to root.
    """
    folder = find_path(root, [named] if named else (f"refs/{dataset}", f"vgd/{dataset}"))
    usual = split_by == next(iter(DIVISIONS[dataset]))
    written = folder if usual else folder / split_by
    by_split = {split: written / f"{split}.json" for split in DIVISIONS[dataset][split_by]}
    return RefFiles(folder / f"refs({split_by}).p", folder / "instances.json", by_split)


def read_expressions(files: RefFiles) -> list[Expression]:
    """Read the pickle, or the JSON files where there is none.

    Raises:
        UserError: the files are missing, malformed or inconsistent.
    """
    if files.pickle.exists():
        return _from_refs(files.pickle, _Instances(files.instances))
    written = {split: path for split, path in files.by_split.items() if path.exists()}
    if not written:
        names = ", ".join(map(str, files.by_split.values()))
        raise UserError(f"there is neither {files.pickle} nor one of {names}; see data/README.md for the layout")
    # Files of other tools may stand alone; then boxes cannot be held against the size of their image.
    instances = _Instances(files.instances) if files.instances.exists() else None
    return [one for split, path in written.items() for one in _from_json(path, split, instances)]


def load_pickle(path: Path) -> Any:
    """Read a pickle of containers, texts and numbers, of Python 2 or 3.

    Raises:
        UserError: it is truncated, no pickle, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _Safe(file, path).load()
    except UserError:
        raise
    # A broken pickle fails in a dozen ways: UnpicklingError, EOFError, ValueError, KeyError, AttributeError, ...
    except Exception as error:
        raise UserError(
            f"cannot read {path} ({error}); it is truncated or no pickle of texts and numbers: copy it again"
        ) from error


class _Safe(pickle.Unpickler):
    """Builds containers, texts and numbers; whatever else a pickle asks for is refused by name."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"{self.path} asks for {module}.{name}, which lists of expressions have no use for; "
                "it may be harmful, so it was not run: get the file from the data set's authors"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise UserError(f"{self.path} refers to things outside itself ({pid!r}); get it from the data set's authors")


class _Code:
    """Stands for a numpy dtype while a scalar is read."""

    def __init__(self, code: str, *_: Any) -> None:
        # Never objects or structures, which may hold objects.
        if not re.fullmatch("[biufSU][0-9]+", code):
            raise ValueError(f"a numpy value of type {code!r} is no number and no text")
        self.type = np.dtype(code)

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] in ("<", ">"):
            self.type = self.type.newbyteorder(state[1])


def _scalar(code: _Code, data: bytes | str) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, code.type)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


_PLAIN = {"set": set, "frozenset": frozenset, "int": int, "long": int, "float": float, "bool": bool}
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _PLAIN.items()},
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes for Python 2
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _Code,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Instances:
    """The annotations and images of an instances.json by id."""

    def __init__(self, path: Path) -> None:
        self.path, tree = path, read_json(path, _INSTANCES)
        self.annotations, self.images = (self._by_id(tree, key) for key in ("annotations", "images"))

    def _by_id(self, tree: Any, key: str) -> dict[int, Any]:
        entries = tree.get(key) if isinstance(tree, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{self.path} has no list {key!r}; it should be {_INSTANCES}")
        return {field(f"{self.path}, {key}[{place}]", one, "id", int): one for place, one in enumerate(entries)}

    def size(self, image: int) -> tuple[int, int] | None:
        """Width and height, None where the file does not have the image."""
        if image not in self.images:
            return None
        where = f"{self.path}, image {image}"
        return field(where, self.images[image], "width", int), field(where, self.images[image], "height", int)


def _from_refs(path: Path, instances: _Instances) -> list[Expression]:
    found = []
    for place, ref in enumerate(_list(path, load_pickle(path))):
        where = f"{path}, entry {place}"
        ref_id, annotation = field(where, ref, "ref_id", int), field(where, ref, "ann_id", int)
        if annotation not in instances.annotations:
            raise UserError(f"{where} (ref {ref_id}): its annotation {annotation} is not in {instances.path}")
        box_at = f"{instances.path}, annotation {annotation}"
        image = field(box_at, instances.annotations[annotation], "image_id", int)
        box = _bbox(box_at, instances.annotations[annotation], instances.size(image))
        split = _split(where, ref)
        for number, one in enumerate(field(where, ref, "sentences", list)):
            said = f"{where}, sentence {number}"
            found.append(Expression(ref_id, _id(said, one, "sent_id"), image, split, _tokens(said, one), box))
    return found


def _from_json(path: Path, split: str, instances: _Instances | None) -> list[Expression]:
    found = []
    for place, one in enumerate(_list(path, read_json(path, "a list of referring expressions"))):
        where = f"{path}, entry {place}"
        image = field(where, one, "image_id", int)
        box = _bbox(where, one, instances and instances.size(image))
        own = _split(where, one) if "split" in one else split
        ids = _id(where, one, "ref_id"), _id(where, one, "sent_id")
        found.append(Expression(*ids, image, own, _tokens(where, one), box))
    return found


def _list(path: Path, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{path} should be a list of referring expressions with at least one")
    return value


def _split(where: str, entry: Any) -> str:
    """The split of an entry. Those that its own division has no use for are known too: a pickle may hold them."""
    split = field(where, entry, "split", str)
    check_known(f"{where}: split", split, SPLITS, "referring expressions")
    return split


def _id(where: str, entry: Any, name: str) -> int | None:
    return field(where, entry, name, int) if isinstance(entry, dict) and entry.get(name) is not None else None


def _tokens(where: str, sentence: Any) -> list[str]:
    keys = ("tokens", "sent", "raw", "sentence") if isinstance(sentence, dict) else ()
    given = [sentence[key] for key in keys if key in sentence]
    text = next(filter(None, given), "")
    if not given or not (isinstance(text, str) or (isinstance(text, list) and all(isinstance(w, str) for w in text))):
        raise UserError(f"{where}: it needs 'tokens', a list of words, or a text 'raw' or 'sentence'")
    return tokenise(text if isinstance(text, str) else " ".join(text))


def _bbox(where: str, entry: Any, size: tuple[int, int] | None) -> list[float]:
    box = field(where, entry, "bbox", list)
    if len(box) != 4 or not all(isinstance(side, int | float) and math.isfinite(side) for side in box):
        raise UserError(f"{where}: 'bbox' is {box}; it should be four numbers: x, y, width, height in pixels")
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise UserError(f"{where}: the box {box} is empty; it should be x, y, width, height in pixels")
    beyond = size is not None and (x + width > size[0] + SLACK or y + height > size[1] + SLACK)
    if beyond or x < -SLACK or y < -SLACK:
        image = f"its image of {size[0]} x {size[1]} pixels" if size else "its image"
        raise UserError(f"{where}: the box {box} (x, y, width, height) lies outside {image}")
    return box
