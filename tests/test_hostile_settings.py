"""Spoilt genotypes, YAML files, command lines and latency tables: each is read, or refused in one sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml
from fuzz import NUMBERS, VALUES, answered, for_numbers, fuzzed, spoilt_bytes, spoilt_json, spoilt_text, spoilt_tree

from engine.config import Config, load_config
from genotypes import genotype
from genotypes.drawing import draw
from genotypes.table import table
from search.prices import LatencyTable, prices_of
from search.run import SearchOptions
from search.settings import SearchSettings
from space.ops import OPS
from space.ops import check as check_operation
from space.settings import ModelSettings, SpaceSettings
from tasks.find import find_task

OURS = {
    "schema": 1,
    "task": "itm",
    "encoder": ["self_att_64", "feed_forward"],
    "decoder": ["guided_att_64"],
    "space": {"encoder": ["self_att_64"]},
    "provenance": {"seed": 0, "moved": True, "data": "abc"},
    "probabilities": {"encoder": [{"self_att_64": 0.7}, {"feed_forward": 0.9}], "decoder": [{"guided_att_64": 1.0}]},
    "cost": {"parameters": 12345, "flops": 9_876_543},
    "swaps": {"encoder": [{"feed_forward": [0.1, 0.0, 0.2]}, {}], "decoder": [{"feed_forward": [0.1, 0.05, 0.2]}]},
    "supernet": {"val/rsum": 12.5, "val_images": 10},
}
OLDER = {"enc": [["self_att_64"]], "dec": [["guided_att_64"], ["feed_forward"]]}
FORMS = {
    "ours.json": OURS,
    "epochs.json": {"schema": 1, "epochs": {"epoch0": OURS, "epoch1": OURS}},
    "older.json": {"epoch0": OLDER, "epoch3": OLDER},
    "short.yml": {"ARCH": {"enc": ["SA", "FFN"], "dec": ["GA", "RSA"]}},
}
SECTIONS = {"model": ModelSettings, "space": SpaceSettings, "search": SearchSettings}


def spoilt_yaml(tree: object, rng: random.Random) -> bytes:
    match rng.randrange(3):
        case 0:
            return spoilt_bytes(yaml.safe_dump(tree).encode(), rng)
        case 1:
            return spoilt_text(yaml.safe_dump(tree), rng)
        case _:
            return json.dumps(spoilt_tree(tree, rng)).encode()


@fuzzed
@pytest.mark.parametrize("name", FORMS)
def test_genotypes(many: bool, name: str, tmp_path: Path) -> None:
    path = tmp_path / name

    def read() -> None:
        found = genotype.load(f"{path}")
        table(found)
        for side in genotype.SIDES:
            check_operation(getattr(found, side), side)
        draw(found, tmp_path / "a.dot", {name: op.kind for name, op in OPS.items()})
        found.save(tmp_path / "again.json")

    def check(rng: random.Random) -> None:
        path.write_bytes((spoilt_yaml if name.endswith(".yml") else spoilt_json)(FORMS[name], rng))
        answered("genotypes", read)
        if rng.random() < 0.3:
            at = rng.choice((*NUMBERS, "²", "-1", "@", "1@2", "\ud83d", "x" * 5000))
            answered("genotypes", lambda: genotype.load(f"{path}@{at}"))

    for_numbers(many, check, 50)


def configured(*words: str) -> Config:
    config = load_config("search", words, find=find_task, top=SearchOptions, sections=SECTIONS)
    config.space.validate()
    config.search.validate()
    return config


@fuzzed
def test_yaml(many: bool, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    whole = configured("--task=itm", "--profile=demo").as_dict()
    tree = {key: whole[key] for key in ("data", "model", "space", "search")}

    def check(rng: random.Random) -> None:
        path.write_bytes(spoilt_yaml(tree, rng))
        answered("YAML", lambda: configured("--task=itm", f"--config={path}"))

    for_numbers(many, check, 8)


WORDS = (*NUMBERS, *map(str, VALUES), "[" * 100_000, "{a: " * 1000, "&a [*a]", "!!set {a}", "~", "null", "[1,2", "a: b")


@fuzzed
def test_command_lines(many: bool) -> None:
    whole = configured("--task=itm", "--profile=demo").as_dict()
    keys = [key for key in whole if not isinstance(whole[key], dict)]
    keys += [f"{section}.{key}" for section, held in whole.items() if isinstance(held, dict) for key in held]
    keys += [f"space.{side}.{key}" for side in ("encoder", "decoder") for key in ("blocks", "candidates")]
    keys += [
        "search.budget.flops",
        "config",
        "profile",
        "help",
        "data",
        "search.search.lr",
        "x" * 10_000,
        "",
        ".",
        "a b",
    ]

    def check(rng: random.Random) -> None:
        words = [f"--{rng.choice(keys)}={rng.choice(WORDS)}" for _ in range(rng.choice((1, 1, 2)))]
        if rng.random() < 0.2:
            words.insert(
                0, rng.choice(("-", "--", "---", "-x", "=", "--=", "--=3", "x" * 10_000, "--a\0b=c", "--\ud83d"))
            )
        answered("command lines", lambda: configured("--task=itm", *words))

    for_numbers(many, check, 12)


@fuzzed
def test_latencies(many: bool, tmp_path: Path) -> None:
    config = configured("--task=itm", "--profile=demo", f"--logs={tmp_path}")
    sides = {"encoder": config.space.encoder.candidates, "decoder": config.space.decoder.candidates}
    times = {side: dict.fromkeys(names, 0.5) for side, names in sides.items()}
    sizes = {"width": 128, "head_scale": 1, "relation_width": 64, "regions": 36, "tokens": 50}
    path = tmp_path / "profile" / "itm.json"
    LatencyTable("itm", sizes, times["encoder"], times["decoder"], 0.1, {}).save(path)
    whole = json.loads(path.read_text())

    def check(rng: random.Random) -> None:
        path.write_bytes(spoilt_json(whole, rng))
        answered("latencies", lambda: prices_of("latency", config))

    for_numbers(many, check, 100)
