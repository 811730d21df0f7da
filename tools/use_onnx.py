"""Use an exported network without torch: ``python tools/use_onnx.py network.onnx image.npz some words``"""

import hashlib
import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime

if len(sys.argv) < 3:
    sys.exit(f"say which network and which image: {__doc__.partition('``')[2].strip('`')}")
file, image, *said = sys.argv[1:]
try:
    facts = json.loads(Path(file).with_suffix(".json").read_text(encoding="utf-8"))
    texts, regions, made_of = facts["texts"], facts["regions"], facts["sha256"]
    written = Path(file).read_bytes()
except (OSError, ValueError, KeyError, TypeError) as error:
    sys.exit(f"{file} and the JSON beside it must be the two files that make export wrote ({error!r})")
if hashlib.sha256(written).hexdigest() != made_of:
    sys.exit(f"{file} is not the network that the JSON beside it is of; export it again")
if texts["segmenter"]:
    sys.exit(f"these texts are parted by spaCy's segmenter for {texts['segmenter']!r}, which this example leaves out")

text = unicodedata.normalize("NFC", " ".join(said)).translate(str.maketrans(texts["typography"]))
words = text.lower().translate(str.maketrans(texts["punctuation"])).split()[: texts["at_most"]]
ids = {word: number for number, word in enumerate(texts["words"])}
ids |= {word: ids[meant] for word, meant in texts.get("misspelt", {}).items()}
tokens = np.array([[ids.get(word, texts["unknown"]) for word in words] or [texts["unknown"]]])

try:  # region features as data/README.md says, of the kind that has x
    held = dict(np.load(image))
    count = int(held.get("num_bbox", len(held["bbox"])))
    x = held["x"].T if held["x"].shape[1] == len(held["bbox"]) else held["x"]
    x = x[:count][: regions["at_most"]].astype(np.float16).astype(np.float32)
    boxes = held["bbox"][:count][: regions["at_most"]].astype(np.float32)
    hw = np.array([[held["image_h"], held["image_w"]]], np.float32).reshape(1, 2)
    if x.shape != (len(boxes), regions["width"]):
        raise ValueError(f"{len(boxes)} boxes and features of shape {x.shape}")
except Exception as error:  # whatever else the file is
    sys.exit(f"{image} must be region features of an image, of width {regions['width']}, as an npz ({error!r})")
given = {"regions": x[None], "boxes": boxes[None], "image_hw": hw, "tokens": tokens}
given |= {"regions_pad": np.zeros((1, len(x)), bool), "tokens_pad": np.zeros(tokens.shape, bool)}

session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
found = session.run(None, {one.name: given[one.name] for one in session.get_inputs()})
for name, value in zip(facts["outputs"], found, strict=True):
    best = np.argsort(-value.ravel())[:3] if "answers" in facts else []
    print(name, [(facts["answers"][one], round(float(value[0, one]), 3)) for one in best] or value[0].tolist())
