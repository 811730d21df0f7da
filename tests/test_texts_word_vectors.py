"""Word vectors: from spaCy's packages and folders, the best of those installed, and plausible ones for other words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_vgd

from common.errors import UserError
from tasks.vgd import VgdData, VisualGrounding
from texts import word_vectors as module
from texts.word_vectors import WordVectors, about, find_source

GLOVE = {"dog": [1.0, 2.0, 3.0], "cat": [-1.0, 0.5, 0.25], "can": [2.0, 0.0, 0.0], "not": [0.0, 4.0, 0.0]}


@pytest.fixture(scope="module")
def glove(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``spacy init vectors`` makes it from a text of vectors."""
    from spacy.cli.init_pipeline import init_vectors_cli

    folder = tmp_path_factory.mktemp("glove")
    text = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in GLOVE.items())
    (folder / "glove.txt").write_text(text)
    init_vectors_cli("en", folder / "glove.txt", folder / "vectors", -1, 0, "default", None, False, None, "ORTH")
    return folder / "vectors"


def test_vectors_come_from_spacy(glove: Path) -> None:
    words = ["PAD", "UNK", "CLS", "cannot", "cat", "dog", "zyzzyva"]
    known = WordVectors(words[3:], str(glove))
    vectors = known.of(words)
    assert vectors.shape == (7, 3) and vectors.dtype == np.float32
    assert "cannot" in known and "zyzzyva" not in known
    by_word = dict(zip(words, vectors.tolist(), strict=True))
    assert by_word["dog"] == GLOVE["dog"] and by_word["cat"] == GLOVE["cat"]
    assert by_word["cannot"] == [1.0, 2.0, 0.0]  # the mean of can and not
    assert by_word["PAD"] == [0, 0, 0]
    assert np.array_equal(vectors, WordVectors(words[3:], str(glove)).of(words))


def test_a_task_starts_from_the_vectors_of_what_is_meant(tmp_path: Path) -> None:
    from spacy import blank

    language = blank("en")
    for number, word in enumerate(("the", "one", "box", *tiny_vgd.COLORS)):
        language.vocab.set_vector(word, np.full(4, number + 1.0, np.float32))
    language.to_disk(tmp_path / "vectors")
    root = tiny_vgd.make_root(tmp_path / "root")
    refs, instances = tiny_vgd.read(root)
    refs[0]["sentences"][0]["tokens"] = ["the", "grene", "one"]
    tiny_vgd.write(root, refs, instances)
    task = VisualGrounding(VgdData(root=str(root), word_vectors=str(tmp_path / "vectors")))
    assert task.vocabulary.misspelt == {"grene": "green"}
    (row,) = task.vocabulary.encode(["grene"], limit=1)
    assert task.words[row] == "green" and task.word_vectors[row].tolist() == [5.0] * 4


def test_unknown_words_start_from_the_mean_and_spread_of_the_others(glove: Path) -> None:
    unknown = [f"zyzzyva{n}" for n in range(4000)]
    words = ["PAD", "UNK", "CLS", *GLOVE, *unknown]
    vectors = WordVectors(words[3:], str(glove)).of(words)
    known, drawn = np.array(list(GLOVE.values())), vectors[-len(unknown) :]
    np.testing.assert_allclose(drawn.mean(0), known.mean(0), atol=0.1)
    np.testing.assert_allclose(drawn.std(0), known.std(0), rtol=0.05)
    assert vectors[1:3].any(axis=1).all() and len(np.unique(drawn, axis=0)) == len(unknown)


def test_sources_that_do_not_serve(glove: Path, tmp_path: Path) -> None:
    import spacy

    words = ["dog"]
    with pytest.raises(UserError, match="no word vectors 'en_core_web_nope', .*make vectors.*converted GloVe"):
        WordVectors(words, "en_core_web_nope")
    with pytest.raises(UserError, match="cannot read .* as word vectors"):
        WordVectors(words, str(tmp_path))
    with pytest.raises(UserError, match="cannot read 'numpy' as word vectors"):
        WordVectors(words, "numpy")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match="holds no word vectors"):
        WordVectors(words, str(tmp_path / "blank"))
    with pytest.raises(UserError, match="knows none of the 1 words"):
        WordVectors(["perro"], str(glove))


def test_a_pipeline_with_vectors_is_not_built(glove: Path, tmp_path: Path) -> None:
    import spacy

    language = spacy.load(glove)
    language.add_pipe("sentencizer")
    language.to_disk(tmp_path / "full")
    config = tmp_path / "full" / "config.cfg"
    config.write_text(config.read_text().replace('factory = "sentencizer"', 'factory = "from a package not installed"'))
    with pytest.raises(ValueError, match="E002"):
        spacy.load(tmp_path / "full")
    assert WordVectors(["dog"], str(tmp_path / "full")).of(["PAD", "UNK", "CLS", "dog"])[3].tolist() == GLOVE["dog"]


def test_spacy_is_imported_only_for_vectors() -> None:
    code = "import sys, texts.word_vectors as module; module.find_source('auto'); sys.exit('spacy' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


WORDS_IN = module._words_in  # as it is without the fixture that hides what is installed


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that Python finds, in which none is known yet."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_words_in", WORDS_IN)
    monkeypatch.setattr(module, "UNANNOUNCED", ("small_vectors", "large_vectors", "no_vectors", "broken", "absent"))
    monkeypatch.setattr(module.importlib.metadata, "entry_points", lambda group: [])
    return tmp_path


def package(folder: Path, name: str, meta: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    (folder / name / "meta.json").write_text(meta)


def test_auto_takes_the_installed_package_with_most_words(installed: Path) -> None:
    assert find_source("auto") is None and find_source(None) is None and find_source("mine") == "mine"
    package(installed, "no_vectors", json.dumps({"vectors": {"keys": 0}}))
    package(installed, "broken", '{"vectors": ')
    assert find_source("auto") is None
    package(installed, "small_vectors", json.dumps({"vectors": {"keys": 20}}))
    package(installed, "large_vectors", json.dumps({"vectors": {"keys": 500}}))
    assert find_source("auto") == "large_vectors"
    assert "make vectors" in about(None) and about("large_vectors") == "word vectors start from large_vectors"
