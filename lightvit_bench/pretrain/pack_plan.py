"""What a pack is made of and with: settled before the first image, and agreed with on going on."""

from __future__ import annotations

import json
from pathlib import Path

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.pack_index import PACK, PACKING, read_plan
from lightvit_bench.writing import whole_file


def check_options(
    short_side: int, quality: int, images_per_shard: int, workers: int | None, share: float
) -> None:
    """Raise `ConfigError` for options of `pack_images` that are out of range."""
    if short_side < 1 or images_per_shard < 1 or not 1 <= quality <= 100:
        raise ConfigError(
            f"{short_side=}, {images_per_shard=}: of 1 or more; {quality=}: of 1 to 100.",
            set="the option of tools/pack_images.py",
        )
    if (workers is not None and workers < 0) or not 0 <= share <= 1:  # no number is not, either
        raise ConfigError(
            f"{workers=}: of 0 or more; max_unreadable={share}: of 0 to 1.",
            set="the option of tools/pack_images.py",
        )


def keep_apart(source: Path, out: Path) -> None:
    """Refuse a pack in the source's folder or in one above: it would stand for the images there.

    A folder below the source does no harm: there are no image files in a pack.
    """
    source, out = source.resolve(), out.resolve()
    if out == source or out in source.parents:
        raise ConfigError(
            "the pack would take the place of its own source.",
            source=str(source),
            pack=str(out),
            do="pack into another folder",
        )


def agree(out: Path, plan: dict) -> None:
    """Write down what is being packed, or find that it is what this pack was begun with.

    Raises:
        ConfigError: it is not; or there are shards of unknown origin.
        BadDataError: what was written down is damaged.
    """
    begun = next((out / name for name in (PACK, PACKING) if (out / name).exists()), None)
    if begun is None:
        if out.is_dir() and any(out.glob("shard-*")):
            raise ConfigError(
                "the folder holds shards and does not say of what.",
                folder=str(out),
                do="pack into another folder, or remove them",
            )
        write_json(out / PACKING, plan)
        return
    there = read_plan(begun)
    differing = [
        f"{name}: {there['options'].get(name)} there, {value} asked for"
        for name, value in plan["options"].items()
        if there["options"].get(name) != value
    ]
    was, now = there["source"], plan["source"]
    if was != now:
        names = ", of other names" if was["images"] == now["images"] else ""
        differing.append(f"source: {was['images']:,} images there, {now['images']:,} now{names}")
    if differing:
        raise ConfigError(
            "the folder holds a pack that was begun otherwise.",
            folder=str(out),
            differing=differing,
            do="repeat what it was begun with, or pack into another folder",
        )


def write_json(path: Path, content: dict) -> None:
    """Write one of a pack's files, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_text(json.dumps(content), encoding="utf-8")
