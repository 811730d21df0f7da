"""Scores against costs: the front by brute force, what is compared with what, and the figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from tools.pareto import Point, Trained, comparable, front, main, trained


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def beats(a: Point, b: Point) -> bool:
    return a.cost <= b.cost and a.score >= b.score and a[1:] != b[1:]


@pytest.mark.parametrize("values", [5, 100_000])  # few values, so that many points tie
@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nobody_beats(values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(values, size=(rng.integers(1, 30), 2)).tolist()
    points = [Point(str(number), *map(float, one)) for number, one in enumerate(drawn)]
    found = front(points)
    assert {one.name for one in found} == {a.name for a in points if not any(beats(b, a) for b in points)}
    assert [one.cost for one in found] == sorted(one.cost for one in found)


def report(task: str = "vqa", flops: float | None = 1e6, date: str = "1", data: str = "a", **scores: float) -> dict:
    """What a retraining writes, as far as it is read here."""
    cost = {} if flops is None else {"cost": {"flops": flops, "parameters": 2 * flops}}
    metrics = {split: {"accuracy": score, "number": 3.0} for split, score in scores.items()}
    return {"task": task, "date": date, "data": dict.fromkeys(scores, data), "metrics": metrics, **cost}


def write(name: str, checkpoint: str, given: dict) -> None:
    path = Path("logs/ckpts/result_test") / f"metrics_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**given, "checkpoint": checkpoint}))


def test_files_of_one_checkpoint_are_one_network_and_other_tasks_stay_out() -> None:
    write("a", "a/best.pt", report(flops=5.0, val=50.0))
    write("0_test", "a/best.pt", report(flops=5.0, date="2", test=40.0, val=51.0))
    write("b", "b/best.pt", report(flops=6.0, val=60.0))
    write("old", "old.pt", report(flops=None, val=60.0))
    write("c", "c/best.pt", report(task="vgd", val=60.0))
    cell = Path("logs/evidence/study/cells/train-f00-1.json")
    cell.parent.mkdir(parents=True)
    output = {**report(flops=7.0, val=70.0), "checkpoint": "logs/evidence/x.pt"}
    cell.write_text(json.dumps({"name": "x", "seconds": 1, "attempts": 1, "output": output}))
    found, without = trained(Path("logs"), "vqa", "accuracy", "flops")
    assert {one.name: (one.cost, one.scores) for one in found} == {
        "a": (5.0, {"val": 51.0, "test": 40.0}),
        "b": (6.0, {"val": 60.0}),
        "study/f00-1": (7.0, {"val": 70.0}),
    }
    assert without == ["logs/ckpts/result_test/metrics_old.json"]
    assert {one.cost for one in trained(Path("logs"), "vqa", "accuracy", "parameters")[0]} == {10.0, 12.0, 14.0}


def test_only_what_was_scored_on_the_same_is_compared() -> None:
    networks = [
        Trained("a", 1.0, {"testA": 1.0, "testB": 3.0}, {"testA": "x", "testB": "x"}),
        Trained("b", 2.0, {"testA": 2.0, "testB": 6.0, "val": 9.0}, {"testA": "x", "testB": "x", "val": "x"}),
        Trained("c", 3.0, {"testB": 5.0, "testA": 5.0}, {"testA": "x", "testB": "x"}),
        Trained("d", 4.0, {"testA": 7.0, "testB": 7.0}, {"testA": "other", "testB": "other"}),
    ]
    points, splits, others = comparable(networks, None)
    assert points == [("a", 1.0, 2.0), ("c", 3.0, 5.0)] and splits == ("testA", "testB") and set(others) == {"b", "d"}
    points, splits, others = comparable(networks, "testB")
    assert points == [("a", 1.0, 3.0), ("b", 2.0, 6.0), ("c", 3.0, 5.0)] and others == ["d"]
    assert comparable(networks, "val").points == [("b", 2.0, 9.0)]


def test_the_command_draws_and_names_the_front(capsys: pytest.CaptureFixture[str]) -> None:
    for number, (flops, score) in enumerate([(2e6, 50.0), (3e6, 49.0), (4e6, 60.0)]):
        write(f"run{number}", f"{number}.pt", report(flops=flops, val=score))
    main(["--task=vqa"])
    lines = capsys.readouterr().out.splitlines()
    starred = {run for run in ("run0", "run1", "run2") for line in lines if run in line and "*" in line}
    assert starred == {"run0", "run2"} and "figure  logs/pareto/vqa.svg" in lines[-2]
    assert lines[-1] == "next: make report RUN=run0,run2" and "2 of 3 on the front; accuracy on val" in lines[0]
    drawn = Path("logs/pareto/vqa.svg").read_text()
    main(["--task=vqa"])
    assert Path("logs/pareto/vqa.svg").read_text() == drawn and "<svg" in drawn


def test_nothing_yet_is_said_in_a_sentence() -> None:
    with pytest.raises(UserError, match="there is no trained network of vqa under logs yet; train one with make"):
        main(["--task=vqa"])
    write("run", "1.pt", report(val=50.0))
    with pytest.raises(UserError, match="no trained network of vqa scored on test under logs yet"):
        main(["--task=vqa", "--split=test"])
    write("bad", "1.pt", {"metrics": 3})
    with pytest.raises(UserError, match="metrics_bad.json is no file of this program's retraining"):
        main(["--task=vqa"])
