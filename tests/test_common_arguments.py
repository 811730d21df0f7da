"""Command lines of tools: where a ~ leads, and what a mistake looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.arguments import Parser, expanded, home_path
from common.errors import UserError


def test_a_leading_tilde_alone_or_before_a_slash_is_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [expanded(text) for text in ("~", "~/a/~", "~x/a", "a/~/b", "", "./~")] == [
        "/home/me",
        "/home/me/a/~",
        "~x/a",
        "a/~/b",
        "",
        "./~",
    ]
    assert home_path("~/a") == Path("/home/me/a")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "command line: the following arguments are required: --vg; --help lists what there is"),
        (["--vg=a", "--what"], "command line: unrecognized arguments: --what"),
        (["--vg=a", "--seed=x"], "argument --seed: invalid int value: 'x'"),
    ],
)
def test_a_mistake_is_one_sentence(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser()
    parser.add_argument("--vg", type=home_path, required=True)
    parser.add_argument("--seed", type=int)
    with pytest.raises(UserError, match=said):
        parser.parse_args(argv)
    assert capsys.readouterr().err == ""
