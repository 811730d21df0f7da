"""Words: the vocabulary of some texts, and their token ids in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError

PAD, UNK, CLS = 0, 1, 2
SPECIAL = ["PAD", "UNK", "CLS"]  # upper case, which no token is
NONE: Mapping[str, str] = MappingProxyType({})
SHOWN = 3  # misspelt words that a line names


class Vocabulary:
    """Words by id: 0 PAD, 1 UNK, 2 CLS, then the words of the data. ``words`` and ``misspelt`` are what is saved."""

    def __init__(self, words: Sequence[str], misspelt: Mapping[str, str] = NONE) -> None:
        """Take back what was saved.

        Args:
            words: by id.
            misspelt: what is read as one of them, by how it is spelt.

        Raises:
            UserError: the words do not begin with PAD, UNK, CLS, one is there twice, or one that is meant is not there.
        """
        self.words, self.misspelt = list(words), dict(misspelt)
        self._ids = {word: index for index, word in enumerate(self.words)}
        known = self._ids.keys()
        whole = self.words[: len(SPECIAL)] == SPECIAL and len(known) == len(self.words)
        if not whole or not known >= {*self.misspelt.values()} or known & self.misspelt.keys():
            raise UserError(
                f"the saved vocabulary of {len(self.words)} words is damaged: "
                "it must begin with PAD, UNK, CLS and name every word once"
            )
        self._ids |= {word: self._ids[meant] for word, meant in self.misspelt.items()}

    @classmethod
    def of(cls, token_lists: Iterable[Iterable[str]], misspelt: Mapping[str, str] = NONE) -> Vocabulary:
        """The vocabulary of some texts: alphabetical, so that it depends on the texts but not on their order.

        Args:
            token_lists: words of the texts.
            misspelt: for some of them the one that is meant; both have one id.
        """
        words = {token for tokens in token_lists for token in tokens} - misspelt.keys()
        return cls(SPECIAL + sorted(words), dict(sorted(misspelt.items())))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Sequence[str], limit: int) -> list[int]:
        """Ids of the first ``limit`` tokens, UNK for unknown ones; an empty text is [UNK], for a text needs a state."""
        return [self._ids.get(token, UNK) for token in tokens[:limit]] or [UNK]

    @property
    def remarks(self) -> list[str]:
        """What people should know about misspelt words: a line, or none."""
        if not self.misspelt:
            return []
        some = ", ".join(f"{word} as {meant}" for word, meant in [*self.misspelt.items()][:SHOWN])
        return [f"note: misspelt words, which are read as what is meant: {len(self.misspelt)}, such as {some}"]

    def unknown(self, tokens: Iterable[str]) -> list[str]:
        """The tokens that it does not know, each once."""
        return [token for token in dict.fromkeys(tokens) if token not in self._ids]

    def decode(self, ids: Iterable[int]) -> str:
        """What the network reads in these ids, as a text in which an unknown word is a dash; PAD is left out."""
        return " ".join("–" if token == UNK else self.words[token] for token in ids if token != PAD)


class TokenStore:
    """The token ids of many texts in one flat array: 145,000 captions take some 7 MB."""

    def __init__(self, token_lists: Iterable[Sequence[int]]) -> None:
        lists = list(token_lists)
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        if not lengths.all():
            raise ValueError(f"text {np.argmin(lengths)} has no token; Vocabulary.encode gives at least UNK")
        self._offsets = np.concatenate(([0], np.cumsum(lengths)))
        self._ids = np.fromiter((token for tokens in lists for token in tokens), np.int32, count=self._offsets[-1])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) number of tokens of each."""
        return np.diff(self._offsets)

    def gather(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Tokens (Q,T) int64 of these texts, PAD to the longest of them, and tokens_pad (Q,T) bool, True = padding."""
        first, last = self._offsets[rows], self._offsets[rows + 1]
        positions = first[:, None] + np.arange((last - first).max(initial=0))
        pad = positions >= last[:, None]
        tokens = np.where(pad, PAD, self._ids[np.minimum(positions, len(self._ids) - 1)]).astype(np.int64)
        return torch.from_numpy(tokens), torch.from_numpy(pad)


def pad(token_lists: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Tokens (Q,T) int64, PAD to the longest, and tokens_pad (Q,T) bool, True = padding."""
    return TokenStore(token_lists).gather(np.arange(len(token_lists)))
