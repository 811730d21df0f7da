"""What a run that goes on finds: whole, damaged and missing checkpoints, leavings of kills, other processes."""

from __future__ import annotations

import io
import os
import zipfile
from multiprocessing import get_context
from pathlib import Path
from time import sleep

import pytest
import torch

from common.errors import UserError
from common.files import leftovers
from engine import checkpoint
from engine.course import Course
from engine.run import RunFiles, RunOptions
from engine.runtime import start


def files(logs: Path, resume: bool = True, **options: object) -> RunFiles:
    return RunFiles(RunOptions(version="a", resume=resume, logs=str(logs), **options), "itm-search")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The logs of a run with the checkpoints 3 and, before it, 2."""
    with files(tmp_path, resume=False) as begun:
        begun.create()
        for epoch in range(4):
            begun.save({"epoch": epoch, "weights": torch.full((99,), float(epoch))})
    return tmp_path


def flip(path: Path) -> None:
    """Change one bit of a weight."""
    with zipfile.ZipFile(path) as whole:
        record = next(one for one in whole.infolist() if one.filename.endswith("data/0"))
    content = bytearray(path.read_bytes())
    content[record.header_offset + record.file_size] ^= 1  # in its middle: what precedes it is shorter than half of it
    path.write_bytes(content)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "ckpts/a").iterdir())


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    with files(tmp_path, resume=False, checkpoints=3) as begun:
        begun.create()
        for epoch in range(4):
            begun.save({"epoch": epoch})
    with files(tmp_path, checkpoints=keep) as again:
        again.save({"epoch": 4})
        there = [checkpoint.load(path)["epoch"] for path in checkpoint.kept(again.last)]
    assert there == [4, 3, 2][:keep] and len(names(tmp_path)) == keep


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-100]), Path.unlink])
def test_the_one_before_a_damaged_one_is_gone_on_from(run: Path, damage) -> None:
    damage(run / "ckpts/a/last.pt")
    lost = not (run / "ckpts/a/last.pt").exists()
    with files(run) as again:
        assert again.saved()["epoch"] == 2
        said = " ".join(again.remarks)
        assert lost or said.startswith("note: last.pt is damaged; going on from last.1.pt, which was saved before it")
        again.save({"epoch": 3})
        # What was whole stays beside what is new.
        assert [checkpoint.load(path)["epoch"] for path in checkpoint.kept(again.last)] == [3, 2]
    assert names(run) == ["last.1.pt", *([] if lost else ["last.damaged"]), "last.pt"]


def test_the_newest_is_there_while_the_next_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def die(source: Path, target: Path) -> None:
        if Path(target).name == "last.pt":
            raise ZeroDivisionError
        replace(source, target)

    with files(run) as again:
        monkeypatch.setattr("os.replace", die)
        with pytest.raises(ZeroDivisionError):
            again.save({"epoch": 4})
        assert again.last.exists() and again.saved()["epoch"] == 3 and not again.remarks


def test_file_systems_without_links_keep_two_as_well(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with files(run) as again:
        again.save({"epoch": 4})
        assert [checkpoint.load(path)["epoch"] for path in checkpoint.kept(again.last)] == [4, 3]


def test_torch_alone_would_not_notice(run: Path) -> None:
    flip(run / "ckpts/a/last.pt")
    assert not (torch.load(run / "ckpts/a/last.pt")["weights"] == 3).all()


def test_where_all_are_damaged_nothing_is_touched(run: Path) -> None:
    for name in ("last.pt", "last.1.pt"):
        flip(run / "ckpts/a" / name)
    with (
        files(run) as again,
        pytest.raises(UserError, match=r"is damaged \(last.pt and last.1.pt in .*ckpts/a\); bring"),
    ):
        again.saved()
    assert names(run) == ["last.1.pt", "last.pt"]


def test_what_is_wrong_is_said_of_the_file_that_was_read(run: Path) -> None:
    flip(run / "ckpts/a/last.pt")
    with files(run) as again, pytest.raises(UserError, match=r"ckpts/a/last.1.pt is no checkpoint of a run"):
        Course(again, start("cpu", 0, "fp32"), {})


def test_no_flipped_bit_gives_another_state(tmp_path: Path) -> None:
    path, state = tmp_path / "a.pt", {"a": torch.arange(3.0), "b": ["x", 1.5]}
    checkpoint.save(path, state)
    whole, damaged = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            found = checkpoint.load(path)
        except checkpoint.Damaged:
            damaged += 1
        else:  # between the records stands padding
            assert torch.equal(found["a"], state["a"]) and found["b"] == state["b"]
    assert damaged > 100


def test_files_without_sums_are_loaded(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert checkpoint.load(tmp_path / "old.pt") == {"a": 1}


class Full(io.FileIO):
    """A file on a disk that takes so many bytes."""

    room = 0

    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 300, 700, 1200])
def test_a_full_disk_costs_nothing_that_was_saved(run: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(Full, "room", room)
    with files(run) as again:
        with monkeypatch.context() as patch:
            patch.setattr("os.fdopen", Full)
            said = r"cannot write .*last.pt: No space left on device; free the disk that holds .*ckpts/a or choose"
            with pytest.raises(UserError, match=said):
                again.save({"epoch": 4, "weights": torch.ones(99)})
        assert names(run) == ["last.1.pt", "last.pt"] and again.saved()["epoch"] == 3


def test_what_kills_left_is_removed_when_the_run_is_opened_and_nothing_else_is(run: Path) -> None:
    left = [run / "ckpts/a/.last.pt.a1b2c3_4", run / "ckpts/a/.best.pt.abcdefgh", run / "log/a/.config.yaml.abcdefgh"]
    others = [run / "ckpts/a/.hidden", run / "ckpts/a/last.pt.abcdefgh", run / "ckpts/b/.last.pt.abcdefgh"]
    for path in (*left, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert leftovers(run / "ckpts/a") == sorted(left[:2])
    RunFiles(RunOptions(version="a", resume=True, logs=str(run)), "itm-val", may_resume=False).create()
    assert all(path.exists() for path in left)  # a network is scored while it may be in training
    with files(run):
        assert not any(path.exists() for path in left) and all(path.exists() for path in others)


def _train(run: Path, ready) -> None:
    with files(run):
        ready.set()
        sleep(60)


def test_a_living_run_is_not_gone_on_with(run: Path) -> None:
    context = get_context("fork")
    ready = context.Event()
    process = context.Process(target=_train, args=(run, ready))
    process.start()
    assert ready.wait(10)
    mine = run / "ckpts/a/.last.pt.abcdefgh"
    mine.touch()  # it is just writing
    who = (
        f"the run 'a' is held by process {process.pid} on .* since .*; wait for it, stop it, or choose another VERSION"
    )
    with pytest.raises(UserError, match=who), files(run):
        pass
    assert mine.exists()
    process.kill()
    process.join()
    with files(run) as again:
        assert again.saved()["epoch"] == 3


def test_a_run_that_begins_is_held_too(tmp_path: Path) -> None:
    with files(tmp_path, resume=False) as begun:
        begun.create()
        with pytest.raises(UserError, match="the run 'a' is held by process"), files(tmp_path):
            pass


def test_a_run_that_torchrun_starts_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    with files(tmp_path, resume=False) as begun:
        begun.create()
        begun.save({"epoch": 3})
    with files(tmp_path, resume=False) as again:
        assert again.saved()["epoch"] == 3
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another job")
    with pytest.raises(UserError, match="a run named 'a' exists"):
        files(tmp_path, resume=False)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    with pytest.raises(UserError, match="--max-restarts needs VERSION=<name>, by which a run is found again"):
        RunFiles(RunOptions(logs=str(tmp_path)), "itm-search")
