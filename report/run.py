"""Write the report of a run, or of several beside each other: ``python -m report --run a,b,c``"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser, home_path
from common.errors import UserError
from engine.about import NEXT
from report.facts import Run, run_of
from report.page import NAME, of_run, of_several, of_study, runs_in, write
from report.studies import FILE, studies_of, study_of

MOST_LETTERS = 100  # of the name of a file


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and the runs, write the page and say where it is."""
    parser = Parser(prog="python -m report", description="One page that tells a run, or several beside each other.")
    parser.add_argument("--run", required=True, help="names of runs, or folders of their logs, with commas")
    parser.add_argument("--logs", type=home_path, default=Path("logs"), help="where runs write")
    parser.add_argument("--out", type=home_path, help="the file; by default beside the run's log, or in logs/report/")
    given = parser.parse_args(argv)
    names = [name.strip() for name in given.run.split(",") if name.strip()]
    if not names:
        raise UserError("RUN names no run; make runs lists what there is")
    folders = list(dict.fromkeys(folder_of(name, given.logs) for name in names))
    if len(folders) == 1 and (folders[0] / FILE).exists():
        page = of_study(study_of(folders[0] / FILE), runs_in(folders[0]))
        print(f"report  {write(page, given.out or folders[0] / NAME)}")
        print("next: make runs, which lists what can be laid beside each other: make report RUN=a,b,c")
        return
    runs = [run_of(folder) for folder in folders]
    if len(runs) == 1:
        path = write(of_run(runs[0]), given.out or folders[0] / NAME)
    else:
        studies = [study for logs in _roots(runs) for study in studies_of(logs, {run.task for run in runs})]
        path = write(of_several(runs, studies), given.out or given.logs / "report" / f"{_together(runs)}.html")
    print(f"report  {path}")
    print(f"next: {_next(runs)}")


def _next(runs: Sequence[Run]) -> str:
    """What a run itself said in its end, or how it goes on; of several what their architectures cost."""
    first = runs[0]
    if len(runs) > 1:
        return f"make pareto TASK={first.task}"
    said = first.about.get(NEXT)
    if isinstance(said, str) and first.state == "done":
        return said.removeprefix("next: ")
    return f"the same command with RESUME=1 VERSION={first.version}" if first.state == "stopped" else "make runs"


def folder_of(name: str, logs: Path) -> Path:
    """The folder of a run's log, or of a study of evidence where no run has its name, given that name or the folder."""
    if "/" in name:
        return home_path(name)
    study = logs / "evidence" / name
    return study if (study / FILE).exists() and not (logs / "log" / name).is_dir() else logs / "log" / name


def _roots(runs: Sequence[Run]) -> list[Path]:
    return list(dict.fromkeys(run.folder.parents[1] for run in runs))


def _together(runs: Sequence[Run]) -> str:
    """A name for the page of several runs that those of others do not have."""
    name = "+".join(run.version for run in runs)
    return name if len(name) <= MOST_LETTERS else f"{name[:80]}+{hashlib.sha256(name.encode()).hexdigest()[:10]}"
