"""The authors' neck: strides and sizes of their recipe."""

import torch

from lightvit_bench.segmentation.neck import ReducingPyramid


def test_strides_and_channels():
    neck = ReducingPyramid(192, factor=0.25, norm_cfg=dict(type="BN"))
    maps = tuple(torch.randn(2, 192, 8, 6) for _ in range(4))
    shapes = [tuple(x.shape) for x in neck(maps)]
    assert shapes == [(2, 48, 32, 24), (2, 48, 16, 12), (2, 48, 8, 6), (2, 48, 4, 3)]


def test_parameters_are_the_recipes_tenth_of_a_million():
    neck = ReducingPyramid(192, norm_cfg=dict(type="BN"))
    by_hand = (192 * 48 * 4 + 48) + 2 * 48 + (48 * 48 * 4 + 48)  # stride 4
    by_hand += (192 * 48 * 4 + 48) + 2 * (192 * 48 + 48)  # strides 8, 16, 32
    assert sum(p.numel() for p in neck.parameters()) == by_hand == 101_712


def test_last_level_is_pooled_after_its_convolution():
    neck = ReducingPyramid(4, factor=1.0, norm_cfg=dict(type="BN"))
    x = torch.randn(1, 4, 2, 2)
    expected = neck.levels[3][0](x).amax(dim=(2, 3))
    assert torch.allclose(neck((x, x, x, x))[3][:, :, 0, 0], expected)
