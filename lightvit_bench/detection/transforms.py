"""What mmdetection's augmentations lack for detectron2's large-scale jitter."""

from __future__ import annotations

import torch
from mmdet.datasets.transforms import RandomCrop
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CropToMasks(RandomCrop):
    """RandomCrop after which an object that was cut has the box of what is left of its mask.

    detectron2 takes all boxes anew from the outlines, to a fraction of a pixel. mmdetection's
    `recompute_bbox` takes them from bitmaps, which were resized: whole pixels, with which half of
    the small objects of a shrunk image get another box. Here whole objects keep their box.

    Args:
        kwargs: mmdetection's crop_size, crop_type and allow_negative_crop.
    """

    def __init__(self, **kwargs):
        super().__init__(recompute_bbox=False, bbox_clip_border=False, **kwargs)

    def _crop_data(self, results: dict, *args, **kwargs) -> dict | None:
        results = super()._crop_data(results, *args, **kwargs)
        if results is None or results.get("gt_bboxes") is None:
            return results
        boxes = results["gt_bboxes"]
        height, width = results["img_shape"]
        x1, y1, x2, y2 = boxes.tensor.unbind(1)
        cut = (x1 < 0) | (y1 < 0) | (x2 > width) | (y2 > height)
        boxes.clip_((height, width))
        if results.get("gt_masks") is not None and cut.any():
            left = results["gt_masks"].get_bboxes(type(boxes)).tensor
            boxes.tensor = torch.where(cut[:, None], left.to(boxes.tensor), boxes.tensor)
        return results
