"""Misspelt words: which word is meant, and which words are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_vgd

from tasks.vgd import VgdData, VisualGrounding
from texts.spelling import misspelt


@pytest.mark.parametrize("word", ["gren", "greeen", "grean", "geren", "greem", "ggreen", "rgeen"])
def test_a_letter_left_out_added_changed_or_moved(word: str) -> None:
    assert misspelt({"green": 9, word: 1, "blue": 50}, {"green", "blue"}) == {word: "green"}


def test_of_several_the_most_frequent_is_meant_then_the_most_alike() -> None:
    counts = {"darke": 1, "darker": 8, "dark": 7, "darkest": 90}
    known = {"darker", "dark", "darkest"}
    assert misspelt(counts, known) == {"darke": "darker"}
    assert misspelt({**counts, "dark": 9}, known) == {"darke": "dark"}
    assert misspelt({**counts, "dark": 8}, known) == {"darke": "darker"}


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"lime": 1, "time": 9}, "both are words"),
        ({"bue": 1, "blue": 9}, "short words are near too many"),
        ({"1998a": 1, "1998b": 9}, "numbers are not spelt"),
        ({"zorbix": 4, "zorbit": 19}, "what people say so often is no mistake"),
        ({"purpleness": 1, "purple": 9}, "too far"),
        ({"gren": 1, "greem": 9}, "the other is no word either"),
    ],
)
def test_what_is_left_alone(counts: dict[str, int], why: str) -> None:
    known = {"lime", "time", "blue", "1998b", "zorbit", "purple"}
    assert misspelt(counts, known) == {}, why


def test_phrases_are_read_as_what_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny_vgd.make_root(tmp_path / "root")
    refs, instances = tiny_vgd.read(root)
    wrong = next(ref for ref in refs if ref["split"] == "val" and "green" in ref["sentences"][0]["tokens"])
    wrong["sentences"][0]["tokens"] = ["the", "grene", "one"]
    tiny_vgd.write(root, refs, instances)
    monkeypatch.setattr("tasks.base.WordVectors", lambda words, source: {*words} - {"grene"})
    task = VisualGrounding(VgdData(root=str(root), word_vectors="some"))
    assert "green" in task.words and "grene" not in task.words and task.vocabulary.misspelt == {"grene": "green"}
    assert "1, such as grene as green" in " ".join(task.remarks)
    without = VisualGrounding(VgdData(root=str(root), word_vectors=None))
    assert without.vocabulary.misspelt == {} and "misspelt" not in without.identity  # nobody tells words from mistakes
