"""YAML files: plain values as they stand, and a sentence with the place for everything that is more."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from common.yaml_files import read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(9 * ['*' + before])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def read(folder: Path, text: str) -> object:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, "settings")


def test_plain_values_and_dates_as_texts(tmp_path: Path) -> None:
    text = "\ufeffsearch: {lr: 1.5, epochs: 3, cosine: true, patience: null, start: 2020-01-01, other: 2020-13-45}"
    held = {"lr": 1.5, "epochs": 3, "cosine": True, "patience": None, "start": "2020-01-01", "other": "2020-13-45"}
    assert read(tmp_path, text) == {"search": held}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!set {b, c}", r"at line 1, column 4 \(tags such as '.*set' are not read, write the plain value\)"),
        ("a: !!binary aGVsbG8=", "tags such as"),
        ("a: !!float abc", "tags such as"),
        ("a: !!timestamp abc", "tags such as"),
        ("a: !own {b: 1}", "tags such as '!own'"),
        ("a: 1\nb: &b [*b]", "at line 2, column 4 .anchors and aliases are not read, write the value out"),
        ("a: &a {b: *a}", "anchors and aliases"),
        (BOMB, "at line 1, column 4 .anchors and aliases"),
        ("a: " + 10_000 * "[" + 10_000 * "]", "it is nested too deeply"),
        ("\n".join(" " * depth + "a:" for depth in range(600)), "it is nested too deeply"),
        ("a: " + 5000 * "9", "it holds a number of too many digits"),
        ("a: b\x00", "character 5 cannot stand in a text"),
        ("a: {b", "at line 1, column 6"),
        ("[a]: 1\n? [b]\n: 2", r"found unhashable key"),
    ],
)
def test_what_is_more_than_plain_is_refused_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        read(tmp_path, text)
    assert "own.yaml is not valid YAML" in str(refused.value) and str(refused.value).endswith("it should be settings")
    assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


def test_a_file_that_would_take_minutes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own.yaml is longer than 200,000 characters; it should be settings"):
        read(tmp_path, "a: [" + "1," * 100_000 + "]")
