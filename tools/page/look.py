"""How the page looks: its files in templates/, with the words of the task and the style of the reports"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from predict.predictor import Predictor
from report.page import TEMPLATES as REPORT
from texts.words import SPECIAL
from tools.page.asked import MOST_BYTES, MOST_PICTURES, MOST_TEXTS
from tools.page.server import Part

TEMPLATES = Path(__file__).parent / "templates"


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
        wording=task.wording,
        most={"bytes": MOST_BYTES, "pictures": MOST_PICTURES, "texts": MOST_TEXTS},
    )
    style = (REPORT / "style.css").read_bytes() + (TEMPLATES / "page.css").read_bytes()
    return {
        "/": Part("text/html; charset=utf-8", page.encode()),
        "/style.css": Part("text/css; charset=utf-8", style),
        "/script.js": Part("text/javascript; charset=utf-8", (TEMPLATES / "page.js").read_bytes()),
        "/icon.svg": Part("image/svg+xml", (TEMPLATES / "icon.svg").read_bytes()),
    }
