"""Listing runs, and removing one: only after a yes, never one that lives, nothing of another."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import tiny_run
from rich.console import Console

from common.errors import UserError
from common.lock import held
from tools.runs import files_of, listed, main, row


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def say(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: answer)


def test_a_row_says_task_stage_state_score_and_time() -> None:
    assert row(tiny_run.search()) == ("found", "vgd", "search", "done", "accuracy 78.12 (val)", "18 s")
    folder = tiny_run.training()
    assert row(folder) == ("trained", "vgd", "retrain", "done", "accuracy 81.50 (testA)", "18 s")
    (folder / "run.json").write_text("{")
    assert row(folder) == ("trained", "", "", "damaged", "", "")
    for path in folder.iterdir():  # a scoring of an earlier state of this program left nothing here
        path.unlink()
    assert row(folder) == ("trained", "vgd", "retrain", "done", "accuracy 81.50 (testA)", "")


def test_a_run_that_has_not_been_tested_shows_its_best_validation() -> None:
    folder = tiny_run.training(go={key: value for key, value in tiny_run.GO.items() if key != "next"})
    Path("logs/ckpts/result_test/metrics_trained.json").unlink()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(line for line in lines if "best/" not in line))
    assert row(folder)[3:] == ("stopped", "accuracy 80.50 (val)", "18 s")


def test_runs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="there are no runs under logs yet"):
        main([])
    tiny_run.search()
    tiny_run.training()
    main([])
    said = capsys.readouterr().out
    assert "found" in said and "trained" in said


def test_a_usual_run_is_a_line_of_80_columns_and_of_others_only_the_name_is_cut() -> None:
    usual = [
        (f"{task}-retrain-20261127-075500", task, "retrain", state, f"{score} (test)", time)
        for task, state, score, time in (
            ("vgd", "done", "accuracy 94.00", "12.6 h"),
            ("itm", "stopped", "rsum 442.10", "59 min"),
            ("vqa", "running", "accuracy 83.40", "1.0 h"),
        )
    ]
    shown = io.StringIO()
    Console(file=shown, width=80).print(listed(usual))
    lines = shown.getvalue().splitlines()
    assert len(lines) == 4
    assert all(" ".join(each).split() == line.split() for each, line in zip(usual, lines[1:], strict=True))
    shown = io.StringIO()
    Console(file=shown, width=80).print(listed([("a" * 60, *usual[0][1:])]))
    first, *more = shown.getvalue().splitlines()[1:]
    assert first.split()[1:] == " ".join(usual[0][1:]).split() and set("".join(more)) == {"a", " "}


def test_a_run_is_removed_after_a_yes_and_its_genotype_and_other_runs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_run.search("a")
    tiny_run.training("a_b")
    tiny_run.training("a_b_test")
    before = sorted(Path().rglob("*"))
    say("n", monkeypatch)
    main(["--rm=a_b"])
    assert [path for path in sorted(Path().rglob("*")) if path.name != ".lock"] == before
    say("y", monkeypatch)
    main(["--rm=a_b"])
    gone = {str(path) for path in before if not path.exists()}
    assert {path for path in gone if "log/" not in path} == {
        f"logs/ckpts/result_test/{what}_a_b.json" for what in ("metrics", "details")
    }
    assert not Path("logs/log/a_b").exists() and Path("logs/log/a_b_test").exists()
    main(["--rm=a"])
    assert not list(Path("logs/ckpts/arch").iterdir()) and Path("genotypes/searched/vgd/a.json").exists()


def test_results_are_those_of_the_longest_name_that_claims_them() -> None:
    results = Path("logs/ckpts/result_test")
    results.mkdir(parents=True)
    for name in ("metrics_a", "metrics_a_test", "metrics_a_b", "metrics_a_b_val", "result_run_a_b_testA", "metrics_ab"):
        (results / f"{name}.json").write_text("{}")
    found = {
        name: {path.stem for path in files_of(Path("logs"), name, ["a", "a_b"]) if path.exists()}
        for name in ("a", "a_b")
    }
    assert found == {
        "a": {"metrics_a", "metrics_a_test"},
        "a_b": {"metrics_a_b", "metrics_a_b_val", "result_run_a_b_testA"},
    }


def test_a_run_that_lives_or_is_not_there_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_run.search()
    say("y", monkeypatch)
    with held(folder / ".lock", "it", "wait", print), pytest.raises(UserError, match="the run 'found' is held by"):
        main(["--rm=found"])
    for name in ("foun", "../log/found", ""):
        with pytest.raises(UserError, match="there is no run"):
            main([f"--rm={name}"])
    assert folder.exists()
