"""Command lines: a leading ~ of a path is the user's home wherever one may stand, and a mistake is one sentence."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

from common.errors import UserError

# Flags of programs that the Makefile has a variable for, of the same name in capitals.
VARIABLES = (
    *("bs", "boxes", "ckpt", "count", "data", "dataset", "extractor", "feat", "features", "geno", "gpu", "json", "npz"),
    *("nw", "out", "picture", "pictures", "port", "rm", "run", "seed", "skip-bad", "split", "table", "task", "text"),
)


def expanded(text: str) -> str:
    """The text with a leading ``~`` or ``~/`` as the user's home; shells do that only where a word begins with it.

    ``~name`` stays: it is a folder's own name more often than another user's home.
    """
    return os.path.expanduser(text) if text == "~" or text.startswith("~/") else text


def home_path(text: str) -> Path:
    """A path as the user wrote it; the ``type`` of an argument."""
    return Path(expanded(text))


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are a user's mistakes like all others."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UserError: always, with what argparse found wrong.
        """
        if "MAKELEVEL" in os.environ:
            raise UserError(f"command line: {_FLAG.sub(_as_variable, message)}; make help lists what there is")
        raise UserError(f"command line: {message}; --help lists what there is")


_FLAG = re.compile(r"(?:argument )?--([a-z][a-z-]*)")


def _as_variable(flag: re.Match[str]) -> str:
    """A flag as whoever typed make knows it."""
    return flag[1].upper().replace("-", "_") if flag[1] in VARIABLES else flag[0]
