"""Pictures of the demo scenes: shapes traced once as signed distance fields, lit, scaled and pasted."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from tools.demo.scenes import HEIGHT, WIDTH, Scene

_PAINT = {
    "red": (205, 45, 40),
    "orange": (240, 140, 30),
    "yellow": (235, 215, 50),
    "green": (50, 150, 60),
    "cyan": (60, 200, 205),
    "blue": (45, 75, 200),
    "purple": (135, 55, 165),
    "gray": (125, 125, 130),
}
_FINE = 128  # pixels of a sprite's side before it is scaled down
_TILT = 0.45  # radians the camera looks down
_HORIZON = 62


def _length(*parts: np.ndarray) -> np.ndarray:
    return np.sqrt(sum(part * part for part in parts))


def _polygon_cone(p: np.ndarray, sides: int) -> np.ndarray:
    """A cone (sides = 0) or pyramid of height 2 and base radius 1, y up; a bound on the distance suffices to trace."""
    x, y, z = p
    around = _length(x, z) if not sides else np.maximum(abs(x), abs(z)) * 1.1
    return np.maximum((around * 2 + y - 1) / 5**0.5, -1 - y)


_DISTANCE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sphere": lambda p: _length(*p) - 1,
    "cylinder": lambda p: np.maximum(_length(p[0], p[2]) - 0.8, abs(p[1]) - 0.9),
    "ring": lambda p: _length(_length(p[0], p[2]) - 0.75, p[1]) - 0.3,
    "cube": lambda p: abs(p).max(axis=0) - 0.75,
    "cone": lambda p: _polygon_cone(p, 0),
    "pyramid": lambda p: _polygon_cone(p, 4),
}


@cache
def _traced(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Normals (h,w,3) and mask (h,w) of a shape as the tilted camera sees it, cropped to the shape."""
    across = (np.arange(_FINE) + 0.5) / _FINE * 3.4 - 1.7
    right, up = np.meshgrid(across, -across)
    turn, cos, sin = (0.6 if shape in ("cube", "pyramid") else 0.0), np.cos(_TILT), np.sin(_TILT)
    start = np.stack((right, up * cos + 3 * sin, -up * sin + 3 * cos))
    ray = np.array([0.0, -sin, -cos])[:, None, None]
    spin = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])

    def field(p: np.ndarray) -> np.ndarray:
        return _DISTANCE[shape](np.tensordot(spin, p, 1))

    gone = np.zeros_like(right)
    for _ in range(60):
        gone = np.minimum(gone + field(start + gone * ray), 7)
    hit, step = start + gone * ray, 1e-3
    normals = np.stack([field(hit + step * axis[:, None, None]) - field(hit) for axis in np.eye(3)], axis=-1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    mask = gone < 6.5
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    crop = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return normals[crop], mask[crop]


@cache
def _sprite(shape: str, color: str, material: str) -> Image.Image:
    normals, mask = _traced(shape)
    light = np.array([-0.5, 0.75, 0.55]) / np.linalg.norm([-0.5, 0.75, 0.55])
    halfway = light + np.array([0, np.sin(_TILT), np.cos(_TILT)])
    lit = np.clip(normals @ light, 0, 1)[..., None]
    glint = np.clip(normals @ (halfway / np.linalg.norm(halfway)), 0, 1)[..., None]
    paint = np.array(_PAINT[color], float)
    if material == "shiny":
        mirrored = np.clip(normals[..., 1:2], -1, 1) * 30
        rgb = paint * (0.3 + 0.65 * lit) + mirrored + 255 * (0.25 * glint**12 + 0.85 * glint**90)
    else:
        rgb = paint * (0.45 + 0.6 * lit)
    rgba = np.concatenate((np.clip(rgb, 0, 255), 255.0 * mask[..., None]), axis=-1)
    return Image.fromarray(rgba.astype(np.uint8), "RGBA")


@cache
def _shadow() -> Image.Image:
    side = np.linspace(-1, 1, 64)
    dark = np.clip(1.0 - _length(*np.meshgrid(side, side)), 0, 1) * 150
    black = np.zeros((64, 64, 4), np.uint8)
    black[..., 3] = dark
    return Image.fromarray(black, "RGBA").filter(ImageFilter.GaussianBlur(3))


def _backdrop(number: int) -> Image.Image:
    rng = random.Random(f"backdrop {number}")
    tone = np.array([rng.uniform(-12, 12) for _ in range(3)])
    rows = np.arange(HEIGHT, dtype=float)[:, None]
    wall = rng.uniform(190, 225) - 0.3 * rows
    floor = rng.uniform(130, 165) + 0.3 * (rows - _HORIZON)
    rgb = np.where(rows < _HORIZON, wall, floor) + tone
    return Image.fromarray(np.repeat(np.clip(rgb, 0, 255).astype(np.uint8)[:, None], WIDTH, axis=1), "RGB")


def paint(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, WIDTH x HEIGHT; each thing fills its box."""
    picture = _backdrop(scene.backdrop)
    for thing in sorted(scene.things, key=lambda thing: thing.box[3]):
        x1, y1, x2, y2 = (round(value) for value in thing.box)
        wide, high = x2 - x1, y2 - y1
        shadow = _shadow().resize((round(1.35 * wide), max(4, round(0.5 * high))))
        picture.paste(shadow, (x1 - round(0.1 * wide), y2 - round(0.36 * high)), shadow)
        sprite = _sprite(thing.shape, thing.color, thing.material).resize((wide, high), Image.Resampling.LANCZOS)
        picture.paste(sprite, (x1, y1), sprite)
    return picture
