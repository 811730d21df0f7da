"""YAML as a file of settings needs it: plain values in plain containers, and whatever else is refused by its place."""

from __future__ import annotations

import os
from typing import Any

import yaml

from common.errors import UserError
from common.files import read_text

MOST_CHARACTERS = 200_000  # of a file, which take some seconds
DATE = "tag:yaml.org,2002:timestamp"


def read_yaml(path: str | os.PathLike[str], what: str) -> Any:
    """Read a YAML file; dates are the texts they look like.

    Args:
        path: the file.
        what: what the file should have been, for an error to say.

    Raises:
        UserError: it cannot be read, is malformed, too long or nested too deeply, or uses anchors, aliases or tags.
    """
    text = read_text(path, what)
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{path} is longer than {MOST_CHARACTERS:,} characters; it should be {what}")
    try:
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path} is not valid YAML{place} ({error.problem}); it should be {what}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML ({_why(error)}); it should be {what}") from error


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: as ``read_yaml`` puts into words.
    """
    return yaml.load(text, _Plain)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1} cannot stand in a text"
    return "it holds a number of too many digits"


class _Plain(yaml.SafeLoader):
    """A few hundred bytes of aliases can stand for billions of values or for themselves, and a tag can ask for any
    type, so neither is taken.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the base class
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != DATE]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        if event.anchor is not None:  # an alias is an event that holds nothing but the name of its anchor
            why = "anchors and aliases are not read, write the value out wherever it is meant"
            raise yaml.composer.ComposerError(None, None, why, event.start_mark)
        if getattr(event, "tag", None) is not None:
            why = f"tags such as {event.tag[:40]!r} are not read, write the plain value"
            raise yaml.composer.ComposerError(None, None, why, event.start_mark)
        return super().compose_node(parent, index)
