"""Rows of a table as samples of a task; every row that is none is told by its line and what is wrong with it."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError, brief, check_known
from pictures.reading import ENDINGS
from readers.entries import whole_text
from tools.dataset.table import Row, Table

IMAGE = ("image", "picture", "file", "filename", "file_name", "image_path", "path")
SPLIT = ("split", "part", "set")
TEXT = {"itm": ("text", "caption", "captions"), "vqa": ("question",), "vgd": ("phrase", "expression", "text")}
ANSWERS, BETWEEN = ("answers", "answer"), "|"
BOX = ("box", "bbox")
ORDERS = ("xywh", "xyxy")
CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
SIDES = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
SPLITS |= {"test": "test", "testing": "test"}
LONGEST = 10_000  # characters of a text

Box = tuple[float, float, float, float]


class Sample(NamedTuple):
    """What a row says. A row with a list of captions is several."""

    line: int
    image: str  # path of the picture below the folder of pictures
    text: str
    split: str = ""  # train, val or test; "" where the table does not say
    answers: tuple[str, ...] = ()
    box: Box | None = None  # x y w h, pixels


class Fault(NamedTuple):
    """A row that is no sample, or all rows of a picture that is none."""

    line: int  # of several the first
    reason: str
    rows: int = 1


def read_samples(table: Table, task: str, order: str | None) -> tuple[list[Sample], list[Fault]]:
    """The samples of a table, and the rows that are none.

    Args:
        table: the table.
        task: itm, vqa or vgd.
        order: what the four numbers of a column of boxes are, one of ``ORDERS``; None where the table has none.

    Raises:
        UserError: a column is missing, or nothing says what the numbers of boxes are.
    """
    check_known("TASK", task, TEXT, "make dataset")
    if order is not None:
        check_known("BOXES", order, ORDERS, "make dataset")
    image, text = table.need("pictures", IMAGE), table.need("texts", TEXT[task])
    split = table.column(SPLIT)
    answers = table.need("answers", ANSWERS) if task == "vqa" else None
    box = _box_reader(table, order) if task == "vgd" else None
    samples: list[Sample] = []
    faults: list[Fault] = []
    for row in table.rows:
        try:
            samples.extend(_samples(row, image, text, split, answers, box))
        except UserError as error:
            faults.append(Fault(row.line, str(error)))
    return samples, faults


def _samples(
    row: Row, image: str, text: str, split: str | None, answers: str | None, box: Callable[[Row], Box] | None
) -> Iterator[Sample]:
    if row.fault:
        raise UserError(row.fault)
    values = row.values
    name = _text(values, image).strip()
    said = [_plain(text, one) for one in (values[text] if isinstance(values.get(text), list) else [values.get(text)])]
    if not said:
        raise UserError(f"{text} is empty")
    given = _answers(values, answers) if answers else ()
    place = box(row) if box else None
    for one in said:
        yield Sample(row.line, name, one, _split(values, split), given, place)


def _text(values: dict[str, Any], column: str) -> str:
    value = values.get(column)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{column} is empty" if value in (None, "") else f"{column} is {brief(value)}, not a text")
    return value


def _plain(column: str, value: Any) -> str:
    """A text on one line, as a file of captions needs it."""
    text = " ".join(_text({column: value}, column).replace("\0", " ").split())
    if len(text) > LONGEST:
        raise UserError(f"{column} has {len(text):,} characters, more than {LONGEST:,}")
    return whole_text(column, text)


def _split(values: dict[str, Any], column: str | None) -> str:
    if column is None:
        return ""
    name = _text(values, column).strip().lower()
    if name not in SPLITS:
        raise UserError(f"{column} is {brief(name)}; it must be train, val or test")
    return SPLITS[name]


def _answers(values: dict[str, Any], column: str) -> tuple[str, ...]:
    value = values.get(column)
    given = value if isinstance(value, list) else str("" if value is None else value).split(BETWEEN)
    if isinstance(value, (bool, dict)) or any(isinstance(one, (bool, dict, list)) for one in given):
        raise UserError(f"{column} is {brief(value)}; it must be a text, or a list of texts")
    answers = tuple(_plain(column, str(one)) for one in given if one is not None and str(one).strip())
    if not answers:
        raise UserError(f"{column} is empty")
    return answers


def _box_reader(table: Table, order: str | None) -> Callable[[Row], Box]:
    """How to read the box of a row, as x y w h."""
    for columns in (*CORNERS, *SIDES):
        if all(name in table.columns for name in columns):
            corners = columns in CORNERS
            return lambda row: _sides([row.values.get(name) for name in columns], corners)
    column = table.column(BOX)
    if column is None:
        raise UserError(f"{table.path} has no boxes: add columns x, y, w, h or x1, y1, x2, y2, or one called box")
    if order is None:
        raise UserError(
            f"say what the four numbers in the column {column} of {table.path} are: BOXES=xywh or BOXES=xyxy"
        )
    return lambda row: _sides(_four(column, row.values.get(column)), order == "xyxy")


def _four(column: str, value: Any) -> list[Any]:
    numbers = re.split(r"[\s,;]+", value.strip("[]() \t")) if isinstance(value, str) else value
    if not isinstance(numbers, list) or len(numbers) != 4:
        raise UserError(f"{column} is {brief(value)}, not four numbers")
    return numbers


def _sides(values: list[Any], corners: bool) -> Box:
    try:
        x, y, a, b = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"its box is {brief(values)}, not four numbers") from None
    width, height = (a - x, b - y) if corners else (a, b)
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        hint = "; are these x y w h?" if corners else ""
        raise UserError(f"its box {brief(values)} has no width or no height{hint}")
    return x, y, width, height


def check_box(box: Box, width: int, height: int) -> Box:
    """The box, cut to the picture where it sticks out by pixels.

    Raises:
        UserError: it lies outside by more than two pixels.
    """
    x, y, w, h = box
    if x < -2 or y < -2 or x + w > width + 2 or y + h > height + 2:
        raise UserError(
            f"its box x y w h = {x:g} {y:g} {w:g} {h:g} lies outside the picture of {width} x {height} pixels"
        )
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if right <= left or bottom <= top:
        raise UserError(f"its box x y w h = {x:g} {y:g} {w:g} {h:g} has nothing of the picture")
    return left, top, right - left, bottom - top


def picture_of(folder: Path, name: str) -> Path:
    """Where a picture lies: at its path below the folder, or, named alone, in one of the folders right below.

    Raises:
        UserError: it is not below the folder, in two folders, or its ending is not one of a picture.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"the picture {name} must be a path below {folder}")
    found = []
    with contextlib.suppress(OSError):  # a name that is too long
        places = [path] if path.is_file() else [below / name for below in _folders(folder)]
        found = [place for place in places if place.is_file()]
    if not found:
        raise UserError(f"the picture {path} does not exist")
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1]} are both called {name}; say in the table which is meant")
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"the picture {name} ends in none of {' '.join(sorted(ENDINGS))}; rename it")
    return found[0]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if entry.is_dir())
