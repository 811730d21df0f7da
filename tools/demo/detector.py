"""A simulated detector for the demo scenes: regions with jittered boxes and features of their looks."""

from __future__ import annotations

from functools import cache

import numpy as np

from tools.demo.scenes import ATTRIBUTES, HEIGHT, WIDTH, Scene, Thing

REGION_WIDTH = 96  # numbers in a feature
FC7_WIDTH = 64  # of them, where a set of features comes in two parts
FEWEST, MOST = 10, 24  # regions of an image
_MISSED = 0.02  # of the things have no region
_NOISE = 0.25
_WEIGHT = {"size": 0.8, "material": 0.8, "color": 1.0, "shape": 1.0}
_SLACK = 0.3  # the largest overlap (IoU) of a background region with a thing


@cache
def _codes(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A random direction per attribute value, the matrix that mixes them, and the background's vector."""
    rng = _stream(seed, "codes", 0)
    names = [value for values in ATTRIBUTES.values() for value in values]
    directions = dict(zip(names, rng.standard_normal((len(names), 32)), strict=True))
    return directions, rng.standard_normal((32, REGION_WIDTH)) / 32**0.5, rng.standard_normal(REGION_WIDTH).clip(0)


def _stream(seed: int, name: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode(), number])


def detect(scene: Scene, seed: int) -> dict[str, np.ndarray]:
    """Regions of a scene, best score first.

    Features tell looks, not places: a thing's feature is drawn without regard to where it stands.

    Returns:
        x (D,R) float16, bbox (R,4) float32 xyxy pixels, image_h, image_w, num_bbox int64.
    """
    rng = _stream(seed, "detector", scene.image_id)
    seen: list[tuple[float, np.ndarray, np.ndarray]] = []
    for thing in scene.things:
        if rng.random() >= _MISSED:
            seen.append((rng.uniform(0.7, 1), _jittered(thing, 0.04, rng), _feature(thing, seed, 1.0, rng)))
            for _ in range(rng.choice(3, p=[0.6, 0.3, 0.1])):
                blur = rng.uniform(0.6, 0.95)
                seen.append((0.8 * blur, _jittered(thing, 0.12, rng), _feature(thing, seed, blur, rng)))
    wanted = max(FEWEST, min(MOST, len(seen) + rng.integers(1, 6)))
    while len(seen) < wanted:
        noise = rng.standard_normal(REGION_WIDTH) * 2 * _NOISE
        seen.append((rng.uniform(0, 0.5), _background_box(scene, rng), (_codes(seed)[2] + noise).clip(0)))
    seen = sorted(seen, key=lambda region: -region[0])[:MOST]
    return {
        "x": np.stack([feature for _, _, feature in seen], axis=1).astype(np.float16),
        "bbox": np.stack([box for _, box, _ in seen]).astype(np.float32),
        "image_h": np.array(HEIGHT),
        "image_w": np.array(WIDTH),
        "num_bbox": np.array(len(seen)),
    }


def in_two_parts(regions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same regions with fc7 (R,D1) and pool5 (R,D2) instead of x (D,R)."""
    rest = {name: array for name, array in regions.items() if name != "x"}
    by_region = np.ascontiguousarray(regions["x"].T)
    return {"fc7": by_region[:, :FC7_WIDTH], "pool5": by_region[:, FC7_WIDTH:], **rest}


def _feature(thing: Thing, seed: int, clarity: float, rng: np.random.Generator) -> np.ndarray:
    directions, mix, _ = _codes(seed)
    look = sum(_WEIGHT[name] * directions[getattr(thing, name)] for name in ATTRIBUTES)
    return (clarity * (look @ mix).clip(0) + rng.standard_normal(REGION_WIDTH) * _NOISE).clip(0)


def _jittered(thing: Thing, share: float, rng: np.random.Generator) -> np.ndarray:
    x1, y1, x2, y2 = thing.box
    box = np.array(thing.box) + rng.standard_normal(4).clip(-2, 2) * share * np.array([x2 - x1, y2 - y1] * 2)
    return box.clip(0, [WIDTH, HEIGHT] * 2)


def _background_box(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    things = np.array([thing.box for thing in scene.things])
    while True:
        wide, high = rng.uniform(20, 110), rng.uniform(20, 90)
        x1, y1 = rng.uniform(0, WIDTH - wide), rng.uniform(0, HEIGHT - high)
        box = np.array([x1, y1, x1 + wide, y1 + high])
        shared = (np.minimum(things[:, 2:], box[2:]) - np.maximum(things[:, :2], box[:2])).clip(0).prod(1)
        union = (things[:, 2:] - things[:, :2]).prod(1) + wide * high - shared
        if (shared / union).max() < _SLACK:
            return box
