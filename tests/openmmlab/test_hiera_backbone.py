"""Hiera as a backbone: four maps, a start from a checkpoint, learning rates by depth."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from lightvit_bench import registry  # noqa: F401
from lightvit_bench.checkpoint import save_encoder
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import HieraBackbone, check_init
from lightvit_bench.vit import Hiera, VisionTransformer

WIDTHS = [8, 16, 32, 64]


def test_mmseg_builds_and_trains_it():
    import mmseg.models  # noqa: F401

    init_default_scope("mmseg")
    model = MODELS.build(
        dict(
            type="EncoderDecoder",
            backbone=dict(type="HieraBackbone", preset="hiera_test"),
            neck=dict(type="FPN", in_channels=WIDTHS, out_channels=8, num_outs=4),
            decode_head=dict(
                type="FPNHead",
                in_channels=[8] * 4,
                in_index=[0, 1, 2, 3],
                feature_strides=[4, 8, 16, 32],
                channels=8,
                num_classes=5,
            ),
        )
    )
    out = model(torch.randn(2, 3, 64, 96))
    assert out.shape == (2, 5, 16, 24)
    out.square().mean().backward()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_maps_are_the_encoders_normed():
    backbone = HieraBackbone("hiera_test", out_stages=(3, 0)).eval()
    bare = HieraBackbone("hiera_test", out_stages=(3, 0), out_norm=False).eval()
    bare.encoder.load_state_dict(backbone.encoder.state_dict())
    image = torch.randn(1, 3, 80, 64)
    expected = backbone.encoder.forward_maps(image, (3, 0))
    assert [tuple(m.shape) for m in expected] == [(1, 64, 3, 2), (1, 8, 20, 16)]
    for ours, plain, reference in zip(backbone(image), bare(image), expected, strict=True):
        assert torch.equal(plain, reference)
        centred = reference - reference.mean(dim=1, keepdim=True)
        scale = (reference.var(dim=1, keepdim=True, correction=0) + 1e-6).sqrt()
        assert torch.allclose(ours, centred / scale, atol=1e-4)


def test_tiny_has_the_widths_and_strides_of_its_stages():
    maps = HieraBackbone().eval()(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [
        (1, 46, 16, 16), (1, 92, 8, 8), (1, 184, 4, 4), (1, 368, 2, 2),
    ]  # fmt: skip


def test_weights_come_from_the_checkpoint_at_another_size(tmp_path):
    torch.manual_seed(1)
    source = Hiera("hiera_test", q_pool=2)  # as a pre-training exports it
    save_encoder(tmp_path / "start.safetensors", source, recipe="dmae")
    init = str(tmp_path / "start.safetensors")
    check_init(dict(backbone=dict(init=init)))
    backbone = HieraBackbone("hiera_test", init=init, img_size=[64, 96], drop_path=0.1)
    backbone.init_weights()
    weight = "blocks.1.attn.qkv.weight"
    assert torch.equal(backbone.encoder.state_dict()[weight], source.state_dict()[weight])
    assert backbone.encoder.pos_embed.shape == (1, 16 * 24, 8)
    assert backbone.encoder.q_pool == 3


def test_a_plain_vits_checkpoint_is_refused(tmp_path):
    path = tmp_path / "vit.safetensors"
    save_encoder(path, VisionTransformer("vit_test"), recipe="mae")
    with pytest.raises(CheckpointError, match="is a vit_test, not a hiera_test"):
        HieraBackbone("hiera_test", init=str(path)).init_weights()
    with pytest.raises(CheckpointError, match="mae_hiera_tiny_distill_400e"):
        HieraBackbone(init="checkpoints/dmae_hiera_tiny.safetensors").init_weights()


@pytest.mark.parametrize("stages", [(), (0, 4), (-1,), 4])
def test_stages_out_of_range(stages):
    with pytest.raises(ConfigError, match="out_stages=.*encoder of 4 stages"):
        HieraBackbone("hiera_test", out_stages=stages)


def test_learning_rates_by_depth():
    class Segmentor(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = HieraBackbone("hiera_test")
            self.decode_head = nn.Conv2d(64, 8, 1)

    model = Segmentor()
    optimizer = build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.05),
            constructor="LayerDecayConstructor",
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    ).optimizer
    seen = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert set(seen) == {name for name, _ in model.named_parameters()}
    depths = {
        "backbone.encoder.pos_embed": (0, 0),
        "backbone.encoder.patch_embed.proj.weight": (0, 0.05),
        "backbone.encoder.blocks.0.attn.proj.weight": (1, 0.05),
        "backbone.encoder.blocks.2.proj.weight": (3, 0.05),
        "backbone.encoder.blocks.5.norm2.weight": (6, 0),
        "backbone.norms.0.weight": (7, 0),  # fresh, as the head
        "decode_head.weight": (7, 0.05),
    }
    for name, (depth, decay) in depths.items():
        assert seen[name] == (pytest.approx(0.5 ** (7 - depth)), decay), name
