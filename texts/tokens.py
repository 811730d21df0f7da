"""From text to tokens: the published rule, typography made plain, and scripts that put no spaces between words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby

from common.errors import UserError

Tokeniser = Callable[[str], list[str]]

# What published models of this family drop from a text, and what they turn into spaces.
PUNCTUATION = str.maketrans({**dict.fromkeys(".,'!?\"()*#:;"), "-": " ", "/": " "})
# What typesetters and keyboards of other scripts write for the same marks.
TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´", "'"),
        **dict.fromkeys("“”„‟«»‹›″", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": ".",
        # Full-width marks stand for themselves and the space that other scripts put behind them.
        **dict.fromkeys("，。、！？：；（）［］【】「」『』《》〈〉～・．／－＊＃", " "),
        **dict.fromkeys("¿¡"),
        # Marks without width or meaning of their own, which editors leave behind.
        **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff\u00ad"),
    }
)
# Scripts without spaces between words, by the first word of their characters' Unicode names, and the languages that
# spaCy can segment in them, "" for none.
SPACELESS = {
    **{"CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "THAI": "th"},
    **dict.fromkeys(("LAO", "KHMER", "MYANMAR", "TIBETAN"), ""),
}
_LONG = 4  # characters of a spaceless script that no word is likely to have


def published_tokens(text: str) -> list[str]:
    """Lower-case words without punctuation, as published models read them; words joined by - or / come apart."""
    return text.lower().translate(PUNCTUATION).split()


def tokenise(text: str) -> list[str]:
    """``published_tokens`` of a text whose typographic and full-width marks count as the plain ones they stand for."""
    plain = text if text.isascii() else unicodedata.normalize("NFC", text).translate(TYPOGRAPHY)
    return published_tokens(plain)


def tokeniser(language: str | None) -> Tokeniser:
    """How texts come apart into tokens.

    Args:
        language: spaCy's code of a language whose words have no spaces between them (zh, ja, th, ...), which its
            tokenizer finds; None where spaces part words.

    Raises:
        UserError: spaCy does not know the language, or its tokenizer needs a package that is not installed.
    """
    if language is None:
        return tokenise
    # Imported here because it takes seconds, and only such texts need it.
    import spacy

    try:
        segment = spacy.blank(language).make_doc
    # Languages fail in their own ways: unknown codes, tokenizers that are packages of their own.
    except Exception as error:
        raise UserError(
            f"data.segmenter={language!r} cannot be used ({' '.join(str(error).split())[:300]}); give the code of a "
            "language that spaCy segments, such as zh, ja or th, and install what its tokenizer needs"
        ) from error
    # Names and numbers in other scripts stand among these, and are parted already.
    return lambda text: [
        part
        for token in tokenise(text)
        for spaceless, run in groupby(token, lambda c: _script(c) in SPACELESS)
        for part in _parts("".join(run), segment if spaceless else None)
    ]


def _parts(run: str, segment: Callable[[str], Iterable[object]] | None) -> list[str]:
    return [run] if segment is None else [str(word) for word in segment(run)]


def _script(character: str) -> str:
    return "" if character.isascii() else unicodedata.name(character, "").partition(" ")[0]


def unsegmented(words: Iterable[str]) -> str | None:
    """The language to segment texts in whose vocabulary shows that they were not; None where nothing is odd.

    It is spaCy's code, or "" where spaCy segments no language of the script.

    Args:
        words: a vocabulary. Where a script has no spaces whole sentences become words of it.
    """
    words, languages = list(words), Counter[str]()
    for word in words:
        found = [SPACELESS[script] for script in map(_script, word) if script in SPACELESS]
        if len(found) >= _LONG:
            # Japanese is written with Chinese characters too, so a kana decides.
            languages["ja" if "ja" in found else found[0]] += 1
    return languages.most_common(1)[0][0] if 2 * languages.total() > len(words) else None
