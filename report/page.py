"""The page itself: facts and charts put into the templates, one HTML file that asks for nothing outside of it"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import shlex
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.errors import UserError, why
from common.files import atomic_write
from genotypes.drawing import svg
from genotypes.genotype import Genotype
from outcome.details import Shown
from report import charts, curves, plots, scores, summary
from report.belief import reasons
from report.checklist import answers, fill_in
from report.comparison import compare
from report.facts import Run, flat, run_of
from report.studies import FILE, Study, study_of
from space.ops import OPS

NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
LARGEST = 1_000_000  # bytes of a page


def leave(folder: Path) -> str:
    """Write a run's report beside its log, whatever happens: no run may fail for the sake of its report.

    Args:
        folder: logs/log/<version>.

    Returns:
        Where it is, or why there is none.
    """
    return _left(lambda: of_run(run_of(folder)), folder, folder.name)


def leave_study(folder: Path) -> str:
    """Write a study's report into its folder, whatever happens.

    Args:
        folder: logs/evidence/<version>.

    Returns:
        Where it is, or why there is none.
    """
    return _left(lambda: of_study(study_of(folder / FILE), runs_in(folder)), folder, str(folder))


def _left(page: Callable[[], str], folder: Path, named: str) -> str:
    try:
        return str(write(page(), folder / NAME))
    except Exception as error:
        return f"none: {why(error)} (make report RUN={named} tries again)"


def runs_in(folder: Path) -> list[Run]:
    """The runs whose logs stand under a folder, by name; damaged ones are left out."""
    found = []
    for log in sorted(path for path in (folder / "log").glob("*") if path.is_dir()):
        with contextlib.suppress(UserError):
            found.append(run_of(log))
    return found


def write(html: str, path: Path) -> Path:
    """Write a page, whole or not at all.

    Raises:
        UserError: it cannot be written, or has grown too large to be read.
    """
    content = html.encode()
    if len(content) > LARGEST:
        raise UserError(f"the report would take {len(content):,} bytes, more than {LARGEST:,}; name fewer runs")
    with atomic_write(path, "wb") as file:
        file.write(content)
    return path


def of_run(run: Run) -> str:
    """The page of one run."""
    rows = sum(len(block.candidates) for block in run.blocks)
    album = plots.Album()
    shown = run.blocks[: charts.MOST_CELLS // 2]
    told = {one.split for one in run.details}
    figures = [(group, [(curves.label(n), run.series[n]) for n in group.names]) for group in curves.groups([run])]
    return _render(
        "run.html.jinja",
        title=f"{run.version}: {run.stage} for {run.title}",
        run=run,
        figure=_figure(run.genotype, "g"),
        heats=[(block, charts.heat(block, charts.MOST_CELLS * len(block.candidates) // rows)) for block in shown],
        kinds=curves.kinds(run),
        figures=[
            (group, drawn, charts.lines(group.title, drawn, curves.guessing(run, group))) for group, drawn in figures
        ],
        scores=scores.table(scores.foremost(run)),
        details=[(one, [_samples(album, shown) for shown in (one.best, one.worst)]) for one in run.details],
        untold=list(dict.fromkeys(score.split for score in run.scores if score.split not in told)),
        album=album,
        reasons=reasons(run),
        names=summary.names_of([run]),
        reach=max((max(abs(s.low), abs(s.high)) for block in run.blocks for s in block.swaps), default=1.0) or 1.0,
        checklist=fill_in([run], []),
    )


def _samples(album: plots.Album, shown: Sequence[Shown]) -> list[tuple[Shown, Markup]]:
    return [(one, album.sample(one)) for one in shown]


def of_study(study: Study, runs: Sequence[Run]) -> str:
    """The page of a study of evidence.

    Args:
        study: what it found.
        runs: its searches and trainings, as far as they are still there.
    """
    searches = [run for run in runs if run.stage == "search"]
    return _render(
        "study.html.jinja",
        title=f"{study.version}: evidence for {study.task}",
        study=study,
        recipe=dict(flat(study.recipe)),
        drawn=_strips(study),
        believed=[*summary.of_study(study), *summary.beyond(study, runs)],
        setup=summary.setup_of(runs),
        names=summary.names_of(searches),
        compared=compare(searches),
        genotypes=[(run, _figure(run.genotype, f"g{number}", run.version)) for number, run in enumerate(searches)],
        checklist=answers(runs, [study]),
    )


def _strips(study: Study) -> Markup:
    count, expected = study.best_of
    best = f"best of {count} random" if count > 1 else "mean of random"
    return charts.strips(f"{study.metric} by group", study.groups, (best, expected))


def of_several(runs: Sequence[Run], studies: Sequence[Study]) -> str:
    """The page of several runs beside each other, with the studies of their tasks."""
    groups = list(curves.groups(runs, 1))
    figures = [
        (title, group.remark, [(run.version, run.series[n]) for n in group.names for run in runs if n in run.series])
        for title, group in zip(curves.headings(groups), groups, strict=True)
    ]
    return _render(
        "several.html.jinja",
        title=" and ".join(run.version for run in runs[:3]) + (f" and {len(runs) - 3} more" if runs[3:] else ""),
        compared=compare(runs),
        believed=_beside([reasons(run) for run in runs]),
        setups=_beside([summary.setup(run) for run in runs]),
        names=summary.names_of(runs),
        figures=[(title, remark, drawn, charts.lines(title, drawn)) for title, remark, drawn in figures],
        studies=[(study, _strips(study)) for study in studies],
        genotypes=[(run, _figure(run.genotype, f"g{number}", run.version)) for number, run in enumerate(runs)],
        checklist=fill_in(runs, studies),
    )


def _beside(facts: Sequence[Sequence[summary.Fact]]) -> dict[str, list[str]]:
    """By name what each run's fact of that name says, empty where it has none."""
    by_run = [{fact.name: fact.text for fact in of_run} for of_run in facts]
    return {name: [known.get(name, "") for known in by_run] for name in dict.fromkeys(n for one in by_run for n in one)}


def _figure(genotype: Genotype | None, prefix: str, title: str | None = None) -> Markup | str:
    """The genotype's figure for the page, or why there is none."""
    if genotype is None:
        return "No architecture is known of this run yet."
    try:
        drawn = svg(genotype, {name: op.kind for name, op in OPS.items()}, title)
    except UserError as error:
        return f"No figure: {error}"
    return inline(drawn, prefix, f"Encoder with {len(genotype.encoder)}, decoder with {len(genotype.decoder)} blocks")


def inline(drawn: str, prefix: str, label: str) -> Markup:
    """An SVG file as part of a page: no prolog, no names of formats, ids that nothing else on the page has.

    Args:
        drawn: what Graphviz made.
        prefix: begins the ids.
        label: says what it shows.
    """
    body, numbers = drawn[drawn.index("<svg") :], count()
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\sid="[^"]*"', lambda _: f' id="{prefix}-{next(numbers)}"', body)
    size = re.search(r'viewBox="[^"]*"', body)
    opening = f'<svg class="genotype" {size[0] if size else ""} role="img" aria-label="{Markup.escape(label)}">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1))


def _render(template: str, **given: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": charts.number, "percent": "{:.2f}".format, "text": _text, "here": _here}
    environment.globals |= {"charts": charts, "plots": plots, "summary": summary, "colours": charts.COLOURS}
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {"style": Markup(style), "script": Markup(script), "digest": digest}
    return environment.get_template(template).render(**parts, **given)


def _here(path: Path) -> str:
    """A path as it is typed where this page is made, below which it mostly is."""
    whole, here = path.resolve(), Path.cwd()
    return shlex.quote(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))


def _text(value: Any) -> str:
    """A setting as a table shows it."""
    return (", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)) or "—"
