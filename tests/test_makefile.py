"""The Makefile: what it hands on, and what it does not know."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """What make would do."""
    return subprocess.run(["make", "-n", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)


def test_variables_become_flags() -> None:
    said = make("search", "TASK=vgd", "PROFILE=mini", "DATA=my data", "ARGS=a=1 --b=2", "OMP_NUM_THREADS=1").stdout
    for flag in ("--task='vgd'", "--profile='mini'", "--data.root='my data'", "'--a=1' '--b=2'"):
        assert flag in said


def test_a_variable_that_nobody_reads_is_refused() -> None:
    refused = make("search", "TASK=vgd", "EPOCHS=1")
    assert refused.returncode and "there is no variable EPOCHS; make alone lists them" in refused.stderr
    assert "search" not in refused.stdout


def test_every_variable_that_the_readme_names_is_known() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Every target")[2].partition("\n\n`ARGS")[0]
    named = {word.partition("=")[0] for word in table.split("`")[1::2] if word.partition("=")[0].isupper()}
    assert {"TASK", "GENO", "SKIP_BAD", "JOBS"} <= named
    assert make("help", *(f"{name}=x" for name in sorted(named))).returncode == 0
