"""One backbone, built by mmseg and by mmdet, started from a checkpoint or at random."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from lightvit_bench import registry  # noqa: F401
from lightvit_bench.checkpoint import save_encoder
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import ViTBackbone, check_init
from lightvit_bench.vit import VisionTransformer

BACKBONE = dict(type="ViTBackbone", preset="vit_test", out_blocks=(0, 1, 2, 2))


def test_mmseg_builds_it():
    import mmseg.models  # noqa: F401

    init_default_scope("mmseg")
    model = MODELS.build(
        dict(
            type="EncoderDecoder",
            backbone=BACKBONE,
            decode_head=dict(type="FCNHead", in_channels=32, channels=8, num_classes=5, in_index=3),
        )
    )
    assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 5, 4, 6)


def test_mmdet_builds_and_trains_it():
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.structures import InstanceData

    register_all_modules(init_default_scope=True)
    model = MODELS.build(
        dict(
            type="RetinaNet",
            backbone=BACKBONE,
            neck=dict(type="FPN", in_channels=[32] * 4, out_channels=16, num_outs=4),
            bbox_head=dict(
                type="RetinaHead",
                num_classes=3,
                in_channels=16,
                stacked_convs=1,
                feat_channels=16,
                anchor_generator=dict(
                    type="AnchorGenerator",
                    scales=[4],
                    ratios=[1.0],
                    strides=[16] * 4,
                ),
                bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
            ),
            train_cfg=dict(
                assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4),
                sampler=dict(type="PseudoSampler"),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
        )
    )
    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64), pad_shape=(64, 64))
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]), labels=torch.tensor([1])
    )
    losses = model.loss(torch.randn(1, 3, 64, 64), [sample])
    sum(loss for part in losses.values() for loss in part).backward()
    assert model.backbone.encoder.patch_embed.proj.weight.grad.abs().sum() > 0


def test_maps_are_the_encoders():
    backbone = ViTBackbone("vit_test", out_blocks=(2, 0)).eval()
    image = torch.randn(1, 3, 80, 64)
    maps = backbone(image)
    expected = backbone.encoder.forward_maps(image, (2, 0))
    assert [tuple(m.shape) for m in maps] == [(1, 32, 5, 4)] * 2
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))


def test_weights_come_from_the_checkpoint_at_another_size(tmp_path):
    torch.manual_seed(1)
    source = VisionTransformer("vit_test", final_norm=False)
    save_encoder(tmp_path / "start.safetensors", source, recipe="mae")
    backbone = ViTBackbone(
        "vit_test",
        init=str(tmp_path / "start.safetensors"),
        out_blocks=(2,),
        img_size=128,
        rel_pos=True,
        layer_scale=1.0,
        drop_path=0.1,
    )
    backbone.init_weights()
    weight = "blocks.1.attn.qkv.weight"
    assert torch.equal(backbone.encoder.state_dict()[weight], source.state_dict()[weight])
    assert backbone.encoder.pos_embed.shape == (1, 65, 32)
    # new parts start neutral: at the checkpoint's own size nothing has changed
    small = ViTBackbone(
        "vit_test", init=backbone.init, out_blocks=(2,), rel_pos=True, layer_scale=1.0
    )
    small.init_weights()
    image = torch.randn(1, 3, 64, 64)
    expected = source.eval().forward_maps(image, (2,))[0]
    assert torch.allclose(small.eval()(image)[0], expected, atol=1e-5)


@pytest.mark.parametrize("when", ["before anything is built", "when weights are loaded"])
def test_absent_checkpoint_names_the_ways_to_get_one(when):
    backbone = dict(preset="vit_tiny_p16_h12", init="checkpoints/absent.safetensors")
    with pytest.raises(CheckpointError, match="(?s)convert_checkpoint.*pre train.*init=random"):
        if when == "before anything is built":
            check_init(dict(backbone=backbone))
        else:
            ViTBackbone(**backbone).init_weights()


def test_pixels_must_be_those_the_checkpoint_was_trained_on(tmp_path):
    path = tmp_path / "half.safetensors"
    half = (0.5, 0.5, 0.5)
    save_encoder(
        path, VisionTransformer("vit_test"), recipe="timm", image_mean=half, image_std=half
    )
    model = dict(
        backbone=dict(init=str(path)),
        data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    )
    with pytest.raises(CheckpointError, match=r"another mean(?s:.*)mean=\[127.5,127.5,127.5\]"):
        check_init(model)
    model["data_preprocessor"] = dict(mean=[127.5] * 3, std=[127.5] * 3)
    check_init(model)


def test_other_head_count_is_refused(tmp_path):
    path = tmp_path / "deit.safetensors"
    save_encoder(path, VisionTransformer("vit_tiny_p16_h3"), recipe="deit")
    backbone = ViTBackbone("vit_tiny_p16_h12", init=str(path))
    with pytest.raises(CheckpointError, match="12 heads instead of 3"):
        backbone.init_weights()


@pytest.mark.parametrize("blocks", [(), (0, 3), (-1,), 9])
def test_blocks_out_of_range(blocks):
    with pytest.raises(ConfigError, match="encoder of 3 blocks"):
        ViTBackbone("vit_test", out_blocks=blocks)
