"""Following a target by the clock on the wall: frames that come while it is busy are dropped.

Frames come from a camera, or from a file as from a camera: frame i is there i / rate seconds after
the first one. Whoever is free takes the newest; those in between the tracker never sees, and they
get the box of the last one it saw. Frames are decoded by a thread of their own, ahead of time, so
that nobody waits for it. All else counts: the tracker, and drawing and writing where it is done.

`realtime` is for judging: there the stream's time is computed, and nothing depends on the machine's
other work.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol

import numpy as np

from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.watching.follow import AnyTracker, Follower, Rows, Step, Track

_AHEAD = 8  # frames decoded before they are due
_MOST = 512 << 20  # bytes of frames that wait to be drawn
_LOOK = 0.005  # seconds between two looks at the clock, of who is ahead of it
_END = 5.0  # seconds that a decoder has to end, of a camera that hangs
_NEAR = 1e-6  # of a frame's time
Numbered = tuple[int, np.ndarray | None]


class Feed(Protocol):
    """Frames on their way; within it as a context they come."""

    def __enter__(self) -> Feed: ...

    def __exit__(self, *error) -> None: ...

    def take(self) -> list[Numbered]:
        """The frames that have come since the last call, the newest last: one at least, for which
        it waits; none at the end. The newest has its image."""


class Ahead:
    """Decodes in a thread of its own.

    Args:
        frames: number and frame, in order; used by the thread alone.
        due: the number of the newest frame that has come; asked in both threads.
        keep: whether frames that are dropped keep their images.
    """

    def __init__(
        self, frames: Iterator[tuple[int, np.ndarray]], due: Callable[[], float], keep: bool
    ):
        self._frames, self._due, self._keep = frames, due, keep
        self._held: deque[Numbered] = deque()
        self._changed = threading.Condition()
        self._over, self._closed, self._error = False, False, None
        self._thread = threading.Thread(target=self._decode, name="decoding", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_END)

    def take(self) -> list[Numbered]:
        """See `Feed`. What the source raises comes after all frames before it."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._over)
            taken, due = [], self._due()
            while self._held and (not taken or self._held[0][0] <= due):
                taken.append(self._held.popleft())
            self._changed.notify_all()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def _decode(self) -> None:
        try:
            for index, image in self._frames:
                with self._changed:
                    while not self._closed and self._is_full(index, image):
                        self._changed.wait(_LOOK)
                    if self._closed:
                        return
                    if not self._keep and index <= self._due():  # then none before it is needed
                        self._held = deque((number, None) for number, _ in self._held)
                    self._held.append((index, image))
                    self._changed.notify_all()
        except BaseException as error:  # raised again by `take`
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _is_full(self, index: int, image: np.ndarray) -> bool:
        if index > self._due() + _AHEAD:
            return True
        return self._keep and len(self._held) * image.nbytes >= _MOST


def follow_live(
    source: Iterable[np.ndarray],
    tracker: AnyTracker,
    box: Box | Callable[[np.ndarray], Box],
    rate: float | None,
    *,
    start: int = 0,
    end: int | None = None,
    on_frame: Callable[[Step], None] | None = None,
    rows: Rows | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    feed: Callable[[Iterator[tuple[int, np.ndarray]], Callable[[], float], bool], Feed] = Ahead,
) -> Track:
    """`follow` by the clock; frames that were dropped have 0 seconds in the track.

    Args:
        rate: frames a second; None where they come by themselves (a camera). The stream begins when
            the tracker is given the first frame, however long a person took to draw the box.
        keep: whether `on_frame` is to have the images of dropped frames.

    Raises:
        As `follow`.
    """
    follower = Follower(source, tracker, on_frame, rows, clock)
    frames, began, index = islice(enumerate(source), end), None, -1
    for index, image in frames:
        if index == start:
            began = follower.begin(index, image, box)
        if index >= start or stop():
            break
    if began is None:
        if not stop():
            follower.check_begun(index + 1, start, end)
        return follower.rows.track()

    def due() -> float:
        if rate is None:
            return math.inf
        return start + math.floor((clock() - began) * rate + _NEAR)

    with feed(frames, due, keep) as coming:
        while not stop():
            if rate is not None:
                wait = began + (index + 1 - start) / rate - clock()
                if wait > 0:
                    sleep(wait)
            batch = coming.take()
            if not batch:
                break
            *late, (index, image) = batch
            follower.go_on(index, image, late)
    return follower.rows.track()
