"""Make synthetic demo data for all tasks: ``python -m tools.demo --out data/demo --scenes 3600 --seed 0``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.arguments import Parser, home_path
from common.errors import UserError
from common.files import read_json, write_json
from common.progress import track
from tools.demo.detector import REGION_WIDTH, detect, in_two_parts
from tools.demo.files import COCO_FOLDER, coco_name, write_itm, write_refs, write_vqa
from tools.demo.pictures import paint
from tools.demo.scenes import FEWEST_SCENES, Scene, make_scenes, split_sizes

SCENES = 3600
MANIFEST, MAKER = "demo.json", "tools.demo"
GROUNDING_FOLDERS = ("refcoco_unc", "refcoco+_unc", "refcocog_umd")


def make_demo(out: Path, scenes: int = SCENES, seed: int = 0) -> Path:
    """Write a whole data root of synthetic scenes, or nothing; the same arguments give the same bytes.

    Args:
        out: the folder to write. An older demo in it is replaced, the same one is left as it is.
        scenes: number of images, about 3/4 train, 1/12 val, 1/6 test.
        seed: of everything drawn.

    Returns:
        ``out``.

    Raises:
        UserError: ``out`` holds something else, cannot be written, or the scenes are too few to split.
    """
    if scenes < FEWEST_SCENES:
        raise UserError(f"--scenes {scenes} is too few for train, val and test; ask for {FEWEST_SCENES} at least")
    if seed < 0:
        raise UserError(f"--seed {seed} is negative; choose 0 or more")
    manifest = {"format": 4, "scenes": scenes, "seed": seed, "made_by": MAKER}
    if _is_made(out, manifest):
        print(f"{out} already holds these {scenes} scenes of seed {seed}; nothing to do")
        return out
    try:
        _write_aside(out.resolve(), manifest)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; free the disk or change --out") from error
    return out


def _held(out: Path) -> dict[str, Any] | None:
    """The manifest of the demo in ``out``; None where there is nothing yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    held = read_json(out / MANIFEST, "the manifest of demo data") if (out / MANIFEST).is_file() else None
    if not isinstance(held, dict) or not str(held.get("made_by")).startswith(MAKER):
        raise UserError(f"{out} exists and holds no demo data of ours; name another folder with --out, or move it away")
    return held


def _is_made(out: Path, manifest: dict[str, Any]) -> bool:
    """Whether that very demo is there."""
    held = _held(out)
    return held is not None and {key: held.get(key) for key in manifest} == manifest


def _write_aside(out: Path, manifest: dict[str, Any]) -> None:
    """Write to a hidden neighbour and rename, so that there is never half a data root."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        new = aside / "new"
        new.mkdir()
        _write_root(new, manifest)
        if _is_made(out, manifest):  # by another process, and somebody may be reading it by now
            return
        if out.exists():
            out.rename(aside / "old")
        new.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_root(root: Path, manifest: dict[str, Any]) -> None:
    scenes, seed = make_scenes(manifest["scenes"], manifest["seed"]), manifest["seed"]
    for scene in track(scenes, "painting scenes"):
        _write_image(root, scene, seed)
    write_itm(root, scenes, seed)
    write_vqa(root, scenes, seed)
    write_refs(root, scenes, seed)
    write_json(root / "scenes.json", [_truth(scene) for scene in scenes], indent=None)
    facts = {"images": split_sizes(len(scenes)), "region_width": REGION_WIDTH}
    write_json(root / MANIFEST, {**manifest, **facts, "about": "synthetic scenes; see data/README.md"})


def _truth(scene: Scene) -> dict[str, Any]:
    return {**scene._asdict(), "things": [{**thing._asdict(), "box": thing.box} for thing in scene.things]}


def feature_files(scene: Scene) -> list[str]:
    """Where the file with x of an image stands below the root: one file under every name the tasks look for."""
    folder, image_id = COCO_FOLDER[scene.split], scene.image_id
    matching = "train2014" if scene.split == "train" else "val2014"  # as COCO's own test images for this task
    return [
        f"coco_extract/{folder}/{coco_name(folder, image_id)}.npz",
        f"detfeat100_woref/{coco_name('train2014', image_id)}.npz",
        f"rois_resnet101_fix36/{matching}/{coco_name(matching, image_id)}.npz",
        f"flickr_rois_resnet101_fix36/{image_id}.npz",
    ]


def _write_image(root: Path, scene: Scene, seed: int) -> None:
    folder = COCO_FOLDER[scene.split]
    picture = root / "images" / folder / coco_name(folder, scene.image_id)
    picture.parent.mkdir(parents=True, exist_ok=True)
    paint(scene).save(picture, quality=88)
    regions = detect(scene, seed)
    _save([root / name for name in feature_files(scene)], regions)
    name = f"{coco_name('train2014', scene.image_id)}.npz"
    _save([root / "vgd_coco/fix100" / data_set / name for data_set in GROUNDING_FOLDERS], in_two_parts(regions))


def _save(paths: Sequence[Path], arrays: dict[str, np.ndarray]) -> None:
    """Write the first and link the others to it: the same bytes under several names cost their space once."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = paths
    np.savez(first, **arrays)
    for path in others:
        try:
            os.link(first, path)
        except OSError:  # file systems without hard links
            shutil.copyfile(first, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the data and say what to do next."""
    parser = Parser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--out", type=home_path, default=Path("data/demo"), help="folder to write")
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of images")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    given = parser.parse_args(arguments)
    out = make_demo(given.out, given.scenes, given.seed)
    sizes = ", ".join(f"{count} {split}" for split, count in split_sizes(given.scenes).items())
    print(f"{out}: synthetic scenes for itm, vqa and vgd ({sizes} images); to look at: {out / 'images'}")
    print(f"next: make search TASK=itm{'' if out == Path('data/demo') else f' DATA={out}'}, or TASK=vqa, TASK=vgd")
