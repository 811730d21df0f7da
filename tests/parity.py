"""Reference tensors of the original implementation, where a developer has them beside the project."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REFERENCE = Path(__file__).parents[2] / "shared" / "parity"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference tensors are not here")


@cache
def load_reference(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and tensors of one part of the reference."""
    facts = json.loads((REFERENCE / name / "facts.json").read_text())
    with np.load(REFERENCE / name / "tensors.npz") as file:
        return facts, {key: file[key] for key in file.files}
