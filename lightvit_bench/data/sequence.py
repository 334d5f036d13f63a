"""What every reader of tracking data gives: sequences of frames with boxes."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

_MOST_ROWS = 1_000_000  # of annotations that are kept, some 40 MB


class Frames(Protocol):
    """The pictures of a sequence, decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame `index`, from 0: (H, W, 3) uint8, RGB. `BadDataError` names what is unreadable."""

    def name(self, index: int) -> str:
        """Where frame `index` lies, for messages."""


@dataclass(frozen=True)
class Annotation:
    """The truth of a sequence, one row a frame.

    Attributes:
        boxes_xywh: (N, 4) float64 pixels, exactly as the data set's files have them (LaSOT counts
            pixels from 1, others from 0; nobody's evaluation shifts them). NaN where unknown: test
            sets may give the first row alone.
        visible: (N,) bool, whether the target can be seen (not absent, not wholly occluded or out
            of view, as the data set says it).
        covered: (N,) float64, the visible share of the target (GOT-10k's `cover` / 8), NaN where
            the data set does not say.
    """

    boxes_xywh: np.ndarray
    visible: np.ndarray
    covered: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool: frames to train on: visible, with a box of positive size."""
        boxes = np.nan_to_num(self.boxes_xywh)
        return self.visible & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)


@dataclass(frozen=True)
class Sequence:
    """A video with the boxes of one target, or a still image with one object (`still`).

    Attributes:
        name: unique in its data set; result files are called so.
        load: reads the annotation, when it is asked for and not kept.
        still: whether it is one picture, which stands for both frames of a pair.
    """

    dataset: str
    name: str
    frames: Frames
    load: Callable[[], Annotation] = field(repr=False)
    still: bool = False

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def annotation(self) -> Annotation:
        """The truth; `BadDataError` names the file that cannot be read.

        It is kept, until a million frames' truth has been read after it: each of the workers that
        train on TrackingNet would hold 600 MB otherwise.
        """
        found = self.__dict__.get("_annotation")
        if found is None:
            found = self.__dict__["_annotation"] = self.load()
            if not self.still:  # one row, of an object that is mostly made for one use
                _kept.add(self, len(found.boxes_xywh))
        return found


class _Kept:
    """The sequences that hold their annotations, oldest first; forgets beyond so many rows."""

    def __init__(self):
        self.queue: deque[tuple[weakref.ref, int]] = deque()
        self.rows = 0

    def add(self, sequence: Sequence, rows: int) -> None:
        """Count one in, and the oldest out where there are too many; the last one stays."""
        self.queue.append((weakref.ref(sequence), rows))
        self.rows += rows
        while self.rows > _MOST_ROWS and len(self.queue) > 1:
            oldest, fewer = self.queue.popleft()
            self.rows -= fewer
            if (alive := oldest()) is not None:
                alive.__dict__.pop("_annotation", None)


_kept = _Kept()
