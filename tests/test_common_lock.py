"""Who holds a file, for how long, and what becomes of it when its holder ends, forks or starts programs."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from time import sleep

import pytest

from common.errors import UserError
from common.lock import held


def hold(path: Path, said: list[str] | None = None):
    return held(path, "the run 'a'", "choose another VERSION", (said if said is not None else []).append)


def _hold_on(path: Path, ready: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts behind its back does not hear it
    with hold(path):
        ready()
        sleep(60)


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds tmp_path/lock."""
    context = get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold_on, args=(tmp_path / "lock", ready.set))
    process.start()
    assert ready.wait(10)
    yield process
    process.kill()
    process.join()


def test_whoever_comes_second_is_told_who_holds_it(tmp_path: Path, holder) -> None:
    who = f"the run 'a' is held by process {holder.pid} on {socket.gethostname()} since 20..-..-..T.*; wait for"
    for _ in range(2):  # being told changes nothing
        with pytest.raises(UserError, match=who), hold(tmp_path / "lock"):
            pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_free_as_soon_as_its_holder_is_gone(tmp_path: Path, holder, how: signal.Signals) -> None:
    os.kill(holder.pid, how)
    holder.join()
    with hold(tmp_path / "lock"):
        pass


def test_it_is_let_go_at_the_end_of_the_block_even_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path / "lock"):
        _ = 1 / 0
    with hold(tmp_path / "lock"):
        pass


def test_forked_processes_do_not_hold_it_and_do_not_let_go_of_it(tmp_path: Path) -> None:
    context = get_context("fork")
    with hold(tmp_path / "lock"):
        lives = context.Process(target=sleep, args=(60,))
        lives.start()
        ends = context.Process(target=int)
        ends.start()
        ends.join()
        with pytest.raises(UserError, match=f"process {os.getpid()} "), hold(tmp_path / "lock"):
            pass
    with hold(tmp_path / "lock"):
        assert lives.is_alive()
    lives.kill()
    lives.join()


def test_programs_that_are_given_it_hold_it_on(tmp_path: Path) -> None:
    with hold(tmp_path / "lock") as lock:
        program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    with pytest.raises(UserError, match="or one that it started"), hold(tmp_path / "lock"):
        pass
    program.communicate(b"\n")
    with hold(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said: list[str] = []
    with hold(tmp_path / "lock", said):
        pass
    (line,) = said
    assert line.startswith(f"note: the file system of {tmp_path} has no locks; see to it that no second process")


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*: Is a directory; see to that or"), hold(tmp_path):
        pass
