"""From a task's name to its class and its YAML. A task is one file and one YAML; nothing lists them."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path

from common.errors import UserError, brief, did_you_mean
from tasks.base import Task

CONFIGS = Path(__file__).parents[1] / "configs"


def task_names() -> list[str]:
    """The tasks that come with the project: one YAML each in configs/."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_task(name: str) -> tuple[type[Task], Path]:
    """The class of a task and its YAML file.

    Args:
        name: one of ``task_names()``, or the dotted name of an importable module of the user's own that defines a
            ``Task``, with a YAML of the same stem beside it.

    Raises:
        UserError: there is no such task, or the module defines none.
    """
    known = task_names()
    if name not in known and "." not in name:
        raise UserError(f"TASK={brief(name)} is unknown; choose one of {', '.join(known)}{did_you_mean(name, known)}")
    own = name not in known
    if own and not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"TASK={brief(name)} is neither one of {', '.join(known)} nor the dotted name of a module")
    if own and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    # A data file may name the task, so what is no task's module is not run: its YAML has to stand beside it.
    if own and not _has_yaml(name):
        raise UserError(f"TASK={brief(name)} is no module of a task that can be found from {Path.cwd()} with its YAML")
    try:
        module = importlib.import_module(name if own else f"tasks.{name}")
    except ModuleNotFoundError as error:
        if not own or error.name is None or not name.startswith(error.name):
            raise
        raise UserError(f"TASK={brief(name)} is no module that can be imported from {Path.cwd()}") from error
    classes = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Task) and cls.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise UserError(f"module {module.__name__} must define exactly one Task, it defines {len(classes)}")
    return classes[0], Path(module.__file__ or "").with_suffix(".yaml") if own else CONFIGS / f"{name}.yaml"


def _has_yaml(name: str) -> bool:
    """Whether a module's YAML stands where the module would be, without importing anything."""
    first, *rest = name.split(".")
    spec = importlib.util.find_spec(first)
    places = (spec.submodule_search_locations or ()) if spec else ()
    return any(Path(place, *rest).with_suffix(".yaml").is_file() for place in places)
