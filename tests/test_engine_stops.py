"""Stops and full disks after the last epoch, while a network is tested and told of, and what a run says of itself."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_vqa

from common.errors import UserError
from engine import about
from engine.log import RunLog
from report.left import read
from retrain import run as retraining
from tools import reproduce
from tools.runs import row

SMALL = ["--task=vqa", "--profile=demo", "--gpu=cpu", "--data.word_vectors=null", "--data.answer_min=1"]
SMALL += ["--model.pool_hidden=16", "--model.word_width=16", "--data.root=data", "--geno=small.json", "--version=a"]
SMALL += ["--retrain.epochs=2", "--retrain.batch_size=8", "--retrain.val_every=1", "--retrain.width=64"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_vqa.make_root(Path("data"))
    Path("small.json").write_text('{"encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_it_is_tested_is_obeyed_and_gone_on_with(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(retraining, "report", lambda *_: signal.raise_signal(number))
        with pytest.raises(KeyboardInterrupt):
            retraining.main(SMALL)
    said = capsys.readouterr().out
    assert "all epochs are saved; go on with the same command and RESUME=1 VERSION=a" in said and "next:" not in said
    assert signal.getsignal(signal.SIGTERM) == before and not read(Path("logs/log/a")).over
    retraining.main([*SMALL, "--resume=true"])
    assert read(Path("logs/log/a")).over
    assert "next: make show CKPT=logs/ckpts/a/best.pt SPLIT=test PROFILE=demo DATA=data" in capsys.readouterr().out


def test_a_run_is_not_gone_on_with_for_fewer_epochs_than_it_has_behind_it() -> None:
    steady = [*SMALL, "--retrain.cosine=false"]
    retraining.main(steady)
    before = Path("logs/log/a/config.yaml").read_text()
    with pytest.raises(
        UserError, match="'a' has 2 epochs behind it, more than retrain.epochs=1; leave that out, or ch"
    ):
        retraining.main([*steady, "--resume=true", "--retrain.epochs=1"])
    assert Path("logs/log/a/config.yaml").read_text() == before


def outcome() -> dict[str, object]:
    """Everything that the run leaves but dates and durations."""
    results = Path("logs/ckpts/result_test")
    numbers = json.loads((results / "metrics_a.json").read_text())
    left = {path.name: path.read_text() for path in results.iterdir() if path.name != "metrics_a.json"}
    records = Path("logs/log/a/metrics.jsonl").read_text()
    return {**left, "numbers": {**numbers, "date": None}, "records": records}


LAST_WRITTEN = ["run.json", "result_run_a_val.json", "result_run_a.json", "metrics_a.json"]
DISPENSABLE = ["details_a.json", "report.html"]


@pytest.mark.parametrize("what", ["full disk", "stop"])
def test_whatever_is_written_last_may_fail_and_is_gone_on_with(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retraining.main(SMALL)
    whole, restore, replace = outcome(), retraining.restore, os.replace
    over: list[bool] = []  # the epochs are
    failing: list[str] = []
    ends: dict[str, str] = {}

    def spoilt(source: Path, target: Path) -> None:
        if over and not failing and Path(target).name not in ends:
            failing.append(Path(target).name)
            if what == "full disk":
                raise OSError(28, "No space left on device")
            signal.raise_signal(signal.SIGTERM)
        replace(source, target)

    monkeypatch.setattr("os.replace", spoilt)
    monkeypatch.setattr(retraining, "restore", lambda *given: (over.append(True), restore(*given))[1])
    while not over or failing:
        over.clear()
        failing.clear()
        capsys.readouterr()
        try:
            retraining.main([*SMALL, "--resume=true"])
            end = "it goes on"
        except UserError as error:
            end = re.sub(r"\S*/", "", str(error))
        except KeyboardInterrupt:
            end = capsys.readouterr().out.splitlines()[-1]
        ends |= dict.fromkeys(failing, end)
    assert [*ends] == [*LAST_WRITTEN, *DISPENSABLE]
    for name, end in ends.items():
        if what == "stop":
            assert end == "all epochs are saved; go on with the same command and RESUME=1 VERSION=a"
        elif name in DISPENSABLE:
            assert end == "it goes on"
        else:
            assert end.startswith(f"cannot write {name}: No space left on device; free the disk that holds ")
    assert outcome() == whole


def test_numbers_that_find_no_room_are_told_and_written_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retraining.main(SMALL)
    whole, record = outcome(), RunLog.record
    scored = [json.loads(line).get("val/accuracy") for line in whole["records"].splitlines()]
    found = [score for score in scored if score is not None]
    # Epochs are counted from 1; the first of the best is the network.
    assert len(found) == 2 and whole["numbers"]["epoch"] == 1 + found.index(max(found))

    def full(self: RunLog, group: str, *given: object) -> None:
        if group.startswith("best"):
            self._file.write('{"epoch": 2, "be')  # what fitted
            raise OSError(28, "No space left on device")
        record(self, group, *given)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="a disk that the run writes to is full; free"):
        patch.setattr(RunLog, "record", full)
        retraining.main([*SMALL, "--resume=true"])
    retraining.main([*SMALL, "--resume=true"])
    assert outcome() == whole


def in_this_process(command: list[str]) -> int:
    retraining.main(command[1:])
    return 0


def test_a_run_says_what_it_ran_with_and_is_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retraining.main(SMALL)
    retraining.main([*SMALL, "--resume=true"])
    first, second = about.goes(Path("logs/log/a"))
    assert first["command"] == ["python", "-m", "retrain", *SMALL] and second["command"][-1] == "--resume=true"
    assert first["threads"] == 1 and first["precision"] == "fp32" and first["hardware"]["gpu"] is None
    assert first["versions"].keys() == {"mmnas", "python", "torch", "numpy"} and first["hardware"]["processor"]
    assert first["data"].keys() == {"features", "words", "labels"} == second["data"].keys()

    monkeypatch.setattr(reproduce, "run_again", in_this_process)
    capsys.readouterr()
    assert reproduce.main(["--run=logs/log/a"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("running a again as a-again\n")
    assert said.endswith("weight is equal, bit for bit\nnext: make report RUN=a,a-again\n")

    # Another seed stands for whatever else may differ; what is noted of another torch is named.
    noted = json.loads(Path("logs/log/a/run.json").read_text())
    noted[-1]["versions"]["torch"] = "1.0"
    Path("logs/log/a/run.json").write_text(json.dumps(noted))
    config = Path("logs/log/a/config.yaml")
    config.write_text(config.read_text().replace("\nseed: 0\n", "\nseed: 1\n"))
    assert reproduce.main(["--run=logs/log/a"]) == 1
    said = capsys.readouterr().out
    assert "numbers: " in said and "differ, first train/loss of epoch 1: " in said and "again a-again-2" not in said
    assert "weights: " in said and "tensors of logs/ckpts/a/best.pt and logs/ckpts/a-again-2/best.pt differ" in said
    assert "may be because of versions ({" in said and "'torch': '1.0'" in said


def test_scoring_a_network_is_a_run_that_is_listed_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retraining.main(SMALL)
    scoring = [*SMALL[:-6], "--ckpt=logs/ckpts/a/best.pt"]  # without genotype and sizes
    retraining.main([*scoring, "--run=val", "--version=b"])
    retraining.main([*scoring, "--run=test", "--version=c"])  # the answers are secret, so there is no score
    listed = {name: row(Path("logs/log") / name)[1:-1] for name in "abc"}
    score = listed["a"][-1]
    assert score.startswith("accuracy ") and listed == {
        "a": ("vqa", "retrain", "done", score),
        "b": ("vqa", "val", "done", score),
        "c": ("vqa", "test", "done", ""),
    }
    page = Path("logs/log/b/report.html").read_text()
    assert "trained before (logs/ckpts/a/best.pt) and scored here on val" in page and "trained from scratch" not in page
    retraining.main([*SMALL, "--run=val"])  # adds to the training, which stays one
    assert len(about.goes(Path("logs/log/a"))) == 1 and row(Path("logs/log/a"))[2] == "retrain"
    monkeypatch.setattr(reproduce, "run_again", in_this_process)
    capsys.readouterr()
    assert reproduce.main(["--run=logs/log/b"]) == 0
    assert "every number, genotype and weight is equal" in capsys.readouterr().out


def _unnoted() -> None:
    Path("logs/log/a/run.json").unlink()


def _unfinished() -> None:
    about.note(Path("logs/log/a"), "retrain", [], retraining.start("cpu", 0, "fp32"), {})


@pytest.mark.parametrize(
    ("change", "run", "said"),
    [
        (lambda: None, "data", "data is no log of a run; give RUN=logs/log/<version>"),
        (_unnoted, "logs/log/a", "begun by an earlier state of this program"),
        (_unfinished, "logs/log/a", "has not come to its end; go on with RESUME=1 VERSION=a first"),
    ],
)
def test_runs_that_cannot_be_run_again(change: Callable[[], None], run: str, said: str) -> None:
    folder = Path("logs/log/a")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("task: vqa\n")
    (folder / "run.json").write_text("[]")
    change()
    with pytest.raises(reproduce.UserError, match=said):
        reproduce.main([f"--run={run}"])
