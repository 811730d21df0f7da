"""A crew: its copies stay, do their share again and again, and go when they are dismissed or orphaned."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from common.copies import allow
from common.crew import Crew, in_common
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
    for child in multiprocessing.active_children():
        child.kill()
        child.join()


def soon(happens: Callable[[], bool]) -> bool:
    """Whether something happens within ten seconds."""
    end = time.monotonic() + 10
    while not happens() and time.monotonic() < end:
        time.sleep(0.02)
    return happens()


def who(piece: int) -> tuple[int, int]:
    return piece, os.getpid()


def test_the_same_copies_do_their_share_every_time_and_in_order() -> None:
    crew = Crew(who, 3)
    first, second = [*crew.do(range(4))], [*crew.do(range(10, 15))]
    assert [piece for piece, _ in first] == [*range(4)] and [piece for piece, _ in second] == [*range(10, 15)]
    processes = [process for _, process in first]
    assert len(set(processes)) == 3 and processes[0] == processes[3] == os.getpid()
    assert [process for _, process in second] == [*processes, processes[1]]
    assert [*crew.do([])] == []


def test_what_is_in_common_is_seen_by_all_at_any_time_and_what_is_not_stays_as_it_was() -> None:
    given, left, alone = in_common(torch.arange(6.0).view(2, 3)), in_common(torch.zeros(3)), torch.zeros(1)
    assert torch.equal(given, torch.arange(6.0).view(2, 3))

    def work(piece: int) -> float:
        left[piece] = given.sum()
        return float(alone)

    crew = Crew(work, 3)
    for step in (1, 2):
        given.fill_(step)
        alone.fill_(step)
        assert [*crew.do(range(3))] == [step, 0, 0] and left.tolist() == [6 * step] * 3


def test_a_tensor_without_elements_or_of_another_kind_can_be_in_common() -> None:
    assert in_common(torch.zeros(0, 3)).shape == (0, 3)
    assert torch.equal(in_common(torch.tensor([True, False])), torch.tensor([True, False]))


def test_each_computes_with_one_thread_while_they_work() -> None:
    torch.set_num_threads(2)
    inputs = torch.randn(300, 300)
    inputs @ inputs  # OpenMP has a second thread from now on, for which a copy would wait for ever

    def work(piece: int) -> tuple[int, float]:
        own = (inputs + piece).requires_grad_()
        (own @ own).sum().backward()
        return torch.get_num_threads(), float(own.grad.sum())

    crew = Crew(work, 3)
    found = [[*crew.do(range(3))] for _ in range(2)]
    assert torch.get_num_threads() == 2 and {threads for threads, _ in found[0]} == {1} and found[0] == found[1]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_a_copy_that_is_killed_would_have_brought_is_made_here(when: str) -> None:
    own = os.getpid()

    def work(piece: int) -> tuple[int, int]:
        if piece == 4 and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory runs out
        return who(piece)

    crew = Crew(work, 3)
    _, killed, other = (process for _, process in crew.do(range(3)))
    if when == "before":
        os.kill(killed, signal.SIGKILL)
    for _ in range(2):
        found = [*crew.do([0, 4, 2])]
        assert [piece for piece, _ in found] == [0, 4, 2]
        assert [process for _, process in found] == [own, own, other]


def test_an_error_of_a_copy_is_raised_here_and_ends_the_others() -> None:
    def work(piece: int) -> int:
        if piece == 2:
            raise UserError("the third is wrong")
        return piece

    crew = Crew(work, 3)
    with pytest.raises(UserError, match="the third is wrong"):
        [*crew.do(range(3))]
    assert not multiprocessing.active_children()
    assert [*crew.do([0, 1])] == [0, 1]  # by this process alone


def test_ctrl_c_here_leaves_no_answer_to_another_question_behind() -> None:
    def work(piece: int) -> int:
        if piece == 0:
            raise KeyboardInterrupt
        return piece

    crew = Crew(work, 3)
    with pytest.raises(KeyboardInterrupt):
        [*crew.do(range(3))]
    assert [*crew.do([5, 6, 7])] == [5, 6, 7]


def test_copies_go_when_they_are_dismissed_even_those_at_work() -> None:
    own, begun = os.getpid(), in_common(torch.zeros(3))

    def work(piece: int) -> int:
        begun[piece] = 1
        if os.getpid() != own:
            time.sleep(600)
        elif begun.sum() < 3:
            assert soon(lambda: begun.sum() == 3)
            raise KeyboardInterrupt
        return piece

    crew = Crew(work, 3)
    assert len(multiprocessing.active_children()) == 2
    with pytest.raises(KeyboardInterrupt):
        [*crew.do(range(3))]
    assert not multiprocessing.active_children()
    idle = Crew(who, 3)
    idle.dismiss()
    assert not multiprocessing.active_children()
    assert {process for _, process in idle.do(range(3))} == {own}


def test_without_copies_pieces_are_done_as_they_are_asked_for() -> None:
    done: list[int] = []
    found = Crew(done.append, 1).do(range(3))
    assert done == []
    torch.set_num_threads(2)
    next(found)
    assert done == [0] and torch.get_num_threads() == 1
    assert len([*found]) == 2 and done == [0, 1, 2] and torch.get_num_threads() == 2
    found = Crew(done.append, 1).do(range(3))
    next(found)
    found.close()
    assert torch.get_num_threads() == 2


def runs(process: str) -> bool:
    """Whether a process is there and not just waiting for init to look at how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


ORPHANS = """
import os, time
from common.copies import allow
from common.crew import Crew
allow(3)
first = os.getpid()
def work(piece):
    if os.getpid() == first:
        time.sleep(0.5)  # until the others have said who they are
        print("all", flush=True)
        time.sleep(600)
    print(os.getpid(), flush=True)
    time.sleep(2)
[*Crew(work, 3).do(range(300))]
"""


def test_copies_do_not_outlive_a_process_that_is_killed() -> None:
    first = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    told = [first.stdout.readline().strip() for _ in range(3)]
    first.kill()
    first.wait()
    others = [number for number in told if number != "all"]
    assert len(others) == 2 and soon(lambda: not any(map(runs, others)))


@pytest.mark.parametrize("what", ["multiprocessing.Pipe", "os.fork"])
def test_where_there_can_be_no_copy_one_does_all(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(what, refuse)
    assert {process for _, process in Crew(who, 3).do(range(5))} == {os.getpid()}
