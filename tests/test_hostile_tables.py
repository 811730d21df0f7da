"""Spoilt tables and what is left of data sets made of them: each row is read or told, each file read or refused."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest
import tiny_pictures
from fuzz import NUMBERS, VALUES, answered, for_numbers, fuzzed, spoilt_bytes, spoilt_json, spoilt_text, spoilt_tree
from test_hostile_sizes import grown

from common.errors import UserError
from tools import features
from tools.dataset.layouts import OWN
from tools.dataset.made import DATASET, made_for
from tools.dataset.make import Made, gather, write
from tools.dataset.samples import picture_of, read_samples
from tools.dataset.table import read_table

COUNT = 5
ROWS = {
    "itm": {"image": "{:03d}.png", "captions": ["a dog runs", "it runs"], "split": "train"},
    "vqa": {"image": "{:03d}.png", "question": "what is it?", "answers": ["dog", "dog", 2], "split": "val"},
    "vgd": {"image": "{:03d}.png", "phrase": "the dog", "box": [2, 3, 12.5, 13], "split": "test"},
}
CELLS = (*NUMBERS, *map(str, VALUES), "1|2", "|", "[1 2 3 4]", "1,2,3,1e999", "a" * 300 + ".png", ".", "..", "000.png/")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pictures.folder(tmp_path_factory.mktemp("tables") / "pictures", COUNT)


def rows(task: str) -> list[dict[str, object]]:
    return [{**ROWS[task], "image": ROWS[task]["image"].format(n)} for n in range(COUNT)]


def as_csv(told: list[dict[str, object]], rng: random.Random) -> bytes:
    """A table of which some cells are other ones, and which is perhaps spoilt as a text or as bytes."""
    held = io.StringIO()
    writer = csv.writer(held, lineterminator=rng.choice(("\n", "\r\n")))
    cells = [list(told[0]), *([f"{value}".strip("[]") for value in row.values()] for row in told)]
    for _ in range(rng.randrange(3)):
        row = rng.choice(cells)
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    writer.writerows(cells)
    text = held.getvalue()
    match rng.randrange(3):
        case 0:
            return spoilt_bytes(text.encode("utf-8", "surrogatepass"), rng)
        case 1:
            return spoilt_text(text, rng)
        case _:
            return text.encode("utf-8", "surrogatepass")


def as_lines(told: list[dict[str, object]], rng: random.Random) -> bytes:
    lines = [json.dumps(row).encode() for row in told]
    if rng.random() < 0.2:
        return spoilt_bytes(b"\n".join(lines), rng)
    at = rng.randrange(len(lines))
    lines[at] = spoilt_json(told[at], rng)
    return b"\n".join(lines)


@fuzzed
@pytest.mark.parametrize("task", ROWS)
def test_tables(many: bool, task: str, pictures: Path, tmp_path: Path) -> None:
    def check(rng: random.Random) -> None:
        lines = rng.random() < 0.5
        path = tmp_path / ("t.jsonl" if lines else "t.csv")
        path.write_bytes((as_lines if lines else as_csv)(rows(task), rng))
        kept: list[Made] = []
        answered("tables", lambda: kept.append(gather(task, pictures, path, "xywh", 0)))
        for made in kept:
            assert all(10 < len(fault.reason) <= 600 and fault.reason.isprintable() for fault in made.faults)
            write(made, task, pictures, tmp_path / f"root {task}", {"refused": [fault.reason for fault in made.faults]})

    for_numbers(many, check)


def test_short_rows_below_a_long_header_cost_no_more_than_they_say(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(map(str, range(10**4))) + "\n" + "1\n" * 10**4)

    def read() -> None:
        raise UserError(f"read, as it may be: {len(read_table(path).rows)}")

    assert path.stat().st_size < 2**20 and grown(read) < 2**27


def test_rows_that_no_float_and_no_file_system_can_hold_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({**rows("vgd")[0], "box": [1, 2, 10**400, 3]}))
    samples, (fault,) = read_samples(read_table(path), "vgd", "xywh")
    assert not samples and fault.line == 1 and "not four numbers" in fault.reason
    for name in ("a" * 300, "a\0b", "\ud83d"):
        with pytest.raises(UserError, match="does not exist"):
            picture_of(tmp_path, name)


@fuzzed
def test_what_make_dataset_left_word_of(many: bool, tmp_path: Path) -> None:
    whole = {"task": "vqa", "table": "t.csv", "seed": 0, "refused": [], "pictures": {"1": {"picture": "1.png"}}}

    def check(rng: random.Random) -> None:
        (tmp_path / DATASET).write_bytes(spoilt_json(spoilt_tree(whole, rng), rng))
        if answered("dataset.json", lambda: made_for(tmp_path)) is None:
            assert made_for(tmp_path) in OWN

    for_numbers(many, check, 100)


def test_features_stay_below_their_root(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"FEATURES=/elsewhere must be the name of a folder below"):
        features.main([f"--data={tmp_path}", f"--pictures={pictures}", "--features=/elsewhere"])
