"""The figure of a genotype as a file: SVG, PNG, PDF or DOT."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import graphviz

from common.errors import UserError
from common.files import atomic_write
from genotypes.figure import figure
from genotypes.genotype import Genotype

ENDINGS = (".svg", ".png", ".pdf", ".dot")
PNG_DPI = 200


def draw(genotype: Genotype, path: str | os.PathLike[str], kinds: Mapping[str, str], title: str | None = None) -> Path:
    """Draw a genotype.

    Args:
        genotype: what to draw; probabilities and cost are shown where they are known.
        path: the file to write; its ending says in which format.
        kinds: what each operation is, such as ``{"self_att_64": "self attention"}``.
        title: by default the task's name.

    Returns:
        ``path``.

    Raises:
        UserError: the ending or an operation is unknown, or the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"cannot draw to {path}; the name must end in one of {', '.join(ENDINGS)}")
    drawn = figure(genotype, kinds, title)
    if ending == ".png":
        drawn.graph_attr["dpi"] = str(PNG_DPI)
    content = drawn.source.encode() if ending == ".dot" else _render(drawn, ending.removeprefix("."))
    with atomic_write(path, "wb") as file:
        file.write(content)
    return path


def svg(genotype: Genotype, kinds: Mapping[str, str], title: str | None = None) -> str:
    """The figure as the text of an SVG file; as ``draw``."""
    return _render(figure(genotype, kinds, title), "svg").decode()


def _render(drawn: graphviz.Digraph, format: str) -> bytes:
    try:
        # Imported late: reading and writing genotypes must not depend on a compiled library.
        import pygraphviz
    except ImportError as error:
        if not shutil.which("dot"):
            raise UserError("drawing needs pygraphviz (pip install pygraphviz) or Graphviz' program dot") from error
        return drawn.pipe(format=format, engine="neato", neato_no_op=2)
    # The engine that comes with pygraphviz is preferred to an installed dot: figures then look alike everywhere.
    with _without_fontconfig_warnings():
        return pygraphviz.AGraph(string=drawn.source).draw(format=format, prog="nop2")


@contextlib.contextmanager
def _without_fontconfig_warnings() -> Iterator[None]:
    """Keep the C library's harmless remarks about the system's font settings off the terminal, and nothing else."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(keepends=True):
                if not line.startswith("Fontconfig "):
                    sys.stderr.write(line)
