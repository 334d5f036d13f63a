"""What a converter is: from a published file's tensors to what is known about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightvit_bench.checkpoint.state_dicts import Draft
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import HieraPreset, ViTPreset


@dataclass(frozen=True)
class Facts:
    """What a converter concludes about a file."""

    preset: ViTPreset | HieraPreset
    recipe: str
    heads_from: str = "converter"


@dataclass(frozen=True)
class Look:
    """What a file looks like.

    Attributes:
        names: its tensors' names, without the encoder's prefix.
        parts: why some of them are foreign to the encoder (`state_dicts.FOREIGN`).
        width: channels of a token behind the patch embedding.
    """

    names: frozenset[str]
    parts: frozenset[str]
    width: int


@dataclass(frozen=True)
class Converter:
    """A named converter.

    Attributes:
        function: (draft, preset asked for, recipe asked for) -> facts; takes the draft apart.
        recipes: what may be asked for; anything, where it is empty.
        matches: whether a file of this look, and of the right kind, may be one of the source's.
        kind: the class of the encoder's preset.
    """

    name: str
    description: str
    function: Callable[[Draft, str | None, str | None], Facts]
    recipes: tuple[str, ...]
    matches: Callable[[Look], bool]
    kind: type[ViTPreset | HieraPreset] = ViTPreset


def refuse_preset(draft: Draft, asked: ViTPreset, fitting: list[str]) -> None:
    """Refuse a preset that contradicts the source."""
    raise CheckpointError(
        f"--preset {asked.name} ({asked.heads} heads, width {asked.width}) contradicts the source.",
        source=f"width {draft.width}; known as {', '.join(fitting) or 'none of our presets'}",
        otherwise="a wrong head count fits every tensor's shape and gives garbage",
    )
