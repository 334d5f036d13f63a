"""Learning rates by depth, weight decay by kind."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.backbone import ViTBackbone

OPTIMIZER = dict(type="AdamW", lr=1e-3, weight_decay=0.05)


class Segmentor(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.decode_head = nn.Sequential(nn.Conv2d(32, 8, 1), nn.BatchNorm2d(8))


def wrapper(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=OPTIMIZER,
            constructor="LayerDecayConstructor",
            paramwise_cfg=paramwise,
        ),
    )


@pytest.fixture()
def groups():
    """(learning rate, weight decay) by parameter name, ViT-Tiny with rate 0.8."""
    model = Segmentor(ViTBackbone("vit_tiny_p16_h12", rel_pos=True, layer_scale=1.0))
    optimizer = wrapper(model, layer_decay_rate=0.8).optimizer
    names = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    by_id = {id(p): name for name, p in model.named_parameters()}
    return {
        by_id[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


@pytest.mark.parametrize(
    "name, depth",
    [
        ("backbone.encoder.cls_token", 0),
        ("backbone.encoder.pos_embed", 0),
        ("backbone.encoder.patch_embed.proj.weight", 0),
        ("backbone.encoder.blocks.0.attn.qkv.weight", 1),
        ("backbone.encoder.blocks.1.ls1.gamma", 2),
        ("backbone.encoder.blocks.10.mlp.fc1.weight", 11),
        ("backbone.encoder.blocks.11.norm2.bias", 12),
        ("decode_head.0.weight", 13),
    ],
)
def test_rate_falls_with_every_depth(groups, name, depth):
    assert groups[name][0] == pytest.approx(1e-3 * 0.8 ** (13 - depth))


def test_fourteen_depths(groups):
    assert len({lr for lr, _ in groups.values()}) == 14


def test_embeddings_norms_and_biases_are_not_decayed(groups):
    free = {name for name, (_, decay) in groups.items() if decay == 0}
    assert {"backbone.encoder.cls_token", "backbone.encoder.pos_embed"} <= free
    assert "backbone.encoder.blocks.3.norm1.weight" in free
    assert "decode_head.0.bias" in free
    decayed = set(groups) - free
    assert "backbone.encoder.blocks.3.attn.qkv.weight" in decayed
    assert "decode_head.0.weight" in decayed
    assert {groups[name][1] for name in decayed} == {0.05}


def test_frozen_parameters_are_left_out():
    model = Segmentor(ViTBackbone("vit_test", out_blocks=(2,), train_positions=False))
    optimizer = wrapper(model, layer_decay_rate=0.5).optimizer
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(model.backbone.encoder.pos_embed) not in held
    assert id(model.backbone.encoder.cls_token) in held


def test_backbone_without_depths_is_refused():
    with pytest.raises(ConfigError, match="get_layer_depth"):
        wrapper(Segmentor(nn.Conv2d(3, 32, 1)), layer_decay_rate=0.8)


def test_misspelt_option_is_refused():
    with pytest.raises(ConfigError, match="decay_rate.*\n.*layer_decay_rate"):
        wrapper(Segmentor(ViTBackbone("vit_test", out_blocks=(2,))), decay_rate=0.8)


def test_a_step_moves_shallow_layers_less():
    model = Segmentor(ViTBackbone("vit_test", out_blocks=(2,)))
    optim = wrapper(model, layer_decay_rate=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optim.update_params(sum(p.square().sum() for p in model.parameters()))
    moved = {name: (p - before[name]).abs().max() for name, p in model.named_parameters()}
    shallow = moved["backbone.encoder.patch_embed.proj.weight"]
    assert torch.all(shallow < 0.01 * moved["decode_head.0.weight"])
