"""Referring expressions as their data sets are given: pickles that are not trusted, or JSON files by split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError, brief, check_known
from common.files import read_json
from readers.data_root import find_path
from readers.entries import field, whole_text
from readers.safe_pickle import load_pickle
from readers.true_boxes import read_box
from texts.tokens import Tokeniser, tokenise

# By data set who divided it, the usual one first, and into which splits.
DIVISIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "refcoco": {"unc": ("train", "val", "testA", "testB")},
    "refcoco+": {"unc": ("train", "val", "testA", "testB")},
    "refcocog": {"umd": ("train", "val", "test"), "google": ("train", "val")},
}
BY_OBJECT = ("google",)  # divisions in which other things of one image may stand in another split
SPLITS = list(dict.fromkeys(split for known in DIVISIONS.values() for splits in known.values() for split in splits))
TEXTS = ("tokens", "sent", "raw", "sentence")  # where a sentence has its text, by preference
MOST_TIMES = 20  # in a pickle one text may stand in many places
MOST_CHARACTERS = 10_000  # of a sentence
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
    size: tuple[int, int] | None = None  # width and height of the image in pixels, None where no file says
    box_at: str = ""  # where the box is written, for an error to name: "instances.json, annotation 101"


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


def read_expressions(files: RefFiles, tokenise: Tokeniser = tokenise) -> list[Expression]:
    """Read the pickle, or the JSON files where there is none.

    Args:
        files: where they are.
        tokenise: how sentences come apart into words.

    Raises:
        UserError: the files are missing, malformed or inconsistent.
    """
    if files.pickle.exists():
        return list(_read(files.pickle, load_pickle(files.pickle), None, _Instances(files.instances), tokenise))
    written = {split: path for split, path in files.by_split.items() if path.exists()}
    if not written:
        names = ", ".join(map(str, files.by_split.values()))
        raise UserError(f"there is neither {files.pickle} nor one of {names}; see data/README.md for the layout")
    # Files of other tools may stand alone, with boxes of their own.
    instances = _Instances(files.instances) if files.instances.exists() else None
    content = {path: read_json(path, "a list of referring expressions") for path in written.values()}
    return [one for split, path in written.items() for one in _read(path, content[path], split, instances, tokenise)]


def entries_in(path: Path, value: Any) -> list[Any]:
    """The entries of a file: a list, or the one list that an object holds under whatever key ({"refs": [...]}).

    Raises:
        UserError: there is no such list, or it is empty.
    """
    lists = [held for held in value.values() if isinstance(held, list)] if isinstance(value, dict) else [value]
    if len(lists) != 1 or not isinstance(lists[0], list) or not lists[0]:
        raise UserError(f"{path} should be a list of referring expressions with at least one; see data/README.md")
    return lists[0]


class _Instances:
    """The annotations and images of an instances.json by id."""

    def __init__(self, path: Path) -> None:
        self.path, tree = path, read_json(path, _INSTANCES)
        self._annotations, self._images = (self._by_id(tree, key) for key in ("annotations", "images"))

    def _by_id(self, tree: Any, key: str) -> dict[int, Any]:
        entries = tree.get(key) if isinstance(tree, dict) else None
        if not isinstance(entries, list):
            raise UserError(f"{self.path} has no list {key!r}; it should be {_INSTANCES}")
        return {field(f"{self.path}, {key}[{place}]", one, "id", int): one for place, one in enumerate(entries)}

    def annotation(self, where: str, number: int) -> tuple[str, dict[str, Any]]:
        """An annotation and where it stands; ``where`` is what asks for it."""
        if number not in self._annotations:
            raise UserError(f"{where}: its annotation {number} is not in {self.path}")
        return f"{self.path}, annotation {number}", self._annotations[number]

    def size(self, image: int) -> tuple[int, int] | None:
        """Width and height, None where the file does not have them."""
        return _size(f"{self.path}, image {image}", self._images.get(image, {}))


def _read(
    path: Path, value: Any, split: str | None, instances: _Instances | None, tokenise: Tokeniser
) -> Iterator[Expression]:
    """Every sentence of a file; ``split`` is that of entries which name none."""
    left = MOST_TIMES * path.stat().st_size
    for place, entry in enumerate(entries_in(path, value)):
        where = f"{path}, entry {place}"
        box_at, marked = _marked(where, entry, instances)
        image, box = field(box_at, marked, "image_id", int), read_box(box_at, marked)
        size = (instances and instances.size(image)) or _size(where, entry)
        own = _split(where, entry) if split is None or entry.get("split") is not None else split
        ref_id = _id(where, entry, "ref_id")
        for said, sentence in _sentences(where, entry):
            sent_id, tokens = _id(said, sentence, "sent_id"), _tokens(said, sentence, tokenise)
            left -= 1 + sum(map(len, tokens))
            if left < 0:
                raise UserError(f"{said}: by then the file repeats itself to {MOST_TIMES} times its size; get it again")
            yield Expression(ref_id, sent_id, image, own, tokens, box, size, box_at)


def _marked(where: str, entry: Any, instances: _Instances | None) -> tuple[str, dict[str, Any]]:
    """What has the image and the box of an entry, and where it stands: the entry itself, or its annotation."""
    if not isinstance(entry, dict):
        raise UserError(f"{where} is {brief(entry)}; it should be an object with 'image_id', 'bbox' and a text")
    if entry.get("bbox") is not None:
        return where, entry
    if instances is None or entry.get("ann_id") is None:
        raise UserError(f"{where}: it needs 'bbox', or 'ann_id' and an annotation of that id in instances.json")
    return instances.annotation(where, field(where, entry, "ann_id", int))


def _size(where: str, entry: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the image, None where the entry does not give both; zeros stand for unknown too."""
    for names in (("width", "height"), ("image_w", "image_h")):
        if all(entry.get(name) is not None for name in names):
            width, height = (field(where, entry, name, int) for name in names)
            return (width, height) if width > 0 < height else None
    return None


def _split(where: str, entry: Any) -> str:
    """The split of an entry. Those that its own division has no use for are known too: a pickle may hold them."""
    split = field(where, entry, "split", str)
    check_known(f"{where}: split", split, SPLITS, "referring expressions")
    return split


def _id(where: str, entry: Any, name: str) -> int | None:
    return field(where, entry, name, int) if isinstance(entry, dict) and entry.get(name) is not None else None


def _sentences(where: str, entry: dict[str, Any]) -> list[tuple[str, Any]]:
    """What was said about the box, each with its place: the sentences of an entry, or the entry as a sentence."""
    if "sentences" not in entry:
        return [(where, entry)]
    return [(f"{where}, sentence {n}", one) for n, one in enumerate(field(where, entry, "sentences", list))]


def _tokens(where: str, sentence: Any, tokenise: Tokeniser) -> list[str]:
    """The words of a sentence, from the first of its fields that holds any.

    One without words but not blank, such as "?", has none and stays: the published sets may hold such.
    """
    given = [sentence] if isinstance(sentence, str) else []
    if isinstance(sentence, dict):
        given = [sentence[key] for key in TEXTS if sentence.get(key) is not None]
    if not given or not all(isinstance(text, str) or _all_texts(text) for text in given):
        raise UserError(f"{where}: it needs 'tokens', a list of words, or a text 'sent', 'raw' or 'sentence'")
    if any(len(text) + sum(map(len, text)) > MOST_CHARACTERS for text in given):
        raise UserError(f"{where}: its text is longer than {MOST_CHARACTERS:,} characters; write one sentence")
    texts = [whole_text(where, text if isinstance(text, str) else " ".join(text)) for text in given]
    if not any(map(str.strip, texts)):
        raise UserError(f"{where}: its text is empty; write what was said about the box, or leave the entry out")
    return next(filter(None, map(tokenise, texts)), [])


def _all_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
