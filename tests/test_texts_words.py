"""Words: vocabularies and padded token ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from texts.tokens import tokenise
from texts.words import CLS, PAD, UNK, TokenStore, Vocabulary, pad


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


def test_misspelt_words_are_read_as_what_is_meant_and_saved_with_it() -> None:
    texts = [["purple", "prple", "ice cream"], ["purpel", "grue"]]
    made = Vocabulary.of(texts, {"purpel": "purple", "prple": "purple"})
    assert [*made.misspelt] == ["prple", "purpel"]  # whatever the order of texts
    assert made.words[3:] == ["grue", "ice cream", "purple"]
    for vocabulary in (made, Vocabulary(made.words, made.misspelt)):
        assert vocabulary.encode(["prple", "purple", "purpel", "purply"], limit=10) == [5, 5, 5, UNK]
        assert vocabulary.decode([5, 4, UNK]) == "purple ice cream –" and len(vocabulary) == 6
        assert vocabulary.unknown(["prple", "purply"]) == ["purply"]
        assert vocabulary.remarks == [
            "note: misspelt words, which are read as what is meant: 2, such as prple as purple, purpel as purple"
        ]
    assert Vocabulary.of(texts).remarks == []


@pytest.mark.parametrize("misspelt", [{"prple": "purple"}, {"grue": "blue"}])
def test_what_is_meant_is_in_the_vocabulary_and_mistakes_are_not(misspelt: dict[str, str]) -> None:
    with pytest.raises(UserError, match="is damaged"):
        Vocabulary(["PAD", "UNK", "CLS", "blue", "grue"], misspelt)


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
