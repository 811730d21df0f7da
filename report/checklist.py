"""The checklist of NAS best practices (Lindauer and Hutter, arXiv 1909.02453), filled in from what runs know"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from report.comparison import differing
from report.facts import Run, flat
from report.studies import Study

YES, PART, NOT = "done", "in part", "not done"


class Item(NamedTuple):
    """A question of the checklist, whether it is done, and what says so."""

    section: str
    question: str
    answer: str
    because: str


def fill_in(runs: Sequence[Run], studies: Sequence[Study]) -> list[Item]:
    """All sixteen questions. A study counts for runs that were made under its recipe."""
    return answers(runs, [study for study in studies if _covers(study, runs)])


def answers(runs: Sequence[Run], studies: Sequence[Study]) -> list[Item]:
    """The same, where the studies are known to be of these runs."""
    sections = {
        "Releasing code": _code(runs),
        "Comparing methods": _comparing(runs, studies),
        "Reporting details": _details(runs, studies),
    }
    return [Item(section, *answered) for section, items in sections.items() for answered in items]


Answer = tuple[str, str, str]


def _covers(study: Study, runs: Sequence[Run]) -> bool:
    """Whether any run has the data and the settings that a study's recipe has for its stage."""
    return any(_follows(run, study) for run in runs)


def _follows(run: Run, study: Study) -> bool:
    data, stage = run.about.get("data"), f"{run.stage}:"
    if not isinstance(data, dict) or any(data[key] != study.recipe.get(key) for key in data):
        return False
    said = {key.removeprefix(stage): value for key, value in study.recipe.items() if key.startswith(stage)}
    said.pop("precision", None)  # "auto" in one place may be another thing on another machine
    return bool(said) and all(run.settings.get(key) == value for key, value in flat(said))


def _of(runs: Sequence[Run], stage: str) -> list[Run]:
    return [run for run in runs if run.stage == stage]


def _code(runs: Sequence[Run]) -> Iterator[Answer]:
    commits = sorted({str(run.about["commit"])[:10] for run in runs if run.about.get("commit")})
    code = (YES, f"MmNas, commit {', '.join(commits)}") if commits else (PART, "MmNas; no commit was noted")
    searches, trainings = _of(runs, "search"), _of(runs, "retrain")
    yield ("code for the training pipeline of the final architectures", *code)
    yield ("code for the search space", *code)
    yield ("hyperparameters and seeds of the final training", *_set(trainings, "retraining"))
    yield ("code for the search method", *code)
    yield ("hyperparameters and seeds of the search", *_set(searches, "search"))


def _set(runs: Sequence[Run], what: str) -> tuple[str, str]:
    if not runs:
        return NOT, f"no {what} among these runs"
    seeds = ", ".join(dict.fromkeys(str(run.setting("seed")) for run in runs))
    return (
        (YES, f"config.yaml beside each run; seed {seeds}")
        if all(run.settings for run in runs)
        else (PART, "a configuration is missing")
    )


def _comparing(runs: Sequence[Run], studies: Sequence[Study]) -> Iterator[Answer]:
    yield ("the same data, splits, space and training for all that is compared", *_same_benchmark(runs, studies))
    yield ("confounders controlled: hardware, versions, running time", *_confounders(runs))
    yield ("ablation studies", *_ablation(runs))
    yield ("the same evaluation for all that is compared", *_same_evaluation(runs, studies))
    seconds = all(run.seconds for run in runs)
    yield ("performance over time", PART, "curves over epochs" + (", and seconds by part" if seconds else ""))
    verdicts = "; ".join(f"study {study.version}: {study.verdict}" for study in studies)
    yield (
        "comparison with random search",
        *((YES, verdicts) if studies else (NOT, "make evidence does it; no study of these runs' recipe is there")),
    )
    yield ("several runs, with their seeds", *_several(runs, studies))
    yield (
        "tabular or surrogate benchmarks",
        NOT,
        "none of this space; make tabular compares ways to search on a smaller one",
    )


def _same_benchmark(runs: Sequence[Run], studies: Sequence[Study]) -> tuple[str, str]:
    if studies:
        return YES, f"study {studies[0].version}: one locked recipe"
    alike = [same for stage in ("search", "retrain") if len(same := _of(runs, stage)) > 1]
    if not alike:
        return NOT, "no two runs of one stage"
    keys = [row.key for same in alike for row in differing(same) if row.key not in ("seed", "geno", "run")]
    data = [len({repr(run.about.get("data")) for run in same}) > 1 for same in alike]
    if any(data):
        return NOT, "the runs saw different data"
    if keys:
        return PART, f"they differ in {_few(keys)}"
    others = "seeds and architectures" if any(_architectures(same) for same in alike) else "seeds"
    return YES, f"the configurations are alike but for {others}"


def _architectures(runs: Sequence[Run]) -> bool:
    """Whether trainings are of different architectures."""
    return any(row.key == "geno" for row in differing(runs))


def _confounders(runs: Sequence[Run]) -> tuple[str, str]:
    if len(runs) < 2:
        return NOT, "one run"
    keys = ("hardware", "versions", "precision", "threads")
    unknown = [run.version for run in runs if any(key not in run.about for key in keys)]
    if unknown:
        return NOT, f"not noted by {_few(unknown)}"
    if not all(run.seconds for run in runs):
        return PART, "running times were not noted"
    differ = [key for key in keys if len({repr(run.about[key]) for run in runs}) > 1]
    return (
        (PART, f"{_few(differ)} differ")
        if differ
        else (YES, f"the same {_few(keys)}; seconds by part are in each report")
    )


def _ablation(runs: Sequence[Run]) -> tuple[str, str]:
    keys = [row.key for same in (_of(runs, "search"), _of(runs, "retrain")) for row in differing(same)]
    settings = [key for key in keys if key not in ("seed", "geno", "run")]
    if len(settings) == 1:
        return PART, f"these runs differ in {settings[0]} alone"
    if not settings and "geno" in keys:
        return PART, "these runs differ in their architecture alone"
    return NOT, "no two runs differ in one setting alone"


def _same_evaluation(runs: Sequence[Run], studies: Sequence[Study]) -> tuple[str, str]:
    trainings = _of(runs, "retrain")
    if studies and len(trainings) < 2:
        return YES, f"study {studies[0].version}: {', '.join(studies[0].splits)}"
    if len(trainings) < 2:
        return NOT, "no two trainings"
    splits = {tuple(dict.fromkeys(score.split for score in run.scores)) for run in trainings}
    protocols = {run.setting("data.protocol") for run in trainings}
    if len(splits) == len(protocols) == 1:
        return YES, f"all on {', '.join(next(iter(splits)))}"
    return PART, "splits or protocols differ"


def _several(runs: Sequence[Run], studies: Sequence[Study]) -> tuple[str, str]:
    if studies:
        return YES, f"study {studies[0].version}: {'; '.join(group.counted for group in studies[0].groups)}"
    seeds = {stage: sorted({str(run.setting("seed")) for run in _of(runs, stage)}) for stage in ("search", "retrain")}
    said = "; ".join(f"{stage} seeds {', '.join(of)}" for stage, of in seeds.items() if of)
    return (PART if any(len(of) > 1 for of in seeds.values()) else NOT), said


def _details(runs: Sequence[Run], studies: Sequence[Study]) -> Iterator[Answer]:
    yield ("how hyperparameters were tuned, and what it took", NOT, "a run does not know how its settings were chosen")
    yield ("time of the whole method, end to end", *_time(runs))
    wanted = ("commit", "data", "hardware", "versions", "threads")
    missing = sorted({key for run in runs for key in wanted if not run.about.get(key)})
    yield (
        "all details of the experimental set-up",
        *(
            (PART, f"not noted: {_few(missing)}")
            if missing
            else (YES, "configuration, data, code and machine stand in each run's own report")
        ),
    )


def _time(runs: Sequence[Run]) -> tuple[str, str]:
    noted = [run for run in runs if run.seconds]
    if not noted:
        return NOT, "not noted"
    if len(noted) < len(runs):
        return PART, "part of the runs noted it"
    stages = [said for stage, said in (("search", "searches"), ("retrain", "trainings")) if _of(runs, stage)]
    hours = f"{sum(sum(run.seconds.values()) for run in runs) / 3600:.2f} hours"
    if len(stages) == 2:
        return YES, f"{hours}, searches and trainings together"
    return PART, f"{hours}, {' and '.join(stages) or 'scoring'} alone"


def _few(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
