"""The augmentations of OSTrack's training on videos. numpy and OpenCV only.

Alike for both frames of a pair, before the crops are cut: grey with a probability of 0.05, mirrored
with 0.5. Then for each crop by itself: brightness by a factor of 0.8 ... 1.2, mirrored with 0.5.

Mirroring maps the edge x to width - x, so that a box stays on its object; the authors' joint flip
maps it to width - 1 - x, a pixel aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lightvit_bench.tracking.crops import Box

GREY, FLIP, BRIGHTNESS = 0.05, 0.5, 0.2


@dataclass(frozen=True)
class JointAugmentation:
    """What happens to both frames of a pair alike."""

    grey: bool = False
    flip: bool = False

    @classmethod
    def draw(
        cls, rng: np.random.Generator, grey: float = GREY, flip: float = FLIP
    ) -> JointAugmentation:
        """Each with its probability."""
        return cls(bool(rng.random() < grey), bool(rng.random() < flip))

    def __call__(self, frame: np.ndarray, box: Box) -> tuple[np.ndarray, Box]:
        """A frame (H, W, 3) uint8 RGB and a box in it; the arguments stay as they are."""
        if self.grey:
            frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.flip:
            x, y, w, h = box
            frame, box = cv2.flip(frame, 1), (frame.shape[1] - x - w, y, w, h)
        return frame, box


def brightened(
    rng: np.random.Generator, patch: np.ndarray, amount: float = BRIGHTNESS
) -> np.ndarray:
    """A crop times a factor of 1 - amount ... 1 + amount, clipped and rounded to uint8."""
    return cv2.convertScaleAbs(patch, alpha=rng.uniform(max(0.0, 1 - amount), 1 + amount))


def mirrored(patch: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A crop and its box (4,) float32, centre x, centre y, width, height as fractions, flipped."""
    box = box.copy()
    box[0] = 1 - box[0]
    return cv2.flip(patch, 1), box


def augmented_crop(
    rng: np.random.Generator, patch: np.ndarray, box: np.ndarray, flip: float = FLIP
) -> tuple[np.ndarray, np.ndarray]:
    """The augmentations of one crop by itself."""
    patch = brightened(rng, patch)
    return mirrored(patch, box) if rng.random() < flip else (patch, box)
