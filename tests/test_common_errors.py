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


@pytest.mark.parametrize(
    ("rank", "said", "waits"),
    [
        ("0", "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer", [errors.SECONDS_TO_BE_ENDED]),
        ("1", "NCCL error in: ../NCCLUtils.cpp:77, remote process exited", [errors.SECONDS_TO_BE_ENDED]),
        ("1", "mat1 and mat2 shapes cannot be multiplied", []),
        (None, "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer", []),
    ],
)
def test_who_is_left_alone_waits_to_be_ended_and_then_says_what_it_knows(
    rank: str | None, said: str, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)

    def left() -> None:
        raise RuntimeError(said)

    with pytest.raises(RuntimeError):
        errors.run(left)
    assert waited == waits


@pytest.mark.parametrize(
    ("rank", "result", "status", "said"),
    [
        ("0", None, 0, ""),
        ("0", 1, 1, ""),
        ("0", KeyboardInterrupt, 130, "stopped\n"),
        ("1", KeyboardInterrupt, 130, ""),
    ],
)
def test_how_a_command_ends(
    rank: str,
    result: object,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", rank)

    def command() -> object:
        if result is KeyboardInterrupt:
            raise KeyboardInterrupt
        return result

    with pytest.raises(SystemExit) as ended:
        errors.run(command)
    assert (ended.value.code, capsys.readouterr().err) == (status, said)


def test_a_name_that_no_file_system_holds_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        errors.run(lambda: Path("x" * 300).exists())
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("xxx' is too long for the name of a file; shorten it\n")
