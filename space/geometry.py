"""Where regions lie: the geometry between boxes for relation attention, and normalised boxes as features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLOSEST = 1e-3  # centres nearer than this share of the query's side count as this near


def relation_geometry(boxes: Tensor) -> Tensor:
    """Geometry of every pair of boxes, row i the query (Hu et al., Relation Networks, arXiv 1711.11575, equation 5).

    Args:
        boxes: (I,R,4) xyxy in pixels, corners included, so that a side is x2 - x1 + 1.

    Returns:
        (I,R,R,4): log max(|dx|/w_i, 1e-3), log max(|dy|/h_i, 1e-3), log(w_i/w_j), log(h_i/h_j).
    """
    side = boxes[..., 2:] - boxes[..., :2] + 1  # (I,R,2) width, height
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    apart = (centre.unsqueeze(2) - centre.unsqueeze(1)).abs() / side.unsqueeze(2)
    ratio = side.log().unsqueeze(2) - side.log().unsqueeze(1)
    return torch.cat((apart.clamp(min=CLOSEST).log(), ratio), dim=-1)


def normalised_boxes(boxes: Tensor, image_hw: Tensor) -> Tensor:
    """Boxes as shares of their image.

    Args:
        boxes: (I,R,4) xyxy in pixels.
        image_hw: (I,2) height and width in pixels.

    Returns:
        (I,R,5): x1/W, y1/H, x2/W, y2/H, area of the box/area of the image.
    """
    shares = boxes / image_hw.flip(-1).repeat(1, 2).unsqueeze(1)
    area = (shares[..., 2] - shares[..., 0]) * (shares[..., 3] - shares[..., 1])
    return torch.cat((shares, area.unsqueeze(-1)), dim=-1)


class Relation(nn.Module):
    """Relation features of pairs of boxes, shared by all relation attentions: relu(Linear(4 -> width)(geometry))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, width)

    def forward(self, geometry: Tensor) -> Tensor:
        """(I,R,R,4) -> (I,R,R,width)."""
        return self.linear(geometry).relu()
