"""Small files that claim to be large, and paths inside files: memory, code and other folders stay untouched."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vgd
from fuzz import answered, in_time

from common.errors import LONGEST, UserError, brief
from common.files import read_json
from engine import checkpoint
from readers.captions import read_captions, read_flickr_ids
from readers.feature_store import FeatureStore
from readers.features import read_npz
from readers.safe_pickle import load_pickle
from tasks.find import find_task
from tasks.vgd import VgdData, VisualGrounding

MOST = 400 * 2**20  # bytes that reading a file of a few kilobytes may add, the readers' own bounds and Python's room


def grown(read: Callable[[], Any]) -> int:
    """Bytes by which the memory of a process grows that reads a hostile file, which must be refused."""
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code = 255
        try:
            with in_time():
                read()
        except UserError as error:
            code = 254 if len(str(error)) > LONGEST else 0
        finally:
            grown_by = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
            os._exit(code or min(253, grown_by >> 2))  # in steps of 4 MB
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert 0 <= code < 254, "it was read, ended in another error, or took too long"
    return code << 22


def npy(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return head.getvalue() + content


def bombs() -> dict[str, bytes]:
    """Archives by name: zeros that compress a thousandfold, and headers that claim terabytes."""
    boxes, one = npy((10, 4), np.ones(40, "<f4").tobytes()), npy((), np.float32(9).tobytes())
    made = {}
    for name, x in {"claims": npy((2**20, 2**22)), "zeros": npy((2048, 40_000), bytes(2048 * 160_000))}.items():
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for key, content in {"x": x, "bbox": boxes, "image_h": one, "image_w": one}.items():
                file.writestr(f"{key}.npy", content)
        made[name] = archive.getvalue()
    return made


def test_archives_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "1.npz"
    for content in bombs().values():
        path.write_bytes(content)
        assert len(content) < 2**20 and grown(lambda: read_npz(path)) < MOST
    with pytest.raises(UserError, match="compressed, which torch never does"):
        checkpoint.load(path)


PICKLES = {
    "a memo of 2^28 entries": b"\x80\x02Nr\xff\xff\xff\x0f.",
    "bytes of 4 GB": b"\x80\x03B\xff\xff\xff\xff.",
    "bytes of 2^60": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
    "a bytearray of 8 GB": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b".",
    "a frame of 2^60": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "a memo by text": b"N" + b"p268435455\n" + b".",
    "nesting": b"(" * 10**6 + b"l" * 10**6 + b".",
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_claim_gigabytes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(PICKLES[name])
    assert grown(lambda: shown(path)) < MOST


def shown(path: Path) -> None:
    raise UserError(f"read {path}: {brief(load_pickle(path))}")


def test_one_sentence_in_a_hundred_thousand_places_is_refused(tmp_path: Path) -> None:
    root = tiny_vgd.make_root(tmp_path)
    refs, instances = tiny_vgd.read(root)
    said = {"tokens": ["dog" * 1000], "sent_id": 1}
    tiny_vgd.write(root, [{**refs[0], "sentences": [said] * 10**5}] * 3, instances)
    with pytest.raises(UserError, match="by then the file repeats itself to 20 times its size"):
        VisualGrounding(VgdData(str(root)))
    tiny_vgd.write(root, [{**refs[0], "sentences": [{"tokens": ["dog" * 10**6], "sent_id": 1}]}], instances)
    with pytest.raises(UserError, match="its text is longer than 10,000 characters"):
        VisualGrounding(VgdData(str(root)))


def test_values_that_repeat_themselves_are_shown_at_once() -> None:
    value: Any = ["x"]
    for _ in range(60):
        value = [value, value, {"a": value}]
    with in_time():
        assert len(brief(value)) < 100 and len(brief("x" * 10**7)) < 100
    assert brief(10**5000) == "a int of too many digits" or len(brief(10**5000)) < 100


def test_a_sentence_is_one_line_of_bounded_length() -> None:
    said = str(UserError(f"a\nb\x1b[2J\ud83d {'x' * 10**5}; do this"))
    assert said.startswith(r"a\nb\x1b[2J\ud83d xxx") and said.endswith("xxx; do this") and len(said) == LONGEST


def test_json_of_brackets_takes_no_more_than_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + "[]," * 10**6 + "[]]")

    def read() -> None:
        assert len(read_json(path, "a list")) > 10**6
        raise UserError("read, as it may be")

    assert grown(read) < 50 * path.stat().st_size


def test_names_inside_files_open_nothing_else(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "secret.npz"
    outside.write_text("secret")
    (root / "features").mkdir(parents=True)
    for name in ("secret", "passwd"):
        arrays = {"x": np.ones((3, 2)), "bbox": np.ones((2, 4)), "image_h": 9, "image_w": 9}
        np.savez(root / "features" / f"{name}.npz", **arrays)
    names = ["../secret.jpg", "/etc/passwd", f"{outside}", "..", "a/../../b.jpg"]
    entries = [{"imgid": number, "filename": name} for number, name in enumerate(names)]
    (root / "ids.json").write_text(json.dumps({"images": [entries[0], *entries[1:2], *entries[3:]]}))
    (root / "caps.txt").write_text("a dog\n")
    (root / "train_ids.txt").write_text("0\n")

    def read() -> None:
        opened: list[str] = []
        sys.addaudithook(lambda event, args: opened.append(f"{args[0]}") if event == "open" else None)
        known = read_flickr_ids(root / "ids.json")
        store = FeatureStore([root / "features"], known.id_of)
        store.gather(read_captions(root / "caps.txt", root / "train_ids.txt", known).images, 9)
        # Whatever else is opened is Python's own, or the system's devices.
        beyond = [path for path in opened if path.startswith(str(tmp_path)) and not path.startswith(str(root))]
        raise UserError("as it should be" if not beyond and "/etc/passwd" not in opened else "opened" * 1000)

    assert grown(read) < MOST


def test_a_file_cannot_name_a_module_that_is_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "harmful").mkdir()
    for name in ("__init__", "module"):
        (tmp_path / "harmful" / f"{name}.py").write_text("raise SystemExit('it ran')")
    for name in ("harmful.module", "harmful.nothing", "idlelib.idle", "pip.__main__"):
        assert "with its YAML" in (answered("modules", lambda name=name: find_task(name)) or "")


def test_checkpoints_run_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "best.pt", tmp_path / "mark"

    class Harmful:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {mark}",)

    path.write_bytes(pickle.dumps({"model": Harmful()}, 2))
    with pytest.raises(UserError):
        checkpoint.load(path)
    assert not mark.exists()
