"""From the last map of a plain ViT to a detector's pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit import VisionTransformer  # noqa: F401  (prepares timm's import)

# isort: split
from timm.layers import LayerNorm2d

# A norm over the channels of each pixel: norm_cfg=dict(type="LN2d"), in heads of mmdetection, too.
MODELS.register_module("LN2d", module=LayerNorm2d)

NORM = dict(type="LN2d", eps=1e-6)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """One map -> maps of several scales, each made from that one map alone.

    ViTDet's neck (Li et al. 2022, section 3). Scale 4: two transposed convolutions with a norm and
    GELU between; 2: one; 1: nothing; 1/2: max pooling. To each a 1x1 and a 3x3 convolution, both
    without bias and with a norm. Levels beyond the scales are the last one, subsampled by 2
    (detectron2's LastLevelMaxPool).

    Args:
        in_channels: width of the encoder.
        out_channels: of each level.
        scales: of the levels over the encoder's map, falling.
        num_outs: levels in all, the subsampled ones among them.

    Raises:
        ConfigError: a scale other than 4, 2, 1 and 0.5, or fewer levels than scales.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        norm_cfg: dict = NORM,
    ):
        super().__init__()
        if not set(scales) <= {4, 2, 1, 0.5} or list(scales) != sorted(scales, reverse=True):
            raise ConfigError(
                f"SimpleFeaturePyramid has no scales {list(scales)}.",
                set="model.neck.scales to some of 4, 2, 1 and 0.5, the largest first",
            )
        if num_outs < len(scales):
            raise ConfigError(
                f"{len(scales)} scales are more than num_outs={num_outs} levels.",
                set="model.neck.num_outs, or fewer model.neck.scales",
            )
        self.num_outs = num_outs
        self.levels = nn.ModuleList(
            _level(in_channels, out_channels, scale, norm_cfg) for scale in scales
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The last of `maps` (B, in_channels, h, w) -> `num_outs` maps (B, out_channels, ., .)."""
        levels = [level(maps[-1]) for level in self.levels]
        while len(levels) < self.num_outs:
            levels.append(F.max_pool2d(levels[-1], kernel_size=1, stride=2))
        return tuple(levels)


def _level(width: int, out: int, scale: float, norm_cfg: dict) -> nn.Sequential:
    def norm(channels: int) -> nn.Module:
        return build_norm_layer(norm_cfg, channels)[1]

    rescale, channels = [], width
    if scale == 4:
        rescale = [
            nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2),
            norm(width // 2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, kernel_size=2, stride=2),
        ]
        channels = width // 4
    elif scale == 2:
        rescale = [nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2)]
        channels = width // 2
    elif scale == 0.5:
        rescale = [nn.MaxPool2d(kernel_size=2, stride=2)]
    return nn.Sequential(
        *rescale,
        nn.Conv2d(channels, out, kernel_size=1, bias=False),
        norm(out),
        nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False),
        norm(out),
    )
