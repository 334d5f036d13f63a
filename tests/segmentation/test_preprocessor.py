"""Padding of images that are smaller than the window, and only of those."""

import pytest
import torch
from mmseg.structures import SegDataSample

from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import build_model
from lightvit_bench.segmentation.preprocessor import PatchPadPreProcessor


def padded(height: int, width: int, window: int | None):
    processor = PatchPadPreProcessor(
        mean=[0, 0, 0], std=[1, 1, 1], pad_val=0, seg_pad_val=255, window=window
    )
    image = torch.ones(3, height, width)
    sample = SegDataSample(metainfo=dict(img_shape=(height, width)))
    out = processor(dict(inputs=[image], data_samples=[sample]))
    return out["inputs"], out["data_samples"][0]


@pytest.mark.parametrize(
    "size, window, expected",
    [
        ((512, 683), 512, (512, 683)),  # a usual ADE20K image: left as it is
        ((500, 683), 512, (512, 683)),  # a side below the window: whole patches
        ((130, 100), 512, (144, 112)),
        ((512, 683), None, (512, 688)),  # whole-image inference
        ((64, 32), 512, (64, 32)),
        ((10, 700), 512, (32, 700)),
        ((1, 1), 512, (32, 32)),
    ],
)
def test_sides(size, window, expected):
    image, sample = padded(*size, window)
    assert tuple(image.shape[-2:]) == expected
    assert image[..., : size[0], : size[1]].min() == 1  # padding is below and to the right
    assert image.sum() == 3 * size[0] * size[1]


def test_prediction_has_the_size_of_the_image_and_ignores_the_padding(repo, monkeypatch):
    """The logits of a small image are cut where the image ends, not stretched over it."""
    cfg = load_config(repo / "configs/camvid/upernet_random_tiny.py")
    model = build_model(cfg)

    def columns(inputs, batch_img_metas):  # logits that count the columns of the padded image
        ramp = torch.arange(inputs.shape[3], dtype=torch.float32)
        return ramp.expand(1, 11, inputs.shape[2], -1).clone()

    monkeypatch.setattr(model, "encode_decode", columns)
    sample = SegDataSample(metainfo=dict(img_shape=(90, 70), ori_shape=(90, 70)))
    image = torch.zeros(3, 90, 70, dtype=torch.uint8)
    result = model.test_step(dict(inputs=[image], data_samples=[sample]))[0]
    assert torch.equal(result.seg_logits.data[0, 0], torch.arange(70.0))
    assert result.pred_sem_seg.data.shape == (1, 90, 70)
