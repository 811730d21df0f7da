"""Configuration: who wins over whom, and what is said about keys and values that cannot be understood."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from engine.config import Config, load_config, peek
from engine.run import RunOptions
from retrain.settings import RetrainSettings
from search.settings import SearchSettings
from space.settings import ModelSettings, SpaceSettings
from tasks.find import find_task


def load(*argv: str, task: str | None = "itm") -> Config:
    sections = {"model": ModelSettings, "space": SpaceSettings, "search": SearchSettings}
    return load_config("search", argv, find=find_task, top=RunOptions, sections=sections, usual="itm", task=task)


def test_the_command_line_wins_over_the_profile_and_the_profile_over_the_yaml(tmp_path: Path) -> None:
    paper = load("--data.root", str(tmp_path))
    assert (paper.search.lr, paper.search.width, paper.search.epochs) == (1e-4, 256, 200)
    demo = load("--profile=demo")
    assert demo.search.width == 128 and demo.search.alpha_lr == 0.1
    both = load("--profile=demo", "--search.width=64", "--search.lr", "3e-4")
    assert (both.search.width, both.search.lr, both.search.epochs) == (64, 3e-4, demo.search.epochs)


def test_the_demo_data_bring_their_profile(tmp_path: Path) -> None:
    assert load().search.width == 128
    (tmp_path / "demo.json").write_text("{}")
    assert load(f"--data.root={tmp_path}").search.width == 128
    assert load(f"--data.root={tmp_path}", "--profile=small").search.width == 256


def test_profiles_add_up_and_a_users_yaml_comes_after(tmp_path: Path) -> None:
    assert load("--profile=demo,large").model.head_scale == 2
    own = tmp_path / "own.yaml"
    own.write_text("search: {lr: 5e-5, decay_epochs: [3, 4]}\nspace:\n  decoder: {blocks: 4}\nretrain: {width: 9}\n")
    config = load(f"--config={own}", "--profile=demo", "--search.decay=0.5")
    assert (config.search.lr, config.search.decay_epochs, config.search.decay) == (5e-5, [3, 4], 0.5)
    assert config.space.decoder.blocks == 4 and len(config.space.decoder.candidates) == 4


def test_a_stage_may_differ_in_what_it_shares(tmp_path: Path) -> None:
    data = load("--profile=small").data
    assert (data.hard_pool, data.hard_kept, data.hard_from) == (32, 5, 10)
    sections = {"model": ModelSettings, "retrain": RetrainSettings}
    retrain = load_config(
        "retrain", ["--task=itm", "--profile=small"], find=find_task, top=RunOptions, sections=sections
    )
    assert (retrain.data.hard_pool, retrain.data.hard_kept, retrain.data.hard_from) == (64, 5, 0)
    assert load("--profile=small", "--data.hard_pool=3").data.hard_pool == 3
    assert load("--profile=small", "--search.data.hard_pool=3").data.hard_pool == 3


@pytest.mark.parametrize("order", [("search", "data"), ("data", "search")])
def test_what_is_for_a_stage_alone_wins_wherever_it_stands(order: tuple[str, str], tmp_path: Path) -> None:
    said = {"search": "search: {data: {hard_pool: 8}}\n", "data": "data: {hard_pool: 9}\n"}
    own = tmp_path / "own.yaml"
    own.write_text("".join(said[part] for part in order))
    assert load(f"--config={own}", "--profile=small").data.hard_pool == 8


def test_another_command_can_say_what_this_one_said() -> None:
    said = [
        "--data.root=my data",
        "--profile=mini",
        "--data.word_vectors=glove",
        "--search.epochs=3",
        "--model.dropout=0",
    ]
    assert load(*said).make_arguments() == " DATA='my data' PROFILE=mini ARGS='data.word_vectors=glove model.dropout=0'"
    assert load(*said, "--data.split=train+val", task="vqa").make_arguments(("data.",), without=("SPLIT",)) == (
        " DATA='my data' PROFILE=mini ARGS='data.word_vectors=glove data.split=train+val'"
    )
    assert load().make_arguments() == ""


def test_a_users_root_decides_the_profile(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(f"data: {{root: {tmp_path}}}")
    assert load(f"--config={own}").search.width == 256


def test_a_leading_tilde_is_home_wherever_a_path_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "demo.json").write_text("{}")
    (tmp_path / "own.yaml").write_text("data: {texts: ~/texts, ids: ~ids}\nsearch: {start: ~/g.json@3, patience: ~}")
    config = load("--config=~/own.yaml", "--data.root=~", "--logs", "~/logs", "--data.features=~x/a")
    assert (config.data.root, config.top.logs) == (str(tmp_path), f"{tmp_path}/logs")
    assert (config.data.texts, config.search.start) == (f"{tmp_path}/texts", f"{tmp_path}/g.json@3")
    assert (config.data.ids, config.data.features, config.search.patience) == ("~ids", "~x/a", None)
    assert config.search.width == 128  # of the profile that the demo there brings
    assert peek(["--geno=~/g.json"], "geno") == f"{tmp_path}/g.json"
    assert f" DATA={tmp_path}" in config.make_arguments()


def test_lists_and_nothing_can_be_said() -> None:
    config = load("--space.decoder.candidates=[self_att_64,none]", "--search.patience=null", "--resume=true")
    assert config.space.decoder.candidates == ["self_att_64", "none"]
    assert config.search.patience is None and config.top.resume is True


def test_everything_resolved_is_plain(tmp_path: Path) -> None:
    resolved = load("--search.decay_epochs=[3,5]", "--model.dropout=0.5").as_dict()
    assert resolved["search"]["decay_epochs"] == [3, 5] and resolved["model"]["dropout"] == 0.5
    assert resolved["task"] == "itm" and resolved["search"]["epochs"] == load().search.epochs
    assert yaml.safe_load(yaml.safe_dump(resolved)) == resolved


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data.split=train"], r"this task has no SPLIT \(data.split\); leave it out"),
        (["--search.epoch=3"], "command line: there is no key 'search.epoch'; did you mean 'search.epochs'"),
        (["--search.epochs=many"], "command line: search.epochs=many should be a whole number from 1 to 1,000,000"),
        (["--search.epochs=0"], "search.epochs=0 should be a whole number from 1 to"),
        (["--search.weight_share=1"], "search.weight_share=1 should be a number between 0 and 1"),
        (["--resume=perhaps"], "resume=perhaps should be true or false"),
        (
            ["--search.decay_epochs=3"],
            "search.decay_epochs=3 should be a list, such as .10,12., of which each",
        ),
        (["--search.lr=nan"], "search.lr=nan should be a number above 0, at most 100"),
        (["--search.lr=inf"], "search.lr=inf should be a number above 0, at most 100"),
        (["--search.alpha_lr=1e400"], "search.alpha_lr=1e400 should be a number above 0"),
        (["--search.clip=inf"], "search.clip=inf should be a number above 0"),
        (["--search.decay_epochs=[3,-1]"], r"decay_epochs=\[3,-1\] should be a list"),
        (["--search.width=1000000000"], "search.width=1000000000 should be a whole number from 1 to 65,536"),
        (["--space.encoder.blocks=1000000000"], "space.encoder.blocks=1000000000 should be a whole number from 1 to"),
        (["--search.epochs=1000000000000"], "search.epochs=1000000000000 should be"),
        (["--search.batch_size=1000000000"], "search.batch_size=1000000000 should be"),
        (["--search.patience=0"], "search.patience=0 should be a whole number from 1 to 1,000,000, or null"),
        (["--workers=100000"], "workers=100000 should be a whole number from 0 to 1,000"),
        (["--model.dropout=1"], "model.dropout=1 should be a number from 0 up to 1, without 1"),
        (["--model.head_scale=1000000000"], "model.head_scale=1000000000 should be"),
        (["--search.epochs"], "--search.epochs has no value"),
        (["search.epochs=3"], "'search.epochs=3' is not understood"),
        (["--profile=dmeo"], "has no profile 'dmeo'.*did you mean 'demo'"),
        (["--config=nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--task=imt"], "TASK='imt' is unknown; choose one of .*itm"),
        (["--task=no.such.module"], "no module"),
        (["--task=..x"], "is neither one of"),
    ],
)
def test_what_cannot_be_understood_is_named(argv: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(*argv)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("searhc: {lr: 1}", "there is no section 'searhc'; did you mean 'search'"),
        ("search: {learning: 1}", "own.yaml: there is no key 'search.learning'"),
        ("search: {lr: fast}", "own.yaml: search.lr=fast should be a number above 0"),
        ("search: {lr", "own.yaml is not valid YAML"),
        ("- 3", "own.yaml must hold sections"),
        ("space: {decoder: null}", "space.decoder is no value but a section; it needs space.decoder.blocks"),
        ("data: {root: 2020-01-01}\nsearch: {lr: 2020-01-01}", "search.lr=2020-01-01 should be a number above 0"),
        ("data: 3", "own.yaml must hold sections with keys and values"),
        ("1: {a: 2}", "there is no section '1'"),
        (f"search: {{lr: {'x' * 9999}}}", r"search.lr=x{60}\.\.\. should be a number above 0, at most 100$"),
        ("search: {lr: .nan}", "search.lr=NaN should be a number above 0"),
    ],
)
def test_a_faulty_yaml_is_named(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(UserError, match=said):
        load(f"--config={own}")


def test_a_run_needs_a_task() -> None:
    with pytest.raises(UserError, match="no task is named"):
        load(task=None)


def test_help_explains_keys_with_the_tasks_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        load("--help", task=None)
    said = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert "first epoch (0-based) with architecture steps" in said
    assert "itm.yaml, then " in said and "itm.yaml, profile demo. --profile=small shows the published values" in said
    assert "defaults are the published" not in said and "default: 128)" in said
    with pytest.raises(SystemExit):
        load("--help", "--task=vqa", "--profile=small")
    said = " ".join(capsys.readouterr().out.split())
    assert "vqa.yaml. --profile=small" in said and "default: 256)" in said and "default: 128)" not in said
    assert peek(["--a=1", "--a", "2"], "a") == "2"
