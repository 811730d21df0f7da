"""docs/extending.md works as printed: its files, written beside the project, are searched, trained, drawn, shown."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genotypes.genotype import load
from search.estimators import ESTIMATORS
from space.ops import OPS

DOCUMENT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`(mine/\S+)`\n\n```\w+\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
(COMMANDS,) = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
MAINS = {"search": "search.run", "retrain": "retrain.run"}


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The document's files in a folder of the user's; afterwards nothing is left of what they add."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    operations, estimators = set(OPS), set(ESTIMATORS)
    yield
    for registry, before in ((OPS, operations), (ESTIMATORS, estimators)):
        for name in registry.keys() - before:
            del registry[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_the_commands_of_the_document() -> None:
    assert len(FILES) == 5
    for line in COMMANDS.splitlines():
        python, flag, module, *arguments = shlex.split(line)
        assert (python, flag) == ("python", "-m")
        main = importlib.import_module(MAINS.get(module, module)).main
        main(arguments) if arguments else main()
    found = load("genotypes/searched/mine.counting/first.json")
    assert found.task == "mine.counting"
    assert all("mean_of_all" in block for block in found.probabilities["decoder"])
    assert Path("genotypes/searched/mine.counting/first.png").exists()
    assert "estimator: any_two" in Path("logs/log/first/config.yaml").read_text()
    numbers = json.loads(Path("logs/ckpts/result_test/metrics_trained.json").read_text())
    assert 0 <= numbers["metrics"]["test"]["accuracy"] <= 100
    assert list(Path("logs/show").glob("*.png"))


def test_a_network_with_the_new_operation_is_trained_and_drawn_by_a_fresh_process() -> None:
    """Nobody has imported the user's module when a genotype is read, so its task's name has to lead there."""
    importlib.import_module("mine.make_data").main()
    own = {"schema": 1, "task": "mine.counting", "encoder": ["self_att_64"], "decoder": ["mean_of_all"]}
    Path("own.json").write_text(json.dumps(own))
    assert "mean_of_all" not in OPS
    importlib.import_module("tools.draw").main(["--geno=own.json"])
    importlib.import_module("retrain.run").main(["--geno=own.json", "--version=own", "--retrain.epochs=1"])
    assert Path("logs/ckpts/own/best.pt").exists()
