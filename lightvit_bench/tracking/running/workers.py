"""Processes that run a tracker over sequences, handed out one by one.

A process that dies costs the sequence it was at and is replaced; a sequence that fails costs itself
alone. Workers end within a second, or a frame that takes longer, when the pipe to them is closed:
on purpose, or because the process that started them is gone, however it ended.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np

from lightvit_bench.data.box_files import write_boxes, write_times
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, ConfigError, UserError
from lightvit_bench.tracking.running.realtime import track_realtime
from lightvit_bench.tracking.watching.follow import AnyTracker, Track, follow

_TELL = 0.5  # seconds between two words of a worker on how far it is
_PATIENCE = 10.0  # seconds that a worker has to end by itself
_FALSE_STARTS = 3  # workers in a row that end before they are ready; then no more are started


@dataclass(frozen=True)
class Job:
    """What every worker does with a sequence; it is pickled.

    Attributes:
        start: gives the tracker; called once in each worker.
        out: folder for `SEQ.txt` and `SEQ_time.txt`.
        realtime: frames a second of the stream by whose clock the tracker runs; None for offline.
    """

    start: Callable[[], AnyTracker]
    out: Path
    realtime: float | None = None


class Listener(Protocol):
    """Who is told what happens."""

    def frames(self, count: int) -> None:
        """So many frames more have been tracked."""

    def done(self, name: str) -> None: ...

    def failed(self, name: str, why: str) -> None: ...


class Stopped(Exception):
    """The other end of a worker's pipe is closed: it is to end."""


# --------------------------------------------------------------------------------- in the worker


class _Watched:
    """A sequence's frames that tell how many were asked for, and end when nobody hears it."""

    def __init__(self, sequence: Sequence, pipe: Connection):
        self.name, self._frames, self._pipe = sequence.name, sequence.frames, pipe
        self._next, self._asked, self._told = monotonic() + _TELL, 0, 0

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        if index >= len(self):
            raise IndexError(index)
        self._asked = index + 1  # a late tracker does not ask for every one
        if monotonic() >= self._next:
            self.tell()
        return self._frames[index]

    def tell(self, all_of_them: bool = False) -> None:
        asked = len(self) if all_of_them else self._asked
        try:
            self._pipe.send(("frames", asked - self._told))
        except OSError:  # nobody is at the other end
            raise Stopped from None
        self._next, self._told = monotonic() + _TELL, asked


def track_sequence(
    frames: SequenceOf[np.ndarray], sequence: Sequence, tracker: AnyTracker, fps: float | None
) -> Track:
    """The track of a sequence from its first box; with `fps` by the clock of such a stream.

    Raises:
        BadDataError: a frame cannot be read, or is not one for the tracker.
    """
    first = tuple(sequence.annotation.boxes_xywh[0].tolist())
    if fps is None:
        track = follow(frames, tracker, first)
    else:
        track = track_realtime(frames, tracker, first, fps).track
    if len(track) != len(sequence):
        raise BadDataError(f"{len(track)} of {len(sequence)} frames were tracked.")
    if not np.isfinite(track.boxes).all():
        frame = int(np.flatnonzero(~np.isfinite(track.boxes).all(axis=1))[0])
        raise BadDataError("the tracker's box is not finite.", frame=sequence.frames.name(frame))
    return track


def _work(pipe: Connection, job: Job) -> None:
    """The life of a worker: ready, then a sequence after another until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; one decides
    try:
        tracker = job.start()
    except Exception as error:
        pipe.send(("broken", _told(error)))
        return
    pipe.send(("ready",))
    try:
        while (sequence := pipe.recv()) is not None:
            frames = _Watched(sequence, pipe)
            try:
                track = track_sequence(frames, sequence, tracker, job.realtime)
            except Stopped:
                raise
            except Exception as error:
                frames.tell()
                pipe.send(("failed", _told(error)))
                continue
            try:  # the times first: a sequence is done when its boxes are there
                write_times(job.out / f"{sequence.name}_time.txt", track.seconds)
                write_boxes(job.out / f"{sequence.name}.txt", track.boxes)
            except OSError as error:  # a full disk: the next sequence would be lost as well
                pipe.send(("unwritten", _told(error)))
                return
            frames.tell(all_of_them=True)
            pipe.send(("done",))
    except (Stopped, EOFError, OSError):  # nobody is at the other end
        return


def _told(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    where, last = "", error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None:
        where = f" ({Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"


# ------------------------------------------------------------------------------------- outside


class _Worker:
    """A process, the pipe to it, and the sequence it is at."""

    def __init__(self, job: Job):
        context = get_context("spawn")  # a clean interpreter: threads and torch do not survive fork
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, job), daemon=True)
        with _interrupts_ignored():  # which the new process inherits from its first moment
            self.process.start()
        theirs.close()
        self.ready, self.task = False, None

    def give(self, sequence: Sequence | None) -> None:
        self.task = sequence
        try:
            self.pipe.send(sequence)
        except OSError:  # it has died since; `recv` will tell
            pass

    def how_it_ended(self) -> str:
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in list(signal.Signals) else f"{-code}"
            memory = ": out of memory?" if -code == signal.SIGKILL else ""
            return f"its process was ended by {name}{memory}"
        return f"its process ended with exit code {code}"


def run_workers(
    sequences: SequenceOf[Sequence],
    job: Job,
    processes: int,
    listener: Listener,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Run a tracker over sequences in their order, each by the next process that is free.

    Args:
        stop: asked a few times a second; workers end and nothing more is begun when it says so.

    Returns why each sequence that failed did. Those done have their files in `job.out`.

    Raises:
        ConfigError: results cannot be written. UserError: no worker gets ready.
    """
    waiting, failures = deque(sequences), {}
    crew: dict[Connection, _Worker] = {}
    every: list[_Worker] = []
    false_starts, broken = 0, ""

    def fail(worker: _Worker, why: str) -> None:
        failures[worker.task.name] = why
        listener.failed(worker.task.name, why)
        worker.task = None

    def leave(worker: _Worker) -> None:
        crew.pop(worker.pipe).pipe.close()

    def hear(worker: _Worker) -> None:
        nonlocal false_starts, broken
        try:
            kind, *told = worker.pipe.recv()
        except (EOFError, OSError):
            if worker.task is not None:
                fail(worker, worker.how_it_ended())
            elif not worker.ready:
                false_starts, broken = false_starts + 1, broken or worker.how_it_ended()
            leave(worker)
            return
        if kind == "frames":
            listener.frames(*told)
            return
        if kind == "broken":
            broken = told[0]
            return  # it ends by itself
        if kind == "unwritten":
            raise ConfigError(
                "results cannot be written.", because=told[0], set="--out DIR, to another disk"
            )
        if kind == "ready":
            worker.ready, false_starts = True, 0
        elif kind == "failed":
            fail(worker, *told)
        elif kind == "done":
            listener.done(worker.task.name)
        worker.give(waiting.popleft() if waiting else None)
        if worker.task is None:
            leave(worker)

    try:
        while not stop():
            busy = sum(worker.task is not None for worker in crew.values())
            starting = len(crew) - busy
            wanted = min(processes - len(crew), len(waiting) - starting)
            if false_starts < _FALSE_STARTS:
                for _ in range(wanted):
                    worker = _Worker(job)
                    every.append(worker)
                    crew[worker.pipe] = worker
            if not crew:
                break
            for pipe in wait(list(crew), timeout=0.2):
                hear(crew[pipe])
    finally:
        for worker in list(crew.values()):
            leave(worker)
        _end([worker.process for worker in every])
    if waiting and not stop():
        raise UserError("no process of the tracker gets ready.", because=broken.splitlines())
    return failures


def _end(processes: list) -> None:
    """Have processes end: by themselves, then by SIGTERM, then by SIGKILL."""
    until = monotonic() + _PATIENCE
    for last in ("terminate", "kill", None):
        for process in processes:
            process.join(max(0.0, until - monotonic()))
        left = [process for process in processes if process.is_alive()]
        if not left or last is None:
            return
        for process in left:
            getattr(process, last)()
        until = monotonic() + 2.0


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Within it SIGINT is ignored, where this can be said: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
