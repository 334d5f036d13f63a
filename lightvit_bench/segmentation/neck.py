"""From the maps of a plain ViT, all at stride 16, to a pyramid."""

from __future__ import annotations

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ReducingPyramid(BaseModule):
    """Four maps at stride 16 -> strides 4, 8, 16, 32 with fewer channels.

    The neck of MAE-Lite's Semantic FPN (its released ADE20K code): two transposed convolutions
    with a norm and GELU between, one transposed convolution, a 1x1 convolution, and a 1x1
    convolution followed by max pooling. About 0.10 M parameters for width 192.

    Args:
        in_channels: width of the encoder.
        factor: channels out over channels in.
        norm_cfg: norm layer between the transposed convolutions.
    """

    def __init__(self, in_channels: int, factor: float = 0.25, norm_cfg: dict | None = None):
        super().__init__()
        out = int(in_channels * factor)
        self.levels = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(in_channels, out, kernel_size=2, stride=2),
                    build_norm_layer(norm_cfg or dict(type="SyncBN"), out)[1],
                    nn.GELU(),
                    nn.ConvTranspose2d(out, out, kernel_size=2, stride=2),
                ),
                nn.ConvTranspose2d(in_channels, out, kernel_size=2, stride=2),
                nn.Conv2d(in_channels, out, kernel_size=1),
                nn.Sequential(
                    nn.Conv2d(in_channels, out, kernel_size=1),
                    nn.MaxPool2d(kernel_size=2, stride=2),
                ),
            ]
        )

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Four (B, in_channels, h, w) -> four (B, out, ., .) of 4, 2, 1 and 1/2 times h and w."""
        return tuple(level(x) for level, x in zip(self.levels, maps, strict=True))
