"""Readers under a coverage-guided fuzzer: ``python tests/fuzz_coverage.py npz -max_total_time=60``.

Atheris (pip install atheris) changes bytes so that new lines of ours are reached. Whatever a reader raises but a user's
error ends the run, and the bytes that did it stay as a file ``crash-...``.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["common", "readers", "genotypes"]):
    import numpy as np

    from common.errors import UserError
    from common.yaml_files import read_yaml
    from genotypes.genotype import Genotype, load
    from readers.annotations import read_annotations
    from readers.captions import read_flickr_ids
    from readers.features import read_npz
    from readers.questions import read_questions
    from readers.safe_pickle import load_pickle

GENOTYPE = Genotype("vgd", ("self_att_64",), ("guided_att_64", "feed_forward"))
QUESTION = {"question_id": 1, "image_id": 2, "question": "what is it?"}
ANSWER = {"question_id": 1, "image_id": 2, "answers": [{"answer": "dog"}] * 10}
REF = {"ref_id": 1, "image_id": 2, "split": "train", "sentences": [{"sent": "the dog", "tokens": ["the", "dog"]}]}
PICTURE = {"imgid": 1, "filename": "1.jpg", "split": "train", "sentids": [1]}


def npz() -> bytes:
    """A file of region features."""
    held, rng = io.BytesIO(), np.random.default_rng(0)
    boxes = np.array([[0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 8, 8]], np.float32)
    np.savez(held, x=rng.random((4, 3), np.float32), bbox=boxes, image_w=10, image_h=10)
    return held.getvalue()


def annotations(path: Path) -> Any:
    """Answers beside the question they belong to."""
    questions = path.with_name("questions.json")
    questions.write_text(json.dumps({"questions": [QUESTION]}))
    return read_annotations(path, read_questions(questions))


# By name: a reader, the ending of its files, and whole files to begin with.
TARGETS: dict[str, tuple[Callable[[Path], Any], str, list[bytes]]] = {
    "npz": (read_npz, "1.npz", [npz()]),
    "pickle": (load_pickle, "refs.p", [pickle.dumps([REF], protocol) for protocol in (0, 2, 4)]),
    "yaml": (lambda path: read_yaml(path, "settings"), "a.yaml", [b"search: {lr: 1e-4}\nmodel:\n  dropout: 0.1\n"]),
    "genotype": (lambda path: load(str(path)), "a.json", [json.dumps(GENOTYPE.as_dict()).encode()]),
    "questions": (read_questions, "q.json", [json.dumps({"questions": [QUESTION]}).encode()]),
    "annotations": (annotations, "a.json", [json.dumps({"annotations": [ANSWER]}).encode()]),
    "karpathy": (read_flickr_ids, "dataset.json", [json.dumps({"images": [PICTURE]}).encode()]),
}  # fmt: skip


def main() -> None:
    """Fuzz one target; flags behind its name are libFuzzer's."""
    read, name, whole = TARGETS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as room:
        begun, path = Path(room) / "corpus", Path(room) / name
        begun.mkdir()
        for number, content in enumerate(whole):
            (begun / str(number)).write_bytes(content)

        def one(content: bytes) -> None:
            path.write_bytes(content)
            with contextlib.suppress(UserError):
                read(path)

        atheris.Setup([sys.argv[0], *sys.argv[2:], str(begun)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
