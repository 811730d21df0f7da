"""Measure ours against the plain implementation: ``make bench``, or ``python -m benchmarks.run --quick``."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.evaluation import EVALUATION, LOADER, SCORING
from benchmarks.measure import Planned, Result, TooLong, compare, matmul_peak
from benchmarks.memory import memory_rows
from benchmarks.steps import BATCH, DEMO_ROWS, LAPTOP_ROWS, RETRAIN, SEARCH
from common import processor
from common.arguments import Parser, home_path
from common.errors import run
from engine.runtime import PRECISIONS, Runtime, start

SAME = 1e-4  # relative difference of losses that fp32 may leave
OUT = Path("logs/bench")
MEMORY = "memory"
GROUPS: dict[str, Sequence[Planned]] = {
    "search": SEARCH,
    "retrain": RETRAIN,
    "laptop": LAPTOP_ROWS,
    "demo": DEMO_ROWS,
    "scoring": SCORING,
    "evaluation": EVALUATION,
    "loader": LOADER,
    MEMORY: [],
}
HEAD = (
    f"{'':34} {'ours':>9} {'plain':>9}  {'ratio':>6} {'wanted':>6} {'FLOPs':>6}"
    f"  {'MB':>6} {'plain':>6}  {'peak':>5} {'plain':>5}"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print a table and write it as JSON."""
    options = _options(argv)
    runtime = start("cpu" if options.device == "cpu" else "0", 0, options.precision)
    # Each side is held against what the machine does in its own precision; the plain one is fp32.
    dtypes = {"ours": runtime.dtype, "textbook": torch.float32}
    peaks = {side: matmul_peak(runtime.device, dtype) for side, dtype in dtypes.items()}
    facts = _facts(runtime, peaks, options)
    print(f"{facts['machine']}, {facts['threads']} threads, torch {facts['torch']}, {facts['precision']}")
    reached = ", ".join(f"{str(dtypes[side])[6:]} {peak / 1e9:.0f}" for side, peak in peaks.items())
    print(f"GFLOP/s of large matrix products (ours, plain): {reached}; load {facts['load']}\n\n{HEAD}")
    with tempfile.TemporaryDirectory() as folder:
        deadline = time.monotonic() + 60 * options.minutes
        results, skipped = measure(options, Path(folder), runtime, peaks, deadline)
        memory = {}
        if MEMORY in options.rows and time.monotonic() < deadline:
            memory = memory_rows(Path(folder), options.quick)
        elif MEMORY in options.rows:
            skipped.append(MEMORY)
            print(f"{MEMORY}: skipped, the time is over")
    for name, value in memory.items():
        print(f"{name}: {value:.0f} MB anonymous at the peak (wanted: under 4000)")
    _write(options.out, {**facts, "skipped": skipped}, results, memory)
    wrong = [result.name for result in results if not result.difference < SAME]
    if wrong:
        raise SystemExit(f"ours and the plain implementation differ in: {', '.join(wrong)}")


def measure(
    options: argparse.Namespace, folder: Path, runtime: Runtime, peaks: Mapping[str, float], deadline: float
) -> tuple[list[Result], list[str]]:
    """The rows asked for as far as the time reaches, and the names of those it did not reach."""
    results, skipped = [], []
    for planned in chosen(options.rows):
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise TooLong("the time is over")
            row = planned.make(folder, runtime, options.batch)
            results.append(compare(planned.name, row, runtime.device, options.turns, peaks, left))
            print(line(results[-1]), flush=True)
        except TooLong as error:
            skipped.append(planned.name)
            print(f"{planned.name}: skipped, {error}", flush=True)
        row = None  # a network and its data, before the next ones are made
        gc.collect()
    return results, skipped


def chosen(names: Sequence[str]) -> Iterator[Planned]:
    """Rows by their own names or their group's."""
    for group, rows in GROUPS.items():
        yield from (row for row in rows if group in names or row.name in names)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--rows", default=",".join(GROUPS), help=f"comma-separated groups ({', '.join(GROUPS)}) or rows"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="rows that do not fit into them are skipped")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of ours; plain is fp32")
    parser.add_argument("--quick", action="store_true", help="batch 8, one turn: whether it runs, not how fast")
    parser.add_argument("--turns", type=int, default=5, help="timings of each side, taken alternately")
    parser.add_argument("--out", type=home_path, default=OUT, help="folder of the JSON")
    options = parser.parse_args(argv)
    options.rows = options.rows.split(",")
    names = [*GROUPS, *(row.name for rows in GROUPS.values() for row in rows)]
    unknown = [name for name in options.rows if name not in names]
    if unknown:
        parser.error(f"no rows {', '.join(unknown)}; choose among {', '.join(names)}")
    options.batch, options.turns = (8, 1) if options.quick else (BATCH, options.turns)
    return options


def _facts(runtime: Runtime, peaks: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    cuda = runtime.device.type == "cuda"
    return {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "machine": torch.cuda.get_device_name() if cuda else processor.name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": runtime.precision,
        "peak_gflops": {side: peak / 1e9 for side, peak in peaks.items()},
        "load": Path("/proc/loadavg").read_text().split()[0],
        "batch": options.batch,
        "turns": options.turns,
    }


def line(result: Result) -> str:
    """A line of the table."""
    ours, plain = result.ours, result.textbook
    shares = [f"{100 * cost.peak_share:4.0f}%" if cost.peak_share else "    -" for cost in (ours, plain)]
    flops = f"{result.flops_ratio:5.2f}x" if result.flops_ratio else f"{'-':>6}"
    differs = "" if result.difference < SAME else f"  DIFFERS by {result.difference:.1e}"
    return (
        f"{result.name + ', ' + result.unit + '/s':34} {ours.rate:9.3g} {plain.rate:9.3g}  {result.ratio:5.2f}x"
        f" {result.target:5g}x {flops}  {ours.memory:6.0f} {plain.memory:6.0f}  {' '.join(shares)}{differs}"
    )


def _write(folder: Path, facts: dict[str, Any], results: list[Result], memory: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{facts['date'].replace(':', '')}.json"
    rows = [dataclasses.asdict(result) for result in results]
    path.write_text(json.dumps({**facts, "rows": rows, "memory_mb": memory}, indent=1))
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    run(main)
