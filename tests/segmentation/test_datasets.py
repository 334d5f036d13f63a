"""Data sets are checked before a run, and what is wrong is said."""

import shutil

import cv2
import numpy as np
import pytest

from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.segmentation.datasets import ADE20K, CamVid, DemoADE

PREFIX = dict(img_path="images/training", seg_map_path="annotations/training")
CROP = [dict(type="mmseg.RandomCrop", crop_size=(64, 64))]


@pytest.fixture()
def root(demo_root, tmp_path):
    return shutil.copytree(demo_root, tmp_path / "ade")


def first_image(root):
    return sorted((root / "images/training").iterdir())[0]


def test_samples_are_pairs_of_equal_name(demo_root):
    dataset = ADE20K(data_root=str(demo_root), data_prefix=PREFIX)
    assert len(dataset) == 12
    info = dataset.get_data_info(0)
    assert info["img_path"].endswith("ADE_train_00000001.jpg")
    assert info["seg_map_path"].endswith("ADE_train_00000001.png")
    assert info["reduce_zero_label"] is True
    assert len(dataset.metainfo["classes"]) == 150


def test_missing_root_names_the_knobs(tmp_path):
    with pytest.raises(MissingDataError, match="(?s)ADE20K not found.*LIGHTVIT_DATA.*make demo"):
        ADE20K(data_root=str(tmp_path / "absent"), data_prefix=PREFIX)


def test_lightvit_data_replaces_the_leading_folder(demo_root, monkeypatch):
    monkeypatch.setenv("LIGHTVIT_DATA", str(demo_root.parent))
    dataset = DemoADE(data_root="data/ADEChallengeData2016", data_prefix=PREFIX)
    assert len(dataset) == 12


def test_corrupt_image_stops_or_is_skipped(root, capsys):
    path = first_image(root)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(BadDataError, match=f"(?s){path.name}.*skip_corrupt"):
        DemoADE(data_root=str(root), data_prefix=PREFIX)
    capsys.readouterr()
    dataset = DemoADE(data_root=str(root), data_prefix=PREFIX, skip_corrupt=True)
    assert len(dataset) == 11
    told = capsys.readouterr().err
    assert "1 of 12 pairs left out" in told and f"{path}: corrupt image" in told
    assert all(path.name not in dataset.get_data_info(i)["img_path"] for i in range(11))


def test_mask_value_without_a_class(root):
    mask = sorted((root / "annotations/training").iterdir())[0]
    values = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    values[0, :5] = 200
    cv2.imwrite(str(mask), values)
    with pytest.raises(BadDataError, match=f"(?s){mask.name}.*200"):
        DemoADE(data_root=str(root), data_prefix=PREFIX)


def test_crop_no_image_can_fill(demo_root):
    with pytest.raises(BadDataError, match="(?s)crop 128 x 128 is larger.*96 x 96.*crop_size"):
        DemoADE(
            data_root=str(demo_root),
            data_prefix=PREFIX,
            pipeline=[dict(type="mmseg.RandomCrop", crop_size=(128, 128))],
        )


def test_crop_filled_by_enlarging_is_fine(demo_root):
    resize = dict(
        type="mmseg.RandomResize", scale=(96, 96), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    crop = dict(type="mmseg.RandomCrop", crop_size=(128, 128))
    dataset = DemoADE(data_root=str(demo_root), data_prefix=PREFIX, pipeline=[resize, crop])
    assert len(dataset) == 12


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("crop, fits", [((96, 128), True), ((128, 96), False)])
def test_crop_that_is_not_square(root, several, crop, fits):
    """One size: the sides are compared as they lie. Several shapes: either way may occur."""
    for kind in ("images", "annotations"):
        for n, path in enumerate(sorted((root / kind / "training").iterdir())):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            wide = picture[:48]  # 48 high, 96 wide
            turned = np.ascontiguousarray(np.swapaxes(wide, 0, 1))
            cv2.imwrite(str(path), turned if several and n == 0 else wide)
    resize = dict(
        type="mmseg.RandomResize", scale=(96, 48), ratio_range=(0.5, 2.0), keep_ratio=True
    )
    pipeline = [resize, dict(type="mmseg.RandomCrop", crop_size=crop)]
    if fits or several:
        assert len(DemoADE(data_root=str(root), data_prefix=PREFIX, pipeline=pipeline)) == 12
    else:
        with pytest.raises(BadDataError, match="crop 128 x 96 is larger.*"):
            DemoADE(data_root=str(root), data_prefix=PREFIX, pipeline=pipeline)


def test_crop_after_another_way_of_resizing_is_not_judged(demo_root):
    resize = dict(type="mmseg.Resize", scale=(256, 256), keep_ratio=True)
    crop = dict(type="mmseg.RandomCrop", crop_size=(128, 128))
    dataset = DemoADE(data_root=str(demo_root), data_prefix=PREFIX, pipeline=[resize, crop])
    assert len(dataset) == 12


def test_list_of_names_is_refused_not_ignored(demo_root, tmp_path):
    (tmp_path / "names.txt").write_text("ADE_train_00000001")
    with pytest.raises(ConfigError, match="ann_file"):
        DemoADE(data_root=str(demo_root), data_prefix=PREFIX, ann_file=str(tmp_path / "names.txt"))


def test_relative_roots(demo_root, monkeypatch):
    monkeypatch.chdir(demo_root.parent)
    monkeypatch.delenv("LIGHTVIT_DATA", raising=False)
    assert len(DemoADE(data_root="ADEChallengeData2016", data_prefix=PREFIX)) == 12


def test_valid_values():
    camvid = CamVid.__new__(CamVid)
    camvid.reduce_zero_label = False
    assert camvid.valid_ids() == {*range(11), 255}
    ade = ADE20K.__new__(ADE20K)
    ade.reduce_zero_label = True
    assert ade.valid_ids() == {*range(151), 255}


def test_real_camvid(shared):
    prefix = dict(img_path="images/test", seg_map_path="annotations/test")
    dataset = CamVid(data_root=str(shared / "data/camvid"), data_prefix=prefix)
    assert len(dataset) == 233
    mask = cv2.imread(dataset.get_data_info(0)["seg_map_path"], cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(mask)) <= {*range(11), 255}
