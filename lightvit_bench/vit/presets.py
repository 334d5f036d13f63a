"""Named sizes of the encoder. The head count is part of the name, for no tensor shape shows it."""

from __future__ import annotations

from dataclasses import dataclass

from lightvit_bench.errors import ConfigError


@dataclass(frozen=True)
class ViTPreset:
    """The architecture of a plain vision transformer.

    Attributes:
        width: channels of a token.
        depth: number of blocks.
        heads: attention heads in each block; `width` is a multiple of it.
        patch: side of a square patch in pixels.
        mlp_ratio: hidden width of the MLP over `width`.
        img_size: side in pixels of the image the position table is made for.
    """

    name: str
    width: int
    depth: int
    heads: int
    patch: int = 16
    mlp_ratio: float = 4.0
    img_size: int = 224


PRESETS = {
    preset.name: preset
    for preset in (
        # MAE-Lite's ViT-Tiny: DeiT-Tiny's shape with 12 heads of 16 channels.
        ViTPreset("vit_tiny_p16_h12", width=192, depth=12, heads=12),
        # DeiT's and timm's ViT-Tiny: 3 heads of 64 channels, same tensor shapes.
        ViTPreset("vit_tiny_p16_h3", width=192, depth=12, heads=3),
        ViTPreset("vit_small_p16_h12", width=384, depth=12, heads=12),
        # DeiT's and timm's ViT-Small.
        ViTPreset("vit_small_p16_h6", width=384, depth=12, heads=6),
        ViTPreset("vit_base_p16", width=768, depth=12, heads=12),
        # For tests: real in every respect but size.
        ViTPreset("vit_test", width=32, depth=3, heads=4, img_size=64),
    )
}


def get_preset(name: str) -> ViTPreset:
    """The preset called `name`.

    Raises:
        ConfigError: there is none; the names of all are listed.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"there is no encoder preset {name!r}.",
            known=", ".join(PRESETS),
            heads="h3, h6, h12: the number of attention heads; MAE-Lite's ViT-Tiny has 12",
        )
    return PRESETS[name]
