"""Referring expressions as their data sets are given: pickles that are not trusted, or JSON files by split.

RefCOCO's pickles come from the internet, so they are read by an unpickler that builds containers, texts and numbers
and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import read_json
from tasks.words import tokenise

SLACK = 2.0  # pixels by which a box may overshoot its image: annotators' tools round


class Expression(NamedTuple):
    """One sentence about one box."""

    ref_id: int
    sent_id: int
    image: int
    split: str
    tokens: list[str]
    box: tuple[float, float, float, float]  # xyxy pixels, both corners inside


def read_expressions(folder: Path, split_by: str, splits: Iterable[str]) -> list[Expression]:
    """Read ``refs(<split_by>).p`` with ``instances.json``, or one ``<split>.json`` per split where there is no pickle.

    Raises:
        UserError: the files are missing, malformed or inconsistent.
    """
    pickled = folder / f"refs({split_by}).p"
    if pickled.exists():
        return _from_refs(pickled, load_pickle(pickled), _read_instances(folder / "instances.json"))
    written = {split: folder / f"{split}.json" for split in splits}
    if not any(path.exists() for path in written.values()):
        names = ", ".join(path.name for path in written.values())
        raise UserError(f"{folder} holds neither {pickled.name} nor {names}; see data/README.md for the layout")
    return [one for split, path in written.items() if path.exists() for one in _from_json(path, split)]


class _Safe(pickle.Unpickler):
    """Builds containers, texts and numbers; whatever else a pickle asks for is refused by name."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"{self.path} asks for {module}.{name}, which lists of expressions have no use for; "
                "it may be harmful, so nothing of it was run: get the file from the data set's authors"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise UserError(f"{self.path} refers to things outside itself ({pid!r}); get it from the data set's authors")


def _dtype(code: str, *_: Any) -> _Code:
    return _Code(code)


class _Code:
    """Stands for a numpy dtype while a scalar is read."""

    def __init__(self, code: str) -> None:
        if code[:1] not in "biufSU":
            raise UserError(f"a numpy value of type {code!r} is no number and no text")
        self.type = np.dtype(code)

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] in ("<", ">"):
            self.type = self.type.newbyteorder(state[1])


def _scalar(code: _Code, data: bytes | str) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, code.type)[0].item()


def _text(data: str, encoding: str) -> bytes:
    return data.encode(encoding)


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _text,  # how Python 3 writes bytes for Python 2
    ("collections", "OrderedDict"): dict,
    **{
        (module, name): {"set": set, "frozenset": frozenset, "int": int, "long": int, "float": float, "bool": bool}[
            name
        ]
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "int", "long", "float", "bool")
    },
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


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
        raise UserError(f"{path} is truncated or no pickle ({error}); copy it again") from error


class _Instance(NamedTuple):
    image: int
    box: Sequence[float]  # x, y, width, height


def _read_instances(path: Path) -> tuple[dict[int, _Instance], dict[int, tuple[float, float]]]:
    what = "COCO's instances with the lists 'images' and 'annotations'"
    try:
        tree = read_json(path, what)
        boxes = {one["id"]: _Instance(one["image_id"], one["bbox"]) for one in tree["annotations"]}
        return boxes, {one["id"]: (one["width"], one["height"]) for one in tree["images"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not {what} (at {error})") from error


def _from_refs(path: Path, refs: Any, instances: tuple[dict, dict]) -> list[Expression]:
    boxes, sizes = instances
    found = []
    for number, ref in enumerate(_list(path, refs)):
        where = f"{path}, ref {ref.get('ref_id', number) if isinstance(ref, Mapping) else number}"
        try:
            annotation = ref["ann_id"]
            if annotation not in boxes:
                raise UserError(f"{where}: annotation {annotation} is not in {path.parent / 'instances.json'}")
            instance = boxes[annotation]
            box = corners(where, instance.box, sizes.get(instance.image))
            found += [
                Expression(ref["ref_id"], one["sent_id"], instance.image, ref["split"], _tokens(one), box)
                for one in ref["sentences"]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(f"{where}: it lacks or misuses {error}") from error
    return found


def _from_json(path: Path, split: str) -> list[Expression]:
    found = []
    for number, one in enumerate(_list(path, read_json(path, "a list of expressions"))):
        where = f"{path}, entry {number}"
        try:
            box = corners(where, one["bbox"], None)
            ids = one.get("ref_id", number), one.get("sent_id", number)
            found.append(Expression(*ids, one["image_id"], one.get("split", split), _tokens(one), box))
        except (KeyError, TypeError) as error:
            raise UserError(f"{where}: it lacks or misuses {error}") from error
    return found


def _list(path: Path, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{path} should be a list of referring expressions with at least one")
    return value


def _tokens(sentence: Mapping[str, Any]) -> list[str]:
    given = sentence.get("tokens") or sentence.get("sent") or sentence.get("raw") or sentence["sentence"]
    return tokenise(given if isinstance(given, str) else " ".join(given))


def corners(where: str, box: Sequence[float], size: tuple[float, float] | None) -> tuple[float, float, float, float]:
    """COCO's x, y, width, height as two corners, both inside.

    Args:
        where: for the error message.
        box: pixels.
        size: width and height of the image, where known.

    Raises:
        UserError: the box is empty or outside its image.
    """
    x, y, width, height = box
    if not (width > 0 and height > 0):
        raise UserError(f"{where}: box {list(box)} is empty; it should be x, y, width, height in pixels")
    beyond = size is not None and (x + width > size[0] + SLACK or y + height > size[1] + SLACK)
    if beyond or x < -SLACK or y < -SLACK:
        raise UserError(f"{where}: box {list(box)} lies outside its image of width and height {size}")
    return x, y, x + width - 1, y + height - 1
