"""A whole pre-training of the authors, decoder, adapter and teacher included, from their file.

`tools/convert_checkpoint.py` takes the encoder out of such a file; here all of it is kept, so that
the losses can be compared and a pre-training gone on with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike

from torch import Tensor, nn

from lightvit_bench.checkpoint import read_checkpoint
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.checkpoint.manifest import IMAGENET_MEAN, IMAGENET_STD
from lightvit_bench.checkpoint.state_dicts import STEM, unwrap
from lightvit_bench.errors import CheckpointError
from lightvit_bench.pretrain.hiera import published_names
from lightvit_bench.pretrain.mae import MaskedAutoencoder
from lightvit_bench.pretrain.model import Pretraining
from lightvit_bench.vit import get_preset

TEACHER, ADAPTER = "tch_model.", "attn_adapter.adapter"
# Width -> preset. Heads are not in a file: 12 in every plain ViT of the authors, 16 in a Large.
PLAIN = {
    192: "vit_tiny_p16_h12", 384: "vit_small_p16_h12", 768: "vit_base_p16", 1024: "vit_large_p16",
}  # fmt: skip
HIERARCHICAL = {46: "hiera_tiny", 96: "hiera_base"}
DECODER_HEADS = {96: 3, 192: 6, 512: 16}  # by the decoder's width
MASK_RATIO = {True: 0.4, False: 0.75}  # of a Hiera, of a plain ViT
DECODE_AFTER = 8  # blocks that D²-MAE's decoder reads


def from_published(file: str | PathLike | Mapping) -> Pretraining:
    """The model that a pre-training file of MAE-Lite holds: MAE, D-MAE or D²-MAE, ViT or Hiera.

    Which one shows in the file: a teacher and an adapter, a 13th block. `model(images, order)`
    gives its losses for normalised images (B, 3, 224, 224), where `order` (B, patches or mask
    units) decides what is hidden.

    Args:
        file: a path, read without running code, or the content of one.

    Raises:
        CheckpointError: the file is unsafe, is none of these, or a tensor has no place.
    """
    content = file if isinstance(file, Mapping) else read_checkpoint(file)
    name = "the content given" if isinstance(file, Mapping) else str(file)
    student, teacher, adapter = _split(unwrap(content)[0], name)
    hierarchical = student[STEM].shape[-1] != 16
    presets = HIERARCHICAL if hierarchical else PLAIN
    preset = _preset(student, presets, name)
    depth = 1 + max(_blocks(student))
    decoupled = not hierarchical and depth == 13
    width = len(student["decoder_embed.weight"])
    if width not in DECODER_HEADS:
        raise CheckpointError(
            f"the heads of a decoder of width {width} are not known.",
            file=name,
            known=", ".join(map(str, DECODER_HEADS)),
        )
    config = {
        "data_preprocessor": {
            "type": "PixelNormalizer",
            "mean": [255 * x for x in IMAGENET_MEAN],
            "std": [255 * x for x in IMAGENET_STD],
        },
        "backbone": {"preset": preset},
        "decoder": {
            "width": width,
            "depth": len(_blocks(student, "decoder_blocks")),
            "heads": DECODER_HEADS[width],
        },
        "mask_ratio": MASK_RATIO[hierarchical],
    }
    if teacher:
        pair = (13 if decoupled else 12, 1 + max(_blocks(teacher)))
        config["decode_after"] = DECODE_AFTER if decoupled else None
        config["distill"] = {
            "teacher": {"preset": _preset(teacher, presets, name), "init": "random"},
            "attention": [pair],
        }
    model = Pretraining(**config)
    if decoupled and not teacher:  # which a config may not say: blocks 9 to 12 would learn nothing
        parts = model.method.encoder, model.method.decoder
        model.method = MaskedAutoencoder(*parts, decode_after=DECODE_AFTER, logits_block=True)
    names = published_names if hierarchical else _plain_names
    _fill(model.method, names(student), "student", name)
    if teacher:
        _fill(model.teacher.encoder, _without_norm(model.teacher.encoder, teacher), "teacher", name)
        own = next(iter(model.distillation.state_dict()))
        _fill(model.distillation, {own: adapter} if adapter is not None else {}, "adapter", name)
    return model.eval()


def _split(
    tensors: Mapping[str, Tensor], file: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
    """Student, teacher and adapter of a file, under bare names."""
    bare = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    teacher = {k.removeprefix(TEACHER): v for k, v in bare.items() if k.startswith(TEACHER)}
    adapters = [v for k, v in bare.items() if k.startswith(ADAPTER)]
    rest = {k: v for k, v in bare.items() if not k.startswith((TEACHER, ADAPTER))}
    if "model." + STEM in rest:
        rest = {k.removeprefix("model."): v for k, v in rest.items()}
    if STEM not in rest or "decoder_embed.weight" not in rest:
        raise CheckpointError(
            "this is no pre-training of MAE-Lite: it lacks an encoder or a decoder.",
            file=file,
            looked_for=f"{STEM} and decoder_embed.weight",
            encoder_alone="tools/convert_checkpoint.py converts a file without decoder",
        )
    if len(adapters) > 1:
        raise CheckpointError("the file has more than one adapter.", file=file)
    return rest, teacher, adapters[0] if adapters else None


def _preset(state: Mapping[str, Tensor], presets: Mapping[int, str], file: str) -> str:
    width = len(state[STEM])
    if width not in presets:
        raise CheckpointError(
            f"no encoder of width {width} is known here.",
            file=file,
            known=", ".join(f"{w} ({preset})" for w, preset in presets.items()),
        )
    preset, found = get_preset(presets[width]), 1 + max(_blocks(state))
    if found not in (preset.depth, preset.depth + 1):  # D²-MAE's student has one more
        raise CheckpointError(
            f"an encoder of width {width} and {found} blocks is none that is known here.",
            file=file,
            near=f"{preset.name} has {preset.depth}",
        )
    return preset.name


def _blocks(state: Mapping[str, Tensor], kind: str = "blocks") -> set[int]:
    found = (re.match(rf"{kind}\.(\d+)\.", name) for name in state)
    return {int(match[1]) for match in found if match}


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names of a masked autoencoder -> ours."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("decoder_"):
            name = "decoder." + name.removeprefix("decoder_")
        elif name == "mask_token":
            name = "decoder.mask_token"
        elif name.startswith("blocks.12."):
            name = "logits_block." + name.removeprefix("blocks.12.")
        else:
            name = "encoder." + name
        renamed[name] = tensor
    return renamed


def _without_norm(encoder: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A teacher's tensors less those that its taps do not need (norm, decoder)."""
    own = encoder.state_dict()
    idle = ("norm.", "encoder_norm.", "multi_scale_fusion_heads.", "decoder_", "mask_token")
    return {k: v for k, v in state.items() if k in own or not k.startswith(idle)}


def _fill(module: nn.Module, state: dict[str, Tensor], what: str, file: str) -> None:
    refuse_misfits(file, what, **misfits(state, module.state_dict()))
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
