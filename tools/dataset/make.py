"""Make a data root of pictures and a table: ``python -m tools.dataset --task vqa --pictures P --table T --data R``"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.files import write_json
from common.progress import track
from outcome.samples import Box, Line, Prediction
from pictures.alike import Look, group_alike, look_at
from pictures.reading import read_picture
from readers.feature_pack import DATASET, INDEX, pack_places
from tasks.find import find_task
from tasks.vqa import VqaData
from tools.dataset.divide import divide
from tools.dataset.layouts import OWN, Size, picture_name
from tools.dataset.room import links, make_room
from tools.dataset.samples import ORDERS, TEXT, Fault, Sample, check_box, picture_of, read_samples
from tools.dataset.table import read_table
from tools.sheet import draw_sheet

SPLITS = ("train", "val", "test")
MOST_SHOWN, SHOWN_SAMPLES, SHOWN_PIXELS, SHOWN_ANSWERS = 20, 10, 640, 3
SHEET = "samples.png"


class Made(NamedTuple):
    """A data set before it is written."""

    samples: list[Sample]  # each with its split
    ids: dict[str, int]
    looks: dict[str, Look]
    groups: list[list[str]]
    faults: list[Fault]
    unit: str  # what rows are counted by
    rows: int  # of the table


def gather(task: str, pictures: Path, table: Path, order: str | None, seed: int) -> Made:
    """Read the table and look at its pictures.

    Raises:
        UserError: the table cannot be read, or nothing in it is a sample.
    """
    read = read_table(table)
    samples, faults = read_samples(read, task, order)
    looks, wrong = _look(pictures, list(dict.fromkeys(one.image for one in samples)))
    kept = []
    faults += _of_pictures(samples, wrong)
    for one in samples:
        if one.image in wrong:
            continue
        try:
            kept.append(_fitted(one, looks[one.image]))
        except UserError as error:
            faults.append(Fault(one.line, str(error)))
    kept, torn = _of_one_split(kept, read.unit)
    # A row with several texts is wrong once.
    faults = sorted(set(faults + torn))
    if not kept:
        raise UserError(f"no row of {table} is a sample: {read.unit} {faults[0].line}: {faults[0].reason}")
    names = list(dict.fromkeys(one.image for one in kept))
    groups = group_alike({name: looks[name] for name in names})
    if not kept[0].split:
        found = divide(groups, {name: looks[name].content for name in names}, seed)
        kept = [one._replace(split=found[one.image]) for one in kept]
    return Made(
        kept, {name: number for number, name in enumerate(names, 1)}, looks, groups, faults, read.unit, len(read.rows)
    )


def _look(folder: Path, names: Sequence[str]) -> tuple[dict[str, Look], dict[str, str]]:
    """What each picture looks like, or why it cannot be read."""
    if not folder.is_dir():
        raise UserError(f"the folder of pictures {folder} does not exist; name another as PICTURES")
    looks, wrong = {}, {}
    for name in track(names, "looking at pictures"):
        try:
            looks[name] = look_at(picture_of(folder, name))
        except UserError as error:
            wrong[name] = str(error)
    return looks, wrong


def _of_pictures(samples: Sequence[Sample], wrong: Mapping[str, str]) -> Iterator[Fault]:
    """A fault for each picture that cannot be read, with every row that names it."""
    lines: dict[str, set[int]] = {name: set() for name in wrong}
    for one in samples:
        if one.image in wrong:
            lines[one.image].add(one.line)
    for name, own in lines.items():
        first, *others = sorted(own)
        several = f" (also named in {', '.join(map(str, others))})" if others else ""
        yield Fault(first, wrong[name] + several, len(own))


def _fitted(one: Sample, look: Look) -> Sample:
    return one if one.box is None else one._replace(box=check_box(one.box, look.width, look.height))


def _of_one_split(samples: list[Sample], unit: str) -> tuple[list[Sample], list[Fault]]:
    """Those that agree with the first row about the split of their picture, and the others."""
    first: dict[str, Sample] = {}
    kept, torn = [], []
    for one in samples:
        before = first.setdefault(one.image, one)
        if before.split == one.split:
            kept.append(one)
        else:
            torn.append(
                Fault(one.line, f"{one.image} is in {one.split} here and in {before.split} in {unit} {before.line}")
            )
    return kept, torn


def write(made: Made, task: str, pictures: Path, root: Path, facts: Mapping[str, object]) -> None:
    """Write the data root: links to the pictures, the texts, and what was made of what."""
    splits = {name: [one for one in made.samples if one.split == name] for name in SPLITS}
    splits = {name: samples for name, samples in splits.items() if samples}
    of = {one.image: one.split for one in made.samples}
    named = {picture_name(number): {"picture": name, "split": of[name]} for name, number in made.ids.items()}
    before = make_room(root, task, named)
    # First, so that what follows is known as this command's own wherever it is stopped.
    if before not in (None, named):
        _forget_features(root)
    write_json(root / DATASET, {"task": task, **facts, "pictures": named})
    for link, name in zip(links(root, task, named), made.ids, strict=True):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(picture_of(pictures, name).resolve(), link.parent.resolve()))
    sizes = {name: Size(look.width, look.height) for name, look in made.looks.items()}
    OWN[task].write(root, splits, made.ids, sizes)


def _forget_features(root: Path) -> None:
    """Remove the packs of pictures that had other numbers, in which every image would be another one."""
    for layout in OWN.values():
        for part in {"", *layout.parts.values()}:
            (pack_places(root / layout.features / part)[0] / INDEX).unlink(missing_ok=True)


def draw(made: Made, pictures: Path, path: Path, seed: int) -> Path:
    """A sheet of ten samples, for a person to look at."""
    chosen = np.random.default_rng(seed).permutation(len(made.samples))
    first = {made.samples[place].image: made.samples[place] for place in chosen[::-1]}
    shown = sorted(list(first.values())[-SHOWN_SAMPLES:], key=lambda one: one.line)
    with tempfile.TemporaryDirectory() as room:
        drawn = {}
        for one in shown:
            drawn[made.ids[one.image]] = Path(room) / f"{made.ids[one.image]}.png"
            read_picture(picture_of(pictures, one.image), SHOWN_PIXELS).image.save(drawn[made.ids[one.image]])
        return draw_sheet([_shown(one, made) for one in shown], drawn, path)


def _shown(one: Sample, made: Made) -> Prediction:
    look = made.looks[one.image]
    boxes = []
    if one.box is not None:
        x, y, width, height = one.box
        boxes = [Box((x, y, x + width, y + height), "true")]
    counts = Counter(one.answers).most_common(SHOWN_ANSWERS)
    said = [Line(answer, note=str(count) if len(one.answers) > 1 else "") for answer, count in counts]
    said.append(Line(f"{made.unit} {one.line}, {one.split}, {one.image}"))
    return Prediction(made.ids[one.image], (look.height, look.width), boxes, one.text, said)


def sum_up(made: Made, task: str) -> None:
    """Say what a person can check: counts, longest texts, what will be cut or never answered."""
    for split in SPLITS:
        own = [one for one in made.samples if one.split == split]
        print(f"{split:<6}{len({one.image for one in own}):>8,} pictures{len(own):>10,} {TEXT[task][0]}s")
    longest = max(made.samples, key=lambda one: len(one.text.split()))
    words, most = len(longest.text.split()), find_task(task)[0].Data.max_tokens
    print(f"longest {TEXT[task][0]}: {words} words, {made.unit} {longest.line}: {longest.text[:100]}")
    beyond = sum(len(one.text.split()) > most for one in made.samples)
    if beyond:
        print(f"note: {beyond:,} have more than {most} words and are cut; ARGS=data.max_tokens={words} keeps them")
    together = [group for group in made.groups if len(group) > 1]
    if together:
        print(f"{sum(map(len, together)):,} pictures are copies or near-copies, in {len(together):,} groups")
    of = {one.image: one.split for one in made.samples}
    torn = [group for group in together if len({of[name] for name in group}) > 1]
    if torn:
        print(f"note: {len(torn)} groups of copies stand in several splits, such as {' and '.join(torn[0][:2])}")
    if task == "vqa":
        _sum_up_answers(made)


def _sum_up_answers(made: Made) -> None:
    given = Counter(Counter(one.answers).most_common(1)[0][0] for one in made.samples if one.split != "test")
    known = sum(count > VqaData.answer_min for count in given.values())
    common = ", ".join(f"{answer} {count}" for answer, count in given.most_common(5))
    print(f"answers: {len(given):,} different ones, the most common {common}")
    if known < len(given):
        rule = f"the network knows the {known:,} that more than {VqaData.answer_min} questions have"
        print(f"note: {rule}; ARGS=data.answer_min=0 lets it know all")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the data set, sum it up."""
    given = _parser().parse_args(arguments)
    made = gather(given.task, given.pictures, given.table, given.boxes, given.seed)
    rows, bad = made.rows, sum(fault.rows for fault in made.faults)
    lines = [f"{given.table.name} {made.unit} {fault.line}: {fault.reason}" for fault in made.faults]
    if lines:
        print(*lines[:MOST_SHOWN], sep="\n")
        if len(lines) > MOST_SHOWN:
            print(f"... and {len(lines) - MOST_SHOWN} more")
        if not given.skip_bad:
            raise UserError(f"{bad:,} of {rows:,} rows are wrong; mend them, or leave them out with SKIP_BAD=1")
    facts = {"table": given.table.name, "seed": given.seed, "refused": lines}
    write(made, given.task, given.pictures, given.data, facts)
    print(f"{given.data}: TASK={given.task}, {rows:,} rows of {given.table.name}, {bad:,} of them left out")
    sum_up(made, given.task)
    print(f"ten samples to look at: {draw(made, given.pictures, given.data / SHEET, given.seed)}")
    print(f"next: make features DATA={given.data}")


def _parser() -> Parser:
    parser = Parser(prog="python -m tools.dataset", description=__doc__)
    add = parser.add_argument
    add("--task", required=True, help="what the samples are for")
    add("--pictures", required=True, type=home_path, help="folder of pictures")
    add("--table", required=True, type=home_path, help="the table, .csv, .tsv, .jsonl or .json")
    add("--data", required=True, type=home_path, help="the data root to make")
    add("--boxes", help=f"{' or '.join(ORDERS)}: what the four numbers of a column of boxes are")
    add("--seed", type=int, default=0, help="decides who comes into train, val and test")
    add("--skip-bad", action="store_true", help="leave out rows that are wrong")
    return parser


if __name__ == "__main__":
    run(main)
