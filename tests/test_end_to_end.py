"""Every task from its data to a searched, drawn, retrained and tested network; and runs that are killed and go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from browser import check_pages, numbers_of

from common.errors import UserError
from engine.loop import Loop
from genotypes.genotype import load
from report.facts import run_of
from report.page import LARGEST
from report.run import main as report
from retrain.run import main as retrain
from search.run import main as search
from tasks.find import find_task, task_names
from tools.draw import main as draw
from tools.show import main as show

SMALL = ["--profile=demo", "--gpu=cpu", "--model.pool_hidden=16", "--model.word_width=16"]
SPACE = ["--space.encoder.blocks=1", "--space.decoder.blocks=2"]
SEARCH = [*SMALL, *SPACE, "--search.width=64", "--search.epochs=2", "--search.alpha_start=1", "--search.alpha_every=1"]
RETRAIN = [*SMALL, "--retrain.width=64", "--retrain.epochs=2"]
FEW = ["--{}.batch_size=32", "--{}.val_images=5", "--{}.val_every=1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings(stage: str, task: str, demo: Path, version: str) -> list[str]:
    common = [f"--task={task}", f"--data.root={demo}", f"--version={version}"]
    return [*common, *(SEARCH if stage == "search" else RETRAIN), *(part.format(stage) for part in FEW)]


def metrics(version: str) -> list[dict]:
    return [json.loads(line) for line in (Path("logs/log") / version / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", task_names())
def test_search_draw_retrain_test(task: str, demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(settings("search", task, demo, "found"))
    said = capsys.readouterr().out
    path = Path(f"genotypes/searched/{task}/found.json")
    assert f"next: make retrain GENO={path} DATA={demo} PROFILE=demo ARGS='model.pool_hidden=16 " in said
    genotype = load(str(path))
    assert (genotype.task, len(genotype.encoder), len(genotype.decoder)) == (task, 1, 2)
    assert genotype.cost["parameters"] > 0 and genotype.provenance["data"] and genotype.probabilities
    last = load("logs/ckpts/arch/found.alphas.json")  # by alpha; the profile picks by the lowest loss
    assert load("logs/ckpts/arch/found.json@1") == last and last.probabilities == genotype.probabilities
    assert all(low <= mean <= high for block in genotype.swaps["decoder"] for mean, low, high in block.values())
    draw([f"--geno={path}"])
    assert path.with_suffix(".svg").exists() and path.with_suffix(".png").exists()

    picked = metrics("found")[-1]
    assert {f"picked/{name}": value for name, value in genotype.supernet.items()} == {
        name: value for name, value in picked.items() if name != "epoch"
    }
    assert 0 <= picked["picked/percentile"] <= 100 and picked["picked/val_images"] <= 5
    assert "supernet's loss: pick " in said

    assert run_of(Path("logs/log/found")).standing == genotype.supernet
    assert Path("logs/log/found/report.html").stat().st_size < LARGEST
    assert Path("logs/log/found/genotype.json").read_bytes() == path.read_bytes()

    retrain([f"--geno={path}", *settings("retrain", task, demo, "trained")[1:]])
    # The profile's retraining validates the same images as the search, so its best epoch is what was retrained.
    objective = find_task(task)[0].objective
    best_epoch = max(record[f"val/{objective}"] for record in metrics("trained") if f"val/{objective}" in record)
    compared = f"supernet's weights: {genotype.supernet[f'val/{objective}']:.2f}, retrained: {best_epoch:.2f}"
    assert compared in capsys.readouterr().out
    best = Path("logs/ckpts/trained/best.pt")
    numbers = json.loads(Path("logs/ckpts/result_test/metrics_trained.json").read_text())
    assert best.exists() and numbers["task"] == task
    assert numbers["cost"] == genotype.cost  # of the same width
    told = run_of(Path("logs/log/trained"))
    assert told.about["architecture"] == genotype.origin
    scored = {split: metrics for split, metrics in numbers["metrics"].items() if metrics}
    assert sum(map(len, scored.values())) == len(told.scores)
    for score in told.scores:
        assert scored[score.split][score.metric] == score.value
        assert score.chance == numbers["chance"][score.split].get(score.metric)
    assert told.best.chance is not None and {"weights", "validation", "test"} <= set(told.seconds)
    results = Path("logs/ckpts/result_test")
    details = json.loads((results / "details_trained.json").read_text())
    assert details.keys() == scored.keys() and all(one["best"] and one["worst"] for one in details.values())
    report(["--run=found,trained"])
    searched, trained, _ = pages = [
        *(Path(f"logs/log/{name}/report.html") for name in ("found", "trained")),
        Path("logs/report/found+trained.html"),
    ]
    assert trained.read_text().count("<image ") == sum(len(one["best"] + one["worst"]) for one in details.values())
    shown = check_pages(*pages)
    known = numbers_of(results / "metrics_trained.json", results / "details_trained.json")
    for cell in shown.get(trained, []):
        assert cell.table not in ("scores", "group", "confusions") or cell.value in known, cell
    about = run_of(Path("logs/log/found")).about
    assert about["sources"][0].endswith(f"{task}.yaml") and about["sources"][-1] == "command line"
    assert all(f"<dt>{name}</dt><dd>{text[:9]}" in searched.read_text() for name, text in about["names"].items())
    seconds = run_of(Path("logs/log/found")).seconds
    known = {*numbers_of(path, Path("logs/log/found/run.json")), sum(seconds.values()), *seconds.values()}
    known |= {value for record in metrics("found") for value in record.values()}
    for cell in shown.get(searched, []):
        assert cell.table != "summary" or cell.value in known, cell
    capsys.readouterr()
    retrain(["--run=test", f"--ckpt={best}", *settings("retrain", task, demo, "again")[1:]])
    again = json.loads(Path("logs/ckpts/result_test/metrics_again_test.json").read_text())
    assert again["metrics"].items() <= numbers["metrics"].items()


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing is written after it."""


@pytest.mark.parametrize("stage", ["search", "retrain"])
@pytest.mark.parametrize("steps", [1, 3, 7, 9])
def test_a_killed_run_goes_on_to_the_same_numbers(
    stage: str, steps: int, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("small.json").write_text('{"encoder": ["self_att_64"], "decoder": ["rel_self_att_64", "guided_att_64"]}')
    run, extra = (search, []) if stage == "search" else (retrain, ["--geno=small.json"])
    mining = ["--data.hard_from=1", "--data.hard_pool=3", "--model.dropout=0.1", "--model.align_width=0"]
    run([*settings(stage, "itm", demo, "whole"), *extra, *mining])

    saves, save = [], Loop.save

    def save_then_die(self: Loop) -> None:
        save(self)
        saves.append(self.step)
        if len(saves) == steps:
            raise Killed

    monkeypatch.setattr(Loop, "save", save_then_die)
    often = [*settings(stage, "itm", demo, "killed"), *extra, *mining, f"--{stage}.save_minutes=1e-9"]
    with pytest.raises(Killed):
        run(often)
    monkeypatch.setattr(Loop, "save", save)
    run([*often, "--resume=true"])
    whole, killed = metrics("whole"), metrics("killed")
    assert len(whole) >= 4
    assert whole == killed
    with pytest.raises(UserError, match="a run named 'killed' exists"):
        run(often)
    with pytest.raises(UserError, match=f"begun with {stage}.width=64, not 128; go on with the same command"):
        run([*often, "--resume=true", f"--{stage}.width=128"])


def test_a_run_goes_on_only_with_its_own_genotype(demo: Path) -> None:
    Path("a.json").write_text('{"encoder": ["self_att_64"], "decoder": ["self_att_64"]}')
    Path("b.json").write_text('{"encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    command = [*settings("retrain", "itm", demo, "run"), "--data.hard_from=null"]
    retrain([*command, "--geno=a.json"])
    with pytest.raises(UserError, match="was begun with genotype="):
        retrain([*command, "--geno=b.json", "--resume=true"])
    with pytest.raises(UserError, match="was begun with stage=retrain, not search"):
        search([*settings("search", "itm", demo, "run"), "--resume=true"])


def test_a_run_goes_on_only_with_its_own_data(demo: Path) -> None:
    changed = Path("changed")
    shutil.copytree(demo, changed)
    command = ["--data.hard_from=null", "--geno=a.json"]
    Path("a.json").write_text('{"encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    retrain([*settings("retrain", "itm", changed, "run"), *command])
    captions = changed / "itm/f30k_precomp/train_caps.txt"
    captions.write_text(captions.read_text().replace(" red ", " zebra "))
    with pytest.raises(UserError, match="was begun with words="):
        retrain([*settings("retrain", "itm", changed, "run"), *command, "--resume=true"])


def test_scoring_adds_and_never_overwrites(demo: Path) -> None:
    Path("a.json").write_text('{"encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    command = [*settings("retrain", "itm", demo, "run"), "--data.hard_from=null"]
    retrain([*command, "--geno=a.json"])
    results = Path("logs/ckpts/result_test")
    trained = (results / "metrics_run.json").read_text()
    try:
        retrain([*command, "--run=val", "--threads=2"])
    finally:
        torch.set_num_threads(1)
    assert (results / "metrics_run.json").read_text() == trained
    scored = json.loads((results / "metrics_run_val.json").read_text())
    assert scored["metrics"].keys() == {"val"} and scored["threads"] == 2
    with pytest.raises(UserError, match="a run named 'run' exists under logs; choose another VERSION"):
        retrain([*command, "--run=val", "--ckpt=logs/ckpts/run/best.pt"])
    found = Path("genotypes/searched/itm/new.json")
    found.parent.mkdir(parents=True)
    found.write_text("{}")
    with pytest.raises(UserError, match=r"new.json exists and would be overwritten; choose another VERSION"):
        search(settings("search", "itm", demo, "new"))
    assert not Path("logs/log/new").exists()


def test_a_network_knows_its_task(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.json").write_text('{"task": "vgd", "encoder": ["self_att_64"], "decoder": ["guided_att_64"]}')
    command = [*settings("retrain", "itm", demo, "run"), "--data.hard_from=null"]
    retrain([*command, "--geno=a.json"])
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    assert said.startswith(f"next: make show CKPT=logs/ckpts/run/best.pt SPLIT=test DATA={demo}")
    untold, best = command[1:], "logs/ckpts/run/best.pt"
    # What was trained says more than what it was searched for.
    retrain([*untold, "--run=val", "--geno=a.json"])
    show([f"--ckpt={best}", f"--data.root={demo}", "--count=1", "--out=shown"])
    assert list(Path("shown").iterdir())
    other = [f"--data.root={demo}", "--task=vgd", f"--ckpt={best}"]
    for run in (retrain, show):
        with pytest.raises(UserError, match="was trained for 'itm', not for vgd; name its own TASK"):
            run([*other, *(["--run=val"] if run is retrain else [])])
        with pytest.raises(UserError, match="checkpoint none.pt does not exist"):
            run([f"--data.root={demo}", "--ckpt=none.pt", *(["--run=val"] if run is retrain else [])])


def test_a_space_of_four_and_six_blocks_is_searched(demo: Path) -> None:
    space = ["--space.encoder.blocks=4", "--space.decoder.blocks=6", "--search.selector=evolution"]
    search([*settings("search", "itm", demo, "wide"), *space])
    genotype = load("genotypes/searched/itm/wide.json")
    assert (len(genotype.encoder), len(genotype.decoder), genotype.cost["width"]) == (4, 6, 64)


def test_a_space_with_none_is_searched(demo: Path) -> None:
    space = ["--space.encoder.candidates=[none,self_att_64]", "--space.decoder.candidates=[none,guided_att_64]"]
    search([*settings("search", "itm", demo, "none"), *space, "--data.hard_from=null"])
    assert Path("genotypes/searched/itm/none.json").exists()


@pytest.mark.parametrize("stage", ["search", "retrain"])
def test_a_width_that_heads_do_not_divide_is_refused_before_data_are_read(stage: str) -> None:
    run, extra = (search, []) if stage == "search" else (retrain, ["--geno=mcan"])
    command = [*settings(stage, "itm", Path("nowhere"), "run"), *extra, f"--{stage}.width=100"]
    with pytest.raises(UserError, match="heads of (16|64) do not divide a width of 100"):
        run(command)
    with pytest.raises(UserError, match="nowhere"):
        run([*command, f"--{stage}.width=128"])
