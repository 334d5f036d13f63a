"""The encoders on timm's layers, run in several ways: a plain vision transformer, and Hiera."""

from lightvit_bench import compat

compat.prepare()  # timm imports torchvision

from lightvit_bench.vit.encoder import VisionTransformer  # noqa: E402
from lightvit_bench.vit.hiera import Hiera  # noqa: E402
from lightvit_bench.vit.presets import (  # noqa: E402
    PRESETS,
    HieraPreset,
    ViTPreset,
    get_preset,
)

Encoder = VisionTransformer | Hiera

__all__ = [
    "PRESETS",
    "Encoder",
    "Hiera",
    "HieraPreset",
    "ViTPreset",
    "VisionTransformer",
    "get_preset",
]
