"""The files of runs as search, retrain and evidence leave them, written by hand: small, and with any texts in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from common.files import write_json
from outcome.details import Details, Shown, with_shown
from outcome.details import details as details_of
from outcome.samples import Box, Curve, Line, Prediction, Scored

CANDIDATES = {"encoder": ["self_att_64", "feed_forward"], "decoder": ["self_att_64", "guided_att_64", "feed_forward"]}
EPOCHS = 4
SEARCHED = {
    "encoder": ["feed_forward"],
    "decoder": ["guided_att_64", "self_att_64"],
}
# Of the first candidate of every block, after every epoch; the others share the rest.
FIRST = {"encoder": [[0.5, 0.4, 0.6, 0.3]], "decoder": [[0.34, 0.2, 0.1, 0.05], [0.34, 0.5, 0.7, 0.9]]}
GO = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": ["python", "-m", "search", "--task=vgd", "--data.root=my data"],
    "commit": "c0ffee" * 6,
    "versions": {"torch": "2.13", "python": "3.11"},
    "hardware": {"processor": "abacus", "cores": 2, "gpu": None},
    "precision": "fp32",
    "threads": 2,
    "data": {"features": "f00", "words": "b00"},
    "title": "Visual grounding",
    "objective": "accuracy",
    "samples": {"weights": 80, "architecture": 20, "validation": 30},
    "words": 123,
    "weights": 45678,
    "architectures": 18,
    "audit": {"line": "leak audit: nothing is shared", "leaks": [], "notes": []},
    "remarks": ["a remark"],
    "next": "next: make runs",
    "seconds": {"weights": 10.5, "architecture": 4.25, "selection": 3.0},
    "chance": {"accuracy": 12.5},
    "diagnosis": ["alpha: entropy 0.5 nats"],
    "warnings": [],
}


def search(version: str = "found", go: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A search under logs/; the folder of its log."""
    space = {side: {"blocks": len(SEARCHED[side]), "candidates": CANDIDATES[side]} for side in SEARCHED}
    config = {
        "task": "vgd",
        "version": version,
        "seed": 0,
        "genotypes": "genotypes/searched",
        "data": {"root": "my data"},
        "space": space,
        "search": {"epochs": EPOCHS, "width": 64, "estimator": "full", "sampler": "alpha", "selector": "exact"}
        | settings,
    }
    history = [_epoch(epoch) for epoch in range(EPOCHS)]
    write_json(f"logs/ckpts/arch/{version}.alphas.json", {"schema": 1, "epochs": _numbered(history)})
    write_json(f"logs/ckpts/arch/{version}.json", {})
    swaps = {
        side: [
            {name: [0.01 * place, -0.02, 0.05] for place, name in enumerate(CANDIDATES[side]) if name != picked}
            for picked in SEARCHED[side]
        ]
        for side in SEARCHED
    }
    standing = {"loss": 0.75, "argmax_loss": 0.8, "random_loss": 0.95, "percentile": 3.0, "val/accuracy": 78.125}
    cost = {"parameters": 461768, "flops": 73795584, "width": 64}
    genotype = {**history[-1], **SEARCHED, "swaps": swaps, "supernet": standing, "cost": cost}
    write_json(f"genotypes/searched/vgd/{version}.json", genotype)
    lines = [{"epoch": e, "train/loss": 2.0 / e, "train/lr": 1e-4 * e, "train/grad_norm": 3.0} for e in _epochs()]
    lines += [{"epoch": e, "val/accuracy": 60.0 + e} for e in _epochs()]
    lines += [{"epoch": e, "search/alpha_entropy": 1.0 / e, "search/alpha_total_variation": 0.1 * e} for e in _epochs()]
    lines += [{"epoch": e, "search/decoder/self attention": 50.0, "search/decoder/gate": 50.0} for e in _epochs()]
    lines += [{"epoch": EPOCHS, **{f"picked/{name}": value for name, value in standing.items()}}]
    return _write(version, config, [GO if go is None else go], lines)


def training(
    version: str = "trained", seed: int = 0, metrics: dict[str, Any] | None = None, go: dict[str, Any] | None = None
) -> Path:
    """A training under logs/; the folder of its log."""
    metrics = metrics or {"testA": {"accuracy": 81.5, "how many": 33.25}, "testB": {"accuracy": 70.0625}}
    result = {
        "task": "vgd",
        "checkpoint": f"logs/ckpts/{version}/best.pt",
        "epoch": 3,
        "genotype": SEARCHED,
        "cost": {"parameters": 461768, "flops": 73795584, "width": 64},
        "data": {"testA": "f00"},
        "seed": seed,
        "threads": 2,
        "commit": "c0ffee",
        "date": "2026-01-03",
        "audit": GO["audit"],
        "metrics": metrics,
        "chance": {"testA": {"accuracy": 11.0}},
        "notes": {"testA": ["30 phrases"]},
    }
    write_json(f"logs/ckpts/result_test/metrics_{version}.json", result)
    write_json(f"logs/ckpts/result_test/details_{version}.json", {"testA": details().as_dict()})
    config = {"task": "vgd", "version": version, "seed": seed, "retrain": {"epochs": 4, "width": 64, "lr": 1e-3}}
    lines = [{"epoch": e, "train/loss": 1.0 / e, "val/accuracy": [70.0, 75.0, 80.5, 79.0][e - 1]} for e in _epochs()]
    lines += [{"epoch": 3, "best/testA/accuracy": 81.5}]
    return _write(version, config, [GO if go is None else go], lines)


def scored() -> Scored:
    """Forty phrases in ten images, the network sure and right, sure and wrong, and unsure."""
    number = np.arange(40)
    score, certainty = (number % 4 > 0).astype(float), 0.05 + 0.9 * (number % 10) / 9
    return Scored(
        metric="accuracy",
        images=number // 4,
        score=score,
        certainty=certainty,
        order=np.where(score > 0, certainty, -certainty),
        values={"accuracy": score, "how many": np.where(number < 8, score, np.nan)},
        totals={"sum": ["accuracy", "how many"]},
        groups={"kind": np.where(number < 8, "how many", "other"), "words": number % 9, "alike": np.ones(40)},
        baselines={"guessing": np.full(40, 0.11), "words alone": number % 2.0},
        said=np.where(score > 0, "red", "blue"),
        meant=np.full(40, "red"),
        curve=Curve("found, percent", "least overlap", [0.25, 0.5, 0.75], {"network": [90.0, 75.0, 20.0]}),
    )


def details() -> Details:
    """Those of ``scored``, with a sample to show on each side, one of them over a picture."""
    found, picture = details_of("testA", scored()), Path("picture.png")
    Image.new("RGB", (64, 48), "teal").save(picture)
    boxes = [Box((1.0, 2.0, 30.0, 40.0)), Box((5.0, 5.0, 20.0, 20.0), "predicted"), Box((6.0, 6.0, 22.0, 20.0), "true")]
    shown = Prediction(7, (48.0, 64.0), boxes, "the red one", [Line("overlap 0.71", True, "0.9")])
    return with_shown(found, [Shown(str(picture), shown)], [Shown("gone.png", shown)])


def study(version: str = "vgd", width: int = 64) -> Path:
    """The result of a study under logs/evidence/; its file."""
    groups = [("searched", [80.0, 81.0], 0.5), ("random", [76.0, 77.5, 74.0], 1.0), ("by hand", [70.0], None)]
    value = {
        "task": "vgd",
        "metric": "accuracy",
        "splits": {"trained": ["train"], "chosen": [], "reported": ["testA", "testB"]},
        "training_seeds": [0],
        "search_seconds": 60.0,
        "training_seconds": 30.0,
        "provenance": {"commit": "c0ffee", "date": "2026-01-04", "command": ["python", "-m", "evidence"]},
        "k": 3,
        "expected_best": 77.25,
        "groups": [_group(*group) for group in groups],
        "comparisons": [
            {"against": "mean of random", "difference": 4.5, "interval": {"low": 2.0, "high": 6.0}, "p_holm": 0.03}
        ],
        "verdict": {
            "margin": 0.5,
            "words": {"mean of random": "better"},
            "sentence": "better: searched networks are better",
        },
        "notes": ["two searches"],
        "recipe": {**GO["data"], "search:search.width": width, "search:precision": "bf16"},
    }
    path = Path(f"logs/evidence/{version}/evidence.json")
    write_json(path, value)
    return path


def _group(name: str, scores: list[float], reach: float | None) -> dict[str, Any]:
    mean = sum(scores) / len(scores)
    networks = [
        {"name": f"{name} {number}", **SEARCHED, "flops": 7e7, "parameters": 4e5, "scores": [score]}
        for number, score in enumerate(scores)
    ]
    interval = None if reach is None else {"low": mean - reach, "high": mean + reach, "method": "BCa"}
    return {"name": name, "mean": mean, "interval": interval, "flops": 7e7, "networks": networks}


def _epochs() -> range:
    return range(1, EPOCHS + 1)


def _epoch(epoch: int) -> dict[str, Any]:
    blocks = {side: [_probabilities(CANDIDATES[side], first[epoch]) for first in FIRST[side]] for side in CANDIDATES}
    best = {side: [max(block, key=block.get) for block in blocks[side]] for side in blocks}
    return {"schema": 1, "task": "vgd", **best, "provenance": {"architecture_steps": epoch}, "probabilities": blocks}


def _probabilities(names: list[str], first: float) -> dict[str, float]:
    rest = (1 - first) / (len(names) - 1)
    return {name: rest if place else first for place, name in enumerate(names)}


def _numbered(history: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"epoch{number}": one for number, one in enumerate(history)}


def _write(version: str, config: dict[str, Any], goes: list[dict[str, Any]], lines: list[dict[str, Any]]) -> Path:
    folder = Path("logs/log") / version
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(folder / "run.json", goes)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
