"""What a tracker starts from: an encoder's weights, or attention to what is alike."""

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.training.start import mimetic_start
from lightvit_bench.vit import VisionTransformer

PRESET = "vit_tiny_p16_h12"


def bicubic(table, old, new):
    """(1, old*old, D) -> (1, new*new, D), without the encoder's own function."""
    grid = table.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(1, new * new, -1)


def test_both_tables_are_resampled_from_the_encoders_own():
    torch.manual_seed(0)
    encoder = VisionTransformer(PRESET)
    with torch.no_grad():
        encoder.pos_embed.normal_()  # a table that says where each patch is
        encoder.cls_token.fill_(7)
    network = OneStreamTracker(NetworkSpec(preset=PRESET))
    network.start_from(encoder)
    table = encoder.pos_embed[:, 1:]
    assert torch.allclose(network.template_positions, bicubic(table, 14, 8), atol=1e-5)
    assert torch.allclose(network.backbone.pos_embed, bicubic(table, 14, 16), atol=1e-5)
    own = network.backbone.state_dict()
    for name, value in encoder.state_dict().items():
        if name not in ("cls_token", "pos_embed"):
            assert torch.equal(own[name], value), name
    assert "cls_token" not in own
    assert network.template_positions.requires_grad and network.backbone.pos_embed.requires_grad
    with torch.no_grad():
        network.template_positions.zero_()
        network.backbone.blocks[0].attn.qkv.weight.zero_()
    assert encoder.blocks[0].attn.qkv.weight.any()  # copies


def test_a_table_of_the_same_grid_is_taken_as_it_is():
    torch.manual_seed(0)
    encoder = VisionTransformer("vit_test", img_size=64, cls_token=False)
    with torch.no_grad():
        encoder.pos_embed.normal_()
    spec = NetworkSpec(preset="vit_test", template_size=32, search_size=64, eliminate=())
    network = OneStreamTracker(spec)
    network.start_from(encoder)
    assert torch.equal(network.backbone.pos_embed, encoder.pos_embed)
    assert torch.allclose(network.template_positions, bicubic(encoder.pos_embed, 4, 2), atol=1e-6)


def products(encoder, block):
    """W_q W_k^T of each head (heads, D, D) and W_v W_proj (D, D), as unit tokens show them."""
    attention = encoder.blocks[block].attn
    width = attention.qkv.in_features
    with torch.no_grad():
        q, k, v = attention.queries_keys_values(torch.eye(width)[None])
        together = attention.proj(v.transpose(1, 2).flatten(2))[0]  # W_v W_proj
    return q[0] @ k[0].transpose(-2, -1), together


@pytest.mark.parametrize("preset", ["vit_test", "vit_tiny_p16_h3"])
def test_mimetic_attention_compares(preset):
    torch.manual_seed(0)
    encoder = VisionTransformer(preset)
    mimetic_start(encoder)
    heads, together = products(encoder, 1)
    width = heads.shape[-1]
    eye = torch.eye(width, dtype=torch.bool)
    for product in heads:
        rank = torch.linalg.matrix_rank(product.double(), rtol=1e-5)
        assert rank == width // len(heads)
        # The diagonal stands out as far as so few dimensions let it.
        assert product[eye].mean() > 4 * product[~eye].mean().abs()
        assert product[eye].mean() > 0.7 * rank / width
    # Full rank, so exact: 0.4 (noise - identity), noise of variance 1 / D.
    assert together[eye].mean() == pytest.approx(-0.4, abs=0.03)
    assert together[~eye].std() == pytest.approx(0.4 / width**0.5, rel=0.1)
    assert together[~eye].mean().abs() < 0.01


def test_one_head_of_full_rank_is_exact():
    """With as many dimensions as channels, nothing is cut off: 0.7 (identity + noise)."""
    from lightvit_bench.vit import ViTPreset

    encoder = VisionTransformer(ViTPreset("one_head", width=64, depth=1, heads=1, img_size=32))
    mimetic_start(encoder)
    product = products(encoder, 0)[0][0]
    eye = torch.eye(64, dtype=torch.bool)
    assert product[eye].mean() == pytest.approx(0.7, abs=0.05)
    assert product[~eye].std() == pytest.approx(0.7 / 8, rel=0.05)


def test_mimetic_start_is_of_its_seed_alone():
    made = []
    for manual, seed in ((0, 0), (1, 0), (0, 5)):
        torch.manual_seed(manual)
        encoder = VisionTransformer("vit_test")
        state = torch.get_rng_state()
        mimetic_start(encoder, seed)
        assert torch.equal(torch.get_rng_state(), state)
        made.append(encoder.blocks[2].attn.qkv.weight.clone())
        assert not encoder.blocks[2].attn.qkv.bias.any()
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
