"""One picture through a trained segmentor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate

from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import load_model
from lightvit_bench.openmmlab.pictures import (
    array_pipeline,
    check_picture_name,
    classes_of,
    find_device,
    read_picture,
    turns_pictures,
    write_picture,
)
from lightvit_bench.segmentation.overlay import panel


def predict_picture(
    image_path: str | Path,
    config: str | Config,
    checkpoint: str,
    out: str | Path,
    *,
    device: str | None = None,
    cfg_options: Sequence[str] = (),
) -> dict[str, float]:
    """Segment a picture and write it beside its overlay, above a legend.

    Returns the share of the pixels of each class found, the largest first. The picture goes
    through the config's test pipeline and sliding window, as in testing. A config that is loaded
    already is taken as it is, without `cfg_options`.

    Raises:
        BadDataError: the picture cannot be read, or is cut off.
        ConfigError: the ending of `out` names no picture format, or there is no such device.
        CheckpointError: see `lightvit_bench.openmmlab.model.load_model`.
    """
    cfg = config if isinstance(config, Config) else load_config(config, cfg_options)
    image = read_picture(image_path, turned=turns_pictures(cfg.test_pipeline))
    check_picture_name(out)
    target = find_device(device)
    model = load_model(cfg, checkpoint)
    classes = classes_of(model, checkpoint)
    model.to(target)
    labels = segment(model, image, cfg.test_pipeline)
    write_picture(out, panel(image, [labels], classes, model.dataset_meta["palette"]))
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    found = {classes[i]: counts[i] / labels.size for i in np.argsort(-counts) if counts[i]}
    return {name: float(share) for name, share in found.items()}


def segment(model: torch.nn.Module, image: np.ndarray, test_pipeline: list[dict]) -> np.ndarray:
    """Class indices (H, W) of an image (H, W, 3) uint8 BGR."""
    sample = Compose(array_pipeline(test_pipeline))(dict(img=image))
    with torch.no_grad():
        result = model.test_step(pseudo_collate([sample]))[0]
    return result.pred_sem_seg.data.squeeze().cpu().numpy()
