"""The extractor ``transformers:<folder or name>``: detectors and vision encoders of Hugging Face's library."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from common.arguments import expanded
from common.errors import UserError, brief, why
from pictures.contract import Extractor, Regions
from pictures.grid import REMEDY, Letterbox, most_central_first

DETECTORS = ("rt_detr", "rt_detr_v2", "detr")
ENCODERS = ("dinov2", "siglip", "siglip_vision_model", "clip", "clip_vision_model")
SOFTMAX = ("detr",)  # whose last class is "nothing"; the others judge each class on its own
MOST_REGIONS = 100
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


def pretrained(name: str, device: torch.device) -> Extractor:
    """The extractor for a model: RT-DETR, RT-DETRv2 and DETR, or DINOv2, SigLIP and CLIP.

    Args:
        name: a folder with config.json, preprocessor_config.json and weights, or a name on the Hugging Face hub.
        device: where it computes.

    Raises:
        UserError: the library is not installed, the model cannot be had, or is of another kind.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(f"EXTRACTOR=transformers:{name} needs the package transformers; {REMEDY}") from error
    place = expanded(name)
    kind = _kind_of_folder(Path(place)) if _is_folder(place) else ""
    try:
        kind = kind or transformers.AutoConfig.from_pretrained(place, trust_remote_code=False).model_type
        _check_kind(place, kind)
        load = transformers.AutoModelForObjectDetection if kind in DETECTORS else transformers.AutoModel
        model, told = load.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
        if told["missing_keys"]:  # which the library would make up at random
            first = min(told["missing_keys"])
            raise UserError(f"the weights of {place} lack {first}, among others; copy the file of this very model")
        processor = _processor(transformers, place)
    except UserError:
        raise
    except Exception as error:  # of a dozen kinds, as files are missing, damaged or out of reach
        raise UserError(f"cannot load the model {place} ({why(error)}); name a folder that holds all of it") from error
    return (Detector if kind in DETECTORS else Encoder)(device, model.eval().to(device), processor, kind)


def _is_folder(place: str) -> bool:
    return Path(place).is_dir() or place.startswith((".", os.sep)) or place.count("/") > 1


def _kind_of_folder(folder: Path) -> str:
    """What a folder says it holds; the library's own words for what is missing lead astray."""
    if not folder.is_dir():
        raise UserError(f"the folder {folder} of EXTRACTOR does not exist")
    for name in (CONFIG, PREPROCESSOR):
        if not (folder / name).is_file():
            raise UserError(f"{folder} has no {name}; it should be what save_pretrained of model and processor wrote")
    if not [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]:
        raise UserError(f"{folder} has no weights (model.safetensors); copy all of the model's files")
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / CONFIG} does not say its model_type; copy the model's own file") from error
    _check_kind(str(folder), kind)
    return kind


def _check_kind(place: str, kind: object) -> None:
    if kind not in (*DETECTORS, *ENCODERS):
        raise UserError(f"{place} is a model of kind {brief(kind)}; known are {', '.join((*DETECTORS, *ENCODERS))}")


def _processor(transformers: Any, place: str) -> Any:
    """What prepares pictures, in the variant that needs no torchvision."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(place, backend="pil", trust_remote_code=False)
    except TypeError:  # before version 5
        return transformers.AutoImageProcessor.from_pretrained(place, use_fast=False, trust_remote_code=False)


def _hash(model: nn.Module) -> str:
    """Of all weights, wherever they were loaded from."""
    told = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        told.update(name.encode())
        told.update(tensor.cpu().contiguous().numpy().tobytes())
    return told.hexdigest()[:16]


class _Pretrained(Extractor):
    def __init__(self, device: torch.device, model: nn.Module, processor: Any, kind: str) -> None:
        super().__init__(device)
        self.model, self.processor, self.kind = model, processor, kind

    def facts(self) -> dict[str, str]:
        """Kind of model, hash of its weights, and a hash of the processor's settings."""
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        preprocessing = f"{self.prepares} {hashlib.sha256(settings.encode()).hexdigest()[:16]}"
        return {"extractor": f"transformers: {self.kind}", "weights": _hash(self.model), "preprocessing": preprocessing}


class Detector(_Pretrained):
    """Boxes of a detector's queries, and the states of its decoder as features; the 100 best of them."""

    prepares = "the model's own"
    longest = 1333

    @torch.inference_mode()
    def extract(self, pictures: Sequence[Image.Image]) -> list[Regions]:
        """Each picture alone: in one batch, those of other shapes would be padded to each other's size."""
        return [self._regions(picture) for picture in pictures]

    def _regions(self, picture: Image.Image) -> Regions:
        pixels = self.processor(images=picture, return_tensors="pt")["pixel_values"].to(self.device)
        found = self.model(pixel_values=pixels)
        logits = found.logits[0]
        judged = logits.softmax(-1)[:, :-1] if self.kind in SOFTMAX else logits.sigmoid()
        scores, best = judged.amax(-1).sort(descending=True, stable=True)
        best, scores = best[:MOST_REGIONS], scores[:MOST_REGIONS]
        middle, size = found.pred_boxes[0][best].split(2, dim=-1)
        boxes = torch.cat((middle - size / 2, middle + size / 2), dim=-1) * torch.tensor(picture.size * 2).to(middle)
        features = found.last_hidden_state[0][best]
        return Regions(*(part.float().cpu().numpy() for part in (boxes, features, scores)))


class Encoder(_Pretrained):
    """Patches of a vision encoder, averaged where there are more than 100, with the boxes they see."""

    prepares = "letterbox"

    def __init__(self, device: torch.device, model: nn.Module, processor: Any, kind: str) -> None:
        model = getattr(model, "vision_model", model)
        super().__init__(device, model, processor, kind)
        config = getattr(model.config, "vision_config", model.config)
        self.patch: int = config.patch_size
        self.side = _side(processor, config) if kind == "dinov2" else config.image_size
        self.patches = self.side // self.patch  # a row of them; what is left over of the picture nobody sees
        self.step = math.ceil(self.patches / math.isqrt(MOST_REGIONS))
        self.longest = self.patches * self.patch
        told = (processor.image_mean, processor.image_std)
        self.mean, self.std = (torch.tensor(numbers, device=device).view(1, 3, 1, 1) for numbers in told)

    @torch.inference_mode()
    def extract(self, pictures: Sequence[Image.Image]) -> list[Regions]:
        """The cells of each picture, those in the middle first."""
        boxes = [Letterbox(*one.size, self.longest, self.step * self.patch) for one in pictures]
        maps = self._maps([box.draw(one, 127) for box, one in zip(boxes, pictures, strict=True)])
        return [most_central_first(box, of) for box, of in zip(boxes, maps, strict=True)]

    def _maps(self, drawn: Sequence[Image.Image]) -> np.ndarray:
        """(B, cells, D) features of all cells, row by row."""
        pixels = torch.from_numpy(np.stack([np.asarray(one) for one in drawn])).to(self.device)
        pixels = (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        pixels = F.pad(pixels, [0, self.side - self.longest] * 2)
        states: Tensor = self.model(pixel_values=pixels).last_hidden_state
        # Tokens that stand for no patch, such as a class token, come first.
        states = states[:, states.shape[1] - self.patches**2 :].transpose(1, 2)
        states = states.reshape(*states.shape[:2], self.patches, self.patches)
        return F.avg_pool2d(states, self.step, ceil_mode=True).flatten(2).transpose(1, 2).float().cpu().numpy()


def _side(processor: Any, config: Any) -> int:
    """How large the model takes pictures whose size it leaves open, as its processor crops them."""
    size = getattr(processor, "crop_size", None) or {}
    return int(size.get("height", config.image_size))
