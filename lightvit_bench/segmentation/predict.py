"""One picture through a trained segmentor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate

from lightvit_bench.data.seg_check import picture_problem
from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError
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
        BadDataError: the picture cannot be read, or is cut off.
        ConfigError: the ending of `out` names no picture format, or there is no such device.
        CheckpointError: see `lightvit_bench.openmmlab.model.load_model`.
    """
    image = read_picture(Path(image_path))
    if not cv2.haveImageWriter(str(out)):
        raise ConfigError(f"no picture format is known by the ending of {out}.", set="--out x.png")
    target = _device(device)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    cfg = load_config(config, cfg_options)
    model = load_model(cfg, checkpoint)
    classes = model.dataset_meta.get("classes")
    if not classes:
        raise CheckpointError(f"{checkpoint} does not name its classes (meta.dataset_meta).")
    model.to(target)
    labels = segment(model, image, cfg.test_pipeline)
    cv2.imwrite(str(out), panel(image, [labels], classes, model.dataset_meta["palette"]))
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    found = {classes[i]: counts[i] / labels.size for i in np.argsort(-counts) if counts[i]}
    return {name: float(share) for name, share in found.items()}


def read_picture(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 BGR; grey is repeated, 16 bits are scaled to 8.

    Decoded by Pillow first, because OpenCV takes a truncated JPEG without a word.
    """
    problem = picture_problem(path)
    if problem:
        raise BadDataError(f"{path} cannot be used: {problem}.")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadDataError(f"{path} is of a kind of picture that OpenCV cannot read.")
    return image


def _device(name: str | None) -> torch.device:
    """The device called `name`; by default CUDA where there is any."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise ConfigError(
            f"there is no device {name!r}: {str(error).splitlines()[0]}",
            there_is=", ".join(["cpu", *found]),
        ) from error
    return device


def segment(model: torch.nn.Module, image: np.ndarray, test_pipeline: list[dict]) -> np.ndarray:
    """Class indices (H, W) of an image (H, W, 3) uint8 BGR."""
    steps = [step for step in test_pipeline if step["type"] != "LoadAnnotations"]
    steps[0] = dict(type="LoadImageFromNDArray")
    sample = Compose(steps)(dict(img=image))
    with torch.no_grad():
        result = model.test_step(pseudo_collate([sample]))[0]
    return result.pred_sem_seg.data.squeeze().cpu().numpy()
