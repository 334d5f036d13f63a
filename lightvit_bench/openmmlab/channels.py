"""`in_channels="backbone"` in a config: what a backbone gives is asked, not written down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from lightvit_bench.errors import ConfigError

ASKED = re.compile(r"backbone(?:\[(-?\d+)\])?")


def fit_channels(cfg: Config) -> None:
    """Put the channels of a TimmBackbone where a model config says `in_channels="backbone"`.

    Anywhere below `model`: "backbone" becomes the list of all maps' channels, "backbone[2]" the
    channels of the third map. Done after --cfg-options are merged: another `model.backbone.name`
    changes the whole model. A config without a TimmBackbone is left as it is.

    Raises:
        ConfigError: timm has no such model or no such maps (`ask_timm`); there is no such map; the
            backbone is of another type, and cannot be asked; the config asks for `sync_bn`.
    """
    places = list(_places(cfg.model, "model"))
    backbone = cfg.model.backbone
    if not isinstance(backbone, dict) or backbone.get("type") != "TimmBackbone":
        if places:
            raise ConfigError(
                f"{places[0][2]} asks for the backbone's channels: only a TimmBackbone can say.",
                set=f"{places[0][2]} to the channels themselves",
            )
        return
    if cfg.get("sync_bn"):
        raise ConfigError(
            f"sync_bn={cfg.sync_bn!r} would take the activations out of a timm model, which are a "
            "part of its BatchNorm layers.",
            set="sync_bn=None; neck and heads have their own norm_cfg",
        )
    from lightvit_bench.openmmlab.timm_maps import ask_timm

    if "name" not in backbone:
        raise ConfigError("model.backbone is a TimmBackbone without the name of a model.")
    options = {key: value for key, value in backbone.items() if key not in ("type", "init")}
    channels = ask_timm(**options).channels
    for section, key, place in places:
        section[key] = _filled(section[key], channels, place)


def _places(section: Any, path: str) -> Iterator[tuple[dict, str, str]]:
    """Sections of a config, keys in them, and their dotted paths, that ask for channels."""
    entries = section.items() if isinstance(section, dict) else enumerate(section)
    for key, value in list(entries):
        place = f"{path}.{key}"
        if isinstance(key, str) and key.endswith("in_channels"):
            if any(isinstance(v, str) and ASKED.fullmatch(v) for v in _values(value)):
                yield section, key, place
        elif isinstance(value, dict | list | tuple):
            yield from _places(value, place)


def _values(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _filled(value: Any, channels: tuple[int, ...], place: str) -> Any:
    """The entry with numbers in the place of words."""
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, channels, place) for item in value)
    asked = ASKED.fullmatch(value) if isinstance(value, str) else None
    if asked is None:
        return value
    if asked[1] is None:
        return list(channels)
    if not -len(channels) <= int(asked[1]) < len(channels):
        raise ConfigError(
            f"{place}={value!r}: the backbone gives {len(channels)} maps.", channels=str(channels)
        )
    return channels[int(asked[1])]
