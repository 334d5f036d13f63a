"""The sources of plain ViTs.

Heads: MAE-Lite's and MoCo-v3's encoders have 12, facebookresearch/mae's 12 (base) and 16 (large),
DeiT's 3, 6 and 12 by width (rule 6).
"""

from __future__ import annotations

import warnings

from lightvit_bench.checkpoint.facts import Converter, Facts, Look, refuse_preset
from lightvit_bench.checkpoint.state_dicts import Draft, HeadCountWarning
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import PRESETS, ViTPreset, get_preset

# width -> preset, where the source's head count is known
TWELVE_HEADS = {192: "vit_tiny_p16_h12", 384: "vit_small_p16_h12", 768: "vit_base_p16"}
FACEBOOK = {768: "vit_base_p16", 1024: "vit_large_p16"}
DEIT = {192: "vit_tiny_p16_h3", 384: "vit_small_p16_h6", 768: "vit_base_p16"}
PRETRAIN_RECIPES = ("mae", "dmae", "d2mae")  # each is the one before and something more
FINETUNE_RECIPES = ("finetuned", *(f"{r}_finetuned" for r in (*PRETRAIN_RECIPES, "mocov3")), "deit")


def mae_lite_pretrain(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """MAE-Lite's MAE, D-MAE and D²-MAE; which of them shows in the file, unless it was stripped."""
    found = "mae"
    if draft.has_dropped("tch_model.") or draft.has_dropped("attn_adapter."):
        found = "dmae"
    if draft.has("blocks.12."):
        found = "d2mae"
    recipe = recipe or found
    if PRETRAIN_RECIPES.index(recipe) < PRETRAIN_RECIPES.index(found):
        raise CheckpointError(f"recipe {recipe!r} was given, the file is one of {found!r}.")
    draft.drop("decoder of the pre-training", "decoder_", "mask_token")
    chosen = preset_for(draft, TWELVE_HEADS, preset)
    if recipe == "d2mae":
        extra_blocks = {name.split(".")[1] for name in draft.left if name.startswith("blocks.")}
        beyond = [f"blocks.{i}." for i in extra_blocks if int(i) >= chosen.depth]
        draft.drop("block of the distillation, behind the encoder", *beyond)  # rule 3
        draft.keep_aside("norm_depth8", "norm.")  # rule 4
        draft.notes.append("D²-MAE's norm was trained on block 8's output: not a final norm here.")
    return Facts(chosen, recipe)


def mae_lite_finetune(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """MAE-Lite's fine-tuned encoders: plain, and both layouts with relative positions."""
    keep_classifier(draft)
    return Facts(preset_for(draft, TWELVE_HEADS, preset), recipe or "finetuned")


def mocov3(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """MoCo-v3 as MAE-Lite trains it: the base encoder, not the momentum encoder."""
    draft.drop("projector of the contrastive loss", "head.")
    return Facts(preset_for(draft, TWELVE_HEADS, preset), "mocov3")


def facebook_mae(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """facebookresearch/mae's base and large models, pre-trained or fine-tuned."""
    draft.drop("decoder of the pre-training", "decoder_", "mask_token")
    tuned = draft.has("head.")
    keep_classifier(draft)
    default = "mae_finetuned" if tuned else "mae"
    return Facts(preset_for(draft, FACEBOOK, preset), recipe or default)


def deit(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """facebookresearch/deit: supervised, without distillation token."""
    if draft.has("dist_token"):
        raise CheckpointError(
            "this is a distilled DeiT: it has a second token, which our encoder has not.",
            do="take the DeiT file without `distilled` in its name",
        )
    if draft.has("fc_norm.") or draft.prefix.startswith("module.model."):
        raise CheckpointError(
            "this is MAE-Lite's fine-tuned layout, not facebookresearch/deit's.",
            heads="12 there, also in their DeiT-Tiny; taken for 3, every tensor would fit",
            do="--from mae-lite-finetune",
        )
    keep_classifier(draft)
    return Facts(preset_for(draft, DEIT, preset), "deit")


def timm(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """A timm ViT's state dict, which does not tell the head count: the caller does."""
    fitting = [p.name for p in PRESETS.values()
               if isinstance(p, ViTPreset) and p.width == draft.width]  # fmt: skip
    if preset is None:
        raise CheckpointError(
            "a timm state dict does not tell the head count.",
            do=f"say --preset NAME; of this width: {', '.join(fitting) or 'none'}",
        )
    chosen = get_preset(preset)
    if chosen.name not in fitting:
        refuse_preset(draft, chosen, fitting)
    keep_classifier(draft)
    warning = (
        f"taken as {chosen.name} with {chosen.heads} heads on the caller's word: the file does "
        "not tell, and a wrong count fits every shape and computes something else."
    )
    warnings.warn(warning, HeadCountWarning, stacklevel=4)
    draft.notes.append(f"WARNING: {warning}")
    draft.notes.append("timm's augreg weights want pixel mean and std 0.5: --image-stats half.")
    return Facts(chosen, recipe or "timm", heads_from="unverified")


def keep_classifier(draft: Draft) -> None:
    """Keep the head aside, and the norms that belong to it (rule 4).

    Fine-tuned by average pooling, an encoder has `fc_norm` and no final norm; a `norm` beside it
    was not used.
    """
    draft.keep_aside("head", "head.")
    if draft.has("fc_norm."):
        draft.keep_aside("fc_norm", "fc_norm.")
        draft.keep_aside("norm", "norm.")


def preset_for(draft: Draft, by_width: dict[int, str], asked: str | None) -> ViTPreset:
    """The preset the source is known to be; one asked for must be the same (rule 6)."""
    if draft.width not in by_width:
        known = ", ".join(f"{width} ({name})" for width, name in by_width.items())
        raise CheckpointError(
            f"this source has no plain ViT of width {draft.width} that is known here.",
            known_widths=known,
        )
    preset = get_preset(by_width[draft.width])
    if asked is not None and get_preset(asked) != preset:
        refuse_preset(draft, get_preset(asked), [preset.name])
    return preset


def _is_pretrain(look: Look) -> bool:
    return ("mask_token" in look.names or bool(look.parts)) and not any(
        "momentum" in part for part in look.parts
    )


def _is_finetuned(look: Look) -> bool:
    return {"head.weight", "fc_norm.weight"} <= look.names


def _is_plain(look: Look) -> bool:
    return "norm.weight" in look.names and "mask_token" not in look.names and not look.parts


VIT_CONVERTERS = (
    Converter(
        "mae-lite-pretrain",
        "MAE-Lite pre-training: MAE, D-MAE, D²-MAE (12 heads)",
        mae_lite_pretrain,
        PRETRAIN_RECIPES,
        _is_pretrain,
    ),
    Converter(
        "mae-lite-finetune",
        "MAE-Lite fine-tuned: plain, relative positions of 2023 and of 2025 (12 heads)",
        mae_lite_finetune,
        FINETUNE_RECIPES,
        _is_finetuned,
    ),
    Converter(
        "mocov3",
        "MoCo-v3 as MAE-Lite trains it (12 heads)",
        mocov3,
        ("mocov3",),
        lambda look: any("momentum" in part for part in look.parts),
    ),
    Converter(
        "facebook-mae",
        "facebookresearch/mae, base (12 heads) and large (16)",
        facebook_mae,
        ("mae", "mae_finetuned"),
        lambda look: not look.parts and bool({"mask_token", "norm.weight"} & look.names),
    ),
    Converter(
        "deit",
        "facebookresearch/deit without distillation token (3, 6 or 12 heads by width)",
        deit,
        ("deit",),
        _is_plain,
    ),
    Converter(
        "timm",
        "a timm ViT; needs --preset, for the head count cannot be told",
        timm,
        (),
        _is_plain,
    ),
)
