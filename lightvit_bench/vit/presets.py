"""Named sizes of the encoders. The head count is part of a preset, for no tensor shape shows it."""

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

    def __str__(self) -> str:
        return f"{self.name}, {self.heads} heads"


@dataclass(frozen=True)
class HieraPreset:
    """The architecture of a hierarchical encoder (Hiera, Ryali et al. 2023).

    Channels and heads double from stage to stage, so the channels of a head stay the same.

    Attributes:
        width: channels of a token in the first stage.
        stages: number of blocks in each stage.
        heads: attention heads in the first stage.
        patch: stride of the patch convolution in pixels.
        q_pool: how many of the steps between stages halve the map, as the encoder runs downstream;
            a masked autoencoder pools less. No parameter depends on it.
        local_stages: first stages whose blocks attend within a mask unit; the others attend
            globally. The first block of a stage attends as the stage before it does.
        mlp_ratio: hidden width of the MLP over `width`.
        img_size: side in pixels of the image the position table is made for.
    """

    name: str
    width: int
    stages: tuple[int, ...]
    heads: int = 1
    patch: int = 4
    q_pool: int = 3
    local_stages: int = 2
    mlp_ratio: float = 4.0
    img_size: int = 224

    def __str__(self) -> str:
        return f"{self.name}, {self.stage_heads[0]} to {self.stage_heads[-1]} heads"

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(self.stages)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of a token at the end of each stage."""
        return tuple(self.width * 2**stage for stage in range(len(self.stages)))

    @property
    def stage_heads(self) -> tuple[int, ...]:
        """Attention heads in each stage."""
        return tuple(self.heads * 2**stage for stage in range(len(self.stages)))

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """Index of the last block of each stage, from 0."""
        return tuple(sum(self.stages[: stage + 1]) - 1 for stage in range(len(self.stages)))

    @property
    def unit(self) -> int:
        """Side of a mask unit in tokens of the first stage: pooled at every step, one is left."""
        return 2 ** (len(self.stages) - 1)

    @property
    def unit_pixels(self) -> int:
        """Side of a mask unit in pixels."""
        return self.unit * self.patch


PRESETS: dict[str, ViTPreset | HieraPreset] = {
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
        ViTPreset("vit_large_p16", width=1024, depth=24, heads=16),
        # For tests: real in every respect but size.
        ViTPreset("vit_test", width=32, depth=3, heads=4, img_size=64),
        # MAE-Lite's Hiera-Tiny: the blocks of Meta's, half as wide.
        HieraPreset("hiera_tiny", width=46, stages=(1, 2, 7, 2)),
        # Meta's Hiera-B, the teacher of the former.
        HieraPreset("hiera_base", width=96, stages=(2, 3, 16, 3)),
        HieraPreset("hiera_test", width=8, stages=(1, 1, 2, 2), img_size=128),
    )
}


def get_preset(name: str, kind: type | None = None) -> ViTPreset | HieraPreset:
    """The preset called `name`; with `kind`, one of that class.

    Raises:
        ConfigError: there is none; the names of all are listed.
    """
    known = [key for key, preset in PRESETS.items() if kind is None or isinstance(preset, kind)]
    if name in known:
        return PRESETS[name]
    if name in PRESETS:
        message = f"{name!r} is the preset of another kind of encoder."
    else:
        message = f"there is no encoder preset {name!r}."
    raise ConfigError(
        message,
        known=", ".join(known),
        heads="h3, h6, h12: the number of attention heads; MAE-Lite's ViT-Tiny has 12",
    )
