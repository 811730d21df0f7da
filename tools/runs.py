"""List runs, or remove one after asking: ``python -m tools.runs``, ``python -m tools.runs --rm <version>``"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from common.arguments import Parser, home_path
from common.errors import UserError, did_you_mean, run
from common.lock import held
from common.progress import track
from outcome.details import DETAILS
from report.charts import number
from report.facts import Run, run_of

HEAD = ("run", "task", "stage", "state", "best score", "time")
RESULTS = ("metrics_", "result_run_", DETAILS)  # begin the names of what a run's network scored and predicted


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line; list, or remove."""
    parser = Parser(prog="python -m tools.runs", description="List the runs under a logs folder, or remove one.")
    parser.add_argument("--logs", type=home_path, default=Path("logs"), help="where runs write")
    parser.add_argument("--rm", help="the run to remove, after asking; genotypes are left alone")
    given = parser.parse_args(argv)
    if given.rm is not None:
        remove(given.logs, given.rm)
        return
    names = versions(given.logs)
    if not names:
        raise UserError(f"there are no runs under {given.logs} yet; make search TASK=itm begins one")
    Console(highlight=False).print(listed([row(given.logs / "log" / name) for name in track(names, "reading runs")]))


def listed(rows: Iterable[tuple[str, ...]]) -> Table:
    """The rows as a table without lines, of which a usual one is no wider than 80 columns; only names are ever cut."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for head in HEAD:
        table.add_column(head, no_wrap=head not in ("run", "task"), overflow="fold")
    for each in rows:
        table.add_row(*each)
    return table


def versions(logs: Path) -> list[str]:
    """Names of the runs, the one begun first at the beginning."""
    folders = [path for path in (logs / "log").glob("*") if path.is_dir()]
    return [path.name for path in sorted(folders, key=lambda path: (_began(path), path.name))]


def _began(folder: Path) -> float:
    """When the oldest file of a run was written, which TensorBoard's is."""
    return min((path.stat().st_mtime for path in folder.glob("events.*")), default=folder.stat().st_mtime)


def row(folder: Path) -> tuple[str, ...]:
    """A run's row of the table; one whose files are damaged says so and no more."""
    try:
        found = run_of(folder)
    except UserError:
        return folder.name, "", "", "damaged", "", ""
    return folder.name, found.task, found.stage, found.state, _best(found), _time(sum(found.seconds.values()))


def _best(found: Run) -> str:
    """The score that counts: in the end, or the best of validation so far."""
    if found.best:
        return f"{found.best.metric} {number(found.best.value)} ({found.best.split})"
    series = found.series.get(f"val/{found.objective}")
    return f"{found.objective} {number(max(series.values))} (val)" if series else ""


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds else ""
    return f"{seconds / 3600:.1f} h" if seconds >= 3570 else f"{seconds / 60:.0f} min"


def remove(logs: Path, version: str) -> None:
    """Remove a run's log, checkpoints and results, once whoever asked says yes.

    Raises:
        UserError: there is no such run, or a process works on it.
    """
    names, folder = versions(logs), logs / "log" / version
    if version not in names:
        raise UserError(f"there is no run {version!r} under {logs}{did_you_mean(version, names)}; make runs lists them")
    with held(folder / ".lock", f"the run {version!r}", "name another RM", print):
        doomed = [path for path in files_of(logs, version, names) if path.exists()]
        for path in doomed:
            print(f"  {path}")
        print(f"{len(doomed)} files and folders, {_bytes(doomed) / 1e6:,.1f} MB; genotypes are left alone")
        with contextlib.suppress(EOFError):
            if input(f"remove the run {version}? [y/N] ").strip().lower() in ("y", "yes"):
                for path in doomed:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                print("removed")
                return
        print("nothing was removed")


def _bytes(paths: Iterable[Path]) -> int:
    return sum(file.stat().st_size for path in paths for file in (path, *path.rglob("*")) if file.is_file())


def files_of(logs: Path, version: str, names: Sequence[str]) -> Iterator[Path]:
    """Where a run may have written; nothing that another run's name claims.

    Args:
        logs: where runs write.
        version: the run's name.
        names: those of all runs.
    """
    yield from (logs / "log" / version, logs / "ckpts" / version, logs / "ckpts" / "arch" / f"{version}.json")
    if f"{version}.alphas" not in names:
        yield logs / "ckpts" / "arch" / f"{version}.alphas.json"
    for begin in RESULTS:
        for path in sorted((logs / "ckpts" / "result_test").glob(f"{begin}*.json")):
            rest = path.stem.removeprefix(begin)
            owners = [name for name in names if rest == name or rest.startswith(f"{name}_")]
            if max(owners, key=len, default=None) == version:
                yield path


if __name__ == "__main__":
    run(main)
