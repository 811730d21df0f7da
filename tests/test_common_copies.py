"""Copies of this process: they do their share, bring it back, and leave nothing behind, however they end."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from common import copies, progress
from common.copies import allow, spread
from common.errors import UserError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this system's libraries do not survive being copied")


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """Three processes at most; none behind the test, and as many threads as before."""
    threads = torch.get_num_threads()
    allow(3)
    yield
    allow(0)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("pieces", [0, 1, 2, 3, 4, 7, 100])
def test_every_piece_is_done_once_and_in_order(pieces: int) -> None:
    found = spread(lambda piece: (piece, os.getpid()), range(pieces), "counting")
    assert [piece for piece, _ in found] == list(range(pieces))
    assert len({process for _, process in found}) == min(3, pieces)
    assert all(process == os.getpid() for _, process in found[::3])


def test_alone_nobody_is_copied() -> None:
    allow(1)
    assert set(spread(lambda _: os.getpid(), range(5), "counting")) == {os.getpid()}


@pytest.mark.parametrize(("free", "processes"), [(0, 1), (9, 1), (10, 2), (25, 3), (1000, 3)])
def test_there_are_as_many_copies_as_there_is_memory_for_now(
    monkeypatch: pytest.MonkeyPatch, free: int, processes: int
) -> None:
    monkeypatch.setattr(copies, "peak", lambda: 10)
    monkeypatch.setattr(copies, "free", lambda: free)
    torch.set_num_threads(2)
    found = spread(lambda _: (os.getpid(), torch.get_num_threads()), range(6), None)
    assert len({process for process, _ in found}) == processes and {threads for _, threads in found} == {1}


def test_what_a_copy_changes_is_lost_and_what_it_returns_is_whole() -> None:
    seen, large = [], torch.arange(3_000_000)  # more than a pipe holds

    def work(piece: int) -> torch.Tensor:
        seen.append(piece)
        return large + piece

    found = spread(work, range(6), "adding")
    assert seen == [0, 3] and all(torch.equal(one, large + piece) for piece, one in enumerate(found))


def test_a_copy_can_train_as_this_process_would() -> None:
    torch.manual_seed(0)
    weight, inputs = torch.randn(40, 40, requires_grad=True), torch.randn(64, 40)
    (inputs @ weight).square().sum().backward()  # torch refuses copies of a process that has begun threads for this

    def gradient(piece: int) -> torch.Tensor:
        own = weight.detach().clone().requires_grad_()
        ((inputs + piece) @ own).relu().sum().backward()
        return own.grad

    found = spread(gradient, range(3), "training")
    assert all(torch.equal(one, gradient(piece)) for piece, one in enumerate(found))


def test_where_steps_take_two_threads_copies_take_one_each_and_so_does_this_process() -> None:
    torch.set_num_threads(2)
    inputs = torch.randn(600, 600)
    inputs @ inputs  # OpenMP has a second thread from now on, for which a copy would wait for ever

    def work(piece: int) -> tuple[int, int, Tensor]:
        own = (inputs + piece).requires_grad_()
        (own @ own).square().sum().backward()
        return os.getpid(), torch.get_num_threads(), own.grad

    found = spread(work, range(3), None)
    assert len({process for process, *_ in found}) == 3 and {threads for _, threads, _ in found} == {1}
    assert torch.get_num_threads() == 2
    allow(1)  # the same numbers, whatever there is to compute them
    alone = spread(work, range(3), None)
    assert {(process, threads) for process, threads, _ in alone} == {(os.getpid(), 1)}
    assert all(torch.equal(one, other) for (*_, one), (*_, other) in zip(found, alone, strict=True))


def test_fewer_pieces_than_threads_are_done_here_with_all_threads() -> None:
    torch.set_num_threads(2)
    assert spread(lambda _: (os.getpid(), torch.get_num_threads()), range(1), None) == [(os.getpid(), 2)]
    assert spread(lambda _: None, [], None) == []


def test_where_none_is_allowed_this_process_works_with_all_threads() -> None:
    torch.set_num_threads(2)
    allow(0)
    assert set(spread(lambda _: (os.getpid(), torch.get_num_threads()), range(5), None)) == {(os.getpid(), 2)}


def test_an_error_here_leaves_the_threads_as_they_were() -> None:
    torch.set_num_threads(2)
    with pytest.raises(UserError):
        spread(_refuse, range(2), None)
    assert torch.get_num_threads() == 2


def _refuse(piece: int) -> None:
    raise UserError(f"{piece} is wrong")


def test_what_a_copy_fails_to_bring_is_made_here() -> None:
    own = os.getpid()

    def work(piece: int) -> int:
        if os.getpid() != own and piece == 4:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory runs out
        return piece * piece

    assert spread(work, range(6), None) == [0, 1, 4, 9, 16, 25]
    assert spread(lambda piece: piece if os.getpid() == own else (lambda: piece), range(3), "lambdas") == [0, 1, 2]


@pytest.mark.parametrize("what", ["multiprocessing.Pipe", "os.fork"])
def test_where_there_can_be_no_copy_one_does_all(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(what, refuse)
    assert set(spread(lambda _: os.getpid(), range(5), None)) == {os.getpid()}


def test_a_copy_makes_no_copies_and_shows_no_progress() -> None:
    def work(piece: int) -> tuple[bool, int, set[int]]:
        return progress.hushed, os.getpid(), set(spread(lambda _: os.getpid(), range(3), None))

    *_, copied = spread(work, range(3), "counting")
    assert copied == (True, copied[1], {copied[1]}) and not progress.hushed


def test_a_copy_ends_when_told_and_leaves_ctrl_c_to_this_process() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    try:
        found = spread(lambda _: (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)), range(2), None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found[1] == (signal.SIG_IGN, signal.SIG_DFL) and found[0][0] is signal.default_int_handler


def test_an_error_of_a_copy_is_raised_here() -> None:
    def work(piece: int) -> int:
        if piece == 5:
            raise UserError("the sixth is wrong")
        return piece

    with pytest.raises(UserError, match="the sixth is wrong"):
        spread(work, range(6), "looking")


def test_an_error_here_ends_the_copies() -> None:
    own = os.getpid()

    def work(piece: int) -> None:
        if os.getpid() == own:
            raise KeyboardInterrupt
        time.sleep(600)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        spread(work, range(3), "waiting")
    assert time.monotonic() - began < 60
    assert multiprocessing.active_children() == []


ORPHANS = """
import os, sys, time
from common.copies import allow, spread
allow(2)
first = os.getpid()
def work(piece):
    if os.getpid() == first:
        time.sleep(600)
    print(os.getpid(), flush=True)
    time.sleep(2)
    return bytes(1_000_000)  # more than a pipe holds
spread(work, range(100), None)
"""


def test_a_copy_outlives_nobody_for_longer_than_its_piece() -> None:
    first = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    copy = int(first.stdout.readline())
    first.kill()
    first.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{copy}"):
            return
        time.sleep(0.1)
    pytest.fail("the copy is still there")


def test_where_processes_cannot_be_copied_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies.sys, "platform", "darwin")
    allow(3)
    assert set(spread(lambda _: os.getpid(), range(5), "counting")) == {os.getpid()}
