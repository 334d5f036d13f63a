"""The encoder: one plain vision transformer on timm's layers, run in several ways."""

from lightvit_bench import compat

compat.prepare()  # timm imports torchvision

from lightvit_bench.vit.encoder import VisionTransformer  # noqa: E402
from lightvit_bench.vit.presets import PRESETS, ViTPreset, get_preset  # noqa: E402

__all__ = ["PRESETS", "ViTPreset", "VisionTransformer", "get_preset"]
