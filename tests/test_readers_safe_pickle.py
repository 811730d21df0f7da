"""Pickles that are safe whatever is in them: what is built, and what is said about everything else."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from readers.safe_pickle import load_pickle


def pickled(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(content)
    return load_pickle(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_texts_and_numbers_are_read(tmp_path: Path, protocol: int) -> None:
    plain = [{"a": (1, 2.5, None, True, 10**30), "b": {"x", "y"}, "c": b"\xff\0", "d": frozenset([1]), "é": "日本"}]
    assert pickled(tmp_path, pickle.dumps(plain, protocol)) == plain
    assert pickled(tmp_path, pickle.dumps(OrderedDict(a=1), protocol)) == {"a": 1}
    numbers = [
        np.int64(7),
        np.int32(-7),
        np.float32(1.5),
        np.float64(0.1),
        np.bool_(True),
        np.str_("ab"),
        np.uint8(255),
    ]
    found = pickled(tmp_path, pickle.dumps(numbers, protocol))
    assert found == [7, -7, 1.5, 0.1, True, "ab", 255]
    assert not any(isinstance(value, np.generic) for value in found)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"(dp0\nS'tokens'\np1\n(lp2\nS'caf\\xe9'\np3\naVna\\u00efve\np4\nas.", {"tokens": ["café", "naïve"]}),
        (b"\x80\x02}q\x00U\x06ref_idq\x01\x8a\x01\x05s.", {"ref_id": 5}),
        (b"L123L\n.", 123),
        (b"c__builtin__\nset\n((lp0\nI1\naI2\natR.", {1, 2}),
        (b"c__builtin__\nlong\n(S'12'\ntR.", 12),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
            b"S'\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00'\ntR.",
            5,
        ),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb"
            b"S'?\\x80\\x00\\x00'\ntR.",
            1.0,
        ),
    ],
)
def test_what_python_2_writes_is_read(tmp_path: Path, content: bytes, value: Any) -> None:
    assert pickled(tmp_path, content) == value


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_harmful_pickle_does_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps([Harmful(marker)], protocol)
    pickle.loads(content)
    assert marker.exists()
    marker.unlink()
    with pytest.raises(UserError, match=r"refs\(unc\).p asks for (posix|nt).system, which .* was not run"):
        pickled(tmp_path, content)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"c__builtin__\neval\n(S'1'\ntR.", "asks for __builtin__.eval,"),
        (b"cbuiltins\ngetattr\n.", "asks for builtins.getattr,"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0dset.__class__\x93.", r"asks for builtins.set.__class__,"),
        (b"\x80\x04\x8c\x0anumpy.core\x8c\x06memmap\x93.", "asks for numpy.core.memmap,"),
        (b"creaders.safe_pickle\nload_pickle\n.", "asks for readers.safe_pickle.load_pickle,"),
        (b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.", "numpy value of type 'O8' is no number"),
        (b"cnumpy\ndtype\n(S'i4,O'\nI0\nI1\ntR.", "numpy value of type 'i4,O' is no number"),
        (b"Pelsewhere\n.", "refers to things outside itself"),
        (b"\x80\x02\x82\x01.", "cannot read"),
        (b"", "truncated"),
        (b"[]", "truncated"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        pickled(tmp_path, content)
    assert "refs(unc).p" in str(caught.value)


def test_arrays_and_objects_are_refused(tmp_path: Path) -> None:
    for value in (np.arange(3), Path("a")):
        with pytest.raises(UserError, match="asks for (numpy|pathlib)"):
            pickled(tmp_path, pickle.dumps(value))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_cut_anywhere_is_refused(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps([{"ref_id": 1, "sentences": [{"tokens": ["a", "bus"]}], "ann_id": np.int64(4)}], protocol)
    for end in range(len(whole)):
        with pytest.raises(UserError, match=r"refs\(unc\).p"):
            pickled(tmp_path, whole[:end])
