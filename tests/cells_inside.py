"""Cells of a study run in the tests' own process, whose imports are done."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import IO, Any

import pytest

from evidence import runner
from evidence.places import Here, Program

MODULES = {"search": "search.run", "retrain": "retrain.run"}


def run_inside(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let cells run here; gives their command lines, as they come."""
    commands: list[list[str]] = []

    def inside(cell: Program, lock: IO[Any]) -> SimpleNamespace:
        _, program, *flags = cell.command
        commands.append([program, *flags])
        import_module(MODULES.get(program, program)).main(flags)
        return SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(Here, "start", staticmethod(inside))
    monkeypatch.setattr(runner, "POLL_SECONDS", 0)
    return commands
