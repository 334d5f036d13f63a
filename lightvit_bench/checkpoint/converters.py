"""Named converters: a published checkpoint's content -> the encoder's tensors and what we know.

The name says where a file comes from; a file's keys are checked against it and never guess it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lightvit_bench.checkpoint.facts import Converter, Look
from lightvit_bench.checkpoint.hiera_sources import HIERA_CONVERTERS
from lightvit_bench.checkpoint.state_dicts import (
    STEM,
    Draft,
    encoder_prefix,
    foreign,
    kind_of,
    unwrap,
)
from lightvit_bench.checkpoint.vit_sources import VIT_CONVERTERS
from lightvit_bench.errors import CheckpointError, UserError, near_matches
from lightvit_bench.vit import HieraPreset, ViTPreset

CONVERTERS = {converter.name: converter for converter in (*VIT_CONVERTERS, *HIERA_CONVERTERS)}


@dataclass(frozen=True)
class Conversion:
    """A converted file.

    Attributes:
        encoder: tensors under the encoder's names, float32.
        extra: group -> name -> tensor, kept aside: "fc_norm", "head", "norm_depth8", "norm",
            "encoder_norm".
        dropped: reason -> names in the source.
        epochs: of training, where the file says so.
    """

    converter: str
    encoder: dict[str, Tensor]
    extra: dict[str, dict[str, Tensor]]
    dropped: dict[str, list[str]]
    preset: ViTPreset | HieraPreset
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
            f"encoder     {self.preset} ({self.heads_from}); {len(self.encoder)} tensors",
            f"recipe      {self.recipe}{epochs}",
            f"final norm  {norm}",
        ]
        for group, tensors in self.extra.items():
            lines.append(f"aside       {group}: {len(tensors)} tensors, not part of the encoder")
        for reason, names in self.dropped.items():
            example = names[0] + (", ..." if len(names) > 1 else "")
            lines.append(f"dropped     {len(names)}: {reason} ({example})")
        return "\n".join(lines + [f"note        {note}" for note in self.notes])


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
        _refuse_other_kind(draft, converter)
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


def _refuse_other_kind(draft: Draft, converter: Converter) -> None:
    called = {ViTPreset: "a plain ViT", HieraPreset: "a hierarchical encoder (Hiera)"}
    if draft.kind is not converter.kind:
        raise CheckpointError(
            f"the file holds {called[draft.kind]} of width {draft.width}; {converter.name} is for "
            f"{called[converter.kind]}.",
            seen_from=f"{STEM}: {tuple(draft.left[STEM].shape)}",
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
    stem = tensors[prefix + STEM]
    look = Look(
        names=frozenset(n.removeprefix(prefix) for n in tensors if n.startswith(prefix)),
        parts=frozenset(reason for reason in map(foreign, tensors) if reason is not None),
        width=stem.shape[0],
    )
    return [c.name for c in CONVERTERS.values() if c.kind is kind_of(stem) and c.matches(look)]
