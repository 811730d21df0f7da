"""Both layouts of every data set are found by themselves, packed or not; the usual one first, and in errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_vgd
import tiny_vqa

from common.errors import UserError
from readers.data_root import find_path
from readers.feature_pack import open_pack
from tasks.itm import ImageTextMatching, ItmData
from tasks.vgd import VgdData, VisualGrounding
from tasks.vqa import VisualQuestionAnswering, VqaData
from tools.demo.make import make_demo
from tools.prepare.refs import main as prepare_refs


def move(root: Path, moves: dict[str, str]) -> None:
    """Rename places under a root; packs go, since one of the usual place would be found before the new place."""
    for packs in list(root.rglob(".packed")):
        shutil.rmtree(packs)
    for old, new in moves.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / old, root / new)


@pytest.mark.parametrize("dataset", ["flickr", "coco"])
@pytest.mark.parametrize("captions", ["{}_precomp", "{}"])
def test_image_text_matching(tmp_path: Path, dataset: str, captions: str) -> None:
    root = make_demo(tmp_path / "root", scenes=30)
    before = ImageTextMatching(ItmData(root=str(root), dataset=dataset))
    name = {"flickr": "f30k", "coco": "coco"}[dataset]
    new = captions.format(name if "precomp" in captions else dataset)
    if new != f"{name}_precomp":
        move(root, {f"itm/{name}_precomp": f"itm/{new}"})
    older = {"flickr_rois_resnet101_fix36": "itm/flickr_bua-r101-fix36", "rois_resnet101_fix36": "itm/bua-r101-fix36"}
    move(root, {**older, "itm/dataset_flickr30k.json": "itm/dataset.json"})
    after = ImageTextMatching(ItmData(root=str(root), dataset=dataset))
    assert after.fingerprint == before.fingerprint and after.words == before.words
    assert [len(after.split(name)) for name in ("val", "test")] == [len(before.split(n)) for n in ("val", "test")]


def test_visual_question_answering(tmp_path: Path) -> None:
    root = tiny_vqa.make_root(tmp_path / "root")
    before = VisualQuestionAnswering(VqaData(root=str(root), answer_min=3))
    move(root, {"vqa": "texts", "coco_extract": "vqa/bua-r101-max100"})
    move(root, {"texts": "vqa/annotations"})
    after = VisualQuestionAnswering(VqaData(root=str(root), answer_min=3))
    assert after.fingerprint == before.fingerprint and after.words == before.words
    assert after.labels == before.labels and len(after.split("test")) == 8


@pytest.mark.parametrize("pickled", [True, False])
def test_visual_grounding(tmp_path: Path, pickled: bool) -> None:
    root = tiny_vgd.make_root(tmp_path / "root")
    before = VisualGrounding(VgdData(root=str(root)))
    move(root, {"refs/refcoco": "vgd/refcoco", "detfeat100_woref": "vgd/bua-r101-fix100"})
    if not pickled:
        prepare_refs([f"--data={root}"])
        (root / "vgd/refcoco/refs(unc).p").unlink()
    after = VisualGrounding(VgdData(root=str(root)))
    assert after.fingerprint == before.fingerprint and after.words == before.words
    assert [len(after.split(name)) for name in after.splits] == [len(before.split(name)) for name in before.splits]


@pytest.mark.parametrize("dataset", ["flickr", "coco"])
def test_named_places_of_image_text_matching(tmp_path: Path, dataset: str) -> None:
    root = make_demo(tmp_path / "root", scenes=30)
    before = ImageTextMatching(ItmData(root=str(root), dataset=dataset))
    sizes = [len(before.split(part)) for part in ("val", "test")]
    name, features = {"flickr": ("f30k", "flickr_rois"), "coco": ("coco", "rois")}[dataset]
    move(root, {f"itm/{name}_precomp": "my/texts", f"{features}_resnet101_fix36": "my/features"})
    move(root, {"itm/dataset_flickr30k.json": "my/ids.json"})
    named = ItmData(root=str(root), dataset=dataset, texts="my/texts", features="my/features")
    named.ids = "my/ids.json" if dataset == "flickr" else None
    after = ImageTextMatching(named)
    assert after.fingerprint == before.fingerprint and after.words == before.words
    assert [len(after.split(part)) for part in ("val", "test")] == sizes
    named.features = "nowhere"
    with pytest.raises(UserError, match="nowhere does not exist"):
        ImageTextMatching(named)


def test_one_folder_for_all_images_of_coco(tmp_path: Path) -> None:
    root = make_demo(tmp_path / "root", scenes=30)
    named = ItmData(root=str(root), dataset="coco", features="flickr_rois_resnet101_fix36")
    before = ImageTextMatching(ItmData(root=str(root), dataset="coco"))
    assert ImageTextMatching(named).split("test").image_ids.tolist() == before.split("test").image_ids.tolist()


def test_a_named_file_of_ids_is_the_one_that_errors_name(tmp_path: Path) -> None:
    root = make_demo(tmp_path / "root", scenes=30)
    (root / "ids.json").write_text('{"images": [{"imgid": -1, "filename": "1.jpg"}]}')
    with pytest.raises(UserError, match="train_ids.txt names imgid .*, which .*root/ids.json does not have"):
        ImageTextMatching(ItmData(root=str(root), ids="ids.json"))


def test_named_places_of_visual_grounding(tmp_path: Path) -> None:
    root = tiny_vgd.make_root(tmp_path / "root")
    before = VisualGrounding(VgdData(root=str(root)))
    move(root, {"refs/refcoco": "my/refs", "detfeat100_woref": "my/features"})
    after = VisualGrounding(VgdData(root=str(root), refs="my/refs", features="my/features"))
    assert after.fingerprint == before.fingerprint and after.words == before.words
    with pytest.raises(UserError, match=r"neither .*root/nowhere/refs\(unc\).p nor one of"):
        VisualGrounding(VgdData(root=str(root), refs="nowhere", features="my/features"))


@pytest.mark.parametrize("folder", ["vgd_coco/fix100/refcocg_umd", "vgd/vgd_coco/fix100/refcocog_umd"])
def test_a_folder_of_features_for_each_data_set(tmp_path: Path, folder: str) -> None:
    root = make_demo(tmp_path / "root", scenes=30)
    settings = VgdData(root=str(root), dataset="refcocog", feat="coco_mrcn")
    before = VisualGrounding(settings)
    move(root, {"vgd_coco/fix100/refcocog_umd": folder})
    assert VisualGrounding(settings).fingerprint == before.fingerprint


def test_the_first_place_that_is_there_or_packed(tmp_path: Path) -> None:
    root = tiny_vgd.make_root(tmp_path)
    assert find_path(root, ("a", "b")) == root / "a"
    (root / "b").mkdir()
    assert find_path(root, ("a", "b")) == root / "b" and find_path(root, ("a", "b"), "inside") == root / "a"
    shutil.move(root / "detfeat100_woref", root / "a")
    open_pack(root / "a")
    shutil.rmtree(root / "a")
    assert find_path(root, ("b", "a")) == root / "b" and find_path(root, ("a", "b")) == root / "a"


def test_the_usual_place_is_named_where_neither_is_there(tmp_path: Path) -> None:
    for task, data, said in (
        (ImageTextMatching, ItmData, "itm/dataset_flickr30k.json does not exist"),
        (VisualQuestionAnswering, VqaData, "coco_extract/train2014 does not exist"),
        (VisualGrounding, VgdData, "detfeat100_woref does not exist"),
    ):
        with pytest.raises(UserError, match=said):
            task(data(root=str(tmp_path)))
