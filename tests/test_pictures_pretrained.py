"""Models of Hugging Face's library, tiny ones with random weights: regions where the model says they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from pictures.registry import find_extractor

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "patch_size": 14}
MLP = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 1, "patch_size": 14}


def _backbone() -> object:
    return transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 3, 4]
    )


def _rt_detr() -> object:
    sizes = {"encoder_hidden_dim": 16, "encoder_in_channels": [8, 8, 8], "decoder_in_channels": [16, 16, 16]}
    small = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 16, "decoder_layers": 1, "num_queries": 10}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "hidden_expansion": 0.5, "num_labels": 3}
    return transformers.RTDetrForObjectDetection(
        transformers.RTDetrConfig(backbone_config=_backbone(), feat_strides=[8, 16, 32], **sizes, **small, **heads)
    )


PIL = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def _save(folder: Path, kind: str) -> Path:
    torch.manual_seed(0)
    if kind == "rt_detr":
        model, settings = _rt_detr(), {"image_processor_type": "RTDetrImageProcessor", "do_normalize": False}
        settings |= {"size": {"height": 64, "width": 64}, "do_resize": True, "do_rescale": True}
    elif kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(image_size=98, **MLP))
        settings = {"image_processor_type": "BitImageProcessor", "crop_size": {"height": 98, "width": 98}, **PIL}
    elif kind == "clip":
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(image_size=98, **VIT))
        settings = {"image_processor_type": "CLIPImageProcessor", **PIL}
    else:
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(image_size=300, **VIT))
        settings = {"image_processor_type": "SiglipImageProcessor", **PIL}
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_a_detectors_boxes_features_and_scores(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", "rt_detr")
    extractor = find_extractor(f"transformers:{folder}", CPU)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 80, 3), dtype=np.uint8))
    (found,) = extractor.extract([picture])
    assert found.boxes.shape == (10, 4) and found.features.shape == (10, 16)
    assert (np.diff(found.scores) <= 0).all() and (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    assert (middles >= 0).all() and (middles <= [80, 40]).all() and middles[:, 0].max() > 40
    assert extractor.facts() == find_extractor(f"transformers:{folder}", CPU).facts()


@pytest.mark.parametrize("kind", ["dinov2", "clip", "siglip"])
def test_an_encoders_cells(kind: str, tmp_path: Path) -> None:
    extractor = find_extractor(f"transformers:{_save(tmp_path / 'model', kind)}", CPU)
    square, wide = Image.new("RGB", (50, 50), "red"), Image.new("RGB", (100, 50), "blue")
    of_square, of_wide = extractor.extract([square, wide])
    assert len(of_square.boxes) == 49 and of_square.features.shape == (49, 16) and len(of_wide.boxes) == 28
    assert (of_wide.boxes[:, 2:] - of_wide.boxes[:, :2]).prod(axis=1).sum() == pytest.approx(100 * 50)


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    folder = _save(tmp_path / "model", "clip")
    (tmp_path / "empty").mkdir()
    for place, said in ((folder / "gone", "does not exist"), (tmp_path / "empty", "has no config.json")):
        with pytest.raises(UserError, match=said):
            find_extractor(f"transformers:{place}", CPU)
    (folder / "preprocessor_config.json").rename(tmp_path / "p")
    with pytest.raises(UserError, match="has no preprocessor_config.json"):
        find_extractor(f"transformers:{folder}", CPU)
    (tmp_path / "p").rename(folder / "preprocessor_config.json")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot load the model"):
        find_extractor(f"transformers:{folder}", CPU)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights"):
        find_extractor(f"transformers:{folder}", CPU)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="a model of kind 'bert'"):
        find_extractor(f"transformers:{folder}", CPU)
