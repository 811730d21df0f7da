"""Cells as jobs of Slurm, of which a few lines of shell stand in here: jobs are processes, their numbers are files."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_evidence_runner import cells, until

from common.errors import UserError
from evidence.cells import Folder
from evidence.runner import Runner
from evidence.slurm import Slurm, parse_parameters

pytest.importorskip("submitit")
from submitit.core.core import Executor, PicklingExecutor

# A job's state is a file called as its number; its process, a group of its own, is beside it.
COMMANDS = {
    "sbatch": """
number=$(($(ls "$ROOM"/*.state 2>/dev/null | wc -l) + 1))
cp "$1" "$ROOM/$number.sh"; echo RUNNING > "$ROOM/$number.state"
export SLURM_JOB_ID=$number SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
export SLURM_CPUS_PER_TASK=3 SLURM_JOB_NODELIST=node
export JOB="$ROOM/$number"
setsid sh -c 'bash "$JOB.sh" > "$JOB.out" 2>&1; echo COMPLETED > "$JOB.state"' &> /dev/null < /dev/null &
echo $! > "$ROOM/$number.pid"
echo "Submitted batch job $number"
""",
    "srun": """
while [ "${1#--}" != "$1" ]; do case $1 in --output|--error) shift 2;; *) shift;; esac; done
echo $$ > "$JOB.step"
exec "$@"
""",
    # A job that is put back into the queue runs again once it has ended.
    "scontrol": """
setsid sh -c 'while [ "$(cat "$JOB.state")" = RUNNING ]; do sleep 0.05; done; echo RUNNING > "$JOB.state"
bash "$JOB.sh" >> "$JOB.out" 2>&1; echo COMPLETED > "$JOB.state"' &> /dev/null < /dev/null &
echo $! > "$JOB.pid"
""",
    "sacct": """
echo "JobID|State|NodeList"
for state in "$ROOM"/*.state; do echo "$(basename "$state" .state)|$(cat "$state")|node"; done
""",
    "scancel": """
kill -TERM -- -"$(cat "$ROOM/$1.pid")"; echo CANCELLED > "$ROOM/$1.state"
""",
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    room = tmp_path / "cluster"
    room.mkdir()
    for name, body in COMMANDS.items():
        (room / name).write_text(f"#!/bin/bash{body}")
        (room / name).chmod(0o755)
    monkeypatch.setenv("ROOM", str(room))
    monkeypatch.setenv("PATH", f"{room}{os.pathsep}{os.environ['PATH']}")
    # A test's own process is no job, whatever ran before it.
    monkeypatch.chdir(tmp_path)
    yield room
    for state in room.glob("*.state"):
        if state.read_text().strip() == "RUNNING":
            os.system(f"{room / 'scancel'} {state.stem}")


def test_cells_are_jobs_and_what_they_leave_is_kept(cluster: Path) -> None:
    folder, said = Folder("logs", "e"), []
    place = Slurm(folder.root / "slurm", parse_parameters(["partition=gpu", "time=240"]))
    (failure,) = Runner(folder, 2, said.append, place).run(cells(3, failing=1))
    assert (failure.cell.name, failure.line) == ("c1", "error: the loss is no longer finite")
    script = (cluster / "1.sh").read_text()
    assert "#SBATCH --partition=gpu" in script and "#SBATCH --time=240" in script
    done = folder.done("c0")
    assert done.output["threads"] == "3" and done.attempts == 1  # as many as the job has cores
    assert Runner(folder, 2, said.append, place).run(cells(3)) == []
    assert folder.done("c1").output["more"] == ["--resume=true"]


def test_jobs_outlive_their_runner_and_the_next_one_waits_for_them(cluster: Path) -> None:
    folder = Folder("logs", "e")
    place = Slurm(folder.root / "slurm", {})
    gone = Runner(folder, 1, str, place)
    with gone._alone():
        gone._start(cells(1, wait="go")[0])
    until(lambda: Path("out0.json.began").exists())
    time.sleep(0.3)
    Path("go").touch()
    assert Runner(folder, 1, str, Slurm(folder.root / "slurm", {})).run(cells(1, wait="go")) == []
    done = folder.done("c0")
    assert Path("out0.json.began").read_text() == "x" and done.attempts == 1
    assert done.seconds > 0.3  # as the node measured, not as this runner waited


def test_a_job_that_ended_while_nobody_waited_counts(cluster: Path) -> None:
    folder = Folder("logs", "e")
    gone = Runner(folder, 1, str, Slurm(folder.root / "slurm", {}))
    with gone._alone():
        gone._start(cells(1)[0])
    until(lambda: Path("out0.json").exists() and (cluster / "1.state").read_text() == "COMPLETED\n")
    assert Runner(folder, 1, str, Slurm(folder.root / "slurm", {})).run(cells(1)) == []
    assert Path("out0.json.began").read_text() == "x" and folder.done("c0").attempts == 1


def test_a_job_whose_time_is_up_goes_on_from_the_queue(cluster: Path) -> None:
    folder = Folder("logs", "e")
    gone = Runner(folder, 1, str, Slurm(folder.root / "slurm", {}))
    with gone._alone():
        gone._start(cells(1, wait="go")[0])
    began = Path("out0.json.began")
    until(began.exists)
    step = int((cluster / "1.step").read_text())
    program = int(Path(f"/proc/{step}/task/{step}/children").read_text())
    for process in (program, step):  # Slurm tells all of a job's
        os.kill(process, signal.SIGUSR2)
    until(lambda: began.read_text() == "xx")
    os.kill(program, signal.SIGTERM)  # which it sends next; SIGUSR2 has not ended it
    Path("go").touch()
    assert Runner(folder, 1, str, Slurm(folder.root / "slurm", {})).run(cells(1, wait="go")) == []
    done, seconds = folder.done("c0"), (folder.root / "output" / "c0.seconds").read_text().split()
    assert done.attempts == 1 and done.output["more"] == ["--resume=true"]
    assert len(seconds) == 2 and done.seconds == pytest.approx(sum(map(float, seconds)))


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("after", ["sbatch", "submitit"])
def test_a_runner_that_is_killed_while_it_submits_runs_nothing_twice(
    cluster: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder("logs", "e")
    gone = Runner(folder, 1, str, Slurm(folder.root / "slurm", {}))
    submit = PicklingExecutor._submit_command if after == "sbatch" else Executor.submit

    def killed(self: Executor, *given: object) -> None:
        submit(self, *given)
        raise Killed

    with monkeypatch.context() as patch, gone._alone(), pytest.raises(Killed):
        patch.setattr(PicklingExecutor if after == "sbatch" else Executor, submit.__name__, killed)
        gone._start(cells(1)[0])
    assert (cluster / "1.state").exists()
    if after == "submitit":
        until(lambda: Path("out0.json").exists())
    assert Runner(folder, 1, str, Slurm(folder.root / "slurm", {})).run(cells(1)) == []
    assert Path("out0.json.began").read_text() == "x"
    # Without what submitit leaves the first job only waits for it, a minute.
    assert (cluster / "2.state").exists() == (after == "sbatch") and folder.done("c0")


def test_a_cell_whose_file_is_removed_is_run_again(cluster: Path) -> None:
    folder = Folder("logs", "e")
    for _ in range(2):
        assert Runner(folder, 1, str, Slurm(folder.root / "slurm", {})).run(cells(1)) == []
        (folder.root / "cells" / "c0.json").unlink()
    assert Path("out0.json.began").read_text() == "xx"


def test_a_stop_cancels_jobs_and_the_same_command_goes_on(cluster: Path) -> None:
    folder = Folder("logs", "e")

    def stop(line: str) -> None:
        if line.startswith("["):
            raise KeyboardInterrupt

    place = Slurm(folder.root / "slurm", {})
    with pytest.raises(KeyboardInterrupt):
        first, second = cells(2, wait="go")
        Runner(folder, 2, stop, place).run([first, cells(2)[1]])
    assert (cluster / "1.state").read_text() == "CANCELLED\n" and folder.done("c0") is None and folder.done("c1")
    Path("go").touch()
    assert Runner(folder, 2, str, place).run([first, second]) == []
    assert folder.done("c0").attempts == 2


def test_what_is_no_cluster_or_no_parameter_is_told(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="SLURM='gpu' should be key=value"):
        parse_parameters(["gpu"])
    with pytest.raises(UserError, match="SLURM='partitoin' is unknown.*did you mean 'partition'"):
        Slurm(Path("slurm"), {"partitoin": "gpu"})
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2; exit 1\n")
    folder = Folder("logs", "e")
    with pytest.raises(UserError, match="Slurm did not take the job: .*invalid partition"):
        Runner(folder, 1, str, Slurm(folder.root / "slurm", {"partition": "gpu"})).run(cells(1))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(UserError, match="this machine has no srun"):
        Slurm(Path("slurm"), {})
