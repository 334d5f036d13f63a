"""Pictures of what a masked autoencoder sees and predicts: what people look at first."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.visualization import LocalVisBackend
from torch import Tensor

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.writing import whole_file

LINE, GAP = 2, 6  # pixels of white: around a picture, and more between two rows' worth of them
QUALITY = 92  # of the JPEG


def contact_sheet(columns: Sequence[Tensor], across: int = 2) -> np.ndarray:
    """Pictures on white: each image's in a row, `across` images beside one another.

    Args:
        columns: original, masked, predicted, ...: uint8 (N, 3, S, S) each, RGB.

    Returns uint8 (H, W, 3), RGB; the last row is filled up with white.
    """
    pictures = torch.stack([column.cpu() for column in columns], dim=1)  # (N, columns, 3, S, S)
    count, wide, _, height, width = pictures.shape
    across = max(1, min(across, count))
    rows = -(-count // across)
    cell_h, cell_w = height + LINE, wide * (width + LINE) + GAP
    sheet = np.full((rows * cell_h + LINE, across * cell_w + LINE - GAP, 3), 255, np.uint8)
    for i, row in enumerate(pictures.permute(0, 1, 3, 4, 2).numpy()):
        top = LINE + i // across * cell_h
        for j, picture in enumerate(row):
            left = LINE + i % across * cell_w + j * (width + LINE)
            sheet[top : top + height, left : left + width] = picture
    return sheet


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Python's, numpy's and torch's random states are on leaving what they were on entering."""
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@HOOKS.register_module()
class ReconstructionPictures(Hook):
    """Writes `<work_dir>/pictures/iter_N.jpg` and `latest.jpg`: original, masked, predicted.

    Always the same images, spread over the training set, in the same crops behind the same masks,
    so that the pictures of a run can be compared. A model that reconstructs nothing has none.
    The run's random states are left alone: with or without pictures it ends with the same weights.

    Args:
        interval: iterations from one picture to the next; there is one at the end as well. 0 for no
            pictures.
        images: how many.
        seed: of the masks.

    Other places that keep pictures (TensorBoard) are given them too, as "reconstructions".

    Raises:
        ConfigError: a negative interval, or no image.
    """

    priority = "LOW"

    def __init__(self, interval: int = 1000, images: int = 8, seed: int = 0):
        if interval < 0 or images < 1:
            raise ConfigError(
                f"ReconstructionPictures with interval={interval} and images={images}.",
                for_none="default_hooks.pictures.interval=0",
            )
        self.interval, self.images, self.seed = interval, images, seed
        self.inputs: Tensor | None = None

    def before_train(self, runner) -> None:
        """Say it once if there is nothing to draw."""
        if self.interval and not bare_model(runner).masked:
            print_log("no pictures: this pre-training reconstructs no images", logger="current")

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draw when it is time."""
        due = self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        if due and self.interval and runner.rank == 0 and bare_model(runner).masked:
            self.draw(runner, runner.iter + 1)

    def draw(self, runner, done: int) -> Path:
        """Write the picture after `done` iterations; returns its path."""
        with untouched_randomness():
            if self.inputs is None:
                self.inputs = self.choose(runner.train_dataloader.dataset)
            sheet = contact_sheet(bare_model(runner).reconstruct(self.inputs, seed=self.seed))
        bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes()
        folder = Path(runner.work_dir) / "pictures"
        for name in (f"iter_{done}.jpg", "latest.jpg"):
            with whole_file(folder / name) as aside:
                aside.write_bytes(encoded)
        for backend in runner.visualizer._vis_backends.values():
            if not isinstance(backend, LocalVisBackend):  # which would write it once more
                backend.add_image("reconstructions", sheet, done)
        return folder / f"iter_{done}.jpg"

    def choose(self, dataset) -> Tensor:
        """The images (N, 3, S, S), uint8: at equal distances, for folders hold a class each."""
        count = min(self.images, len(dataset))
        indices = [i * len(dataset) // count for i in range(count)]
        return torch.stack([dataset[index]["inputs"] for index in indices])
