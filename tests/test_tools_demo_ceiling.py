"""The demo's ceiling: what probes of the features reach, and guesses without places."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from readers.expressions import files_of, read_expressions
from tools.demo import detector
from tools.demo.ceiling import main, may_mean, measure
from tools.demo.make import make_demo
from tools.demo.scenes import ATTRIBUTES


def test_probes_of_clean_features_come_close_to_the_oracle(tmp_path: Path) -> None:
    found = measure(make_demo(tmp_path / "demo", scenes=150))
    assert found.attributes.keys() == {"size", "material", "color", "shape"}
    assert min(found.attributes.values()) > 0.97
    assert found.oracle - 0.08 < found.by_look <= found.oracle <= 1


def test_probes_of_features_without_a_look_are_no_better_than_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        detector, "_feature", lambda thing, seed, clarity, rng: rng.standard_normal(detector.REGION_WIDTH)
    )
    found = measure(make_demo(tmp_path / "demo", scenes=150))
    assert found.attributes["color"] < 0.3 and found.attributes["size"] < 0.7 and found.by_look < 0.4


def test_it_says_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    main(["--root", str(make_demo(tmp_path / "demo", scenes=60))])
    said = np.array([float(number) for number in re.findall(r"\d+\.\d", capsys.readouterr().out)])
    assert len(said) == 8 and (said[:6] > 70).all() and (said[6:] > 50).all() and (said <= 100).all()


@pytest.mark.parametrize(
    ("phrase", "meant"),
    [
        ("big ball closest to shiny red ring", [0, 1]),
        ("object to the left of the tiny red tube", [0, 1, 3]),
        ("the ring that is near the large matte ball", [3]),
        ("object in front of small tube", [0, 1, 3]),
        ("thing nearest to donut", [0, 1, 2]),
        ("red thing in front", [0, 1, 2, 3]),
        ("polished donut", [3]),
        ("rightmost thing", [0, 1, 2, 3]),
    ],
)
def test_who_knows_no_place_guesses_among_what_fits_the_look(phrase: str, meant: list[int]) -> None:
    looks = [("large", "matte", "red", "sphere"), ("large", "shiny", "red", "sphere")]
    looks += [("small", "matte", "red", "cylinder"), ("large", "shiny", "red", "ring")]
    assert may_mean(phrase.split(), looks) == meant


def test_most_phrases_of_the_demo_ask_for_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_demo(tmp_path / "demo", scenes=150)
    things = {scene["image_id"]: scene["things"] for scene in json.loads((root / "scenes.json").read_text())}
    even: dict[str, list[float]] = {}
    for phrase in read_expressions(files_of(root, "refcoco", "unc")):
        x, y, wide, high = phrase.bbox
        gaps = [np.abs(np.subtract(thing["box"], (x, y, x + wide, y + high))).sum() for thing in things[phrase.image]]
        meant = may_mean(phrase.tokens, [tuple(thing[name] for name in ATTRIBUTES) for thing in things[phrase.image]])
        assert int(np.argmin(gaps)) in meant
        even.setdefault(phrase.split, []).append(1 / len(meant))
    assert 0.2 < np.mean([share == 1 for shares in even.values() for share in shares]) < 0.5
    monkeypatch.setattr(detector, "_MISSED", 0.5)
    half = make_demo(tmp_path / "half", scenes=150)
    seen, missed = measure(root).placeless, measure(half).placeless
    assert seen.keys() == missed.keys() == {"testA", "testB"}
    for split, share in seen.items():
        assert np.mean(even[split]) - 0.08 < share <= np.mean(even[split])
        assert 0.3 < missed[split] / share < 0.7
