"""The tracker: given a box in one frame, finds the target in the next ones.

    tracker = Tracker(load_tracker_model())
    tracker.init(frame, (x, y, w, h))
    for frame in frames:
        result = tracker.update(frame)  # result.box, result.score, result.found

numpy and OpenCV only; what computes the network is handed in (see `Model`), or found for a file by
`Tracker.from_file("tracker.xml")`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.answers import Answer, Model, Settings
from lightvit_bench.tracking.crops import (
    MARGIN,
    Box,
    Square,
    box_to_frame,
    clip_box,
    crop,
    crop_around,
    square_around,
)

LARGEST = 4  # times the frame's width or height: what a first box may have
SPARE = 1024  # pixels by which a first crop's side may exceed that of a box as large as the frame
SLOWLY = 0.95  # of the usual size, what a frame leaves of the one before
GROWTH, WIDEST = 0.02, 1.5  # of the search around a lost target: a frame, and in all


@dataclass(frozen=True)
class Result:
    """Where the target is in a frame.

    Attributes:
        box: x, y, width, height in pixels, clipped to the frame; of a target that is not found,
            the last box it was found in.
        score: 0 to 1, of the cell that the box comes from; 0 where the network gave no number.
        found: whether the target is there at all.
    """

    box: Box
    score: float
    found: bool


class Look(NamedTuple):
    """A search region cut out of a frame.

    around: the box it is around. square, scale: where it was and how it was resized. patch:
    (S, S, 3) uint8. box_wh: width and height of `around` as fractions of the region.
    """

    around: Box
    square: Square
    scale: float
    patch: np.ndarray
    box_wh: tuple[float, float]


class Tracker:
    """Follows one target. Any number of trackers may share a model.

    The template is that of the first frame and is never updated (OSTrack's rule). A frame's box is
    the one of the cell where score times a Hann window is highest.

    Args:
        model: computes the network.
        settings: in place of the model's own.
    """

    def __init__(self, model: Model, settings: Settings | None = None):
        if not all(hasattr(model, name) for name in ("spec", "settings", "embed", "find")):
            raise ConfigError(
                f"a tracker needs a model that computes crops, not {type(model).__name__}.",
                of_a_file="Tracker.from_file(FILE)",
                of_a_network="TorchModel(network)   (lightvit_bench.tracking.torch_model)",
            )
        self.model = model
        self.settings = model.settings if settings is None else settings
        self._template: Any = None
        self._shape: tuple[int, ...] | None = None
        self._box: Box | None = None
        self._usual = (0.0, 0.0)  # width and height of late, while found
        self._lost = 0  # frames since the target was last found

    @classmethod
    def from_file(
        cls,
        path: str | PathLike | None = None,
        *,
        runtime: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        settings: Settings | None = None,
    ) -> Tracker:
        """A tracker of its own model; arguments as of `runtimes.load_model`.

        An exported file (.xml, .onnx) needs neither torch nor OpenMMLab.
        """
        from lightvit_bench.tracking.runtimes.load import load_model

        model = load_model(path, runtime=runtime, threads=threads, precision=precision)
        return cls(model, settings)

    @property
    def box(self) -> Box | None:
        """The box in which the target was last found; None before `init`."""
        return self._box

    def init(self, image: np.ndarray, box_xywh: Any) -> None:
        """Start to follow what is in a box; whatever was followed before is forgotten.

        Args:
            image: (H, W, 3) uint8, RGB.
            box_xywh: x, y, width, height in pixels.

        Raises:
            BadDataError: the image is not such an array, or the box is not finite, has no size,
                does not touch the image or is far larger: more than `LARGEST` times as wide or
                high, or with a template or search square whose side exceeds the model's factor
                times the image's larger side by more than `SPARE` pixels. Boxes found later are
                clipped to the image and cannot. The tracker then is as it was.
        """
        check_image(image)
        box = check_box(box_xywh, image)
        spec = self.model.spec
        for factor in (spec.template_factor, spec.search_factor):
            _check_side(box, factor, image)
        template = crop_around(image, box, spec.template_factor, spec.template_size).patch
        self._template = self.model.embed(template)
        self._box, self._shape = box, image.shape
        self._usual, self._lost = box[2:], 0

    def update(self, image: np.ndarray) -> Result:
        """Find the target in the next frame.

        Raises:
            BadDataError: no `init` yet, or the image is not (H, W, 3) uint8 of the first one's
                size. The tracker then is as it was.
        """
        look = self.look(image, getattr(self.model, "buffer", None))
        return self.take(image, look, self.model.find(self._template, look.patch, look.box_wh))

    def look(self, image: np.ndarray, out: np.ndarray | None = None) -> Look:
        """The first half of `update`: cut the search region out of a frame, into `out` if given."""
        self._check_frame(image)
        spec = self.model.spec
        around = self._around()
        square = square_around(around, spec.search_factor)
        region = crop(image, square, spec.search_size, out)
        share = region.scale / spec.search_size
        return Look(
            around, square, region.scale, region.patch, (around[2] * share, around[3] * share)
        )

    def take(self, image: np.ndarray, look: Look, answer: Answer) -> Result:
        """The second half of `update`: the box in the frame from the answer about its region."""
        where, score = answer
        if not (math.isfinite(score) and np.isfinite(where).all()):
            return Result(self._box, 0.0, False)  # a NaN must not reach the box, held or not
        found = score >= self.settings.found_above
        if found and (below := self.settings.flat_below):
            found = not _is_flat(image, look.square, below)
        self._lost = 0 if found else self._lost + 1
        if found or not self.settings.hold:
            box = box_to_frame(where, look.around, self.model.spec.search_size, look.scale)
            height, width = image.shape[:2]
            margin = min(MARGIN, height, width)
            self._box = clip_box(box, height, width, margin)
        if found:
            self._usual = tuple(
                SLOWLY * old + (1 - SLOWLY) * new
                for old, new in zip(self._usual, self._box[2:], strict=True)
            )
        return Result(self._box, score, found)

    @property
    def template(self) -> Any:
        """What the model made of the template; None before `init`."""
        return self._template

    def _around(self) -> Box:
        """The box to search around: the last one, and a larger one for a target that was lost.

        A target that hides or leaves is last seen in part, in a box too small to search around. It
        is looked for in the size it had before, and from one frame to the next a little farther.
        """
        x, y, w, h = self._box
        if not (self._lost and self.settings.hold):
            return self._box
        wider = min(1 + GROWTH * self._lost, WIDEST)
        new_w, new_h = (
            wider * max(side, usual) for side, usual in zip((w, h), self._usual, strict=True)
        )
        return (x + (w - new_w) / 2, y + (h - new_h) / 2, new_w, new_h)

    def _check_frame(self, image: np.ndarray) -> None:
        if self._box is None:
            raise BadDataError("the tracker has no target yet.", do="tracker.init(image, box)")
        check_image(image)
        if image.shape != self._shape:
            raise BadDataError(
                f"a frame of {image.shape[1]} x {image.shape[0]} pixels follows frames of "
                f"{self._shape[1]} x {self._shape[0]}.",
                do="resize the frames to one size, or call init again with a box in this one",
            )


def check_image(image: Any) -> None:
    """`BadDataError` unless `image` is (H, W, 3) uint8 with pixels in it."""
    if not isinstance(image, np.ndarray):
        raise BadDataError(
            f"a frame is a numpy array (H, W, 3) of uint8, RGB, not {type(image).__name__}."
        )
    if image.dtype != np.uint8:
        raise BadDataError(
            f"a frame has values of {image.dtype}, not uint8.",
            do="scale it to 0 ... 255 and convert it: image.round().astype(numpy.uint8)",
        )
    if image.ndim != 3 or image.shape[2] != 3:
        do = "cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)"
        if image.ndim == 3 and image.shape[2] == 4:
            do = "image[:, :, :3]   (drop the alpha channel)"
        raise BadDataError(f"a frame has shape {image.shape}, not (H, W, 3), RGB.", do=do)
    if min(image.shape) < 1:
        raise BadDataError(f"a frame has shape {image.shape}: there is no pixel in it.")


def check_box(box: Any, image: np.ndarray) -> Box:
    """Four finite floats with a size that touch the image, or `BadDataError`."""
    height, width = image.shape[:2]
    try:
        values = [None if isinstance(value, (str, bytes)) else value for value in box]
        x, y, w, h = map(float, values)
    except (TypeError, ValueError, OverflowError):
        raise BadDataError(f"a box is four numbers, x, y, width, height, not {box!r}.") from None
    shown = f"the box x={x:g}, y={y:g}, w={w:g}, h={h:g}"
    if not all(map(math.isfinite, (x, y, w, h))):
        raise BadDataError(f"{shown} is not finite.")
    if w <= 0 or h <= 0:
        raise BadDataError(f"{shown} has no size.", needs="width and height above 0, in pixels")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise BadDataError(f"{shown} lies outside the frame of {width} x {height} pixels.")
    if w > LARGEST * width or h > LARGEST * height:
        raise BadDataError(f"{shown} is far larger than the frame of {width} x {height} pixels.")
    return (x, y, w, h)


def _check_side(box: Box, factor: float, image: np.ndarray) -> None:
    """`BadDataError` where the square around a box would take far more memory than any box in the
    frame needs."""
    side, most = square_around(box, factor).side, factor * max(image.shape[:2]) + SPARE
    if side > most:
        x, y, w, h = box
        raise BadDataError(
            f"the box x={x:g}, y={y:g}, w={w:g}, h={h:g} is far larger than the frame of "
            f"{image.shape[1]} x {image.shape[0]} pixels.",
            cut_out=f"a square of {side} pixels a side; at most {most:.0f}",
        )


def _is_flat(image: np.ndarray, square: Square, below: int) -> bool:
    """Whether a search region shows nothing of a frame: each channel's values lie closer together
    than `below`, or the region is outside.

    Every pixel inside the frame counts, so that a small target is seen; the black beyond the edge
    does not.
    """
    left, top, side = square
    rows, columns = (slice(max(at, 0), max(at + side, 0)) for at in (top, left))
    part = image[rows, columns]
    if part.size == 0:
        return True
    step = max(1, side // 32)
    few = part[::step, ::step]  # nearly always enough to see that it is not
    if any(np.ptp(few[..., channel]) >= below for channel in range(3)):
        return False
    if part.strides[2] < 0:  # BGR turned to RGB: a hundred times as slow
        part = part[..., ::-1]
    low, high = (of(axis=0) for of in (part.min, part.max))  # (columns, 3)
    return bool((high.max(axis=0) - low.min(axis=0) < below).all())
