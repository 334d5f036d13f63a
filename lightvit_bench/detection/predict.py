"""One picture through a trained detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate

from lightvit_bench.detection.overlay import THRESHOLD, SeenObject, draw_objects, found_objects
from lightvit_bench.errors import ConfigError
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


def predict_objects(
    image: str | Path,
    config: str | Config,
    checkpoint: str,
    out: str | Path,
    *,
    device: str | None = None,
    threshold: float = THRESHOLD,
    cfg_options: Sequence[str] = (),
) -> list[SeenObject]:
    """Find the objects in a picture and write it with their boxes, masks and names drawn.

    Returns those with a score of at least `threshold`, the highest first: `name`, `score`, `box`
    (x1, y1, x2, y2 in the picture's pixels), `mask` where the model gives masks. The picture goes
    through the config's test pipeline, as in testing, turned by EXIF or not; what the model leaves
    out by its own `test_cfg.score_thr` no threshold brings back. A config that is loaded already is
    taken as it is, without `cfg_options`.

    Raises:
        BadDataError: the picture cannot be read, or is cut off.
        ConfigError: `out` is no place for a picture (`check_picture_name`), there is no such
            device, or `threshold` is not between 0 and 1.
        CheckpointError: see `lightvit_bench.openmmlab.model.load_model`.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold:g} is not between 0 and 1, as scores are.")
    check_picture_name(out)
    target = find_device(device)
    cfg = config if isinstance(config, Config) else load_config(config, cfg_options)
    pipeline = cfg.test_dataloader.dataset.pipeline
    picture = read_picture(image, turned=turns_pictures(pipeline))
    model = load_model(cfg, checkpoint)
    classes_of(model, checkpoint)
    model.to(target)
    instances = detect(model, picture, pipeline)
    found = found_objects(instances, model.dataset_meta, threshold)
    write_picture(out, draw_objects(picture, found))
    return found


def detect(model: torch.nn.Module, image: np.ndarray, test_pipeline: list[dict]):
    """mmdet's `pred_instances`, in the pixels of an image (H, W, 3) uint8 BGR."""
    sample = Compose(array_pipeline(test_pipeline))(dict(img=image))
    with torch.no_grad():
        return model.test_step(pseudo_collate([sample]))[0].pred_instances
