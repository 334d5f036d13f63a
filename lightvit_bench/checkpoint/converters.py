"""Named converters: a published checkpoint's content -> the encoder's tensors and what we know.

The name says where a file comes from; a file's keys are checked against it and never guess it.
Heads: MAE-Lite's, MoCo-v3's and facebookresearch/mae's (base) encoders have 12, DeiT's 3, 6 and 12
by width (rule 6).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lightvit_bench.checkpoint.state_dicts import (
    Draft,
    HeadCountWarning,
    encoder_prefix,
    foreign,
    unwrap,
)
from lightvit_bench.errors import CheckpointError, UserError, near_matches
from lightvit_bench.vit import PRESETS, ViTPreset, get_preset

# width -> preset, where the source's head count is known
TWELVE_HEADS = {192: "vit_tiny_p16_h12", 384: "vit_small_p16_h12", 768: "vit_base_p16"}
FACEBOOK = {768: "vit_base_p16"}
DEIT = {192: "vit_tiny_p16_h3", 384: "vit_small_p16_h6", 768: "vit_base_p16"}
PRETRAIN_RECIPES = ("mae", "dmae", "d2mae")  # each is the one before and something more
FINETUNE_RECIPES = ("finetuned", *(f"{r}_finetuned" for r in (*PRETRAIN_RECIPES, "mocov3")), "deit")


@dataclass(frozen=True)
class Facts:
    """What a converter concludes about a file."""

    preset: ViTPreset
    recipe: str
    heads_from: str = "converter"


@dataclass(frozen=True)
class Conversion:
    """A converted file.

    Attributes:
        encoder: tensors under `VisionTransformer`'s names, float32.
        extra: group -> name -> tensor, kept aside: "fc_norm", "head", "norm_depth8", "norm".
        dropped: reason -> names in the source.
        epochs: of training, where the file says so.
    """

    converter: str
    encoder: dict[str, Tensor]
    extra: dict[str, dict[str, Tensor]]
    dropped: dict[str, list[str]]
    preset: ViTPreset
    recipe: str
    epochs: int | None
    heads_from: str
    found_under: str
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        norm = "the source's own `norm`" if "norm.weight" in self.encoder else "none"
        epochs = f", {self.epochs} epochs" if self.epochs is not None else ""
        lines = [
            f"converter   {self.converter}: tensors under {self.found_under}",
            f"encoder     {self.preset.name}, {self.preset.heads} heads ({self.heads_from}); "
            f"{len(self.encoder)} tensors",
            f"recipe      {self.recipe}{epochs}",
            f"final norm  {norm}",
        ]
        for group, tensors in self.extra.items():
            lines.append(f"aside       {group}: {len(tensors)} tensors, not part of the encoder")
        for reason, names in self.dropped.items():
            example = names[0] + (", ..." if len(names) > 1 else "")
            lines.append(f"dropped     {len(names)}: {reason} ({example})")
        return "\n".join(lines + [f"note        {note}" for note in self.notes])


@dataclass(frozen=True)
class Converter:
    """A named converter.

    Attributes:
        function: (draft, preset asked for, recipe asked for) -> facts; takes the draft apart.
        recipes: what may be asked for; anything, where it is empty.
        matches: whether a file with these names (without prefix) and foreign parts may be one.
    """

    name: str
    description: str
    function: Callable[[Draft, str | None, str | None], Facts]
    recipes: tuple[str, ...]
    matches: Callable[[Collection[str], Collection[str]], bool]


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
    """facebookresearch/mae's base model, pre-trained or fine-tuned, with or without decoder."""
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
    fitting = [p.name for p in PRESETS.values() if p.width == draft.width]
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


def refuse_preset(draft: Draft, asked: ViTPreset, fitting: list[str]) -> None:
    """Refuse a preset that contradicts the source."""
    raise CheckpointError(
        f"--preset {asked.name} ({asked.heads} heads, width {asked.width}) contradicts the source.",
        source=f"width {draft.width}; known as {', '.join(fitting) or 'none of our presets'}",
        otherwise="a wrong head count fits every tensor's shape and gives garbage",
    )


def _is_pretrain(names: Collection[str], parts: Collection[str]) -> bool:
    return ("mask_token" in names or bool(parts)) and not any("momentum" in p for p in parts)


def _is_finetuned(names: Collection[str], parts: Collection[str]) -> bool:
    return "head.weight" in names and "fc_norm.weight" in names


def _is_plain(names: Collection[str], parts: Collection[str]) -> bool:
    return "norm.weight" in names and "mask_token" not in names and not parts


CONVERTERS = {
    converter.name: converter
    for converter in (
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
            lambda names, parts: any("momentum" in part for part in parts),
        ),
        Converter(
            "facebook-mae",
            "facebookresearch/mae, base (12 heads)",
            facebook_mae,
            ("mae", "mae_finetuned"),
            lambda names, parts: not parts and ("mask_token" in names or "norm.weight" in names),
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
}


def get_converter(name: str) -> Converter:
    """The converter called `name` (hyphens are as good as underscores).

    Raises:
        CheckpointError: there is none; near names are listed.
    """
    key = name.replace("_", "-").lower()
    if key not in CONVERTERS:
        raise CheckpointError(
            f"there is no converter {name!r}.", near=", ".join(near_matches(key, CONVERTERS))
        )
    return CONVERTERS[key]


def convert(
    content: Any,
    name: str,
    *,
    preset: str | None = None,
    recipe: str | None = None,
    drop: Collection[str] = (),
) -> Conversion:
    """Convert what a file holds (as `read_checkpoint` returns it).

    Args:
        name: of the converter.
        preset: must agree with what the converter knows; required where it knows nothing.
        recipe: where the file alone does not tell ("d2mae" for one stripped of its 13th block).
        drop: beginnings of names to leave out on purpose.

    Raises:
        CheckpointError: the content is not of this source, or contradicts an argument.
        ConfigError: there is no such preset.
    """
    converter = get_converter(name)
    if recipe is not None and converter.recipes and recipe not in converter.recipes:
        raise CheckpointError(
            f"{converter.name} knows no recipe {recipe!r}.", known=", ".join(converter.recipes)
        )
    try:
        draft = Draft.of(content, tuple(drop))
        facts = converter.function(draft, preset, recipe)
        draft.finish(facts.preset)
    except CheckpointError as error:
        likely = matching_converters(content)
        if likely and converter.name not in likely:
            error = CheckpointError(error.message, **error.details, looks_like=", ".join(likely))
        raise error from None
    epochs = content.get("start_epoch") if converter.name.startswith("mae-lite") else None
    return Conversion(
        converter=converter.name,
        encoder=draft.encoder,
        extra=draft.extra,
        dropped=draft.dropped,
        preset=facts.preset,
        recipe=facts.recipe,
        epochs=epochs if isinstance(epochs, int) else None,
        heads_from=facts.heads_from,
        found_under=f"{draft.top_key + ': ' if draft.top_key else ''}{draft.prefix or '(bare)'}",
        notes=draft.notes,
    )


def matching_converters(content: Any) -> list[str]:
    """Converters whose files look like this one: a hint for people, nothing is decided by it."""
    try:
        tensors = unwrap(content)[0]
    except UserError:
        return []
    prefix = encoder_prefix(tensors)
    if prefix is None:
        return []
    names = {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    parts = {reason for reason in map(foreign, tensors) if reason is not None}
    return [c.name for c in CONVERTERS.values() if c.matches(names, parts)]
