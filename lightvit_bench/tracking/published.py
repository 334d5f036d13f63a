"""OSTrack's trackers, MAE-Lite's among them, from the authors' files: `OSTrack_ep*.pth.tar`.

Beside the tensors (`net`) such a file pickles objects of the training program: its settings, its
running means. Ordinary loading imports and runs that program. Here an inert stand-in answers to its
names, so that the rest can be read; other names stay forbidden.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightvit_bench.checkpoint import Parent, matching_converters, read_torch, sha256
from lightvit_bench.checkpoint.files import SafeGlobal, pickled_globals, sniff
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.checkpoint.manifest import IMAGENET_MEAN, IMAGENET_STD
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.files import save_tracker
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.vit import ViTPreset, get_preset
from lightvit_bench.vit.position import square_grid

NAME = "ostrack"  # of the converter
# Width -> preset. Heads are not in a file: 12 in MAE-Lite's ViT-Tiny and in OSTrack's ViT-Base.
PRESETS = {192: "vit_tiny_p16_h12", 384: "vit_small_p16_h12", 768: "vit_base_p16"}
ELIMINATE = {"ce": (3, 6, 9), "none": ()}
KEEP = 0.7
BRANCHES = {"ctr": "score", "offset": "offset", "size": "size"}
POSITIONS = {"template": "backbone.pos_embed_z", "search": "backbone.pos_embed_x"}
STEM = "backbone.patch_embed.proj.weight"
LEFT = {
    "backbone.cls_token": "CLS token, which the tracker does not use",
    "backbone.pos_embed": "the encoder's table before it was resampled for the two crops",
}
THEIRS = ("lib.", "easydict.")  # the training program, and its dicts


@dataclass(frozen=True)
class TrackerConversion:
    """A converted tracker.

    Attributes:
        dropped: reason -> names in the source.
        factors_from: where the factors of the crops are known from.
        epochs: of training, where the file or its name says so.
    """

    network: OneStreamTracker
    dropped: dict[str, list[str]]
    heads_from: str
    factors_from: str
    epochs: int | None
    recipe: str = NAME

    def __str__(self) -> str:
        spec = self.network.spec
        preset = get_preset(spec.preset)
        epochs = f", {self.epochs} epochs" if self.epochs is not None else ""
        eliminate = "none"
        if spec.eliminate:
            eliminate = f"in blocks {', '.join(map(str, spec.eliminate))}, keep {spec.keep}"
        lines = [
            f"converter   {NAME}: tensors under net",
            f"tracker     {preset} ({self.heads_from}); "
            f"{len(self.network.state_dict())} tensors, "
            f"{sum(p.numel() for p in self.network.parameters()):,} parameters",
            f"crops       template {spec.template_size} px, factor {spec.template_factor:g}; "
            f"search {spec.search_size} px, factor {spec.search_factor:g} ({self.factors_from})",
            f"eliminate   {eliminate} (as asked: the file does not tell)",
            f"recipe      {self.recipe}{epochs}",
        ]
        for reason, names in self.dropped.items():
            example = names[0] + (", ..." if len(names) > 1 else "")
            lines.append(f"dropped     {len(names)}: {reason} ({example})")
        return "\n".join(lines)


def convert_tracker(
    source: str | PathLike,
    out: str | PathLike,
    *,
    preset: str | None = None,
    eliminate: str = "ce",
    recipe: str | None = None,
    settings: Settings = Settings(hold=False),  # noqa: B008  (immutable)
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    half: bool = False,
    overwrite: bool = False,
) -> TrackerConversion:
    """Convert the file `source` of OSTrack into `out`, a tracker of ours.

    Args:
        eliminate: "ce", the authors' candidate elimination, or "none".
        settings: by default the box moves on whatever the score, as with the authors.
        half: store the weights in float16.

    Raises:
        CheckpointError: `out` exists and `overwrite` is not set, or as `from_ostrack` and
            `save_tracker`.
    """
    if Path(out).exists() and not overwrite:
        raise CheckpointError("the output is there already.", file=str(out), do="--force")
    conversion = from_ostrack(source, preset=preset, eliminate=eliminate, recipe=recipe)
    save_tracker(
        out,
        conversion.network,
        recipe=conversion.recipe,
        epochs=conversion.epochs,
        settings=settings,
        parents=[Parent(Path(source).name, sha256(source))],
        image_mean=image_mean,
        image_std=image_std,
        half=half,
    )
    return conversion


def from_ostrack(
    source: str | PathLike,
    *,
    preset: str | None = None,
    eliminate: str = "ce",
    recipe: str | None = None,
) -> TrackerConversion:
    """The tracker in a file of OSTrack's training.

    Sizes show in the tensors. The head count does not: it is what is published, or `preset`'s.

    Raises:
        CheckpointError: the file is damaged, unsafe, not of OSTrack, or a tensor has no place.
        ConfigError: there is no such preset or `eliminate`.
    """
    if eliminate not in ELIMINATE:
        raise ConfigError(f"eliminate={eliminate!r}.", knows=", ".join(ELIMINATE))
    if preset is not None:
        get_preset(preset, ViTPreset)
    content = read_ostrack(source)
    state = _tensors(content, source)
    chosen, heads_from = _preset(state, preset, source)
    sizes = {name: _side(state, key, source) for name, key in POSITIONS.items()}
    factors, factors_from = _factors(content, sizes)
    spec = NetworkSpec(
        preset=chosen.name,
        template_size=sizes["template"],
        search_size=sizes["search"],
        template_factor=factors["template"],
        search_factor=factors["search"],
        head_channels=len(state["box_head.conv1_ctr.0.weight"]),
        eliminate=ELIMINATE[eliminate],
        keep=KEEP,
    )
    dropped: dict[str, list[str]] = {}
    renamed = {}
    for name, tensor in state.items():
        if name in LEFT:
            dropped.setdefault(LEFT[name], []).append(name)
        else:
            renamed[_our_name(name)] = tensor.float() if tensor.is_floating_point() else tensor
    if others := [str(key) for key in content if key != "net"]:
        dropped["of the training program, no tensors of the tracker"] = others
    with torch.random.fork_rng(devices=[]):
        network = OneStreamTracker(spec)
    refuse_misfits(source, f"tracker ({chosen.name})", **misfits(renamed, network.state_dict()))
    network.load_state_dict(renamed)
    return TrackerConversion(
        network=network.eval(),
        dropped=dropped,
        heads_from=heads_from,
        factors_from=factors_from,
        epochs=_epochs(content, source),
        recipe=recipe or NAME,
    )


class _Inert:
    """What a name of the training program stands for: calling it gives an empty `OrderedDict`.

    That is the one type whose attributes and whose items torch's safe unpickler both fills, so it
    holds the state of plain objects (`vars`) and of dicts of theirs, and does nothing.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> OrderedDict:
        return OrderedDict()


def stand_ins(path: str | PathLike) -> list[SafeGlobal]:
    """(stand-in, name) for each name of OSTrack's program in a file's pickles."""
    return [(_Inert, name) for name in pickled_globals(path) if name.startswith(THEIRS)]


def read_ostrack(path: str | PathLike) -> dict[str, Any]:
    """What a file of OSTrack's training holds, its own classes' objects as `OrderedDict`s.

    Raises:
        CheckpointError: the file is damaged, or names what is neither a tensor's nor OSTrack's; in
            no case is anything from the file run.
    """
    extra = [] if sniff(path) == "safetensors" else stand_ins(path)
    return _plain(read_torch(path, extra_safe=extra))


def _plain(value: Any) -> dict:
    """A dict as a plain one, whose methods no attribute from a file covers; {} of anything else."""
    return dict(value) if isinstance(value, dict) else {}


def looks_like_ostrack(path: str | PathLike) -> bool:
    """Whether a file seems to be one of OSTrack's: a hint for people."""
    try:
        state = _plain(read_ostrack(path).get("net"))
    except (CheckpointError, OSError):
        return False
    return {STEM, *POSITIONS.values()} <= set(state)


def _tensors(content: Mapping, source: str | PathLike) -> dict[str, Tensor]:
    """The tensors under `net`; what else may be meant, where they are not a tracker's."""
    state = _plain(content.get("net"))
    needed = [STEM, *POSITIONS.values(), "box_head.conv1_ctr.0.weight"]
    lacking = [name for name in needed if not isinstance(state.get(name), Tensor)]
    if lacking:
        names = list(state) or list(content)
        details = {"found": ", ".join(map(str, names[:5])) or "nothing"}
        if likely := matching_converters(content):
            details["looks_like"] = f"an encoder: --from {' | '.join(likely)}"
        raise CheckpointError(
            "the file holds no tracker of OSTrack's.",
            file=str(source),
            looked_for=[f"net: {name}" for name in lacking],
            **details,
        )
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _preset(
    state: Mapping[str, Tensor], asked: str | None, source: str | PathLike
) -> tuple[ViTPreset, str]:
    """The encoder's preset and how its head count is known."""
    width, _, patch, _ = state[STEM].shape
    known = PRESETS.get(width)
    if asked is None and known is None:
        raise CheckpointError(
            f"the head count of an encoder of width {width} is not known.",
            file=str(source),
            do="--preset NAME",
            known=[f"{of}: {name}" for of, name in PRESETS.items()],
        )
    preset = get_preset(asked or known, ViTPreset)
    if (preset.width, preset.patch) != (width, patch):
        raise CheckpointError(
            f"--preset {preset.name} (width {preset.width}, patches of {preset.patch} px) "
            "contradicts the source.",
            file=str(source),
            source=f"width {width}, patches of {patch} px",
        )
    return preset, "from what is published" if asked in (None, known) else "as asked for"


def _side(state: Mapping[str, Tensor], name: str, source: str | PathLike) -> int:
    """Side in pixels of the square crop that a position table (1, L, D) belongs to."""
    try:
        rows, _ = square_grid(state[name].shape[1])
    except (IndexError, ValueError) as error:
        raise CheckpointError(
            "a position table is not of a square crop.", file=str(source), table=name,
            cause=str(error),
        ) from None  # fmt: skip
    return rows * state[STEM].shape[-1]


def _factors(content: Mapping, sizes: Mapping[str, int]) -> tuple[dict[str, float], str]:
    """Sides of the squares cut out, in roots of the box's area; and where they are known from."""
    settings = getattr(content.get("settings"), "__dict__", {})
    told = _plain(settings.get("search_area_factor"))
    if all(isinstance(told.get(name), (int, float)) and 0 < told[name] <= 10 for name in sizes):
        return {name: float(told[name]) for name in sizes}, "from the file's settings"
    search = 5.0 if sizes["search"] == 384 else 4.0
    return {"template": 2.0, "search": search}, "as published for the size"


def _epochs(content: Mapping, source: str | PathLike) -> int | None:
    epoch = content.get("epoch")
    if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0:
        return epoch
    in_name = re.search(r"_ep(\d+)", Path(source).name)
    return int(in_name[1]) if in_name else None


def _our_name(name: str) -> str:
    """`OneStreamTracker`'s name of a tensor; the same where it has none."""
    if name == POSITIONS["template"]:
        return "template_positions"
    if name == POSITIONS["search"]:
        return "backbone.pos_embed"
    match = re.fullmatch(r"box_head\.conv(\d)_(ctr|offset|size)\.(.+)", name)
    if match:
        return f"head.{BRANCHES[match[2]]}.{int(match[1]) - 1}.{match[3]}"
    return name
