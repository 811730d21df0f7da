"""The demo's ceiling: what probes of the features reach, and what none can."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tools.demo import detector
from tools.demo.ceiling import main, measure
from tools.demo.make import make_demo


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
    assert len(said) == 6 and (said > 70).all() and (said <= 100).all()
