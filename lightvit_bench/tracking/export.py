"""From a training run's checkpoint to a tracker's file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from types import MappingProxyType

from mmengine.config import Config

from lightvit_bench.checkpoint import Parent, sha256
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.errors import CheckpointError, ConfigError, near_matches
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.tracking.answers import Settings, with_settings
from lightvit_bench.tracking.files import TrackerManifest, save_tracker
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker

PART = "network."  # of a `Tracking`
_PIXELS = ("mean", "std")


def export_tracker(
    config: str,
    checkpoint: str | PathLike,
    out: str | PathLike,
    *,
    recipe: str | None = None,
    data: str | None = None,
    half: bool = False,
    overwrite: bool = False,
    cfg_options: Sequence[str] = (),
) -> TrackerManifest:
    """Write the tracker in a run's checkpoint (`iter_N.pth`) as one file.

    Args:
        config: the run's; its `tracker`, if it has one, holds fields of `Settings`.
        recipe: how it was trained; the config's name by default.
        data: what it was trained on, in words; the names of the config's sets by default.
        half: store the weights in float16.
        overwrite: replace `out` if it exists.

    Raises:
        CheckpointError: `out` exists; the checkpoint is absent, unsafe, or of another config; the
            network computes NaN.
        ConfigError: the config is not a tracker's.
    """
    if Path(out).exists() and not overwrite:
        raise CheckpointError("the output is there already.", file=str(out), do="--force")
    cfg = load_config(config, cfg_options)
    network, meta = load_run(cfg, checkpoint)
    mean, std = (
        [round(value / 255, 6) for value in cfg.model.data_preprocessor[name]]
        for name in ("mean", "std")
    )
    return save_tracker(
        out,
        network,
        recipe=recipe or Path(config).stem,
        data=_sets(cfg) if data is None else data,
        epochs=_epochs(cfg, meta),
        settings=settings_of(cfg),
        parents=[Parent(Path(checkpoint).name, sha256(checkpoint))],
        image_mean=mean,
        image_std=std,
        half=half,
    )


def settings_of(cfg: Config, changed: Mapping = MappingProxyType({})) -> Settings:
    """How the answers of a run's network are taken: the config's `tracker`, then `changed`."""
    return with_settings(Settings(), **{**(cfg.get("tracker") or {}), **changed})


def made_with(cfg: Config) -> dict:
    """What of a tracker's config no tensor shows, as a checkpoint's `meta` keeps it.

    Plain values: `network`, all fields of `NetworkSpec`; `data_preprocessor`, mean and std.
    """
    pixels = cfg.model.get("data_preprocessor") or {}
    kept = {key: [float(value) for value in pixels[key]] for key in _PIXELS if key in pixels}
    return {"network": json.loads(json.dumps(spec_of(cfg).to_dict())), "data_preprocessor": kept}


def refuse_other_config(cfg: Config, meta: object, checkpoint: str | PathLike) -> None:
    """`CheckpointError` where a run's `meta` tells of another tracker than its config does.

    Checkpoints of before it told anything pass, with a line.
    """
    held = meta if isinstance(meta, dict) else {}
    if "network" not in held:
        print(
            f"{Path(checkpoint).name} does not say what network it is of: elimination, keep, crop "
            "factors and pixel statistics are taken from the config"
        )
        return
    differ = [
        f"{part}.{key}: {before} in the run, {values.get(key)} here"
        for part, values in made_with(cfg).items()
        for key, before in held.get(part, {}).items()
        if values.get(key) != before
    ]
    if differ:
        raise CheckpointError(
            "the run is of another tracker than the config's.",
            file=str(checkpoint),
            differs=differ,
            set="--cfg-options model.network.NAME=... model.data_preprocessor.NAME=...   (or the "
            "config of the run)",
        )


def load_run(cfg: Config, checkpoint: str | PathLike) -> tuple[OneStreamTracker, dict]:
    """The network of a run's checkpoint, in eval mode, and the checkpoint's `meta`.

    Errors as of `export_tracker`.
    """
    network = build_network(cfg)
    content = read_run_checkpoint(checkpoint)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(
            "the file is not the checkpoint of a run: it holds no 'state_dict'.",
            file=str(checkpoint),
            of_a_run="work_dirs/.../iter_*.pth, as tools/train.py writes them",
            of_ostrack="tools/convert_checkpoint.py FILE OUT --from ostrack",
        )
    own = {PART + name: tensor for name, tensor in network.state_dict().items()}
    refuse_misfits(checkpoint, "tracker of the config", **misfits(state, own))
    refuse_other_config(cfg, content.get("meta"), checkpoint)
    network.load_state_dict({name.removeprefix(PART): state[name] for name in own})
    return network.eval(), content.get("meta", {})


def build_network(cfg: Config) -> OneStreamTracker:
    """The network that a config describes, from random weights."""
    if cfg.model.get("type") != "Tracking":
        raise ConfigError(
            f"{cfg.filename} is not the config of a tracker.", look_in="configs/lasot"
        )
    return OneStreamTracker(spec_of(cfg))


def spec_of(cfg: Config) -> NetworkSpec:
    """The network that a config's model section describes. ConfigError for fields it has not."""
    network = dict(cfg.model.get("network") or {})
    known = [field.name for field in fields(NetworkSpec)]
    for key in network:
        if key not in known:
            raise ConfigError(
                f"model.network knows no {key!r}.", near=", ".join(near_matches(key, known))
            )
    return NetworkSpec(**{"preset": cfg.model.backbone.preset, **network})


def _sets(cfg: Config) -> str:
    """The names of the sets that a config trains on; those of ratio 0 are left out."""
    sets = cfg.get("train_dataloader", {}).get("dataset", {}).get("sets", ())
    return ", ".join(str(one["name"]) for one in sets if "name" in one and one.get("ratio", 1) != 0)


def _epochs(cfg: Config, meta: dict) -> int | None:
    """Whole epochs trained, where run or config says how many iterations one has."""
    done, length = meta.get("iter"), meta.get("epoch_length")
    for hook in cfg.get("custom_hooks", ()):
        if hook["type"] == "KeepRate":
            length = length or hook.get("epoch_length")
    return done // length if isinstance(done, int) and length else None


def in_brief(manifest: TrackerManifest) -> str:
    """A manifest for people to read."""
    spec, settings = manifest.spec, manifest.settings
    head = f"{spec.head} head" + f", {spec.head_channels} channels" * (spec.head == "conv")
    kept = "all search tokens kept"
    if spec.eliminate:
        kept = f"{spec.keep:g} of the search tokens kept in blocks " + ", ".join(
            map(str, spec.eliminate)
        )
    elif spec.prune_after:
        kept = f"{spec.keep:g} of the search tokens kept from block {spec.prune_after} on"
    epochs = "" if manifest.epochs is None else f", {manifest.epochs} epochs"
    lost = "it is looked for where it was last seen" if settings.hold else "the box moves on"
    return "\n".join(
        [
            f"tracker     {spec.preset}, {manifest.heads} heads; {head}; {kept}",
            f"crops       template {spec.template_size} px, factor {spec.template_factor:g}; "
            f"search {spec.search_size} px, factor {spec.search_factor:g}",
            f"settings    found from a score of {settings.found_above:g}; when lost, {lost}",
            f"recipe      {manifest.recipe}{epochs}; data: {manifest.data or 'not said'}",
        ]
    )
