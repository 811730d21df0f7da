"""Run a run again and say what came out the same: ``python -m tools.reproduce --run logs/log/<version>``"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from common.arguments import Parser, home_path
from common.errors import UserError, run
from common.yaml_files import read_yaml
from engine import about, checkpoint
from engine.run import RunFiles, RunOptions
from genotypes.genotype import load

PROJECT = Path(__file__).parents[1]
OF_THE_RUN = ("version", "resume", "logs", "threads")  # what is said anew
WHY = ("data", "commit", "versions", "hardware", "precision", "processes", "threads")


def main(argv: Sequence[str] | None = None) -> int:
    """Run again under another name, compare, say it; 1 if anything differs."""
    folder = _options(argv).run
    config, before = _known(folder)
    stage, logs, again = before["command"][2], folder.parent.parent, _free(folder)
    print(f"running {folder.name} again as {again}", flush=True)
    flags = [*settings(config), f"--version={again}", f"--logs={logs}", f"--threads={before['threads']}"]
    if status := run_again([stage, *flags]):
        raise UserError(f"{again} did not come to its end (status {status}); what it said stands above")
    lines = [*differences(config, logs, folder.name, again)]
    for line in lines or ["every number, genotype and weight is equal, bit for bit"]:
        print(line)
    if lines:
        print(why(before, about.goes(folder.with_name(again))[-1]))
    elsewhere = "" if logs == Path(RunOptions.logs) else f" ARGS={shlex.quote(f'logs={logs}')}"
    print(f"next: make report RUN={folder.name},{again}{elsewhere}")
    return 1 if lines else 0


def run_again(command: Sequence[str]) -> int:
    """Run a stage as a program; its exit status."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, "-m", *command], env=environment).returncode


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m tools.reproduce", description="Run a run again and compare what comes out.")
    parser.add_argument("--run", type=home_path, required=True, help="folder of the run's log: logs/log/<version>")
    return parser.parse_args(argv)


def _known(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The run's configuration, and what it was last gone on with."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is no log of a run; give RUN=logs/log/<version>")
    config, goes = read_yaml(folder / "config.yaml", "a run's configuration"), about.goes(folder)
    if not goes:
        raise UserError(f"{folder} was begun by an earlier state of this program, which did not note what it ran with")
    if goes[-1]["threads"] is None:
        raise UserError(f"{folder} has not come to its end; go on with RESUME=1 VERSION={folder.name} first")
    return config, goes[-1]


def _free(folder: Path) -> str:
    names = itertools.chain([f"{folder.name}-again"], (f"{folder.name}-again-{n}" for n in itertools.count(2)))
    return next(name for name in names if not folder.with_name(name).exists())


def settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A resolved configuration as a command line, less what names the run."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from settings(value, f"{prefix}{key}.")
        elif prefix or (value is not None and key not in OF_THE_RUN):
            yield f"--{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}"


def differences(config: Mapping[str, Any], logs: Path, first: str, second: str) -> Iterator[str]:
    """What differs between two runs of one configuration, a line for each kind of result."""
    yield from _numbers(*(_metrics(logs / "log" / name / "metrics.jsonl") for name in (first, second)))
    if "genotypes" in config:
        paths = [Path(config["genotypes"]) / config["task"] / f"{name}.json" for name in (first, second)]
        one, other = (load(str(path)) for path in paths)
        if one != other:
            yield f"genotype: {paths[0]} and {paths[1]} hold other operations"
        elif one.probabilities != other.probabilities:
            yield "genotype: the same operations, with other probabilities"
    elif config["run"] == "train":
        yield from _weights(*(RunFiles.best_of(logs, name) for name in (first, second)))


def _metrics(path: Path) -> dict[tuple[int, str], float]:
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {(each["epoch"], name): value for each in records for name, value in each.items() if name != "epoch"}


def _numbers(first: Mapping[tuple[int, str], float], second: Mapping[tuple[int, str], float]) -> Iterator[str]:
    keys = list(dict.fromkeys([*first, *second]))
    other = [key for key in keys if repr(first.get(key)) != repr(second.get(key))]
    if other:
        epoch, name = other[0]
        yield (
            f"numbers: {len(other)} of {len(keys)} differ, first {name} of epoch {epoch}: "
            f"{first.get(other[0])}, again {second.get(other[0])}"
        )
        last = {name: key for key in keys for name in [key[1]]}
        for name, key in last.items():
            if key in other and not name.startswith("train/"):
                yield f"  {name} at the end: {first.get(key)}, again {second.get(key)}"


def _weights(first: Path, second: Path) -> Iterator[str]:
    one, other = (checkpoint.load(path)["model"] for path in (first, second))
    differing = [name for name in one if name not in other or not torch.equal(one[name], other[name])]
    if differing:
        yield f"weights: {len(differing)} of {len(one)} tensors of {first} and {second} differ, first {differing[0]}"


def why(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What was otherwise, which may be the reason."""
    said = [f"{key} ({before[key]}, now {now[key]})" for key in WHY if before[key] != now[key]]
    if said:
        return f"may be because of {'; '.join(said)}"
    return "nothing that was noted is otherwise: the code may have changes that are not committed"


if __name__ == "__main__":
    run(main)
