"""ViTDet's pyramid, and the detector's encoder under mmdetection."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

import lightvit_bench.detection.registry
import lightvit_bench.registry  # noqa: F401
from lightvit_bench.errors import ConfigError


def neck(**options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(type="SimpleFeaturePyramid", in_channels=32, out_channels=16, **options)
    )


def test_shapes_are_those_of_the_scales():
    maps = (torch.zeros(1), torch.randn(2, 32, 6, 10))  # the last one alone is read
    shapes = [tuple(level.shape) for level in neck()(maps)]
    assert shapes == [
        (2, 16, 24, 40),
        (2, 16, 12, 20),
        (2, 16, 6, 10),
        (2, 16, 3, 5),
        (2, 16, 2, 3),
    ]
    retina = neck(scales=(2, 1, 0.5), num_outs=5)(maps)
    assert [level.shape[-2:] for level in retina] == [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]


def channel_norm(x, norm):
    """A norm over the channels of each pixel, by its definition."""
    mean = x.mean(1, keepdim=True)
    scaled = (x - mean) / ((x - mean).square().mean(1, keepdim=True) + 1e-6).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


def test_levels_against_the_slow_rule():
    model = neck()
    for parameter in model.parameters():  # norms that do something
        nn.init.normal_(parameter)
    x = torch.randn(1, 32, 4, 4)
    levels = model((x,))

    def lateral(x, parts):
        reduce, norm, smooth, last = parts
        x = channel_norm(F.conv2d(x, reduce.weight), norm)
        return channel_norm(F.conv2d(x, smooth.weight, padding=1), last)

    up, norm, gelu, up_again, *rest = model.levels[0]
    four = F.conv_transpose2d(x, up.weight, up.bias, stride=2)
    four = F.gelu(channel_norm(four, norm))
    four = F.conv_transpose2d(four, up_again.weight, up_again.bias, stride=2)
    up_to_two, *rest_of_two = model.levels[1]
    two = F.conv_transpose2d(x, up_to_two.weight, up_to_two.bias, stride=2)
    half = F.max_pool2d(x, 2)
    expected = [
        lateral(four, rest), lateral(two, rest_of_two),
        lateral(x, model.levels[2]), lateral(half, model.levels[3][1:]),
    ]  # fmt: skip
    for level, wanted in zip(levels, expected, strict=False):
        torch.testing.assert_close(level, wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(levels[4], levels[3][..., ::2, ::2])


def test_size_is_vitdets():
    """Width 192 to 256 channels: detectron2's layers, counted by hand."""
    model = MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=192))
    rescale = (192 * 96 * 4 + 96) + 2 * 96 + (96 * 48 * 4 + 48) + (192 * 96 * 4 + 96)
    lateral = 256 * (48 + 96 + 192 + 192) + 4 * (256 * 256 * 9 + 2 * 2 * 256)
    assert sum(p.numel() for p in model.parameters()) == rescale + lateral


@pytest.mark.parametrize(
    "options, word",
    [
        (dict(scales=(8, 4)), "scales"),
        (dict(scales=(1, 2)), "scales"),
        (dict(num_outs=3), "num_outs"),
    ],
)
def test_refusals(options, word):
    with pytest.raises(ConfigError, match=word):
        neck(**options)
