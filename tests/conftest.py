"""What holds for every test: it gives the same result on every machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported: with several threads sums are rounded otherwise, and tests beside other work take ages.
os.environ["OMP_NUM_THREADS"] = "1"
# Under make, mistakes are told by its variables; tests say where they mean that.
os.environ.pop("MAKELEVEL", None)


@pytest.fixture(autouse=True)
def no_installed_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Word vectors that happen to be installed are not taken."""
    monkeypatch.setattr("texts.word_vectors._words_in", lambda package: 0)


@pytest.fixture
def every_word_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is named as a source of word vectors knows all words."""
    monkeypatch.setattr("tasks.base.WordVectors", lambda words, source: set(words))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in data of forty scenes, for the tests of a file to share."""
    from tools.demo.make import make_demo  # which imports torch

    return make_demo(tmp_path_factory.mktemp("data") / "demo", scenes=40)
