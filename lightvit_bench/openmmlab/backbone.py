"""The encoder as an OpenMMLab backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from lightvit_bench.checkpoint import default_hint, load_into, read_manifest
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.vit import VisionTransformer


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
    for name, wanted in (("mean", manifest.image_mean), ("std", manifest.image_std)):
        given = model.get("data_preprocessor", {}).get(name)
        values = [round(255 * value, 3) for value in wanted]
        if given is not None and not np.allclose(given, values, atol=0.5):
            raise CheckpointError(
                f"{init} was trained on pixels of another {name}.",
                checkpoint=str(values),
                config=str(list(given)),
                set=f"--cfg-options model.data_preprocessor.{name}={values}".replace(" ", ""),
            )


@MODELS.register_module()
class ViTBackbone(BaseModule):
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
        super().__init__()
        if not isinstance(img_size, int | None):
            img_size = tuple(img_size)
        out_blocks = (out_blocks,) if isinstance(out_blocks, int) else tuple(out_blocks)
        self.encoder = VisionTransformer(preset, img_size=img_size, final_norm=False, **encoder)
        depth = len(self.encoder.blocks)
        if not out_blocks or not all(0 <= i < depth for i in out_blocks):
            raise ConfigError(
                f"out_blocks={out_blocks} does not fit an encoder of {depth} blocks.",
                set=f"out_blocks to indices from 0 to {depth - 1} (--cfg-options "
                "model.backbone.out_blocks=...)",
            )
        self.out_blocks = out_blocks
        self.init = init

    def init_weights(self) -> None:
        """Load the initial weights; random ones are there since the encoder's constructor."""
        if self.init != "random":
            print_log(str(load_into(self.encoder, self.init)), logger="current")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W) -> one map (B, width, ceil(H/patch), ceil(W/patch)) per out block."""
        return tuple(self.encoder.forward_maps(image, self.out_blocks))

    def get_layer_depth(self, name: str, prefix: str = "") -> tuple[int, int]:
        """The depth of a parameter, and the number of depths, for layer-wise learning rates.

        Embeddings are 0, block k is k + 1; the last depth (blocks + 1) is that of everything
        behind the backbone. This is mmpretrain's protocol, and the numbering of BEiT and MAE.
        """
        last = len(self.encoder.blocks) + 1
        parts = name.removeprefix(prefix).split(".")
        if "blocks" in parts:
            return int(parts[parts.index("blocks") + 1]) + 1, last + 1
        return (last if parts[-2:-1] == ["norm"] else 0), last + 1
