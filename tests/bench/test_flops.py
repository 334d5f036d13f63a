"""Work is counted as a person counts it with paper and pencil, attention included."""

import pytest
import torch

from lightvit_bench.bench.flops import count_cost
from lightvit_bench.openmmlab.model import model_cost
from lightvit_bench.vit import VisionTransformer


def encoder_macs(height: int, width: int, dim: int = 192, depth: int = 12, patch: int = 16) -> int:
    """By hand: patch embedding, then per block qkv, q k^T, attention times v, projection, MLP."""
    patches = (height // patch) * (width // patch)
    tokens = patches + 1
    block = tokens * dim * 3 * dim + 2 * tokens * tokens * dim + tokens * dim * dim
    block += 2 * tokens * dim * 4 * dim
    return patches * 3 * patch * patch * dim + depth * block


@pytest.mark.parametrize("rel_pos", [False, True])
@pytest.mark.parametrize("shape", [(224, 224), (512, 512), (96, 160)])
def test_encoder_agrees_with_hand_arithmetic(shape, rel_pos):
    encoder = VisionTransformer("vit_tiny_p16_h12", img_size=shape, rel_pos=rel_pos)
    assert count_cost(encoder, torch.zeros(1, 3, *shape)).macs == encoder_macs(*shape)


def test_paper_figure_at_224():
    """MAE-Lite's ViT-Tiny: 1.25 GMACs, 5,524,416 parameters in the encoder."""
    cost = count_cost(VisionTransformer("vit_tiny_p16_h12"), torch.zeros(1, 3, 224, 224))
    assert round(cost.macs / 1e9, 2) == 1.25
    assert cost.params == 5_524_416


def test_counting_leaves_the_mode_alone():
    encoder = VisionTransformer("vit_test").train()
    count_cost(encoder, torch.zeros(1, 3, 64, 64))
    assert encoder.training


def test_total_of_the_authors_fpn(repo):
    """Neck and head by hand at 512 px, and the parameters the authors' recipe has."""
    cost = model_cost(str(repo / "configs/ade20k/fpn_dmae_tiny.py"), (512, 512))
    assert cost.backbone.macs == encoder_macs(512, 512)

    h = 512 // 16
    neck = 192 * 48 * 4 * h * h + 48 * 48 * 4 * (2 * h) ** 2  # stride 4: two transposed convs
    neck += 192 * 48 * 4 * h * h  # stride 8
    neck += 2 * 192 * 48 * h * h  # strides 16 and 32, the latter pooled after its convolution
    first, other = 9 * 48 * 128, 9 * 128 * 128
    head = first * (4 * h) ** 2  # stride 4, at its own size
    head += first * (2 * h) ** 2  # stride 8, upsampled afterwards
    head += first * h * h + other * (2 * h) ** 2  # stride 16: two convolutions
    head += first * (h // 2) ** 2 + other * h * h + other * (2 * h) ** 2  # stride 32: three
    head += 128 * 150 * (4 * h) ** 2  # classes
    assert cost.total.macs - cost.backbone.macs == neck + head

    added = cost.total.params - cost.backbone.params
    assert round(added / 1e6, 2) == 0.79  # neck 0.10 M, head 0.68 M and rounding


def test_a_tracker_is_counted_in_its_own_sizes(repo):
    """As the authors' code counts it: 1.56 GMACs and a head of 0.64 and 2.49 M."""
    cost = model_cost(str(repo / "configs/lasot/ostrack_d2mae_tiny.py"), (1, 1))
    head = cost.total.macs - cost.backbone.macs
    assert cost.backbone.macs == pytest.approx(1.56e9, rel=0.005)
    assert head == pytest.approx(0.64e9, rel=0.01)
    assert cost.total.params - cost.backbone.params == pytest.approx(2.49e6, rel=0.01)
    assert "128 x 128" in cost.input and "256 x 256" in cost.input
