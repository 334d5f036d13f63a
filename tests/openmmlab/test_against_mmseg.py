"""The backbone computes what mmsegmentation's MAE backbone does, which the authors' ADE20K runs."""

import re

import pytest
import torch

from lightvit_bench import compat
from lightvit_bench.openmmlab.backbone import ViTBackbone
from lightvit_bench.vit.position import resample_table

RENAMED = [
    (r"^encoder\.blocks\.", "layers."),
    (r"^encoder\.patch_embed\.proj\.", "patch_embed.projection."),
    (r"^encoder\.", ""),
    (r"\.norm([12])\.", r".ln\1."),
    (r"\.ls([12])\.gamma", r".gamma_\1"),
    (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
    (r"\.mlp\.fc2\.", ".ffn.layers.1."),
    (r"\.attn\.rel_pos\.", ".attn."),
]


def mmseg_name(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture(scope="module")
def pair():
    """Our backbone and mmseg's with the same random weights, tables and gains included."""
    compat.import_mmseg()
    from mmseg.models.backbones import MAE

    torch.manual_seed(0)
    ours = ViTBackbone(
        "vit_tiny_p16_h12", img_size=96, out_blocks=(3, 5, 7, 11), rel_pos=True, layer_scale=1.0
    ).eval()
    theirs = MAE(
        img_size=(96, 96),
        embed_dims=192,
        num_layers=12,
        num_heads=12,
        out_indices=(3, 5, 7, 11),
        norm_cfg=dict(type="LN", eps=1e-6),
        init_values=1.0,
    )
    theirs.eval()  # its own train() returns None
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "rel_pos" in name or "ls" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    state = {mmseg_name(name): value for name, value in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all("relative_position_index" in name for name in missing)
    return ours, theirs


def test_same_maps(pair):
    ours, theirs = pair
    image = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        for mine, reference in zip(ours(image), theirs(image), strict=True):
            assert mine.shape == reference.shape
            assert torch.allclose(mine, reference, atol=1e-4 * reference.abs().max())


def test_same_resampling_of_positions(pair):
    _, theirs = pair
    table = torch.randn(1, 1 + 14 * 14, 192)
    reference = theirs.resize_abs_pos_embed({"pos_embed": table.clone()})["pos_embed"]
    assert torch.allclose(resample_table(table, (14, 14), (6, 6), cls_token=True), reference)
