"""From a training run's checkpoint to a tracker's file."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from mmengine.config import Config

from lightvit_bench.checkpoint import Parent, sha256
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.tracking.files import TrackerManifest, save_tracker
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.tracker import Settings, with_settings

PART = "network."  # of a `Tracking`


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
        settings=with_settings(Settings(), **cfg.get("tracker", {})),
        parents=[Parent(Path(checkpoint).name, sha256(checkpoint))],
        image_mean=mean,
        image_std=std,
        half=half,
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
    network.load_state_dict({name.removeprefix(PART): state[name] for name in own})
    return network.eval(), content.get("meta", {})


def build_network(cfg: Config) -> OneStreamTracker:
    """The network that a config describes, from random weights."""
    if cfg.model.get("type") != "Tracking":
        raise ConfigError(
            f"{cfg.filename} is not the config of a tracker.", look_in="configs/lasot"
        )
    preset, network = cfg.model.backbone.preset, cfg.model.get("network") or {}
    try:
        spec = NetworkSpec(preset=preset, **network)
    except TypeError as error:
        raise ConfigError(f"{cfg.filename}: model.network: {error}") from None
    return OneStreamTracker(spec)


def _sets(cfg: Config) -> str:
    """The names of the sets that a config trains on."""
    sets = cfg.get("train_dataloader", {}).get("dataset", {}).get("sets", ())
    return ", ".join(str(one["name"]) for one in sets if "name" in one)


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
