"""A whole study on a tiny demo: every task from the plan to the verdict, and recipes that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
from browser import check_pages, numbers_of
from cells_inside import run_inside

from common.errors import UserError
from common.files import write_json
from evidence import runner
from evidence.cells import key
from evidence.places import Here, Program
from evidence.run import main
from genotypes.genotype import Genotype
from tasks.find import task_names

TINY = [
    *("--profile=demo", "--gpu=cpu", "--model.pool_hidden=16", "--model.word_width=16"),
    "--space.encoder.candidates=[self_att_16,feed_forward]",
    "--space.decoder.candidates=[self_att_16,rel_self_att_16,guided_att_16,feed_forward]",
    *("--space.encoder.blocks=1", "--space.decoder.blocks=1", "--search.width=16", "--search.epochs=1"),
    *("--search.alpha_start=0", "--search.alpha_every=1", "--search.batch_size=64", "--search.judged=4"),
    *("--search.blend_steps=0", "--search.val_images=5", "--search.selector=argmax"),
    *("--retrain.width=16", "--retrain.epochs=1", "--retrain.batch_size=64", "--retrain.val_images=5"),
]
MCAN = ("self_att_16", "guided_att_16", "feed_forward")
STUDY = ["--search_seeds=2", "--random=5"]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Cells run in this process, whose imports are done; gives their command lines."""
    monkeypatch.chdir(tmp_path)
    return run_inside(monkeypatch)


@pytest.mark.parametrize("task", task_names())
def test_a_study_from_plan_to_verdict(
    task: str, demo: Path, ran: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    command = [f"--task={task}", f"--data.root={demo}", *TINY, *STUDY]
    assert main([*command, "--dry_run"]) == 0
    assert not ran and not Path("logs").exists() and "hours: not known until" in capsys.readouterr().out
    assert main(command) == 0
    said, folder = capsys.readouterr().out, Path("logs/evidence") / task
    evidence = json.loads((folder / "evidence.json").read_text())
    assert [line[0] for line in ran[:3]] == ["search", "retrain", "search"]  # one of each tells how long all take
    groups = {group["name"]: group["networks"] for group in evidence["groups"]}
    assert (len(groups["searched"]), len(groups["random"])) == (2, 5)
    assert groups.keys() == {
        *("searched", "random", "FLOPs-matched", "with guided attention", "all guided", "MCAN", "largest")
    }
    assert all(len(network["scores"]) == 2 for group in groups.values() for network in group)
    assert evidence["splits"]["reported"] == {"itm": ["test"], "vqa": ["val"], "vgd": ["testA", "testB"]}[task]
    assert evidence["splits"]["chosen"] == []
    assert evidence["verdict"]["word"] in ("no evidence", "no difference that matters")  # two searches cannot tell
    assert "verdict: no " in said and "next: make draw GENO=logs/evidence" in said
    assert evidence["verdict"]["sentence"] in (folder / "evidence.md").read_text()
    assert (folder / "evidence.svg").read_text().count("<svg") == 1
    assert f"report  {folder}/report.html" in said
    shown = check_pages(folder / "report.html")
    known = numbers_of(folder / "evidence.json")
    for cell in (one for cells in shown.values() for one in cells):
        scored = cell.table in ("comparisons", "groups") and cell.value not in range(20)
        assert not scored or cell.value in known, cell
    assert not list((folder / "ckpts").glob("*/*.pt"))
    trainings = [[flag for flag in line if not flag.startswith(("--geno", "--version"))] for line in ran]
    assert len({tuple(line) for line in trainings if line[0] == "retrain"}) == 2  # the seeds, and nothing else

    count = len(ran)
    assert main([*command, "--budget=100"]) == 0 and len(ran) == count
    with pytest.raises(
        UserError, match=r"was begun with retrain:retrain.epochs=1, not 2; all of it is under one recipe"
    ):
        main([*command, "--retrain.epochs=2"])
    with pytest.raises(UserError, match=r"was begun with search:precision=auto, not fp32"):
        main([*command, "--precision=fp32"])
    plan = folder / "plan.json"
    older = json.loads(plan.read_text())
    del older["recipe"]["search:model.embedding_dropout"]
    plan.write_text(json.dumps(older))
    with pytest.raises(UserError, match=r"earlier state of this program, which had no search:model\.embedding_dropout"):
        main(command)


class Pretended:
    """Stands for the programs: leaves a genotype that its seed draws, or scores that its network and seed draw."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.ran: list[str] = []

    def __call__(self, program: Program, lock: IO[Any]) -> SimpleNamespace:
        command = program.command
        said = dict(flag.removeprefix("--").split("=", 1) for flag in command[2:])
        self.ran.append(said["version"])
        if said["version"] in self.broken:
            program.log.write_text("error: the disk is full\n")
            return SimpleNamespace(poll=lambda: 2)
        rng = np.random.default_rng([*said["version"].encode()])
        if command[1] == "search":
            network = {"encoder": ["feed_forward"], "decoder": [str(rng.choice(["guided_att_16", "feed_forward"]))]}
            write_json(f"{said['genotypes']}/vgd/{said['version']}.json", {"task": "vgd", **network})
        else:
            scores = {split: {"accuracy": rng.normal(70, 1)} for split in ("testA", "testB")}
            write_json(f"{said['logs']}/ckpts/result_test/metrics_{said['version']}.json", {"metrics": scores})
        return SimpleNamespace(poll=lambda: 0)


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0)
    monkeypatch.setattr(Here, "start", Pretended())
    return Here.start


def test_failing_cells_are_told_and_the_rest_is_run(
    demo: Path, pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--task=vgd", f"--data.root={demo}", *TINY, *STUDY, "--version=e"]
    pretended.broken = {"search-1"}
    with pytest.raises(UserError, match="1 searched networks are trained, and it takes 2; run the same command again"):
        main(command)
    assert "FAILED search, seed 1: error: the disk is full" in capsys.readouterr().out
    pretended.broken = set()
    assert main(command) == 0
    assert pretended.ran.count("search-1") == 2 and pretended.ran.count("search-0") == 1
    # A control whose training fails is left out, and said to be.
    (mcan,) = json.loads(Path("logs/evidence/e/evidence.json").read_text())["groups"][-2]["networks"]
    assert mcan["name"] == "MCAN"
    wide = [*command, "--version=f", "--space.decoder.blocks=3", "--random=6"]
    pretended.broken = {"train-" + key(Genotype(None, ("self_att_16",), MCAN)) + "-1"}
    assert main(wide) == 1
    assert "note: left out, as a training of theirs failed: MCAN" in capsys.readouterr().out


def test_a_budget_cuts_once_and_the_same_command_keeps_to_it(
    demo: Path, pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--task=vgd", f"--data.root={demo}", *TINY, "--space.decoder.blocks=3", "--search_seeds=3", "--random=9"]
    given = ["--search_minutes=6", "--training_minutes=6", "--training_seeds=3"]
    assert main([*command, *given, "--budget=3.4"]) == 0
    said = capsys.readouterr().out
    assert "training_seeds 3 -> 2" in said and "random 9 -> 8" in said and "search_seeds" not in said
    count = len(pretended.ran)
    # Cells took no time at all, but what was cut stays cut.
    assert main([*command, "--training_seeds=3", "--budget=3.4"]) == 0 and len(pretended.ran) == count
    assert main([*command, "--training_seeds=2"]) == 0
    assert len(pretended.ran) == count + 2  # the ninth random network


def test_what_selects_is_refused_as_what_is_reported(demo: Path) -> None:
    command = [f"--data.root={demo}", *TINY, *STUDY, "--dry_run", "--retrain.epochs=2", "--retrain.val_every=1"]
    with pytest.raises(UserError, match="'val' would be reported, but retrain.val_every chooses"):
        main(["--task=vqa", *command])
    with pytest.raises(UserError, match="'val' would be reported, but it is trained on"):
        main(["--task=vqa", *command, "--retrain.val_every=2", "--data.split=train+val"])
    with pytest.raises(UserError, match="no key 'retrain.epoch'; did you mean"):
        main(["--task=vqa", *command, "--retrain.epoch=3"])
    with pytest.raises(UserError, match="search_seeds=1 is too few"):
        main(["--task=vqa", *command, "--search_seeds=1"])
