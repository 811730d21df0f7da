"""Words on a sheet: installed fonts that have their characters, lines that fit a width, and what no font has."""

from __future__ import annotations

import contextlib
import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator

from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FaceFlags, FT2Font

USUAL = "DejaVu Sans"  # comes with matplotlib; it has Latin, Greek, Cyrillic, Arabic, Hebrew and many symbols
SCRIPTS = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
JOINERS = "\u200d\ufe0e\ufe0f"  # what makes one sign of several


class Lettering:
    """Fonts for some texts. Lines are shaped and put in the order of their script, from right to left too, by raqm.

    Args:
        texts: all that will be written.
        dpi: dots an inch of the sheet, to which letters are fitted.
    """

    def __init__(self, texts: Iterable[str], dpi: int) -> None:
        needed = {c for text in texts for c in plain(text) if not c.isspace() and c not in JOINERS}
        self.families, self.missing = _families(needed)
        self._dpi = dpi
        self._renderer = FigureCanvasAgg(Figure(dpi=dpi)).get_renderer()

    def width(self, text: str, size: float, weight: str = "normal") -> float:
        """Inches that a text of this size (points) takes in one line."""
        font = FontProperties(family=self.families, size=size, weight=weight)
        with without_font_warnings():
            return self._renderer.get_text_width_height_descent(text, font, ismath=False)[0] / self._dpi

    def wrap(self, text: str, most: float, size: float, weight: str = "normal") -> list[str]:
        """Lines at most so many inches wide; between words, in scripts without spaces anywhere, else within a word."""
        lines = [""]
        for piece in _pieces(plain(text)):
            if self.width(lines[-1] + piece, size, weight) <= most:
                lines[-1] += piece
                continue
            lines.append("")
            for character in piece.lstrip():
                if lines[-1] and self.width(lines[-1] + character, size, weight) > most:
                    lines.append("")
                lines[-1] += character
        return [line.strip() for line in lines if line] or [""]

    def note(self) -> str | None:
        """What no installed font has, in a sentence; None where nothing is missing."""
        if not self.missing:
            return None
        scripts = sorted({_script(character) for character in self.missing})
        return (
            f"no installed font has {', '.join(scripts)} (such as {min(self.missing)}), so boxes stand there; "
            "install one that does, such as Noto"
        )


def plain(text: str) -> str:
    """The text as one line of characters that can be written."""
    printable = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    return " ".join("".join(printable).split())


@contextlib.contextmanager
def without_font_warnings() -> Iterator[None]:
    """Keep matplotlib's words on missing characters and weights off the terminal; ``Lettering.note`` says it once."""
    fonts = logging.getLogger("matplotlib.font_manager")
    before = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        fonts.setLevel(before)


def _families(needed: set[str]) -> tuple[list[str], set[str]]:
    """Families that have the characters between them, each the one with most of what was left; and what none has."""
    families, missing = [USUAL], needed - _held(font_manager.findfont(USUAL), needed)
    if missing:
        _notice_new_fonts()
    while missing:
        held: dict[str, set[str]] = {}
        for name, path in _upright_fonts():
            # Headings are bold, so what one weight of a family lacks the family lacks.
            held[name] = held.get(name, missing) & _held(path, missing)
        best = max(held, key=lambda name: len(held[name]))
        if not held[best]:
            break
        families.append(best)
        missing = missing - held[best]
    return families, missing


def _notice_new_fonts() -> None:
    """Let matplotlib know fonts that were installed after it made its list."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        # Font files that cannot be read are none that could help.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            font_manager.fontManager.addfont(path)


def _upright_fonts() -> list[tuple[str, str]]:
    """Family and file of each, in an order that is always the same."""
    fonts = (e for e in font_manager.fontManager.ttflist if e.style == "normal" and "Last Resort" not in e.name)
    return sorted((entry.name, entry.fname) for entry in fonts)


def _held(path: str, characters: set[str]) -> set[str]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return set()
    # Emoji that are pictures of one size cannot be drawn at another.
    if FaceFlags.SCALABLE not in font.face_flags:
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}


def _script(character: str) -> str:
    word = unicodedata.name(character, "unnamed").split()[0]
    if unicodedata.category(character)[0] not in "LM":
        return "some symbols"
    return SCRIPTS.get(word, word.capitalize())


def _pieces(text: str) -> Iterator[str]:
    """What may begin a line, with the space before it."""
    for number, word in enumerate(text.split()):
        piece = " " if number else ""
        before = ""
        for character in word:
            joined = character in JOINERS or before in JOINERS or unicodedata.category(character)[0] == "M"
            if before and not joined and (_wide(before) or _wide(character)):
                yield piece
                piece = ""
            piece, before = piece + character, character
        yield piece


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
