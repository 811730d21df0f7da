"""A command's end: one sentence of a mistake, said once however many processes meet it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import errors
from common.errors import UserError


@pytest.mark.parametrize(("rank", "waits"), [("0", []), ("1", [errors.SECONDS_TO_BE_ENDED])])
def test_who_is_not_the_first_waits_to_be_ended_before_it_speaks(
    rank: str, waits: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("time.sleep", waited.append)

    def mistaken() -> None:
        raise UserError("no such file; name another")

    with pytest.raises(SystemExit) as ended:
        errors.run(mistaken)
    assert ended.value.code == 2 and waited == waits
    who = "" if rank == "0" else "process 1: "
    assert capsys.readouterr().err == f"{who}error: no such file; name another\n"


def test_a_name_that_no_file_system_holds_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        errors.run(lambda: Path("x" * 300).exists())
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("xxx' is too long for the name of a file; shorten it\n")
