"""What a run was begun and gone on with, for whoever runs it again: versions, hardware, threads, commit, data, flags"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from common import processor
from common.files import read_json, write_json
from engine.run import commit, today
from engine.runtime import Runtime

FOUND = "genotype.json"  # what a search came out with, kept beside its log
NEXT = "next"  # what a run that came to its end says to type next; one under way has none
FILE = "run.json"  # a list with an entry for each time the run was begun or gone on with


def note(folder: Path, stage: str, argv: Sequence[str] | None, runtime: Runtime, data: Mapping[str, Any]) -> None:
    """Add what holds for this process.

    Args:
        folder: of the run's log.
        stage: name of the stage.
        argv: its command line without the program's name; None for the real one.
        runtime: device and precision.
        data: fingerprints of the run's data.
    """
    now = {
        "date": today(),
        "command": ["python", "-m", stage, *(sys.argv[1:] if argv is None else argv)],
        "commit": commit(),
        "versions": {name: importlib.metadata.version(name) for name in ("mmnas", "torch", "numpy")}
        | {"python": platform.python_version()},
        "hardware": {
            "processor": processor.name(),
            "cores": processor.cores(),
            "gpu": torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None,
        },
        "precision": runtime.precision,
        "processes": runtime.ranks.size,
        "threads": None,
        "data": dict(data),
    }
    write_json(folder / FILE, [*goes(folder), now])


def add(folder: Path, **facts: Any) -> None:
    """Add to what was noted last, or overwrite it: whatever is known only later, such as threads, data and seconds."""
    noted = goes(folder)
    if noted:
        *before, now = noted
        write_json(folder / FILE, [*before, {**now, **facts}])


def goes(folder: Path) -> list[dict[str, Any]]:
    """All that was noted, the last one last; nothing of a run of an earlier state of this program.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    return read_json(path, "what a run was begun with") if path.exists() else []
