"""Users' text files as editors and programs really save them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import UserError
from common.files import atomic_write, leftovers, read_json, read_lines, read_text

TEXT = "a dog’s “ball”\nzwei Hunde über 3 Bälle\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_mark_and_any_end_of_line(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "caps.txt"
    path.write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_text(path, "captions") == TEXT
    assert read_lines(path, "captions") == TEXT.rstrip("\n").split("\n")


def test_empty_lines_at_the_end_are_no_lines_but_inner_ones_are(tmp_path: Path) -> None:
    path = tmp_path / "caps.txt"
    path.write_text("one\n\ntwo\n\n\n")
    assert read_lines(path, "captions") == ["one", "", "two"]
    path.write_text("\n")
    assert read_lines(path, "captions") == []
    path.write_text("a\x0bb\u2028c\n")
    assert read_lines(path, "captions") == ["a\x0bb\u2028c"]


def test_a_byte_that_is_no_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "caps.txt"
    path.write_bytes("one\ntwo\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"caps.txt line 3 holds bytes that are no UTF-8 .* captions: save it as UTF-8"):
        read_text(path, "captions")
    with pytest.raises(UserError, match=r"none.txt does not exist; it should be captions"):
        read_text(tmp_path / "none.txt", "captions")
    for name in ("a\0b", "x" * 300):
        with pytest.raises(UserError, match="cannot read .* as captions"):
            read_text(name, "captions")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": ', "not valid JSON at line 1, column 7"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "a number of too many digits"),
    ],
)
def test_json_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_json(path, "a list")
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path, "a list") == [1]


def test_a_file_is_replaced_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        with atomic_write(path) as file:
            file.write("new")
            file.flush()
            assert path.read_text() == "old"
            # Beside it, as only there a rename is no copy; kills leave it, so it must be known by its name.
            assert leftovers(tmp_path) == [one for one in tmp_path.iterdir() if one != path] != []
        # Whoever reads the old file goes on reading the old file.
        assert reader.read() == "old" and path.read_text() == "new"
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "new" and [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_written_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt"):
            pass
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640 and os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_what_is_renamed_has_reached_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda file: (done.append(os.fstat(file).st_size), sync(file)))
    monkeypatch.setattr("os.replace", lambda *paths: (done.append("renamed"), replace(*paths)))
    with atomic_write(tmp_path / "a.txt") as file:
        file.write("four")
    assert done == [4, "renamed"]
