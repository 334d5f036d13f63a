"""Detectors made ready to run: boxes in float32 under autocast, a CPU's layout."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from lightvit_bench.detection.ready import prepare_detector
from lightvit_bench.openmmlab.config import load_config

BOX = [601.0, 598.0, 618.0, 617.0]  # on a raster of 4 px in bfloat16


def detector(config):
    cfg = load_config(config)
    cfg.model.backbone.rel_pos_size = 640
    cfg.model.data_preprocessor.pad_size_divisor = 640
    init_default_scope("mmdet")
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def batch(objects=1):
    """An image of 640 px with a small object far from the corner that coordinates count from."""
    shape = (640, 640)
    sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
    sample = DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))
    mask = np.zeros((objects, *shape), np.uint8)
    mask[:, 598:617, 601:618] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([BOX] * objects).reshape(-1, 4),
        labels=torch.zeros(objects, dtype=torch.long),
        masks=BitmapMasks(mask, *shape),
    )
    image = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(1))
    return image, [sample]


def step(model, objects=1):
    """Losses of a training step in bfloat16."""
    image, samples = batch(objects)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(image, samples, mode="loss")
    return model.parse_losses(losses)[0]


@pytest.fixture
def model(tiny_detector):
    model = detector(tiny_detector)
    prepare_detector(model)
    return model.train()


def test_regions_and_proposals_stay_in_float32(model):
    regions, pooled, proposed = [], [], []
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        for layer in extractor.roi_layers:
            layer.register_forward_pre_hook(lambda _, inputs: regions.append(inputs[1]))
        extractor.register_forward_hook(lambda _, inputs, output: pooled.append(output.dtype))
    head = model.rpn_head
    predict = head.predict_by_feat

    def spy(*inputs, **options):
        found = predict(*inputs, **options)
        proposed.append(found[0].bboxes.clone())
        return found

    head.predict_by_feat = spy
    step(model).backward()
    assert {boxes.dtype for boxes in regions} == {torch.float32} and set(pooled) == {torch.float32}
    truth = torch.tensor([0.0, *BOX])
    assert any((boxes == truth).all(dim=1).any() for boxes in regions)
    boxes = proposed[0]
    assert boxes.dtype == torch.float32
    rounded = boxes.bfloat16().float() != boxes
    assert rounded.float().mean() > 0.5  # most are between two numbers of bfloat16


def test_convolutions_stay_in_bfloat16(model):
    seen = {}
    for name in ("rpn_head.rpn_conv", "roi_head.bbox_head.shared_convs.0"):
        part = model.get_submodule(name)
        part.register_forward_hook(
            lambda _, inputs, output, at=name: seen.update({at: output.dtype})
        )
    step(model)
    assert set(seen.values()) == {torch.bfloat16} and len(seen) == 2


@pytest.mark.parametrize("objects", [0, 1])
def test_a_step_without_objects_reaches_all_parameters_but_those_of_masks(model, objects):
    loss = step(model, objects)
    assert torch.isfinite(loss)
    loss.backward()
    without = {
        name.split(".")[0]
        for name, p in model.named_parameters()
        if p.requires_grad and p.grad is None
    }
    assert not without


def test_channels_are_last_on_a_cpu_alone_and_weights_stay(tiny_detector):
    model = detector(tiny_detector)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepare_detector(model, distributed=True)
    convolution = model.roi_head.mask_head.convs[0].conv.weight
    assert convolution.is_contiguous()
    prepare_detector(model)
    convolution = model.roi_head.mask_head.convs[0].conv.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert not convolution.is_contiguous()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
