"""What feature maps a model of timm gives, found out by building it and running it."""

from __future__ import annotations

import difflib
import logging
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightvit_bench import compat
from lightvit_bench.errors import ConfigError

compat.prepare()  # timm imports torchvision

import timm  # noqa: E402

STRIDES = (4, 8, 16, 32)
# What lets a model take images of any size, where a family has it (Swin; plain ViTs).
ANY_SIZE = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})
# Options of timm that are ours to choose.
OURS = (
    "pretrained", "features_only", "out_indices", "checkpoint_path", "feature_cls", "output_fmt",
)  # fmt: skip


@dataclass(frozen=True)
class TimmMaps:
    """What a timm model, asked on a trial image, said of its feature maps.

    Attributes:
        indices: timm's numbers of the maps, for `out_indices`.
        channels: of each map.
        strides: of each map, in pixels.
        options: with which timm builds the model; those that free it of a fixed image size among
            them.
        multiple: images are padded to whole multiples of it: the coarsest stride of the model, or
            twice that.
        size: height and width of the only images that the model takes, None if it takes any.
        channels_last: whether the maps come as (B, H, W, C).
        mean, std: of the pixels that timm's weights were trained on, pixels being 0 to 1.
    """

    indices: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    options: Mapping[str, Any]
    multiple: int
    size: tuple[int, int] | None
    channels_last: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def ask_timm(name: str, out_strides: Sequence[int] = STRIDES, **options: Any) -> TimmMaps:
    """Ask a timm model for its feature maps at some strides, by running it on a trial image.

    It is built on PyTorch's meta device, which takes no memory and computes nothing; on the CPU
    where it cannot be. Of several maps at one stride the deepest is taken.

    Raises:
        ConfigError: timm has no such model; it gives no maps, or not at these strides; it does not
            take an option; its maps are not of the size that their strides promise.
    """
    _refuse_unknown(name, options)
    strides = _checked_strides(out_strides)
    first = build_anywhere(name, options)
    deepest = {int(info["reduction"]): i for i, info in enumerate(first.feature_info.info)}
    if absent := [stride for stride in strides if stride not in deepest]:
        raise ConfigError(
            f"timm's {name} has no feature maps at stride {_listed(absent)}: it has "
            f"{_listed(sorted(deepest))}.",
            set=f"model.backbone.out_strides={tuple(sorted(deepest))}, with a neck and heads for "
            "these",
            or_take="a model with all four, docs/backbones.md names some",
            plain_vit="the neck of configs/ade20k or configs/coco makes a pyramid of one map",
        )
    asked = {**options, "out_indices": tuple(deepest[stride] for stride in strides)}
    model, shapes, asked, size, multiple = _run_at_any_size(name, asked, strides, deepest)
    return TimmMaps(
        indices=asked.pop("out_indices"),
        channels=tuple(channels for channels, *_ in shapes),
        strides=strides,
        options=asked,
        multiple=multiple,
        size=size,
        channels_last=_channels_last(model),
        mean=tuple(model.pretrained_cfg["mean"]),
        std=tuple(model.pretrained_cfg["std"]),
    )


def _refuse_unknown(name: str, options: Mapping[str, Any]) -> None:
    """`ConfigError` for a model that timm does not list, and for options that are ours."""
    if not isinstance(name, str) or ":" in name or not timm.is_model(name):
        near = difflib.get_close_matches(str(name).split(".")[0], timm.list_models(), n=5)
        raise ConfigError(
            f"timm {timm.__version__} has no model {name!r}.",
            **({"near": ", ".join(near)} if near else {}),
            all='python -c "import lightvit_bench.vit, timm; print(*timm.list_models())"',
        )
    tags = timm.list_pretrained(name.split(".")[0])
    if "." in name and name not in timm.list_models(pretrained=True):
        raise ConfigError(f"timm has no weights {name!r}.", has=", ".join(tags) or "none of it")
    if taken := [option for option in OURS if option in options]:
        raise ConfigError(
            f"model.backbone.{taken[0]} is not for a TimmBackbone to be told.",
            use="init for the weights, out_strides for the maps",
        )


def _checked_strides(out_strides: Sequence[int]) -> tuple[int, ...]:
    listed = isinstance(out_strides, Sequence) and not isinstance(out_strides, str)
    strides = tuple(out_strides) if listed else (out_strides,)
    if not all(type(stride) is int and stride > 0 for stride in strides):
        raise ConfigError(
            f"model.backbone.out_strides={out_strides!r} are no whole numbers of pixels.",
            example="out_strides=(4, 8, 16, 32)",
        )
    if not strides or list(strides) != sorted(set(strides)):
        raise ConfigError(
            f"model.backbone.out_strides={strides} are not ascending strides.",
            example="out_strides=(4, 8, 16, 32)",
        )
    return strides


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _trial_size(multiple: int) -> tuple[int, int]:
    """Of a trial image: unequal sides, odd multiples, so that a model cannot fit by chance."""
    return 3 * multiple, 5 * multiple


def _build(name: str, options: Mapping[str, Any], device: str, features_only: bool) -> nn.Module:
    # timm's own warnings about weights that are not asked for are nobody's concern here.
    log = logging.getLogger("timm")
    level = log.level
    with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            model = timm.create_model(name, features_only=features_only, **options)
        finally:
            log.setLevel(level)
    return model.eval()


def build_anywhere(name: str, options: Mapping[str, Any], features_only: bool = True) -> nn.Module:
    """A model on the meta device, or else on the CPU; `ConfigError` if timm cannot make it."""
    try:
        try:
            return _build(name, options, "meta", features_only)
        except Exception:
            return _build(name, options, "cpu", features_only)
    except Exception as error:  # any family's own way to say no
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, TypeError) and "keyword" in said:
            message = f"timm's {name} does not take an option of model.backbone."
        else:
            message = f"timm's {name} gives no feature maps" + " with these options" * bool(options)
            message += ": it cannot be the backbone of a detector or segmentor."
        raise ConfigError(message, timm_says=said) from error


def _channels_last(model: nn.Module) -> bool:
    return "NHWC" in str(getattr(model, "output_fmt", "NCHW"))


def _run(
    name: str, options: Mapping[str, Any], size: tuple[int, int]
) -> tuple[nn.Module, list[list[int]]]:
    """A model and, of each of its maps of a trial image, channels, height and width."""
    for device in ("meta", "cpu"):
        try:
            model = _build(name, options, device, True)
            with torch.no_grad():
                maps = model(torch.zeros(1, options.get("in_chans", 3), *size, device=device))
            break
        except Exception:
            if device == "cpu":
                raise
    if _channels_last(model):
        maps = [x.permute(0, 3, 1, 2) for x in maps]
    return model, [list(x.shape[1:]) for x in maps]


def _run_at_any_size(
    name: str, options: dict[str, Any], strides: tuple[int, ...], of_model: Iterable[int]
) -> tuple[nn.Module, list[list[int]], dict[str, Any], tuple[int, int] | None, int]:
    """`_run`'s, and `options`, `size` and `multiple` of `TimmMaps` with which the maps fit."""
    multiple = math.lcm(*of_model)
    misfit = None
    for extra in ANY_SIZE:
        if extra.keys() & options.keys():
            continue
        for factor in (1, 2):  # MobileViT-v2 cuts its coarsest map into patches of 2 x 2
            with_extra, trial = {**options, **extra}, _trial_size(factor * multiple)
            try:
                model, shapes = _run(name, with_extra, trial)
            except Exception:  # it does not know the option, or takes images of one size
                break
            if not (found := _misfit(shapes, strides, trial)):
                return model, shapes, with_extra, None, factor * multiple
            misfit = misfit or found
    if misfit is None:
        trial = options.get("img_size") or timm.get_pretrained_cfg(name).input_size[1:]
        trial = (trial, trial) if isinstance(trial, int) else tuple(trial)
        try:
            model, shapes = _run(name, options, trial)
        except Exception as error:
            raise ConfigError(
                f"timm's {name} does not run on an image of {trial[0]} x {trial[1]} px.",
                timm_says=f"{type(error).__name__}: {error}".splitlines()[0],
            ) from error
        if not (misfit := _misfit(shapes, strides, trial)):
            return model, shapes, options, trial, multiple
    raise ConfigError(
        f"timm's {name} says that a feature map has {misfit}: heads would look in the wrong "
        "places.",
        set="model.backbone.out_strides to the others, or take another model",
    )


def _misfit(shapes: list[list[int]], strides: tuple[int, ...], image: tuple[int, int]) -> str:
    """The first map that has not the size that its stride promises, in words; "" if all have."""
    for stride, (_, *shape) in zip(strides, shapes, strict=True):
        expected = [-(-side // stride) for side in image]
        if shape != expected:
            return (
                f"stride {stride}, and makes it {shape[0]} x {shape[1]} of an image of "
                f"{image[0]} x {image[1]} px, not {expected[0]} x {expected[1]}"
            )
    return ""
