"""Following one target through frames, and telling what comes of it: the loop of tools/track.py.

What is tracked is never lost: frames that end early, a tracker that refuses a frame and a person
who presses Ctrl-C all end the loop, and every row up to there is kept.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

import numpy as np

from lightvit_bench.errors import BadDataError, UserError, printable
from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.tracker import check_box

_WARM_UP = 5  # updates


class AnyResult(Protocol):
    """What a tracker says of a frame."""

    box: Box
    score: float
    found: bool


class AnyTracker(Protocol):
    """What can be followed with: `Tracker`, or anything that has its two methods."""

    def init(self, image: np.ndarray, box_xywh: Box) -> None: ...

    def update(self, image: np.ndarray) -> AnyResult: ...


@dataclass(frozen=True, eq=False)
class Track:
    """One row a frame; the first is the given box, with score 1.

    Attributes:
        boxes: (N, 4) float64, x, y, w, h in pixels.
        scores: (N,) float64, 0 to 1. found: (N,) bool.
        seconds: (N,) float64, the tracker's own time: of `init`, then of each `update`; 0 of frames
            that a clock dropped. Decoding, drawing and writing are not in it.
    """

    boxes: np.ndarray
    scores: np.ndarray
    found: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


class Rows:
    """A track that grows."""

    def __init__(self):
        self._rows: list[tuple[Box, float, bool, float]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, box: Box, score: float, found: bool, seconds: float) -> None:
        box = tuple(map(float, box))
        self._rows.append((box, float(score), bool(found), float(seconds)))

    def track(self) -> Track:
        boxes, scores, found, seconds = zip(*self._rows, strict=True) if self._rows else [()] * 4
        return Track(
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(scores, np.float64),
            np.array(found, bool),
            np.array(seconds, np.float64),
        )


@dataclass(frozen=True, eq=False)
class Step:
    """What `on_frame` is told: the frame's number in the source, the frame, and what was found.

    `fps` is of the tracker alone, over the last updates; None at the first frame. A frame that was
    `dropped` has the box of the one before; its image is None where nobody wants to see it.
    """

    index: int
    image: np.ndarray | None
    box: Box
    score: float
    found: bool
    fps: float | None
    dropped: bool = False


class Follower:
    """Gives a tracker frames, keeps the rows and tells `on_frame`; see `follow`.

    source: what errors name.
    """

    def __init__(
        self,
        source: object,
        tracker: AnyTracker,
        on_frame: Callable[[Step], None] | None = None,
        rows: Rows | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.rows = Rows() if rows is None else rows
        self._source, self._tracker, self._on_frame = source, tracker, on_frame
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=30)
        self._last: tuple[Box, float, bool] | None = None

    def begin(self, index: int, image: np.ndarray, box: Box | Callable) -> float:
        """The first frame; returns when, by the clock, the tracker was given it."""
        with self._naming(index):
            first = (check_box(box(image) if callable(box) else box, image), 1.0, True)
            began = self._clock()
            self._tracker.init(image, first[0])
            seconds = self._clock() - began
        self._tell(index, image, first, seconds)
        return began

    def go_on(
        self, index: int, image: np.ndarray, late: Iterable[tuple[int, np.ndarray | None]] = ()
    ) -> None:
        """The next frame; `late` are the numbers and images of those dropped before it."""
        try:
            with self._naming(index):
                began = self._clock()
                told = self._tracker.update(image)
                seconds = self._clock() - began
        finally:  # the tracker is asked first: it is what is late
            for number, picture in late:
                self._tell(number, picture, self._last, 0.0, dropped=True)
        self._recent.append(seconds)
        self._tell(index, image, (told.box, told.score, told.found), seconds)

    def check_begun(self, frames: int, start: int, end: int | None) -> None:
        """BadDataError where a source of so many frames had none to start at."""
        if not len(self.rows):
            raise BadDataError(
                "there is no frame to start at.",
                source=_name(self._source),
                frames=f"{frames}",
                knob=f"--start {start}" + ("" if end is None else f" --end {end}"),
            )

    def _tell(
        self,
        index: int,
        image: np.ndarray | None,
        result: tuple[Box, float, bool],
        seconds: float,
        dropped: bool = False,
    ) -> None:
        self.rows.add(*result, seconds)
        self._last = result
        if self._on_frame is not None:
            recent = self._recent
            fps = len(recent) / max(sum(recent), 1e-9) if recent else None
            self._on_frame(Step(index, image, *result, fps, dropped))

    @contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """Errors in it say which frame they are about."""
        try:
            yield
        except UserError as error:
            error.details.setdefault("frame", [f"{index} (from 0) of {_name(self._source)}"])
            raise


def follow(
    source: Iterable[np.ndarray],
    tracker: AnyTracker,
    box: Box | Callable[[np.ndarray], Box],
    *,
    start: int = 0,
    end: int | None = None,
    on_frame: Callable[[Step], None] | None = None,
    rows: Rows | None = None,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> Track:
    """Track `box` from frame `start` (from 0) to before frame `end`, or to the last one.

    Args:
        source: frames, (H, W, 3) uint8 RGB.
        box: x, y, w, h in frame `start`, or a function that is shown this frame and says it.
        rows: where the rows go as they come; whoever gives it has them when this raises.
        stop: asked after each frame; the loop ends when it says so.

    Raises:
        BadDataError: there is no frame `start`, the box is none in it (`tracker.check_box`), or a
            frame cannot be read.
        UserError: of the tracker, about a frame; its details name the frame.
    """
    follower = Follower(source, tracker, on_frame, rows, clock)
    index = -1
    for index, image in enumerate(source):
        if index == start:
            follower.begin(index, image, box)
        elif index > start:
            follower.go_on(index, image)
        if stop() or (end is not None and index + 1 >= end):
            break
    if not stop():
        follower.check_begun(index + 1, start, end)
    return follower.rows.track()


def warm_up(tracker: AnyTracker) -> None:
    """Let a tracker compute a few frames of noise, and forget them at the next `init`.

    The first passes take much longer: memory is asked for, kernels are chosen. A clock would drop
    frames for it.
    """
    still = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    tracker.init(still, (120.0, 80.0, 60.0, 60.0))
    for _ in range(_WARM_UP):
        tracker.update(still)


def _name(source: object) -> str:
    return printable(str(getattr(source, "name", "the source")))


class Progress:
    """Tells how far it is: one line that is renewed on a terminal, a line now and then elsewhere.

    `total` is the number of frames to come, None where nobody knows.
    """

    def __init__(
        self,
        total: int | None,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._out, self._clock = total, out or sys.stderr, clock
        self._live = self._out.isatty()
        self._every = 0.1 if self._live else 5.0  # seconds
        self._next = clock() + (0 if self._live else self._every)
        self._count, self._lost, self._dropped, self._line, self._shown = 0, 0, 0, "", 0

    def __call__(self, step: Step) -> None:
        self._count += 1
        self._lost += not step.found
        self._dropped += step.dropped
        of = f"/{self._total}" if self._total is not None else ""
        fps = "" if step.fps is None else f"  {step.fps:6.1f} frames/s"
        state = "found" if step.found else "LOST "
        lost = f"  lost in {self._lost}" if self._lost else ""
        dropped = f"  dropped {self._dropped}" if self._dropped else ""
        self._line = f"frame {self._count}{of}{fps}  {state} {step.score:.2f}{lost}{dropped}"
        if self._clock() >= self._next:
            self._show()

    def close(self) -> None:
        """Show the last frame's line and end it."""
        if self._count and self._shown < self._count:
            self._show()
        if self._live and self._shown:
            print(file=self._out, flush=True)

    def _show(self) -> None:
        before, after = ("\r", "\x1b[K") if self._live else ("", "\n")
        print(f"{before}{self._line}{after}", end="", file=self._out, flush=True)
        self._next, self._shown = self._clock() + self._every, self._count


class Interrupts:
    """Within it, Ctrl-C and SIGTERM are noted and not raised; a second Ctrl-C is raised.

    `signal` is the first one's number, 0 before. Elsewhere than in the main thread, which alone
    gets signals, it does nothing.
    """

    def __init__(self):
        self.signal = 0
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self.signal != 0

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
