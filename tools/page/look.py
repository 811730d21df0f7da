"""How the page looks: its files in templates/, with the words of the task and the style of the reports"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from predict.predictor import Predictor
from readers.words import SPECIAL
from report.page import TEMPLATES as REPORT
from tools.page.asked import MOST_BYTES, MOST_PICTURES, MOST_TEXTS
from tools.page.server import Part

TEMPLATES = Path(__file__).parent / "templates"


class Wording(NamedTuple):
    """How a task speaks of what it takes and gives."""

    text: str = "Text"
    several: bool = False  # pictures and texts meet each other
    share: str = "share of the weight"  # what the number of a region is


WORDINGS = {
    "itm": Wording("Captions, one a line", several=True),
    "vgd": Wording("Phrase", share="probability of being meant"),
    "vqa": Wording("Question"),
}


def parts(predictor: Predictor, called: str) -> dict[str, Part]:
    """Every file of the page by its path; ``called`` is the network's name for people."""
    task = predictor.task
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("page.html.jinja").render(
        title=task.title,
        called=called,
        extractor=predictor.source.facts.get("extractor", ""),
        words=len(task.words) - len(SPECIAL),
        answers=len(task.labels),
        wording=WORDINGS.get(task.name, Wording()),
        most={"bytes": MOST_BYTES, "pictures": MOST_PICTURES, "texts": MOST_TEXTS},
    )
    style = (REPORT / "style.css").read_bytes() + (TEMPLATES / "page.css").read_bytes()
    return {
        "/": Part("text/html; charset=utf-8", page.encode()),
        "/style.css": Part("text/css; charset=utf-8", style),
        "/script.js": Part("text/javascript; charset=utf-8", (TEMPLATES / "page.js").read_bytes()),
        "/icon.svg": Part("image/svg+xml", (TEMPLATES / "icon.svg").read_bytes()),
    }
