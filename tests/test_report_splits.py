"""Splits in detail are read as they were written; a damaged file costs the page that section and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from common.errors import UserError
from outcome.details import Details
from report.facts import Run, run_of
from report.page import of_run, of_several
from report.run import main
from report.splits import read_splits

OTHERS = (None, True, -1, 0, 0.5, 1e308, 10**400, "", "a\0b", [], [None], {}, {"a": 1})
DETAILS = Path("logs/ckpts/result_test/details_trained.json")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value that another value can be put."""
    yield where
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*where, key))


def changed(value: Any, where: tuple[Any, ...], other: Any) -> Any:
    """The same with another value in that place."""
    if not where:
        return other
    copy = value.copy()
    copy[where[0]] = changed(value[where[0]], where[1:], other)
    return copy


def drawn(content: bytes) -> Run:
    """The run whose details are these bytes; what is left of them could be drawn."""
    DETAILS.write_bytes(content)
    run = run_of(Path("logs/log/trained"))
    assert len(run.warnings) == (not run.details)
    if run.details:
        of_run(run)
    return run


def test_what_was_written_is_read() -> None:
    tiny_run.training()
    (found,) = read_splits(DETAILS).values()
    assert found.as_dict() == tiny_run.details().as_dict() and found.best[0].prediction.hw == (48.0, 64.0)
    older = json.loads(DETAILS.read_text())
    older["testA"]["best"][0]["score"] = 100.0  # which nothing draws any more
    assert drawn(json.dumps(older).encode()).details == (found,)


def test_a_page_stands_without_details_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_run.training()
    whole = of_run(run_of(folder))
    assert "In detail: testA" in whole and "testB are not told in detail" in whole
    DETAILS.unlink()
    page = of_run(run_of(folder))
    assert "In detail" not in page and "testA and testB are not told in detail" in page
    DETAILS.write_text('{"testA": 7}')
    main(["--run=trained"])
    assert capsys.readouterr().out.startswith("report  logs/log/trained/report.html\n")
    for page in ((folder / "report.html").read_text(), of_several([run_of(folder)] * 2, [])):
        assert "details_trained.json holds no splits in detail (testA: Input should be an object), so this" in page
    assert '"scores"' in page and "81.50" in page
    DETAILS.unlink()
    DETAILS.mkdir()
    assert run_of(folder).warnings[0].startswith(f"cannot read {DETAILS}: Is a directory, so this page leaves out")


def test_files_that_are_cut_off_or_have_flipped_bytes_leave_the_rest_of_the_page() -> None:
    tiny_run.training()
    content, chance = DETAILS.read_bytes(), random.Random(0)
    for end in (0, 1, 2, *range(100, len(content) - 2, 650), len(content) - 2):
        assert not drawn(content[:end]).details, end
    lost = 0
    for _ in range(60):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        lost += not drawn(bytes(flipped)).details
    assert 20 < lost < 60
    assert not drawn(b"[" * 100_000).details and not drawn(b"\xff\xfe{\0}\0").details


def test_values_of_other_kinds_are_refused_or_drawn() -> None:
    tiny_run.training()
    whole, chance = json.loads(DETAILS.read_text()), random.Random(0)
    every = chance.sample([(where, other) for where in places(whole) for other in OTHERS], 400)
    accepted = []
    for where, other in every:
        DETAILS.write_text(json.dumps(changed(whole, where, other)))
        try:
            accepted += [(where, other)] if read_splits(DETAILS) else []
        except UserError as error:
            assert str(DETAILS) in str(error)
    assert len(accepted) < len(every) / 2
    for where, other in chance.sample(accepted, 15):
        drawn(json.dumps(changed(whole, where, other)).encode())


@pytest.mark.parametrize(
    ("where", "other", "said"),
    [
        (("groups", "kind"), [], "a group of nothing"),
        (("groups", "kind", 0, "count"), 0, "a group of nothing"),
        (("calibration", 0, "count"), -3, "a group of nothing"),
        (("curve", "at"), [0.5], "a curve over no range"),
        (("curve", "at"), [0.5, 0.5, 0.5], "a curve over no range"),
        (("curve", "lines", "network"), [1.0], "a curve with points that stand nowhere"),
        (("beside", "accuracy", "low"), float("nan"), "beside.accuracy.low: Input should be a finite number"),
        (("best", 0, "prediction", "boxes", 0, "xyxy"), [1, 2, 3], "best.0.prediction.boxes.0.xyxy.3: Field required"),
    ],
)
def test_what_cannot_be_drawn_is_named(where: tuple[Any, ...], other: Any, said: str) -> None:
    tiny_run.training()
    DETAILS.write_text(json.dumps({"testA": changed(json.loads(DETAILS.read_text())["testA"], where, other)}))
    with pytest.raises(UserError, match=rf"holds no splits in detail \(testA[:.] ?{said}"):
        read_splits(DETAILS)


def test_a_curve_may_be_missing() -> None:
    tiny_run.training()
    without = changed(json.loads(DETAILS.read_text()), ("testA", "curve"), None)
    (found,) = drawn(json.dumps(without).encode()).details
    assert isinstance(found, Details) and found.curve is None
