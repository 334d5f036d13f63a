"""Crops of real tracking: what a network is calibrated on, and compared with PyTorch on.

The PyTorch tracker follows the targets of some sequences; what it gave the network and what the
network answered is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from lightvit_bench.data.sequence import Sequence as Video
from lightvit_bench.errors import MissingDataError
from lightvit_bench.tracking.answers import Answer, Model
from lightvit_bench.tracking.tracker import Tracker

SEQUENCES, FRAMES = 12, 40  # of the default, at most, and of each sequence
DEMO_SEED = 11  # of the videos made where none are given; neither the demo's nor the tests'


@dataclass(frozen=True, eq=False)
class FrameCrop:
    """A frame's question to the network and PyTorch's answer.

    template: (T, T, 3) uint8. search: (S, S, 3) uint8. box_wh: the last box's width and height as
    fractions of the region. side: of the region in the frame's pixels. answer: PyTorch's.
    """

    template: np.ndarray
    search: np.ndarray
    box_wh: tuple[float, float]
    side: float
    answer: Answer


class _Spy:
    """A model that keeps what it is asked and what it answers."""

    def __init__(self, model: Model):
        self.model, self.spec, self.settings = model, model.spec, model.settings
        self.asked: list[tuple] = []

    def embed(self, template: np.ndarray):
        return template.copy(), self.model.embed(template)

    def find(self, embedded, search: np.ndarray, box_wh: tuple[float, float]) -> Answer:
        template, tokens = embedded
        answer = self.model.find(tokens, search, box_wh)
        self.asked.append((template, search.copy(), box_wh, answer))
        return answer


def collect_crops(
    model: Model, videos: Iterable[Video], frames: int = FRAMES, most: int = SEQUENCES
) -> list[FrameCrop]:
    """What a model is asked and answers in up to `frames` frames of each of `most` sequences.

    The frames are spread over a sequence, each tracked from the one kept before.

    Raises:
        MissingDataError: no sequence has a first box and a second frame.
    """
    kept: list[FrameCrop] = []
    for video in list(videos)[:most]:
        box = video.annotation.boxes_xywh[0]
        if len(video.frames) < 2 or not (np.isfinite(box).all() and (box[2:] > 0).all()):
            continue
        spy = _Spy(model)
        tracker = Tracker(spy)
        tracker.init(video.frames[0], tuple(box))
        last = min(len(video.frames) - 1, 4 * frames)
        for index in np.unique(np.linspace(1, last, frames).round().astype(int)):
            image = video.frames[index]
            look = tracker.look(image)
            tracker.take(image, look, spy.find(tracker.template, look.patch, look.box_wh))
            kept.append(FrameCrop(*spy.asked[-1][:3], look.square.side, spy.asked[-1][3]))
    if not kept:
        raise MissingDataError(
            "there is no sequence to take crops from: none has a first box and a second frame.",
            set="--sequences FOLDER   (one folder a sequence: frames and groundtruth.txt)",
        )
    return kept


def crops_of(weights: str | PathLike | None, sequences: str | PathLike | None) -> list[FrameCrop]:
    """Crops that a tracker's weights are exported with, by PyTorch.

    Args:
        weights: NAME.safetensors; None for those that come with the package.
        sequences: a folder of sequences; None for made videos.
    """
    from lightvit_bench.data.frame_folder import open_folder
    from lightvit_bench.tracking.files import load_tracker_model

    model = load_tracker_model(weights)
    if sequences is None:
        return made_crops(model)
    if not Path(sequences).exists():
        raise MissingDataError(
            "there is no such folder of sequences.",
            looked_for=str(sequences),
            set="--sequences FOLDER   (one folder a sequence: frames and groundtruth.txt)",
        )
    return collect_crops(model, open_folder(Path(sequences)))


def made_crops(model: Model) -> list[FrameCrop]:
    """Crops of made videos over photographs, where there are no real ones."""
    from lightvit_bench.data.demo_tracking import make_demo_sequences
    from lightvit_bench.data.frame_folder import open_folder

    with tempfile.TemporaryDirectory() as folder:
        make_demo_sequences(Path(folder), sequences=6, frames=60, seed=DEMO_SEED)
        return collect_crops(model, open_folder(Path(folder)))


def spread(crops: Sequence[FrameCrop], count: int) -> list[FrameCrop]:
    """At most `count` of the crops, evenly spread."""
    places = np.linspace(0, len(crops) - 1, min(count, len(crops))).round().astype(int)
    return [crops[i] for i in np.unique(places)]
