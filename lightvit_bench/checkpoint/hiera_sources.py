"""The sources of hierarchical encoders: MAE-Lite's Hiera-Tiny and Meta's Hiera.

Heads: 1 in the first stage, twice as many in each that follows, for the sizes known here.
"""

from __future__ import annotations

from lightvit_bench.checkpoint.facts import Converter, Facts, refuse_preset
from lightvit_bench.checkpoint.state_dicts import Draft
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import HieraPreset, get_preset

PRETRAINED = ("mae", "dmae")  # each is the one before and something more
FINETUNED = ("finetuned", *(f"{recipe}_finetuned" for recipe in PRETRAINED))

MAE_LITE = ("hiera_tiny",)
META = ("hiera_base",)
MAE_LITE_WIDTH = 46
# Meta's sizes by width and blocks of each stage, for an error that says which one a file is.
META_SIZES = {
    (96, (1, 2, 7, 2)): "Hiera-Tiny",
    (96, (1, 2, 11, 2)): "Hiera-Small",
    (96, (2, 3, 16, 3)): "Hiera-Base",
    (112, (2, 3, 16, 3)): "Hiera-Base-Plus",
    (144, (2, 6, 36, 4)): "Hiera-Large",
    (256, (2, 6, 36, 4)): "Hiera-Huge",
}


def mae_lite_hiera(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """MAE-Lite's Hiera-Tiny: MAE, D-MAE, and fine-tuned from either."""
    found = "mae"
    if draft.has_dropped("tch_model.") or draft.has_dropped("attn_adapter."):
        found = "dmae"
    if take_apart(draft):
        found = "finetuned"
    recipe = recipe or found
    contradicts = recipe not in (FINETUNED if found == "finetuned" else PRETRAINED)
    if contradicts or (recipe, found) == ("mae", "dmae"):
        raise CheckpointError(f"recipe {recipe!r} was given, the file is one of {found!r}.")
    return Facts(preset_of(draft, MAE_LITE, preset), recipe)


def meta_hiera(draft: Draft, preset: str | None, recipe: str | None) -> Facts:
    """facebookresearch/hiera's image models, pre-trained or fine-tuned."""
    found = "mae_finetuned" if take_apart(draft) else "mae"
    if recipe not in (None, found):
        raise CheckpointError(f"recipe {recipe!r} was given, the file is one of {found!r}.")
    return Facts(preset_of(draft, META, preset), found)


def take_apart(draft: Draft) -> bool:
    """Leave the encoder alone in the draft; returns whether it was fine-tuned to classify."""
    draft.drop("decoder of the pre-training", "decoder_", "mask_token")
    draft.drop("fusion of the stages, for the decoder", "multi_scale_fusion_heads.")
    if draft.has("encoder_norm."):
        draft.keep_aside("encoder_norm", "encoder_norm.")
        draft.notes.append("encoder_norm is of the fused stages: not a final norm of the encoder.")
    tuned = draft.has("head.")
    draft.keep_aside("head", "head.")
    draft.keep_aside("norm", "norm.")  # of the average of all tokens, before the head
    return tuned


def preset_of(draft: Draft, known: tuple[str, ...], asked: str | None) -> HieraPreset:
    """The preset that the source is known to be; one asked for must be the same.

    Told by width and stages: Meta's Hiera-Tiny has the blocks of MAE-Lite's and is twice as wide.
    """
    seen = draft.width, draft.stages
    fitting = [name for name in known if (get_preset(name).width, get_preset(name).stages) == seen]
    if not fitting:
        raise CheckpointError(
            "this source has no Hiera of this size that is known here.",
            file_has=_size(*seen) + (f": Meta's {META_SIZES[seen]}" if seen in META_SIZES else ""),
            known=[f"{name}: {_size(p.width, p.stages)}" for name in known
                   for p in [get_preset(name)]],
        )  # fmt: skip
    if asked is not None and get_preset(asked) != get_preset(fitting[0]):
        refuse_preset(draft, get_preset(asked), fitting)
    return get_preset(fitting[0])


def _size(width: int, stages: tuple[int, ...]) -> str:
    return f"width {width}, stages of {'-'.join(map(str, stages))} blocks"


HIERA_CONVERTERS = (
    Converter(
        "mae-lite-hiera",
        "MAE-Lite's Hiera-Tiny: MAE, D-MAE, and fine-tuned",
        mae_lite_hiera,
        PRETRAINED + FINETUNED,
        lambda look: look.width == MAE_LITE_WIDTH,
        HieraPreset,
    ),
    Converter(
        "meta-hiera",
        "facebookresearch/hiera, Hiera-Base, pre-trained or fine-tuned",
        meta_hiera,
        ("mae", "mae_finetuned"),
        lambda look: look.width != MAE_LITE_WIDTH and not look.parts,
        HieraPreset,
    ),
)
