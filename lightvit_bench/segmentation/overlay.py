"""Label maps drawn over their images: what people look at first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

MARGIN, LINE = 8, 22  # pixels


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.6
) -> np.ndarray:
    """Blend class colours over an image.

    Args:
        image: (H, W, 3) uint8 BGR.
        labels: (H, W) class indices; values without a colour (255, void) are drawn black.
        palette: one RGB triple per class.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    painted = colours[labels.astype(np.uint8)]
    return cv2.addWeighted(painted, opacity, image, 1 - opacity, 0)


def legend(
    classes: Sequence[str], palette: Sequence[Sequence[int]], shown: Sequence[int], width: int
) -> np.ndarray:
    """A white strip (h, `width`, 3) naming the colours of the classes in `shown`, in rows."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    placed, x, y = [], MARGIN, MARGIN
    for index in shown:
        text_width = cv2.getTextSize(classes[index], font, scale, 1)[0][0]
        step = LINE + text_width + MARGIN
        if x > MARGIN and x + step > width:
            x, y = MARGIN, y + LINE
        placed.append((index, x, y))
        x += step
    strip = np.full((y + LINE + MARGIN // 2, width, 3), 255, np.uint8)
    for index, x, y in placed:
        colour = [int(c) for c in palette[index][::-1]]
        cv2.rectangle(strip, (x, y), (x + 14, y + 14), colour, cv2.FILLED)
        cv2.putText(
            strip, classes[index], (x + 18, y + 12), font, scale, (40, 40, 40), 1, cv2.LINE_AA
        )
    return strip


def panel(
    image: np.ndarray,
    maps: Sequence[np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> np.ndarray:
    """The image, then one overlay for each label map, side by side above a legend (BGR)."""
    row = np.concatenate([image, *(overlay(image, labels, palette) for labels in maps)], axis=1)
    present = np.unique(np.concatenate([np.unique(labels) for labels in maps]))
    shown = [int(index) for index in present if index < len(classes)]
    return np.concatenate([row, legend(classes, palette, shown, row.shape[1])])


@HOOKS.register_module()
class OverlayHook(Hook):
    """Writes `<out_dir>/<image's path in its folder>.png`: image | truth | prediction.

    Args:
        out_dir: made if absent.
    """

    def __init__(self, out_dir: str):
        self.out_dir = Path(out_dir)
        self.written: list[Path] = []

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=()) -> None:
        """Draw the samples of a batch."""
        dataset = runner.test_dataloader.dataset
        meta, folder = dataset.metainfo, Path(dataset.data_prefix["img_path"])
        for sample in outputs:
            image = cv2.imread(sample.img_path, cv2.IMREAD_COLOR)
            maps = [
                getattr(sample, key).data.squeeze().cpu().numpy()
                for key in ("gt_sem_seg", "pred_sem_seg")
                if key in sample
            ]
            name = Path(os.path.relpath(sample.img_path, folder)).with_suffix(".png")
            path = self.out_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), panel(image, maps, meta["classes"], meta["palette"]))
            self.written.append(path)

    def after_test(self, runner) -> None:
        """Say where the pictures are."""
        print_log(f"{len(self.written)} overlays written to {self.out_dir}", logger="current")
