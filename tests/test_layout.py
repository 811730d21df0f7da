"""The shape of the project: which package may import which, and that configurations can be read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from engine.config import load_config
from engine.run import RunOptions
from retrain.settings import RetrainSettings
from search.settings import SearchSettings
from space.settings import ModelSettings, SpaceSettings
from tasks.find import find_task, task_names

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "common": set(),
    "outcome": {"common"},
    "genotypes": {"common"},
    "space": {"common", "genotypes"},
    "texts": {"common"},
    "readers": {"common", "texts"},
    "pictures": {"common", "readers"},
    "matching": {"common", "texts", "readers", "space"},
    "tasks": {"common", "outcome", "texts", "readers", "space", "matching"},
    "engine": {"common"},
    "audit": {"common", "readers", "tasks"},
    "report": {"common", "genotypes", "outcome", "pictures", "space", "engine"},
    "search": {"common", "genotypes", "readers", "space", "tasks", "engine", "audit", "report"},
    "retrain": {
        *("common", "genotypes", "outcome", "texts", "readers", "pictures", "space", "tasks", "engine"),
        *("audit", "report"),
    },
    "predict": {"common", "outcome", "texts", "readers", "pictures", "space", "tasks", "retrain"},
    "evidence": {"common", "genotypes", "space", "tasks", "engine", "report", "search", "retrain"},
    "tools": {
        *("common", "genotypes", "outcome", "texts", "readers", "pictures", "space", "tasks", "engine"),
        *("search", "retrain", "predict", "report"),
    },
}
LARGEST = 2400  # lines of a package; beyond it a newcomer no longer finds their way


def imports(path: Path) -> set[str]:
    """Top-level packages a module imports, wherever in the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = (imports(path) & MAY_IMPORT.keys()) - MAY_IMPORT[package] - {package}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_evidence_runs_search_and_retrain_as_programs() -> None:
    for path in (ROOT / "evidence").rglob("*.py"):
        stages = re.findall(r"(?:from|import) ((?:search|retrain)\b\S*)", path.read_text())
        assert set(stages) <= {"search.settings", "retrain.settings"}, path


def test_genotypes_need_no_torch() -> None:
    assert not any("torch" in imports(path) for path in (ROOT / "genotypes").glob("*.py"))


def test_every_package_is_installed_and_every_installed_package_is_here() -> None:
    listed = (ROOT / "pyproject.toml").read_text().partition("packages = [")[2].partition("]")[0]
    here = {path.parent.relative_to(ROOT) for name in MAY_IMPORT for path in (ROOT / name).rglob("__init__.py")}
    assert set(re.findall('"(.+?)"', listed)) == {".".join(folder.parts) for folder in here}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT.keys() - {"tools"}))
def test_no_package_grows_too_large(package: str) -> None:
    sources = [path for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".pyx")]
    assert sum(len(path.read_text().splitlines()) for path in sources) <= LARGEST


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("stage", ["search", "retrain"])
def test_every_yaml_and_every_profile_loads(task: str, stage: str) -> None:
    own = {"search": {"space": SpaceSettings, "search": SearchSettings}, "retrain": {"retrain": RetrainSettings}}
    sections = {"model": ModelSettings, **own[stage]}
    for profile in ("", "demo", "mini", "small", "large"):
        argv = [f"--task={task}", f"--profile={profile}"]
        config = load_config(stage, argv, find=find_task, top=RunOptions, sections=sections)
        if stage == "search":
            config.space.validate()
            config.search.validate()


def mapped() -> dict[str, set[str]]:
    """The files that the README's map names in the block of each folder."""
    blocks: dict[str, set[str]] = {}
    lines = (ROOT / "README.md").read_text().partition("\n## Map\n")[2].partition("\n## ")[0].splitlines()
    block: set[str] = set()
    for line in lines:
        name, *_ = line.split() or [""]
        if line.startswith("  "):
            block.add(name)
        else:  # whatever stands at the margin begins something else
            block = blocks.setdefault(name.removesuffix("/"), set())
    return blocks


@pytest.mark.parametrize("package", [*MAY_IMPORT, "benchmarks"])
def test_the_readme_maps_every_file(package: str) -> None:
    for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
        files = {path.name for path in folder.iterdir() if path.suffix in (".py", ".pyx")}
        assert mapped()[str(folder.relative_to(ROOT))] == {name for name in files if not name.startswith("__")}


def test_the_index_of_documents_names_every_one() -> None:
    named = set(re.findall(r"]\(([^)/]+)\)", (ROOT / "docs/README.md").read_text()))
    assert named == {path.name for path in (ROOT / "docs").iterdir()} - {"README.md"}


def test_every_promise_stands_beside_a_test_that_is_there() -> None:
    rows = [row for row in (ROOT / "docs/reliability.md").read_text().splitlines() if row.startswith("| **")]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(?:(test_\w+\.py)(?:: )?)?(test_\w+)?`", row.rpartition("|")[0].rpartition(" | ")[2])
        assert named, row
        source = ""
        for file, test in named:
            source = (ROOT / "tests" / file).read_text() if file else source
            assert f"def {test}(" in source if test else source, f"{file} {test}"
