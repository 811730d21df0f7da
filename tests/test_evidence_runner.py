"""Cells that fail, are killed, go on, and run side by side; the cells are a tiny program."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import UserError
from evidence.cells import Cell, Folder
from evidence.places import PROJECT, total_threads
from evidence.runner import Runner

# Leaves what it was told and what it saw; waits for a file to appear first where it is told one.
PROGRAM = """
import json, os, sys, time
output, wait, *more = sys.argv[1:]
open(output + ".began", "a").write("x")
while wait != "-" and not os.path.exists(wait):
    time.sleep(0.02)
if "silent" in more:
    sys.exit()
if "fail" in more:
    print("reading"); sys.exit("error: the loss is no longer finite\\n")
json.dump({"threads": os.environ["OMP_NUM_THREADS"], "more": more, "id": os.getpid()}, open(output, "w"))
"""
# A run of its own process, so that it can be stopped.
DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
sys.path.insert(0, sys.argv[1])
from test_evidence_runner import cells
from evidence.cells import Folder
from evidence.runner import Runner
try:
    Runner(Folder("logs", "e"), 2, print).run(cells(2, wait="go"))
except KeyboardInterrupt:
    sys.exit(130)
"""


def cells(count: int, wait: str = "-", failing: int | None = None) -> list[Cell]:
    Path("program.py").write_text(PROGRAM)
    made = []
    for number in range(count):
        output = Path(f"out{number}.json")
        command = ("program.py", str(output), wait, *(["fail"] if number == failing else []))
        begun = Path(f"{output}.began")
        made.append(Cell(f"c{number}", f"network {number}", command, (begun,), output, Path(f"spent{number}")))
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder("logs", "e")


def until(seen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_cells_are_run_once_and_what_they_leave_is_kept(folder: Folder) -> None:
    said: list[str] = []
    Path("spent0").mkdir()
    assert Runner(folder, 1, said.append).run(cells(2)) == []
    done = folder.done("c0")
    assert done.attempts == 1 and done.output["threads"] == str(total_threads()) and done.output["more"] == []
    assert len(said) == 2 and said[1].startswith("[2/2] network 1: ") and not Path("spent0").exists()
    assert Runner(folder, 1, said.append).run(cells(2)) == [] and len(said) == 2
    assert Path("out0.json.began").read_text() == "x"


def test_jobs_run_side_by_side_and_share_the_threads(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    # The first waits for what the second leaves.
    first, second, third = cells(3)
    first = dataclasses.replace(first, command=("program.py", "out0.json", "out1.json"))
    assert Runner(folder, 2, str).run([first, second, third]) == []
    assert {folder.done(name).output["threads"] for name in ("c0", "c1", "c2")} == {"3"}


def test_a_failing_cell_is_told_and_stops_no_other(folder: Folder) -> None:
    said: list[str] = []
    (failure,) = Runner(folder, 1, said.append).run(cells(3, failing=1))
    assert (failure.cell.label, failure.line) == ("network 1", "error: the loss is no longer finite")
    assert "network 1: FAILED: error: the loss is no longer finite" in said[1]
    assert "reading" in failure.log.read_text()
    assert folder.done("c1") is None and folder.done("c2")
    begun = folder.root / "cells" / "c1.begun"
    taken = json.loads(begun.read_text())
    assert 0 < taken["seconds"] < 60 and taken["attempts"] == 1
    begun.write_text(json.dumps({**taken, "seconds": 1000.0}))  # all attempts count
    assert Runner(folder, 1, str).run(cells(3)) == []
    again = folder.done("c1")
    assert 1000 < again.seconds < 1060 and again.attempts == 2 and again.output["more"] == ["--resume=true"]


def test_a_program_that_leaves_nothing_has_failed(folder: Folder) -> None:
    (one,) = cells(1)
    (failure,) = Runner(folder, 1, str).run([dataclasses.replace(one, command=(*one.command, "silent"))])
    assert failure.line == "it said nothing" and folder.done("c0") is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on(how: signal.Signals, folder: Folder) -> None:
    Path("driver.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "driver.py", str(Path(__file__).parent)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
        until(lambda: Path("out0.json.began").exists() and Path("out1.json.began").exists())
        holder = f"the evidence in logs/evidence/e is held by process {run.pid} on .*, or one that it started"
        with pytest.raises(UserError, match=holder):
            Runner(folder, 1, str).run(cells(2))
        run.send_signal(how)
        assert run.wait() == (-how if how == signal.SIGKILL else 130)
    if how == signal.SIGKILL:  # its cells live on, and nobody else may touch what they write
        with pytest.raises(UserError, match="is held by process"):
            Runner(folder, 1, str).run(cells(2))
        Path("go").touch()
        until(lambda: Path("out0.json").exists() and Path("out1.json").exists())
        until(lambda: not _held(folder))
    else:
        assert json.loads((folder.root / "cells" / "c0.begun").read_text())["seconds"] > 0  # of this attempt
    assert folder.done("c0") is None
    Path("go").touch()
    assert Runner(folder, 1, str).run(cells(2, wait="go")) == []
    assert folder.done("c0").attempts == 2 and folder.done("c0").output["more"] == ["--resume=true"]


def _held(folder: Folder) -> bool:
    try:
        Runner(folder, 1, str).run([])
    except UserError:
        return True
    return False


def test_a_cell_file_of_something_else_is_refused(folder: Folder) -> None:
    path = folder.root / "cells" / "c0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"score": 3}))
    with pytest.raises(UserError, match=r"c0.json is no cell of this program; remove it to run the cell again"):
        folder.done("c0")
    with pytest.raises(UserError, match="VERSION='a/b' is no name"):
        Folder("logs", "a/b")
