"""One picture through a trained segmentor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate

from lightvit_bench.errors import BadDataError, CheckpointError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import load_model
from lightvit_bench.segmentation.overlay import panel


def predict_picture(
    image_path: str | Path,
    config: str,
    checkpoint: str,
    out: str | Path,
    *,
    device: str | None = None,
    cfg_options: Sequence[str] = (),
) -> dict[str, float]:
    """Segment a picture and write it beside its overlay, above a legend.

    Returns the share of the pixels of each class found, the largest first. The picture goes
    through the config's test pipeline and sliding window, as in testing.

    Raises:
        BadDataError: the picture cannot be read.
        CheckpointError: see `lightvit_bench.openmmlab.model.load_model`.
    """
    image = cv2.imread(str(image_path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadDataError(
            f"{image_path} is not a picture that OpenCV can read.",
            found="a file" if Path(image_path).is_file() else "nothing at that path",
        )
    cfg = load_config(config, cfg_options)
    model = load_model(cfg, checkpoint)
    classes = model.dataset_meta.get("classes")
    if not classes:
        raise CheckpointError(f"{checkpoint} does not name its classes (meta.dataset_meta).")
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    labels = segment(model, image, cfg.test_pipeline)
    picture = panel(image, [labels], classes, model.dataset_meta["palette"])
    if not cv2.imwrite(str(out), picture):
        raise BadDataError(f"cannot write {out}.", check="the folder, and an ending such as .png")
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    found = {classes[i]: counts[i] / labels.size for i in np.argsort(-counts) if counts[i]}
    return {name: float(share) for name, share in found.items()}


def segment(model: torch.nn.Module, image: np.ndarray, test_pipeline: list[dict]) -> np.ndarray:
    """Class indices (H, W) of an image (H, W, 3) uint8 BGR."""
    steps = [step for step in test_pipeline if step["type"] != "LoadAnnotations"]
    steps[0] = dict(type="LoadImageFromNDArray")
    sample = Compose(steps)(dict(img=image))
    with torch.no_grad():
        result = model.test_step(pseudo_collate([sample]))[0]
    return result.pred_sem_seg.data.squeeze().cpu().numpy()
