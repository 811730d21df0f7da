"""Typed configuration: dataclass defaults, the task's YAML, its profile, a user's YAML, the command line.

Whatever cannot be understood is refused by name, with the nearest name that can.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import types
import typing
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt

from common.arguments import expanded, home_path
from common.errors import UserError, brief, cut, did_you_mean
from common.yaml_files import parse_yaml, read_yaml

SECTIONS = ("data", "model", "space", "search", "retrain")  # what a YAML may hold; a stage reads those it knows
WANTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    PositiveInt: "a whole number above 0",
    NonNegativeInt: "a whole number, 0 or more",
    PositiveFloat: "a number above 0",
    OpenUnitInterval: "a number between 0 and 1",
    ClosedUnitInterval: "a number from 0 to 1",
    list[int]: "a list of whole numbers, such as [10,12]",
    list[str]: "a list of names, such as [self_att_64,feed_forward]",
}
MAKE = {  # keys with a make variable of their own
    "data.root": "DATA",
    "data.dataset": "DATASET",
    "data.feat": "FEAT",
    "data.split": "SPLIT",
    "profile": "PROFILE",
}
DEMO_ROOT = "data/demo"  # where the built-in demo data lie
DEMO_MARK = "demo.json"  # the file in a data root that says it is the built-in demo data


class Setting(NamedTuple):
    """One key with its value as text, a leading ~ expanded, and where the user wrote it."""

    key: str
    value: str
    where: str


class Config(SimpleNamespace):
    """``task`` (the class), ``top`` (options of the run), ``written`` (what the command line said, as Settings),
    ``sources`` (where settings came from, the later of two wins) and one attribute per section, each a dataclass.
    """

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain containers, ready for YAML."""
        parts = {key: dataclasses.asdict(value) for key, value in vars(self).items() if dataclasses.is_dataclass(value)}
        return {"task": self.task.name, **parts.pop("top"), **parts}

    def make_arguments(
        self, sections: tuple[str, ...] = ("data.", "model."), without: typing.Container[str] = ()
    ) -> str:
        """What another make command has to say to meet the same data and sizes, such as `` DATA=root``, or nothing.

        Args:
            sections: beginnings of the keys that the command knows.
            without: make variables that mean something else to it.
        """
        made = {key: name for key, name in MAKE.items() if name not in without}
        said = {s.key: s.value for s in self.written if s.key in made or s.key.startswith(sections)}
        words = [f"{made[key]}={shlex.quote(value)}" for key, value in said.items() if key in made]
        if more := [f"{key}={value}" for key, value in said.items() if key not in made]:
            words.append(f"ARGS={shlex.quote(' '.join(more))}")
        return "".join(f" {word}" for word in words)


def load_config(
    stage: str,
    argv: Sequence[str] | None,
    *,
    find: Callable[[str], tuple[type, Path]],
    top: type,
    sections: Mapping[str, type],
    usual: str | None = None,
    task: str | None = None,
) -> Config:
    """Read the configuration of a run.

    Args:
        stage: name of the command, for its help.
        argv: the command line without the program's name; None for the real one.
        find: from a task's name to its class, with a dataclass ``Data``, and its YAML file.
        top: dataclass of the options that stand without a section.
        sections: dataclass of every section besides ``data``.
        usual: a task to explain keys with where none is named.
        task: the task where the command line does not name one.

    Raises:
        UserError: a key is unknown, a value is of the wrong type, a file is missing or malformed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    helping = asks_for_help(words)
    name = peek(words, "task") or task or (usual if helping else None)
    if name is None:
        raise UserError(f"no task is named; say for example TASK={usual or '<name>'} (without make: --task ...)")
    cls, file = find(name)
    # A stage may have its own idea of what it shares with the other, such as search.data.hard_pool.
    own_idea = tuple(f"{stage}.{section}." for section in ("data", *sections))

    def shared(setting: Setting) -> Setting:
        return setting._replace(key=setting.key[len(stage) + 1 :]) if setting.key.startswith(own_idea) else setting

    written = [shared(s) for s in _read_line(words)]
    own = peek(words, "config")
    layers = [[*_flatten(_read_yaml(Path(own)), own)]] if own else []
    roots = [s.value for s in (*(s for layer in layers for s in layer), *written) if s.key == "data.root"]
    layers = [*_task_layers(file, peek(words, "profile"), roots[-1] if roots else None), *layers]
    # Of one file what is for this stage alone wins, wherever it stands in it.
    layers = [shared(s) for layer in layers for s in sorted(layer, key=lambda s: s.key.startswith(own_idea))]
    known = {"task": str, "profile": str, "config": str, **dict(_types(top)), **dict(_types(cls.Data, "data."))}
    known |= {key: kind for section, kind in sections.items() for key, kind in _types(kind, f"{section}.")}
    settings = [s for s in layers if s.key.partition(".")[0] in {"data", *sections}]
    for setting in (*settings, *written):
        if setting.key not in known:
            raise UserError(f"{setting.where}: {_unknown(setting.key, known)}")
    parser = _parser(stage, top, {"data": cls.Data, **sections}, dict.fromkeys(s.where for s in settings))
    if helping:
        parser.set_defaults({s.key: parse_yaml(s.value) for s in settings})
        parser.parse_args(["--help"])
    parsed = parser.instantiate_classes(_parse(parser, [*settings, *written], known))
    options = top(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(top)})
    made = {key: _plain(getattr(parsed, key)) for key in ("data", *sections)}
    sources = tuple(dict.fromkeys(s.where.replace(str(file), file.name) for s in (*settings, *written)))
    return Config(task=cls, top=_plain(options), written=written, sources=sources, **made)


def _unknown(key: str, known: Iterable[str]) -> str:
    below = [name for name in known if name.startswith(f"{key}.")]
    if below:
        return f"{key} is no value but a section; it needs {', '.join(below)}"
    if key in MAKE:
        return f"this task has no {MAKE[key]} ({key}); leave it out"
    return f"there is no key {brief(key)}{did_you_mean(key, known)}"


def asks_for_help(argv: Sequence[str] | None) -> bool:
    """Whether the command line asks for help."""
    return bool({"-h", "--help"} & set(sys.argv[1:] if argv is None else argv))


def peek(argv: Sequence[str] | None, key: str) -> str | None:
    """The value of one key on the command line, before there is a parser for it."""
    found = [setting.value for setting in _read_line(sys.argv[1:] if argv is None else argv) if setting.key == key]
    return found[-1] if found else None


def _parser(stage: str, top: type, sections: Mapping[str, type], sources: Iterable[str]) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"python -m {stage}",
        description=(
            "Keys of configs/<task>.yaml can be given as --section.key=value; the later of two wins. "
            f"The defaults shown come from {', then '.join(sources)}. --profile=small shows the published values."
        ),
        exit_on_error=False,
    )
    parser.add_argument("--task", type=str, help="name of a task, or the dotted name of a module of your own")
    parser.add_argument("--profile", type=str, help="named overlays of the task's YAML, separated by commas")
    parser.add_argument("--config", type=str, help="a YAML of your own over the task's")
    parser.add_class_arguments(top)
    for name, cls in sections.items():
        parser.add_class_arguments(cls, name)
    return parser


def _read_line(words: Sequence[str]) -> Iterator[Setting]:
    rest = iter(words)
    for word in rest:
        if word in ("-h", "--help"):
            continue
        if not word.startswith("--"):
            raise UserError(f"command line: {brief(word)} is not understood; settings look like --search.epochs=5")
        key, equals, value = word[2:].partition("=")
        if not equals:
            value = next(rest, None)
            if value is None or (value.startswith("--") and len(value) > 2):
                raise UserError(f"command line: --{cut(key)} has no value; write --{cut(key)}=value")
        yield Setting(key, expanded(value), "command line")


def _task_layers(path: Path, profile: str | None, root: str | None) -> Iterator[list[Setting]]:
    """The settings of a task's YAML and its profiles; by default the profile demo where the data root is the demo."""
    tree = _read_yaml(path)
    profiles = tree.pop("profiles", None) or {}
    yield [*_flatten(tree, str(path))]
    if profile is None:
        root = root or (tree.get("data") or {}).get("root")
        is_demo = (
            root is not None
            and "demo" in profiles
            and (root == DEMO_ROOT or os.path.exists(home_path(root) / DEMO_MARK))
        )
        profile = "demo" if is_demo else ""
    for name in filter(None, profile.split(",")):
        if name not in profiles:
            known = f", it has {', '.join(profiles)}{did_you_mean(name, profiles)}" if profiles else " and no other"
            raise UserError(f"{path} has no profile {brief(name)}{known}")
        yield [*_flatten(profiles[name] or {}, f"{path}, profile {name}")]


def _read_yaml(path: Path) -> dict[str, Any]:
    tree = read_yaml(path, "a configuration") or {}
    if not isinstance(tree, dict) or not all(isinstance(part, dict | None) for part in tree.values()):
        raise UserError(f"{path} must hold sections with keys and values: {', '.join(SECTIONS)}")
    return tree


def _flatten(tree: Any, where: str) -> Iterator[Setting]:
    for section, keys in tree.items():
        if section not in SECTIONS:
            raise UserError(f"{where}: there is no section {brief(str(section))}{did_you_mean(str(section), SECTIONS)}")
        if not isinstance(keys, dict | None):
            raise UserError(f"{where}: section {section} must hold keys and values, not {brief(keys)}")
        yield from _walk(section, keys or {}, where)


def _walk(key: str, value: Any, where: str) -> Iterator[Setting]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _walk(f"{key}.{name}", below, where)
    else:
        yield Setting(key, expanded(value) if isinstance(value, str) else json.dumps(value), where)


def _types(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a dataclass and of those inside it, with its type."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from _types(kind, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, kind


def _plain(section: Any) -> Any:
    """The same dataclass with numbers of the plain types, which YAML and safe checkpoints can hold."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            _plain(value)
        setattr(section, field.name, [*map(_plain_number, value)] if isinstance(value, list) else _plain_number(value))
    return section


def _plain_number(value: Any) -> Any:
    plain = next((kind for kind in (int, float) if isinstance(value, kind) and not isinstance(value, bool)), None)
    return value if plain is None else plain(value)


def _parse(parser: ArgumentParser, settings: Sequence[Setting], types: Mapping[str, Any]) -> Any:
    def parse(some: Sequence[Setting]) -> Any:
        return parser.parse_args([f"--{s.key}={s.value}" for s in some])

    try:
        return parse(settings)
    except ArgumentError as error:
        for setting in settings:
            try:
                parse([setting])
            except ArgumentError as culprit:
                kind = types[setting.key]
                wanted = WANTED.get(kind) or _wanted(kind)
                place = f"{setting.where}: {setting.key}={cut(setting.value)}"
                raise UserError(f"{place} should be {wanted}") from culprit
        raise UserError(f"command line: {error}") from error


def _wanted(kind: Any) -> str:
    """What a value of a type is to people: a list's by what is in it, an optional one's by what else it may be."""
    args = typing.get_args(kind)
    inside = [each for each in args if each is not types.NoneType]
    if typing.get_origin(kind) is list:
        return f"a list, such as [10,12], of which each is {_wanted(*inside)}"
    if inside:
        return " or ".join(map(_wanted, inside)) + (", or null" if len(inside) < len(args) else "")
    return kind if isinstance(kind, str) else WANTED.get(kind) or kind.__name__
