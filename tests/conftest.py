"""What holds for every test: it gives the same result on every machine."""

from __future__ import annotations

import os

import pytest

# Before torch is imported: with several threads sums are rounded otherwise, and tests beside other work take ages.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def no_installed_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Word vectors that happen to be installed are not taken."""
    monkeypatch.setattr("readers.word_vectors._words_in", lambda package: 0)
