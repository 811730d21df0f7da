"""Features of folders of pictures: packs that the store reads, the same after any stop; nothing foreign is lost."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
import torch
from PIL import Image
from tiny_pictures import Others, Quarters, picture

from common.errors import UserError
from pictures.contract import Regions
from pictures.extraction import extract_folder
from pictures.listing import list_pictures
from pictures.registry import find_extractor
from readers.feature_pack import JOURNAL, Pack, open_pack
from readers.feature_store import FeatureStore
from tools.features import main

CPU = torch.device("cpu")


def extract(pictures: Path, target: Path, kind: type[Quarters] = Quarters, npz: bool = False):
    (folder,) = list_pictures(pictures)
    return extract_folder(folder, kind(CPU), target, 0, npz)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_pictures.folder(tmp_path / "pictures", 8)


def test_a_pack_holds_regions_by_rank_and_boxes_in_pixels_of_the_picture(tmp_path: Path) -> None:
    half = np.zeros((100, 200, 3), np.uint8)
    half[:50, 100:] = 200
    (tmp_path / "pictures").mkdir()
    Image.fromarray(half).save(tmp_path / "pictures" / "7.png")  # larger than the extractor wants it
    extract(tmp_path / "pictures", tmp_path / "out")
    regions, boxes, hw, _ = FeatureStore([tmp_path / "out"]).gather([7], 1)
    assert boxes[0, 0].tolist() == [100, 0, 200, 50] and hw[0].tolist() == [100, 200]
    assert 190 < regions[0, 0, 0] <= 200


def contents(pack: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pack.iterdir()}


class _Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2])
def test_stopped_after_any_batch_it_goes_on_to_the_same_bytes(
    pictures: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = extract(pictures, tmp_path / "a" / "out").pack.path
    calls = []

    class Stops(Quarters):
        def facts(self) -> dict[str, str]:
            return Quarters.facts(Quarters(CPU))

        def extract(self, pictures):
            if len(calls) == after:
                raise _Stopped
            calls.append(len(pictures))
            return super().extract(pictures)

    with pytest.raises(_Stopped):
        extract(pictures, tmp_path / "b" / "out", Stops)
    with pytest.raises(UserError, match="begun in .* not complete"):
        open_pack(tmp_path / "b" / "out")
    done = extract(pictures, tmp_path / "b" / "out")
    assert done.before == 3 * after
    assert contents(done.pack.path) == contents(whole)


def stopped(pictures: Path, target: Path) -> Path:
    """The folder of a pack that has six of eight pictures."""

    class Stops(Quarters):
        def facts(self) -> dict[str, str]:
            return Quarters.facts(Quarters(CPU))

        def extract(self, pictures):
            if len(pictures) < 3:
                raise _Stopped
            return super().extract(pictures)

    with pytest.raises(_Stopped):
        extract(pictures, target, Stops)
    return target.parent / ".packed" / target.name


@pytest.mark.parametrize(
    ("was", "instead"),
    [('"004"', '"994"'), ('"004", 4', '"004", {}'), ('"004", 4', '"004", 4000000000'), ("30.0", "null")],
)
def test_a_line_of_the_journal_that_was_not_written_here_is_computed_again(
    pictures: Path, tmp_path: Path, was: str, instead: str
) -> None:
    whole = extract(pictures, tmp_path / "a" / "out").pack.path
    journal = stopped(pictures, tmp_path / "b" / "out") / JOURNAL
    head, first, second, end = journal.read_text().split("\n")
    journal.write_text("\n".join([head, first, second.replace(was, instead), end]))
    assert instead in journal.read_text()
    done = extract(pictures, tmp_path / "b" / "out")
    assert done.before == 3 and contents(done.pack.path) == contents(whole)


@pytest.mark.parametrize("name", [JOURNAL, "regions.npy", "boxes.part"])
def test_where_a_file_is_gone_it_begins_anew(pictures: Path, tmp_path: Path, name: str) -> None:
    whole = extract(pictures, tmp_path / "a" / "out").pack.path
    (stopped(pictures, tmp_path / "b" / "out") / name).unlink()
    done = extract(pictures, tmp_path / "b" / "out")
    assert done.before == 0 and contents(done.pack.path) == contents(whole)


@pytest.mark.parametrize("harm", ["cut the journal", "cut the regions", "flip a byte", "nonsense at the end"])
def test_what_a_kill_or_a_power_cut_left_is_computed_again(pictures: Path, tmp_path: Path, harm: str) -> None:
    whole = extract(pictures, tmp_path / "a" / "out").pack.path
    path = stopped(pictures, tmp_path / "b" / "out")
    name = JOURNAL if harm == "cut the journal" else "regions.npy"
    held = bytearray((path / name).read_bytes())
    if harm == "flip a byte":
        held[-1] ^= 1
    (path / name).write_bytes(
        held + b"nonsense" if harm == "nonsense at the end" else held[: -5 if "cut" in harm else None]
    )
    done = extract(pictures, tmp_path / "b" / "out")
    assert done.before == (6 if harm == "nonsense at the end" else 3)
    assert contents(done.pack.path) == contents(whole)


class Dies(Quarters):
    """Is killed when it comes to a batch of so many pictures."""

    longest = 512
    at = 2

    def facts(self) -> dict[str, str]:
        return Quarters.facts(Quarters(CPU))

    def extract(self, pictures):
        if len(pictures) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().extract(pictures)


def killed(extractor: Quarters, pictures: Path, target: Path, workers: int) -> None:
    (folder,) = list_pictures(pictures)
    child = os.fork()
    if not child:
        extract_folder(folder, extractor, target, workers)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_killed_process_goes_on(pictures: Path, tmp_path: Path) -> None:
    killed(Dies(CPU), pictures, tmp_path / "a" / "out", 0)
    done, whole = extract(pictures, tmp_path / "a" / "out"), extract(pictures, tmp_path / "b" / "out")
    assert done.before == 6 and contents(done.pack.path) == contents(whole.pack.path)


def test_the_workers_of_a_killed_process_hold_nothing_and_end(tmp_path: Path) -> None:
    for number in range(9):  # more than a pipe holds, so that the worker waits for somebody to read
        picture(tmp_path / "pictures" / f"{number}.png", number, (300, 300))
    extractor = Dies(CPU)
    extractor.at = 3
    # Whatever inherits the writing end keeps it open; the reading end is at its end once nobody does.
    reading, writing = os.pipe()
    killed(extractor, tmp_path / "pictures", tmp_path / "out", 1)
    os.close(writing)
    with open(tmp_path / ".packed" / "out" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert select.select([reading], [], [], 10)[0], "a worker lives on"
    os.close(reading)


def test_other_pictures_or_another_extractor_begin_anew_and_the_same_is_left(pictures: Path, tmp_path: Path) -> None:
    first = extract(pictures, tmp_path / "out").pack
    assert extract(pictures, tmp_path / "out").before == 8
    picture(pictures / "100.png", 100)
    more = extract(pictures, tmp_path / "out")
    assert more.before == 0 and len(more.pack) == 9 and more.pack.fingerprint != first.fingerprint
    assert extract(pictures, tmp_path / "out", Others).pack.extractor["extractor"] == "Others"


def test_workers_change_nothing(pictures: Path, tmp_path: Path) -> None:
    (folder,) = list_pictures(pictures)
    one, two = (extract_folder(folder, Quarters(CPU), tmp_path / f"{n}" / "out", n).pack.path for n in (0, 2))
    assert contents(one) == contents(two)


def test_npz_are_those_that_the_pack_stands_for(pictures: Path, tmp_path: Path) -> None:
    pack = extract(pictures, tmp_path / "out", npz=True).pack
    assert len(list((tmp_path / "out").glob("*.npz"))) == 8
    assert open_pack(tmp_path / "out").extractor  # still that of the pictures, not one packed anew
    alone = tmp_path / "copy"
    alone.mkdir()
    for path in (tmp_path / "out").glob("*.npz"):
        (alone / path.name).write_bytes(path.read_bytes())
    assert open_pack(alone).fingerprint == pack.fingerprint
    with pytest.raises(UserError, match="say NPZ=1"):
        extract(pictures, tmp_path / "out", Others)
    assert open_pack(tmp_path / "out").extractor["extractor"] == "Quarters"
    extract(pictures, tmp_path / "out", Others, npz=True)
    assert open_pack(tmp_path / "out").extractor["extractor"] == "Others"


def test_features_of_other_origin_are_never_lost(pictures: Path, tmp_path: Path) -> None:
    extract(pictures, tmp_path / "out", npz=True)
    (tmp_path / "out").rename(tmp_path / "npz")
    open_pack(tmp_path / "npz")  # packed as any npz are
    for state in ("npz and pack", "pack alone"):
        with pytest.raises(UserError, match="not made here"):
            extract(pictures, tmp_path / "npz", npz=True)
        if state == "npz and pack":
            for path in (tmp_path / "npz").glob("*.npz"):
                path.unlink()


def test_two_extractors_are_refused_in_one_run(pictures: Path, tmp_path: Path) -> None:
    extract(pictures, tmp_path / "a")
    other = tmp_path / "other"
    picture(other / "900.png", 900)
    extract(other, tmp_path / "b", Others)
    with pytest.raises(UserError, match=r"two extractors, which differ in extractor \('Others' and 'Quarters'\)"):
        FeatureStore([tmp_path / "a", tmp_path / "b"])
    extract(other, tmp_path / "b")
    assert len(FeatureStore([tmp_path / "a", tmp_path / "b"])) == 9


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        (Regions(np.zeros((0, 4)), np.zeros((0, 3))), "found no region"),
        (Regions(np.zeros((2, 4)), np.zeros((3, 3))), r"boxes \(2, 4\), features \(3, 3\)"),
        (Regions(np.zeros((1, 4)), np.array([[np.nan]])), "half precision"),
        (Regions(np.zeros((1, 4)), np.array([[1e6]])), "half precision"),
        (Regions(np.full((1, 4), np.inf), np.zeros((1, 1))), "half precision"),
    ],
)
def test_what_an_extractor_must_not_give(tmp_path: Path, regions: Regions, said: str) -> None:
    class Bad(Quarters):
        def extract(self, pictures):
            return [regions for _ in pictures]

    picture(tmp_path / "pictures" / "1.png", 1)
    with pytest.raises(UserError, match=said):
        extract(tmp_path / "pictures", tmp_path / "out", Bad)


def test_the_command_mirrors_folders_and_sums_up_what_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pictures.folder(tmp_path / "p" / "train2014", 4)
    tiny_pictures.folder(tmp_path / "p" / "val2014", 2)
    (tmp_path / "p" / "train2014" / "002.png").write_bytes(b"no picture")
    picture(tmp_path / "p" / "val2014" / "001.bmp", 1)
    main(["--pictures=p", "--data=root", "--extractor=tiny_pictures:Quarters", "--nw=0", "--gpu=cpu"])
    said = capsys.readouterr().out
    assert "root/features/train2014: 3 pictures, 12 regions of width 3" in said
    assert "refused: 2 of 7 pictures" in said and "002.png is no picture" in said and "val2014/001.png: another" in said
    assert Pack(tmp_path / "root" / "features" / ".packed" / "val2014").stems.tolist() == ["000", "001"]
    main(["--pictures=p", "--data=root", "--extractor=tiny_pictures:Quarters", "--nw=0", "--gpu=cpu"])
    assert "2 pictures, 2 of them before" in capsys.readouterr().out


def test_unknown_extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in {
        "gird": "did you mean 'grid'",
        "nowhere_at_all:Class": "cannot import nowhere_at_all",
        "tiny_pictures:picture": "no class that derives",
    }.items():
        with pytest.raises(UserError, match=said):
            find_extractor(name, CPU)


def test_npz_of_others_are_kept_and_a_pack_is_not_taken_for_those_beside_it(pictures: Path, tmp_path: Path) -> None:
    done = extract(pictures, tmp_path / "out")
    own = tmp_path / "out" / "mine_1.npz"
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(b"precious")
    assert len(open_pack(tmp_path / "out")) == len(done.pack)
    with pytest.raises(UserError, match=r"mine_1.npz, which is of no picture here; move it"):
        extract(pictures, tmp_path / "out", npz=True)
    assert own.read_bytes() == b"precious"


@pytest.mark.parametrize("flag", ["--bs=0", "--nw=-1"])
def test_numbers_out_of_range_are_told_before_anything_is_read(pictures: Path, flag: str) -> None:
    with pytest.raises(UserError, match=f"{flag[2:4].upper()}={flag[5:]}: it takes"):
        main([f"--pictures={pictures}", "--data=root", flag])
    assert not Path("root").exists()
