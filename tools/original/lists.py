"""Words and answers in the order in which the original implementation (MILVLG/mmnas) numbers them: as they first occur.

It reads all splits of a data set, whatever a network is trained on, so these lists need all of its text files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from common.errors import UserError
from common.files import read_json
from readers.entries import field
from readers.expressions import entries_in
from readers.questions import read_entries
from readers.safe_pickle import load_pickle
from tasks.answers import official_form
from tasks.base import Task
from tasks.vqa import PARTS
from texts.tokens import published_tokens
from texts.words import SPECIAL

Texts = Iterator[Sequence[str]]


def words(task: Task) -> list[str]:
    """PAD, UNK, CLS and every word of the data set.

    Raises:
        UserError: the original has no such task, or a file of the data set is missing.
    """
    if task.name not in _TEXTS:
        raise UserError(f"the original implementation has no task {task.name!r}; choose one of {', '.join(_TEXTS)}")
    return list(dict.fromkeys([*SPECIAL, *(word for tokens in _TEXTS[task.name](task) for word in tokens)]))


def answers(task: Task) -> list[str]:
    """Of visual question answering those that are most common often enough, otherwise none.

    One of them may be "", which stands there for all answers that the official form leaves nothing of.

    Raises:
        UserError: an annotation has no ``multiple_choice_answer``, by which the original counts.
    """
    if not task.labels:
        return []
    paths = [task.texts / PARTS[part].annotations for part in ("train", "val")]
    counts = Counter(official_form(answer) for path in paths for answer in _most_common(path))
    return [answer for answer, count in counts.items() if count > task.data.answer_min]


def _most_common(path: Path) -> Iterator[str]:
    for number, entry in enumerate(read_entries(path, "annotations", "a file of VQA annotations")):
        yield field(f"{path}, annotations[{number}]", entry, "multiple_choice_answer", str)


def _captions(task: Task) -> Texts:
    for split in task.layout.splits:
        yield from map(published_tokens, task.captions(split).texts)


def _questions(task: Task) -> Texts:
    for part in ("train", "val", "test", "vg"):
        yield from map(published_tokens, task.questions(part).texts)


def _expressions(task: Task) -> Texts:
    """The tokens as the files have them, which the original takes for words without a further look."""
    files = task.files
    if files.pickle.exists():
        refs = entries_in(files.pickle, load_pickle(files.pickle))
        spoken = [(ref["split"], sentence) for ref in refs for sentence in ref["sentences"]]
    else:
        what = "a list of referring expressions"
        written = {split: entries_in(path, read_json(path, what)) for split, path in files.by_split.items()}
        spoken = [(split, sentence) for split, sentences in written.items() for sentence in sentences]
    for split in task.splits:
        yield from (sentence["tokens"] for where, sentence in spoken if where == split and "tokens" in sentence)


_TEXTS: dict[str, Callable[..., Texts]] = {"itm": _captions, "vqa": _questions, "vgd": _expressions}
