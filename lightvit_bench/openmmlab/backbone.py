"""The encoders as OpenMMLab backbones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from lightvit_bench.checkpoint import default_hint, load_into, read_manifest
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.vit import Hiera, VisionTransformer

# isort: split
from timm.layers import LayerNorm2d  # after vit, which prepares its import


def check_init(model: dict) -> None:
    """Check the start of a model config before anything is built: said first, not after the log.

    Raises:
        CheckpointError: `backbone.init` names a file that is absent, or whose weights want other
            pixels than `data_preprocessor` gives them.
    """
    init = model["backbone"].get("init", "random")
    if init == "random":
        return
    if not Path(init).is_file():
        raise CheckpointError("the checkpoint to start from is not there.", **default_hint(init))
    try:
        manifest = read_manifest(init)
    except CheckpointError:
        return  # `load_into` says what is wrong with it, or warns that it has none
    pixels = (manifest.image_mean, manifest.image_std)
    refuse_other_pixels(model, *pixels, f"{init} was", "checkpoint")


def refuse_other_pixels(
    model: dict, mean: Sequence[float], std: Sequence[float], whose: str, label: str, **more: str
) -> None:
    """Raise `CheckpointError` if `data_preprocessor` gives weights other pixels than they know.

    `mean` and `std` are per RGB channel, for pixels from 0 to 1. `whose` begins the message,
    `label` names what they stand for; `{name}` in `more` is replaced by "mean" or "std".
    """
    for name, wanted in (("mean", mean), ("std", std)):
        given = model.get("data_preprocessor", {}).get(name)
        values = [round(255 * value, 3) for value in wanted]
        if given is not None and not np.allclose(given, values, atol=0.5):
            raise CheckpointError(
                f"{whose} trained on pixels of another {name}.",
                **{label: str(values)},
                config=str(list(given)),
                set=f"--cfg-options model.data_preprocessor.{name}={values}".replace(" ", ""),
                **{key: text.format(name=name) for key, text in more.items()},
            )


class EncoderBackbone(BaseModule):
    """What the backbones share: an `encoder` made of blocks, and where its weights start from."""

    def __init__(self, encoder: nn.Module, init: str):
        super().__init__()
        self.encoder = encoder
        self.init = init

    def init_weights(self) -> None:
        """Load the initial weights; random ones are there since the encoder's constructor."""
        if self.init != "random":
            print_log(str(load_into(self.encoder, self.init)), logger="current")

    def get_layer_depth(self, name: str, prefix: str = "") -> tuple[int, int]:
        """The depth of a parameter, and the number of depths, for layer-wise learning rates.

        Embeddings are 0, block k is k + 1; the last depth (blocks + 1) is that of everything
        behind the backbone, and of norms behind its blocks. This is mmpretrain's protocol, and the
        numbering of BEiT and MAE.
        """
        last = len(self.encoder.blocks) + 1
        parts = name.removeprefix(prefix).split(".")
        if "blocks" in parts:
            return int(parts[parts.index("blocks") + 1]) + 1, last + 1
        behind = parts[0] == "norms" or parts[-2:-1] == ["norm"]
        return (last if behind else 0), last + 1


def _indices(chosen: int | Sequence[int], name: str, count: int, of: str) -> tuple[int, ...]:
    """An option that names blocks or stages, checked."""
    chosen = (chosen,) if isinstance(chosen, int) else tuple(chosen)
    if not chosen or not all(0 <= i < count for i in chosen):
        raise ConfigError(
            f"{name}={chosen} does not fit an encoder of {count} {of}.",
            set=f"{name} to indices from 0 to {count - 1} (--cfg-options "
            f"model.backbone.{name}=...)",
        )
    return chosen


def _size(img_size: int | Sequence[int] | None) -> int | tuple[int, int] | None:
    return img_size if isinstance(img_size, int | None) else tuple(img_size)


@MODELS.register_module()
class ViTBackbone(EncoderBackbone):
    """A plain ViT whose intermediate outputs are feature maps, all at the stride of a patch.

    Args:
        preset: a name of `lightvit_bench.vit.PRESETS`.
        init: "random", or the path of a checkpoint with a manifest (tools/convert_checkpoint.py).
        out_blocks: indices of the blocks whose outputs are returned, without a final norm.
        encoder: further arguments of `VisionTransformer` (drop_path, rel_pos, checkpointing, ...).

    Raises:
        CheckpointError: from `init_weights`, if `init` is absent, unsafe, or does not fit.
        ConfigError: the preset is unknown, or a block index is out of range.
    """

    def __init__(
        self,
        preset: str,
        init: str = "random",
        out_blocks: Sequence[int] = (3, 5, 7, 11),
        img_size: int | Sequence[int] | None = None,
        **encoder,
    ):
        super().__init__(
            VisionTransformer(preset, img_size=_size(img_size), final_norm=False, **encoder), init
        )
        self.out_blocks = _indices(out_blocks, "out_blocks", len(self.encoder.blocks), "blocks")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) -> one map (B, width, ceil(H/patch), ceil(W/patch)) per out block."""
        return tuple(self.encoder.forward_maps(image, self.out_blocks))


@MODELS.register_module()
class HieraBackbone(EncoderBackbone):
    """A Hiera, whose stages are feature maps at strides 4, 8, 16 and 32.

    Args:
        preset: a name of `lightvit_bench.vit.PRESETS`.
        init: "random", or the path of a checkpoint with a manifest (tools/convert_checkpoint.py).
        out_stages: indices of the stages whose outputs are returned.
        out_norm: a fresh LayerNorm for each output. The stages are sums over pre-norm blocks and
            leave in scales of their own, which no norm of the pre-training has seen one by one;
            detectron2's MViT and mmdetection's Swin have such norms, too.
        encoder: further arguments of `Hiera` (drop_path, checkpointing, ...).

    Raises:
        CheckpointError: from `init_weights`, if `init` is absent, unsafe, or does not fit.
        ConfigError: the preset is unknown, or a stage is out of range.
    """

    def __init__(
        self,
        preset: str = "hiera_tiny",
        init: str = "random",
        out_stages: Sequence[int] = (0, 1, 2, 3),
        img_size: int | Sequence[int] | None = None,
        out_norm: bool = True,
        **encoder,
    ):
        super().__init__(Hiera(preset, img_size=_size(img_size), **encoder), init)
        widths = self.encoder.preset.widths
        self.out_stages = _indices(out_stages, "out_stages", len(widths), "stages")
        self.norms = nn.ModuleList(
            LayerNorm2d(widths[stage], eps=1e-6) if out_norm else nn.Identity()
            for stage in self.out_stages
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) -> a map (B, C, H/stride, W/stride), rounded up, per out stage."""
        maps = self.encoder.forward_maps(image, self.out_stages)
        return tuple(norm(x) for norm, x in zip(self.norms, maps, strict=True))
