"""Which architecture a state dict has, and how it is brought into an encoder of another make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import Encoder, Hiera, HieraPreset, VisionTransformer, ViTPreset
from lightvit_bench.vit.position import resample_table, square_grid

# isort: split
from timm.layers import resize_rel_pos_bias_table  # after vit, which prepares its import

TABLE = "rel_pos.relative_position_bias_table"


@dataclass(frozen=True)
class Options:
    """The constructor arguments of an encoder that its tensors depend on."""

    grid: tuple[int, int]
    cls_token: bool
    final_norm: bool
    layer_scale: bool
    rel_pos: bool
    decomposed: bool = False

    @classmethod
    def of(cls, encoder: Encoder) -> Options:
        """The options of an encoder."""
        return cls.of_state(encoder.state_dict(), encoder.grid)

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], grid: tuple[int, int] | None = None) -> Options:
        """The options that a state dict shows; without `grid` the position table is square.

        Raises:
            CheckpointError: there is no position table, or it is not square.
        """
        cls_token = "cls_token" in state
        if grid is None:
            try:
                grid = square_grid(state["pos_embed"].shape[1] - cls_token)
            except (KeyError, IndexError, ValueError) as error:
                raise CheckpointError(
                    "the position table is missing, or does not fit a square grid of patches.",
                    cause=str(error),
                ) from None
        return cls(
            grid=grid,
            cls_token=cls_token,
            final_norm="norm.weight" in state,
            layer_scale=any(".ls1." in name for name in state),
            rel_pos=any(name.endswith(TABLE) for name in state),
            decomposed=any(name.endswith("rel_pos.rows") for name in state),
        )

    def build(self, preset: ViTPreset | HieraPreset, **changed: Any) -> Encoder:
        """An encoder with these options; `changed` are constructor arguments set otherwise."""
        img_size = tuple(side * preset.patch for side in self.grid)
        if isinstance(preset, HieraPreset):
            return Hiera(preset, **{"img_size": img_size, **changed})
        arguments = {
            "img_size": img_size,
            "cls_token": self.cls_token,
            "final_norm": self.final_norm,
            "layer_scale": 1.0 if self.layer_scale else None,
            "rel_pos": self.rel_pos,
        }
        return VisionTransformer(preset, **{**arguments, **changed})


def build_quietly(preset: ViTPreset | HieraPreset, options: Options) -> Encoder:
    """An encoder to be filled at once: torch's random state is as before."""
    with torch.random.fork_rng(devices=[]):
        return options.build(preset)


def load_strictly(encoder: Encoder, state: Mapping[str, Tensor], file: str | PathLike) -> None:
    """Load tensors that must be exactly the encoder's.

    Raises:
        CheckpointError: with the missing, unexpected and reshaped names.
    """
    found = misfits(state, encoder.state_dict())
    refuse_misfits(file, f"encoder ({encoder.preset.name})", **found)
    encoder.load_state_dict(state)


def misfits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names in which a file's tensors and a model's own differ, by the kind of difference."""
    return {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "reshaped": _reshaped(state, own),
    }


def refuse_misfits(file: str | PathLike, model: str, **names: str | list[str]) -> None:
    """Raise with the lists of misfit names, unless all are empty."""
    if any(names.values()):
        shown = {
            label: list(listed)[:12] + [f"... {len(listed)} in all"] * (len(listed) > 12)
            for label, listed in names.items()
            if listed
        }
        raise CheckpointError(f"the checkpoint does not fit the {model}.", file=str(file), **shown)


def _reshaped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]


@dataclass(frozen=True)
class Transfer:
    """What `transfer` did: names loaded, started fresh, left out (with why), and resampled."""

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    left_out: tuple[str, ...]
    resampled: tuple[str, ...]


@torch.no_grad()
def transfer(
    source: Encoder,
    target: Encoder,
    file: str | PathLike,
    *,
    fresh_norm: bool = False,
) -> Transfer:
    """Bring the tensors of one encoder into another of the same preset and other options.

    Position tables are resampled to the target's grid; a CLS token or final norm that the target
    lacks is left out; LayerScale and relative positions that the source lacks keep the target's
    start. `fresh_norm` lets a final norm that the source lacks do so too.

    Raises:
        CheckpointError: the target lacks the source's LayerScale or relative positions, the source
            lacks a CLS token or (without `fresh_norm`) the final norm, or shapes differ.
    """
    own, state = target.state_dict(), dict(source.state_dict())
    _refuse_lost_parts(Options.of(source), Options.of(target), file)
    _refuse_missing_parts(Options.of(source), Options.of(target), file, fresh_norm)
    resampled = _resample(state, source, target)
    left_out = [name for name in state if name not in own]
    fresh = [name for name in own if name not in state]
    startable = r"blocks\.\d+\.(ls[12]\.|attn\.rel_pos\.)" + (r"|norm\." if fresh_norm else "")
    refuse_misfits(
        file,
        f"encoder ({target.preset.name})",
        missing=[name for name in fresh if not re.match(startable, name)],
        unexpected=[n for n in left_out if n != "cls_token" and not n.startswith("norm.")],
        reshaped=_reshaped(state, own),
    )
    loaded = {name: tensor for name, tensor in state.items() if name in own}
    target.load_state_dict(loaded, strict=False)
    return Transfer(tuple(loaded), tuple(fresh), tuple(left_out), tuple(resampled))


def _refuse_lost_parts(source: Options, target: Options, file: str | PathLike) -> None:
    """Parts without which the weights compute something else must have a place."""
    if source.rel_pos and target.decomposed:
        raise CheckpointError(
            "the checkpoint has BEiT's relative positions, the encoder decomposed ones: neither "
            "can be made of the other.",
            file=str(file),
            do="rel_pos=True in the encoder, or a checkpoint without relative positions",
        )
    for part, argument in (
        ("layer_scale", "layer_scale=1.0"),
        ("rel_pos", "rel_pos=True"),
        ("decomposed", "rel_pos='decomposed'"),
    ):
        if getattr(source, part) and not getattr(target, part):
            raise CheckpointError(
                f"the checkpoint has {part}, the encoder was built without: it would compute "
                "something else.",
                file=str(file),
                do=f"build it with {argument} (load_encoder does so by itself)",
            )


def _refuse_missing_parts(
    source: Options, target: Options, file: str | PathLike, fresh_norm: bool
) -> None:
    """Parts that have no neutral start must be in the file."""
    if target.cls_token and not source.cls_token:
        raise CheckpointError(
            "the checkpoint has no CLS token, the encoder has one.",
            file=str(file),
            missing="cls_token",
            do="build it with cls_token=False",
        )
    if target.final_norm and not source.final_norm and not fresh_norm:
        raise CheckpointError(
            "the checkpoint has no final norm, the encoder has one (D²-MAE and fine-tuned files "
            "have none that is valid behind the last block).",
            file=str(file),
            missing="norm.weight, norm.bias",
            do="build it with final_norm=False, or start the norm fresh: load_into(..., "
            "fresh_norm=True)",
        )


def _resample(state: dict[str, Tensor], source: Encoder, target: Encoder) -> list[str]:
    """Bring the position tables in `state` to the target's grid and CLS token; names changed."""
    cut = source.prefix_tokens - target.prefix_tokens
    state["pos_embed"] = state["pos_embed"][:, cut:]
    with_cls, resampled = target.prefix_tokens > 0, []
    if source.grid != target.grid:
        state["pos_embed"] = resample_table(
            state["pos_embed"], source.grid, target.grid, cls_token=with_cls
        )
        resampled.append("pos_embed")
    for name in _tables(state):
        table = state[name] = state[name][:-3] if cut else state[name]
        module, _, _ = name.rpartition(".")
        old, new = (
            tuple(encoder.get_submodule(module).window_size) for encoder in (source, target)
        )
        if old != new:  # blocks with windows have tables of their size
            distances = (2 * new[0] - 1) * (2 * new[1] - 1) + 3 * with_cls
            state[name] = resize_rel_pos_bias_table(
                table,
                new_window_size=new,
                new_bias_shape=(distances, table.shape[1]),
                old_window_size=old,
            )
            resampled.append(name)
    return resampled


def _tables(state: Mapping[str, Any]) -> list[str]:
    return [name for name in state if name.endswith(TABLE)]
