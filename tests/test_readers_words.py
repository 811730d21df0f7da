"""Words: vocabularies, padded ids, and vectors as spaCy gives them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from readers.tokens import tokenise
from readers.words import CLS, PAD, UNK, TokenStore, Vocabulary, pad, word_vectors


def test_vocabulary_depends_on_the_texts_but_not_on_their_order() -> None:
    texts = [["the", "dog"], ["a", "dog"], []]
    vocabulary = Vocabulary.of(texts)
    assert vocabulary.words == ["PAD", "UNK", "CLS", "a", "dog", "the"] == Vocabulary.of(texts[::-1]).words
    assert len(vocabulary) == 6 and (PAD, UNK, CLS) == (0, 1, 2)


def test_encode_cuts_and_never_fails() -> None:
    vocabulary = Vocabulary.of([["the", "dog"]])
    assert vocabulary.encode(["the", "dog", "barks"], limit=10) == [4, 3, UNK]
    assert vocabulary.encode(["the", "dog", "barks"], limit=2) == [4, 3]
    assert vocabulary.encode([], limit=10) == [UNK]
    assert vocabulary.encode(tokenise("PAD UNK"), limit=10) == [UNK, UNK]


def test_vocabulary_is_saved_as_its_list() -> None:
    vocabulary = Vocabulary.of([["the", "dog"]])
    assert Vocabulary(vocabulary.words).encode(["the"], 5) == vocabulary.encode(["the"], 5)
    for damaged in ([], ["the", "dog"], vocabulary.words[::-1], [*vocabulary.words, "dog"]):
        with pytest.raises(UserError, match="vocabulary .* damaged"):
            Vocabulary(damaged)


def test_pad_fills_to_the_longest() -> None:
    tokens, padding = pad([[5], [6, 7, 8], [9, 3]])
    assert tokens.dtype == torch.int64 and padding.dtype == torch.bool
    assert tokens.tolist() == [[5, 0, 0], [6, 7, 8], [9, 3, 0]]
    assert torch.equal(padding, tokens == PAD)


@settings(derandomize=True, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(1, 20000), min_size=1, max_size=9), min_size=1, max_size=20),
    data=st.data(),
)
def test_token_store_gathers_what_was_put_in(texts: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=8))
    store = TokenStore(texts)
    assert len(store) == len(texts)
    tokens, padding = store.gather(np.array(rows, dtype=np.int64))
    longest = max((len(texts[row]) for row in rows), default=0)
    assert tokens.shape == padding.shape == (len(rows), longest)
    for row, ids, mask in zip(rows, tokens, padding, strict=True):
        assert ids[~mask].tolist() == texts[row] and not ids[mask].any()
        assert mask.tolist() == [place >= len(texts[row]) for place in range(longest)]


def test_text_without_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="text 1 has no token"):
        TokenStore([[3], []])


# ---- word vectors ----

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
    words = Vocabulary.of([["dog", "cat", "cannot", "zyzzyva"]]).words
    vectors = word_vectors(words, str(glove))
    assert vectors.shape == (7, 3) and vectors.dtype == np.float32
    by_word = dict(zip(words, vectors.tolist(), strict=True))
    assert by_word["dog"] == GLOVE["dog"] and by_word["cat"] == GLOVE["cat"]
    assert by_word["cannot"] == [1.0, 2.0, 0.0]  # the mean of can and not
    for word in ("PAD", "UNK", "CLS", "zyzzyva"):
        assert by_word[word] == [0, 0, 0]


def test_no_source_means_learned_vectors() -> None:
    assert word_vectors(["PAD", "UNK", "CLS", "dog"], None) is None


def test_sources_that_do_not_serve(glove: Path, tmp_path: Path) -> None:
    import spacy

    words = ["PAD", "UNK", "CLS", "dog"]
    with pytest.raises(UserError, match="no word vectors 'en_core_web_nope', .*spacy download .*init vectors"):
        word_vectors(words, "en_core_web_nope")
    with pytest.raises(UserError, match="cannot read .* as word vectors"):
        word_vectors(words, str(tmp_path))
    with pytest.raises(UserError, match="cannot read 'numpy' as word vectors"):
        word_vectors(words, "numpy")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match="holds no word vectors"):
        word_vectors(words, str(tmp_path / "blank"))
    with pytest.raises(UserError, match="knows none of the 1 words"):
        word_vectors([*words[:3], "perro"], str(glove))


def test_a_pipeline_with_vectors_is_not_built(glove: Path, tmp_path: Path) -> None:
    import spacy

    language = spacy.load(glove)
    language.add_pipe("sentencizer")
    language.to_disk(tmp_path / "full")
    config = tmp_path / "full" / "config.cfg"
    config.write_text(config.read_text().replace('factory = "sentencizer"', 'factory = "from a package not installed"'))
    with pytest.raises(ValueError, match="E002"):
        spacy.load(tmp_path / "full")
    assert word_vectors(["PAD", "UNK", "CLS", "dog"], str(tmp_path / "full"))[3].tolist() == GLOVE["dog"]


def test_spacy_is_imported_only_for_vectors() -> None:
    code = "import sys, readers.words; readers.words.word_vectors(['PAD'], None); sys.exit('spacy' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
