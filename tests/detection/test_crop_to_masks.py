"""CropToMasks: boxes of cut objects come from their masks, those of whole objects stay."""

import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import TRANSFORMS

import lightvit_bench.detection.registry  # noqa: F401


def sample():
    """100 x 100: a whole box of fractions of a pixel, an L that a crop cuts, one that it loses."""
    masks = np.zeros((3, 100, 100), np.uint8)
    masks[0, 10:20, 10:20] = 1
    masks[1, 30:80, 30:40] = 1  # the upright of the L
    masks[1, 70:80, 30:90] = 1  # its foot
    masks[2, 90:99, 90:99] = 1
    boxes = np.array([[10.3, 10.4, 19.6, 19.7], [30, 30, 90, 80], [90, 90, 99, 99]], np.float32)
    return dict(
        img=np.zeros((100, 100, 3), np.uint8),
        img_shape=(100, 100),
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.array([0, 1, 2]),
        gt_ignore_flags=np.zeros(3, bool),
        gt_masks=BitmapMasks(masks, 100, 100),
    )


@pytest.fixture
def crop(monkeypatch):
    """The upper left 50 x 50."""
    monkeypatch.setattr(np.random, "randint", lambda low, high: low)
    return TRANSFORMS.build(
        dict(type="CropToMasks", crop_type="absolute", crop_size=(50, 50), allow_negative_crop=True)
    )


def test_whole_objects_keep_their_box_and_cut_ones_get_the_mask_s(crop):
    done = crop(sample())
    boxes = done["gt_bboxes"].tensor.numpy()
    assert np.allclose(boxes[0], [10.3, 10.4, 19.6, 19.7])
    assert np.allclose(boxes[1], [30, 30, 40, 50])  # the upright alone; the clipped box has 50, 50
    assert done["gt_bboxes_labels"].tolist() == [0, 1] and len(done["gt_masks"]) == 2
    assert done["img"].shape == (50, 50, 3)


def test_without_masks_boxes_are_clipped(crop):
    bare = sample()
    bare.pop("gt_masks")
    boxes = crop(bare)["gt_bboxes"].tensor.numpy()
    assert np.allclose(boxes, [[10.3, 10.4, 19.6, 19.7], [30, 30, 50, 50]])


def test_an_object_whose_mask_the_crop_leaves_out_has_no_size(crop):
    """Its box reaches into the crop, none of its pixels does; FilterAnnotations takes it out."""
    corner = sample()
    masks = np.zeros((1, 100, 100), np.uint8)
    masks[0, 60:70, 60:70] = 1
    corner |= dict(
        gt_bboxes=HorizontalBoxes(np.array([[40, 40, 70, 70]], np.float32)),
        gt_bboxes_labels=np.array([0]),
        gt_ignore_flags=np.zeros(1, bool),
        gt_masks=BitmapMasks(masks, 100, 100),
    )
    box = crop(corner)["gt_bboxes"].tensor.numpy()
    assert np.allclose(box, 0)
    keep = TRANSFORMS.build(
        dict(
            type="mmdet.FilterAnnotations",
            min_gt_bbox_wh=(1e-2, 1e-2),
            by_mask=True,
            keep_empty=False,
        )
    )
    assert len(keep(dict(corner, **crop(corner)))["gt_bboxes"]) == 0
