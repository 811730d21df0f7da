"""Command lines: a leading ~ of a path is the user's home wherever one may stand, and a mistake is one sentence."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from common.errors import UserError


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
        raise UserError(f"command line: {message}; --help lists what there is")
