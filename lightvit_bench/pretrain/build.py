"""From the sections of a config to the parts of a pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lightvit_bench.checkpoint import Parent, default_hint, load_encoder, load_into, sha256
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.pretrain.decoder import Decoder
from lightvit_bench.pretrain.distill import KINDS, Distillation, checked_pairs
from lightvit_bench.pretrain.hiera import HieraMaskedAutoencoder
from lightvit_bench.pretrain.mae import MaskedAutoencoder
from lightvit_bench.pretrain.taps import Wanted, freeze_behind
from lightvit_bench.pretrain.teacher import Teacher, check_pair
from lightvit_bench.pretrain.unmasked import UnmaskedStudent
from lightvit_bench.vit import Hiera, VisionTransformer, ViTPreset, get_preset

RANDOM = "random"


def build_encoder(preset: str, *, q_pool: int | None = None, **options: Any) -> nn.Module:
    """A fresh encoder of a preset, plain or hierarchical; `q_pool` goes to the latter alone."""
    kind = get_preset(preset)
    if isinstance(kind, ViTPreset):
        return VisionTransformer(kind, **options)
    return Hiera(kind, q_pool=q_pool, **options)


def with_counted_blocks(distill: dict, student: nn.Module) -> dict:
    """The section `distill` with all pairs of blocks counted from 1; -1 is the last block."""
    depths = len(student.blocks), get_preset(distill["teacher"]["preset"]).depth
    pairs = {kind: checked_pairs(kind, distill.get(kind) or (), depths) for kind in KINDS}
    return {**distill, **pairs}


def build_student(
    encoder: nn.Module,
    *,
    decoder: dict | None,
    mask_ratio: float,
    norm_pixels: bool,
    decode_after: int | None,
    distill: dict | None,
) -> nn.Module:
    """The student around an encoder: a masked autoencoder, or without decoder an unmasked one.

    Raises:
        ConfigError: the parts contradict one another.
    """
    wanted = wanted_of_student(distill or {})
    if decoder is None:
        return _unmasked(encoder, wanted, mask_ratio)
    if wanted.relations:
        raise ConfigError(
            "relations are learned from whole images, not from masked ones (TinyMIM).",
            set="model.decoder=None and model.mask_ratio=0, or drop model.distill.relation",
        )
    if isinstance(encoder, Hiera):
        if decode_after is not None:
            raise ConfigError(
                "the decoder of a Hiera reads all of it: decoupling is for plain ViTs.",
                set="model.decode_after=None",
            )
        return HieraMaskedAutoencoder(
            encoder, mask_ratio=mask_ratio, norm_pixels=norm_pixels, **decoder
        )
    refuse_rel_pos(encoder, "model.backbone")
    depth = len(encoder.blocks)
    student = MaskedAutoencoder(
        encoder,
        build_decoder(encoder, decoder),
        mask_ratio=mask_ratio,
        norm_pixels=norm_pixels,
        decode_after=decode_after,
        logits_block=wanted.last == depth + 1,
    )
    if student.decode_after < depth:
        if wanted.last < depth:
            raise ConfigError(
                f"blocks {max(student.decode_after, wanted.last) + 1} to {depth} would learn "
                f"nothing: the decoder reads block {student.decode_after}, the distillation none "
                "behind them.",
                set=f"model.distill.attention=[({depth + 1},...)] (D²-MAE), or model.decode_after",
            )
        if wanted.last == depth:
            freeze_behind(encoder, wanted)
    if student.logits_block is not None and wanted.last not in wanted.logits:
        student.logits_block.attn.requires_grad_(False)
    return student


def build_decoder(encoder: VisionTransformer, sizes: dict) -> Decoder:
    """The decoder of a plain encoder; `sizes`: width, depth, heads."""
    preset = encoder.preset
    cls_token = encoder.cls_token is not None
    return Decoder(preset.width, encoder.grid, preset.patch, cls_token=cls_token, **sizes)


def wanted_of_student(distill: dict) -> Wanted:
    """What the section `distill`, its blocks counted from 1, taps of the student."""
    blocks = {kind: tuple(pair[0] for pair in distill.get(kind, ())) for kind in KINDS}
    return Wanted(blocks["attention"], blocks["hidden"], blocks["relation"])


def refuse_rel_pos(encoder: nn.Module, section: str) -> None:
    """Raise `ConfigError` for relative positions, which need all tokens in their grid."""
    if isinstance(encoder, VisionTransformer) and encoder.blocks[0].attn.rel_pos is not None:
        raise ConfigError(
            f"the encoder of {section} has relative positions, which do not go with masking.",
            set=f"{section}.rel_pos=False, or a checkpoint of pre-training instead of fine-tuning",
        )


def _unmasked(encoder: nn.Module, wanted: Wanted, mask_ratio: float) -> UnmaskedStudent:
    if not wanted.last:
        raise ConfigError(
            "a model without decoder and without teacher learns nothing.",
            set="model.decoder=dict(width=96, depth=1, heads=3), or model.distill",
        )
    if mask_ratio:
        raise ConfigError(
            f"mask_ratio={mask_ratio} without a decoder: nothing would be predicted.",
            set="model.mask_ratio=0",
        )
    if not isinstance(encoder, VisionTransformer):
        raise ConfigError("learning from whole images is for plain ViTs.", set="model.decoder")
    wanted.check(len(encoder.blocks), "student")
    return UnmaskedStudent(encoder, wanted)


def build_distillation(
    student: nn.Module, config: dict, *, compiled: bool
) -> tuple[Distillation, Teacher, list[Parent]]:
    """The losses, the teacher, and the file the teacher's weights came from.

    Raises:
        CheckpointError: the teacher's file is absent, damaged, or of another architecture.
        ConfigError: student and teacher do not see the same tokens, or a block is missing.
    """
    config = dict(config)
    q_pool = getattr(student.encoder, "q_pool", None)
    encoder, parents = load_teacher(q_pool=q_pool, **config.pop("teacher"))
    if not isinstance(student, UnmaskedStudent):
        refuse_rel_pos(encoder, "model.distill.teacher")
    check_pair(student.encoder, encoder)
    losses = Distillation(student, _Blocks(encoder), **config)
    return losses, Teacher(encoder, losses.of_teacher, compiled=compiled), parents


def load_teacher(
    preset: str, init: str, q_pool: int | None = None, **options: Any
) -> tuple[nn.Module, list[Parent]]:
    """A teacher's encoder and the file it is from; `init` may be "random", which teaches nothing.

    Raises:
        CheckpointError: the file is absent, damaged, unsafe, or of another architecture.
    """
    if init == RANDOM:
        return build_encoder(preset, q_pool=q_pool, **options), []
    if not Path(init).is_file():
        raise CheckpointError("the teacher's checkpoint is not there.", **default_hint(init))
    if isinstance(get_preset(preset), ViTPreset):
        encoder = load_encoder(init, preset, final_norm=False, **options)
    else:
        encoder = load_encoder(init, preset, q_pool=q_pool, **options)
    return encoder, [Parent(Path(init).name, sha256(init))]


def start_encoder(encoder: nn.Module, init: str) -> str | None:
    """Fill a student's encoder from a checkpoint, unless `init` is "random"; returns the report."""
    return None if init == RANDOM else str(load_into(encoder, init, fresh_norm=True))


class _Blocks:
    """Depth, heads and widths of a bare encoder's blocks, as `Distillation` asks for them."""

    def __init__(self, encoder: nn.Module):
        preset = encoder.preset
        self.depth = preset.depth
        plain = isinstance(preset, ViTPreset)
        self.heads_of = (lambda block: preset.heads) if plain else encoder.heads_of
        self.width_of = (lambda block: preset.width) if plain else encoder.width_of
