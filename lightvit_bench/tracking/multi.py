"""Several targets in one stream of frames.

    tracker = MultiTracker.from_file("tracker.xml")
    first, second = tracker.add(frame, box), tracker.add(frame, other_box)
    for frame in frames:
        results = tracker.update(frame)  # results[first].box, ...

Each target is followed as by a `Tracker` of its own. They share the decoded frame and the model,
which computes as many of them at once as pays (`Model.batches`).
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.answers import Answer, Model, Settings
from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.tracker import Look, Result, Tracker, check_image


class MultiTracker:
    """Follows any number of targets, which may come and go between frames.

    Args:
        model: computes the network; one for all targets.
        settings: in place of the model's own.
    """

    def __init__(self, model: Model, settings: Settings | None = None):
        self.model = Tracker(model, settings).model  # which refuses what is no model
        self.settings = settings
        self._trackers: dict[int, Tracker] = {}
        self._shape: tuple[int, ...] = ()
        self._next = 0

    @classmethod
    def from_file(
        cls,
        path: str | PathLike | None = None,
        *,
        runtime: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        settings: Settings | None = None,
    ) -> MultiTracker:
        """As `Tracker.from_file`."""
        from lightvit_bench.tracking.runtimes.load import load_model

        model = load_model(path, runtime=runtime, threads=threads, precision=precision)
        return cls(model, settings)

    @property
    def boxes(self) -> dict[int, Box]:
        """Of each target, by its number, the box in which it was last found."""
        return {number: tracker.box for number, tracker in self._trackers.items()}

    def add(self, image: np.ndarray, box_xywh: Any) -> int:
        """Follow one more target from the frame at hand on; returns its number, never used before.

        Args:
            image: (H, W, 3) uint8, RGB, of the size of the other targets' frames.
            box_xywh: x, y, width, height in pixels.

        Raises:
            BadDataError: as `Tracker.init`, or the image is of another size. The targets then are
                as they were.
        """
        check_image(image)
        if self._trackers and image.shape != self._shape:
            raise BadDataError(
                f"a frame of {image.shape[1]} x {image.shape[0]} pixels follows frames of "
                f"{self._shape[1]} x {self._shape[0]}.",
                do="resize the frames to one size, or remove all targets first",
            )
        tracker = Tracker(self.model, self.settings)
        tracker.init(image, box_xywh)
        number, self._next = self._next, self._next + 1
        self._trackers[number], self._shape = tracker, image.shape
        return number

    def remove(self, number: int) -> None:
        """Follow a target no more. `BadDataError` if there is none of this number."""
        if not isinstance(number, int) or number not in self._trackers:
            raise BadDataError(
                f"there is no target {number!r}.",
                targets=", ".join(map(str, self._trackers)) or "none",
            )
        del self._trackers[number]

    def update(self, image: np.ndarray) -> dict[int, Result]:
        """Find all targets in the next frame: results by number, in the order they were added.

        Raises:
            BadDataError: there is no target, or the image is not (H, W, 3) uint8 of the first
                one's size. All targets then are as they were; so they are where the model fails.
        """
        if not self._trackers:
            raise BadDataError("the tracker has no target yet.", do="tracker.add(image, box)")
        trackers = list(self._trackers.values())
        looks: list[Look] = []
        answers: list[Answer] = []
        for size in batches(self.model, len(trackers)):
            some = trackers[len(looks) : len(looks) + size]
            cut, found = self._find(image, some)
            looks += cut
            answers += found
        return {
            number: tracker.take(image, look, answer)
            for (number, tracker), look, answer in zip(
                self._trackers.items(), looks, answers, strict=True
            )
        }

    def _find(self, image: np.ndarray, some: list[Tracker]) -> tuple[list[Look], list[Answer]]:
        """One call of the network. The regions are cut where it reads them, those of the next call
        into the same place: of a look, all but the patch is good afterwards."""
        if len(some) == 1:
            look = some[0].look(image, getattr(self.model, "buffer", None))
            return [look], [self.model.find(some[0].template, look.patch, look.box_wh)]
        regions = self.model.regions(len(some))
        looks = [tracker.look(image, region) for tracker, region in zip(some, regions, strict=True)]
        templates, boxes_wh = [one.template for one in some], [look.box_wh for look in looks]
        return looks, self.model.find_all(templates, regions, boxes_wh)


def batches(model: Model, targets: int) -> list[int]:
    """How many targets a model computes at once, call by call, as 4, 2, 1 for seven.

    The sizes are few (`ExportedModel.batches`): each costs memory and, once, time. Models that
    compute single targets alone do so; one that was exported for several at once is given as many.
    """
    can = getattr(model, "can_batch", lambda count: count == 1)
    fixed = getattr(model.spec, "batch", 0)
    if fixed > 1 and not can(fixed + 1):
        return [min(fixed, targets - done) for done in range(0, targets, fixed)]
    sizes = [size for size in getattr(model, "batches", ()) if size > 1 and can(size)]
    made: list[int] = []
    while targets:
        made.append(max((size for size in sizes if size <= targets), default=1))
        targets -= made[-1]
    return made
