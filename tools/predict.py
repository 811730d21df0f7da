"""Answers about pictures: ``python -m tools.predict --ckpt .../best.pt --picture cat.jpg --text "what is red?"``"""

from __future__ import annotations

import itertools
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.files import read_lines, write_json
from engine.runtime import one_device
from pictures.listing import list_pictures
from pictures.reading import read_picture
from predict.predictor import BEST, Pair, Predictor, Reading
from predict.told import as_records, blocks, cells
from tools.dataset.samples import IMAGE, TEXT, picture_of
from tools.dataset.table import read_table
from tools.sheet import draw_sheet

COLUMNS = tuple(dict.fromkeys(name for names in TEXT.values() for name in names))  # of texts, whatever the task
MOST_PAIRS = 10_000  # of a picture and a text; the regions of more fill a small machine's memory
MOST_DRAWN = 60  # cells of a sheet
MOST_TOLD = 20
MOST_ANSWERS = 100
FOLDER = Path("logs/predict")


class Asked(NamedTuple):
    """What the command line asks for."""

    pictures: list[Path]
    texts: list[str]
    pairs: list[Pair]
    refused: list[str]  # rows and lines that ask for nothing


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, let the network answer, write."""
    given = _parser().parse_args(arguments)
    if given.ckpt is None:
        raise UserError("nobody to ask without CKPT=<the best.pt of a retraining>")
    if not 1 <= given.best <= MOST_ANSWERS:
        raise UserError(f"best={given.best} must be 1 to {MOST_ANSWERS}")
    pictures = None if given.table else _all_pictures(given)
    predictor = Predictor.load(
        given.ckpt, one_device(given.gpu), extractor=given.extractor, features=given.features, task=given.task
    )
    asked = _of_table(given, predictor) if pictures is None else _of_all(given.text, pictures, predictor)
    _bound(len(asked.pairs))
    found = predictor.predict(asked.pictures, asked.texts, asked.pairs, given.best)
    names = [str(path) for path in asked.pictures]
    refused = [*asked.refused, *found.refused.values()]
    if not found.said:
        raise UserError(refused[0] + (f" ({len(refused) - 1} more could not be used)" if len(refused) > 1 else ""))
    _tell("refused: ", refused)
    _tell("", list(blocks(found, names)))
    _tell("note: ", [note for one in zip(asked.texts, found.readings, strict=True) for note in _notes(*one)])
    figure, numbers = _files(given)
    shown = cells(found, [path.name for path in asked.pictures])
    drawn = {one.image: asked.pictures[one.image] for one in shown[:MOST_DRAWN]}
    if given.features:  # pictures were not needed until now, and need not be there
        drawn = {place: path for place, path in drawn.items() if _readable(path)}
    if len(shown) > MOST_DRAWN:
        print(f"note: the figure has the first {MOST_DRAWN} of {len(shown):,}")
    print(f"figure  {draw_sheet(shown[:MOST_DRAWN], drawn, figure)}")
    if numbers:
        about = {"checkpoint": str(given.ckpt), "task": predictor.task.name, "extractor": dict(predictor.source.facts)}
        write_json(numbers, {**about, **as_records(found, names)})
        print(f"numbers  {numbers}")
    print(f"next: {_next(given)}")


def _next(given: Namespace) -> str:
    """The same network in a browser."""
    named = ("ckpt", "extractor", "features", "task")
    said = {name.upper(): str(value) for name in named if (value := getattr(given, name)) is not None}
    return "make page " + " ".join(f"{name}={shlex.quote(value)}" for name, value in said.items())


def _all_pictures(given: Namespace) -> list[Path]:
    """The pictures to ask about, before the network is read."""
    if given.picture is None or given.text is None:
        missing = "PICTURE=<a picture, or a folder of some>" if given.picture is None else "TEXT=<a text, or a file>"
        raise UserError(f"nothing to ask without {missing}, or say TABLE=<a table of pictures and texts>")
    return _pictures(given.picture, may_be_missing=given.features is not None)


def _of_all(text: str, pictures: list[Path], predictor: Predictor) -> Asked:
    """Every picture with every text."""
    texts, refused = _texts(text, predictor)
    _bound(len(pictures) * len(texts))
    return Asked(pictures, texts, [*itertools.product(range(len(pictures)), range(len(texts)))], refused)


def _bound(pairs: int) -> None:
    if pairs > MOST_PAIRS:
        raise UserError(f"{pairs:,} pairs of picture and text are more than {MOST_PAIRS:,}; ask in parts")


def _pictures(where: Path, may_be_missing: bool) -> list[Path]:
    if where.is_dir():
        return [path for folder in list_pictures(where) for path in folder.pictures]
    if not where.is_file() and not may_be_missing:
        raise UserError(f"PICTURE={where} is neither a picture nor a folder of some")
    return [where]


def _texts(text: str, predictor: Predictor) -> tuple[list[str], list[str]]:
    """The text, or the lines of the file that it names; of a file those that say nothing are refused."""
    path = home_path(text)
    if not _is_file(path):
        predictor.read(text)
        return [text], []
    texts, refused = [], []
    for number, line in enumerate(read_lines(path, "a text a line"), 1):
        if line.strip():
            why = _why_not(predictor, line)
            refused += [f"{path} line {number}: {why}"] if why else []
            texts += [] if why else [line.strip()]
    if not texts:
        raise UserError(refused[0] if refused else f"{path} has no text; write one a line")
    return texts, refused


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text of more letters than a name has
        return False


def _why_not(predictor: Predictor, text: object) -> str:
    try:
        if not isinstance(text, str):
            return "its text must be one, or a list of some"
        predictor.read(text)
    except UserError as error:
        return str(error)
    return ""


def _of_table(given: Namespace, predictor: Predictor) -> Asked:
    """The pairs that a table names."""
    table = read_table(given.table)
    image, column = table.need("pictures", IMAGE), table.need("texts", COLUMNS)
    folder = given.picture or given.table.parent
    pictures: dict[Path, int] = {}
    texts: dict[str, int] = {}
    pairs, refused = [], []
    for row in table.rows:
        name, said = row.values.get(image), row.values.get(column)
        for text in said if isinstance(said, list) else [said]:
            if why := row.fault or _no_name(name) or _why_not(predictor, text):
                refused.append(f"{given.table} {table.unit} {row.line}: {why}")
                continue
            try:  # features are found by the name alone
                path = folder / name if given.features else picture_of(folder, name.strip())
            except UserError as error:
                refused.append(f"{given.table} {table.unit} {row.line}: {error}")
                continue
            pairs.append((pictures.setdefault(path, len(pictures)), texts.setdefault(text, len(texts))))
    return Asked([*pictures], [*texts], pairs, refused)


def _no_name(name: object) -> str:
    return "" if isinstance(name, str) and name.strip() else "it names no picture"


def _notes(text: str, reading: Reading) -> list[str]:
    unknown = f"{text!r}: the network was not trained on {', '.join(reading.unknown)}"
    unread = f"{text!r}: it reads {len(reading.words)} words at most, so not {' '.join(reading.unread)}"
    return [*([unknown] if reading.unknown else []), *([unread] if reading.unread else [])]


def _tell(what: str, lines: Sequence[str]) -> None:
    for line in lines[:MOST_TOLD]:
        print(f"{what}{line}")
    if len(lines) > MOST_TOLD:
        print(f"{what}... and {len(lines) - MOST_TOLD:,} more" + ("" if what else "; JSON=1 writes them all"))


def _files(given: Namespace) -> tuple[Path, Path | None]:
    """The figure, and the JSON where there shall be one, beside it."""
    out = given.out or FOLDER
    if out.suffix in (".png", ".json"):
        figure = out.with_suffix(".png")
    else:
        figure = out / f"{given.ckpt.resolve().parent.name}-{(given.table or given.picture).stem}.png"
    return figure, figure.with_suffix(".json") if given.json or out.suffix == ".json" else None


def _readable(path: Path) -> bool:
    try:
        read_picture(path, 1)
    except UserError as error:
        print(f"note: {error}; its regions stand on an empty canvas")
        return False
    return True


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.predict", description=__doc__)
    add = parser.add_argument
    add("--ckpt", type=home_path, help="the trained network, the best.pt of a retraining")
    add("--picture", type=home_path, help="a picture, or a folder of some")
    add("--text", help="a question, phrase or caption, or a file with one a line; every picture meets every text")
    add("--table", type=home_path, help="a table of image and text, instead; pictures below --picture")
    add("--best", type=int, default=BEST, help="so many answers, where the network chooses among some")
    add("--extractor", help="what makes the features, if the checkpoint does not name it")
    add("--features", type=home_path, help="folder of features called like the pictures, or one npz, instead")
    add("--task", help="the task, if the checkpoint does not name it")
    add("--out", type=home_path, help="folder, or file: .png, or .json for the numbers too")
    add("--json", action="store_true", help="also write the numbers")
    add("--gpu", default="", help="number of the GPU, or cpu")
    return parser


if __name__ == "__main__":
    run(main)
