"""Whether a tracker's memory stays flat: what tools/soak_track.py does.

A video is read over and over and tracked. In between come stretches that show something else, so
that the target is lost and found, and now and then the tracker starts anew. Garbage is collected
when Python does it by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import current_memory_mb
from lightvit_bench.bench.soak_table import TRACKING_SOAK
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.latency.cases import EAGER, Clip, Job

KINDS = ("as it is", "black", "noise", "another scene")
STRETCH = (3, 40)  # frames that a stretch lasts, at least and below
OFTEN = 0.04  # the chance of a stretch to begin at a frame
ANEW = 0.3  # the chance of a new start when the video begins again
SETTLED = 0.1  # of the frames, after which memory is expected to be flat
SAMPLES = 200


@dataclass(frozen=True)
class Soak:
    """What became of a long run.

    Attributes:
        frames: updates. starts: of the tracker. found: frames in which it was, and `lost`, how
            often it was lost after a frame in which it was found.
        seconds: in all.
        update: seconds of each update.
        at, memory_mb: frame counts and the memory held then, (N,) each. The most that the process
            ever held is not told: it may be of making the video, before the first frame.
    """

    frames: int
    starts: int
    found: int
    lost: int
    seconds: float
    update: np.ndarray
    at: np.ndarray
    memory_mb: np.ndarray

    @property
    def settled_mb(self) -> float:
        """MB held at the first sample after a tenth of the frames."""
        return float(self.memory_mb[self.at >= SETTLED * self.frames][0])

    @property
    def slope_mb(self) -> float:
        """MB per 100,000 frames, of a line through the samples after the first tenth."""
        return 1e5 * self._line()

    @property
    def growth_mb(self) -> float:
        """How much that line rises from the first tenth to the end, in MB."""
        return (1 - SETTLED) * self.frames * self._line()

    def _line(self) -> float:
        settled = self.at >= SETTLED * self.frames
        at, held = self.at[settled], self.memory_mb[settled]
        if len(at) < 2:
            raise BadDataError("there are too few samples of the memory for a line through them.")
        return float(np.polyfit(at - at.mean(), held, 1)[0])


def scenes(
    frames: Callable[[], Iterator[np.ndarray]], rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, bool, str]]:
    """Frames without end: (image, whether a new start is due, which of `KINDS` it is).

    `frames()` reads the video from its first frame; only there starts are due, and the first frame
    of all is one. Another scene is the picture turned upside down, with red and blue exchanged.

    Raises:
        BadDataError: the video has no second frame.
    """
    kind, left, first = KINDS[0], 0, True
    while True:
        count = 0
        for image in frames():
            anew = count == 0 and (first or rng.random() < ANEW)
            if anew:
                kind, left = KINDS[0], 0
            elif left:
                left -= 1
            else:
                kind = KINDS[0]
                if rng.random() < OFTEN:
                    kind, left = KINDS[rng.integers(1, len(KINDS))], int(rng.integers(*STRETCH)) - 1
            yield _shown(image, kind, rng), anew, kind
            count, first = count + 1, False
        if count < 2:
            raise BadDataError("a video of one frame has nothing to track.")


def _shown(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "black":
        return np.zeros_like(image)
    if kind == "noise":
        return rng.integers(0, 256, image.shape, np.uint8)
    if kind == "another scene":
        return np.ascontiguousarray(image[::-1, :, ::-1])
    return image


def soak(
    tracker: Any,
    clip: Clip,
    frames: int,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    memory: Callable[[], float | None] = current_memory_mb,
    clock: Callable[[], float] = time.perf_counter,
) -> Soak:
    """Update a tracker `frames` times and sample the memory of the process.

    Args:
        say: takes a line a sample. memory: MB held now, in place of the process's.

    Raises:
        ConfigError: there are too few frames for samples, or the system does not tell the memory.
    """
    from lightvit_bench.data.video import open_source

    if frames < 100:
        raise ConfigError(f"--frames {frames}.", expected="100 or more")
    if memory() is None:
        raise ConfigError("this system does not tell how much memory a process holds now.")

    def video() -> Iterator[np.ndarray]:
        with closing(open_source(clip.path)) as source:
            yield from source

    every = max(1, frames // SAMPLES)
    at, held = [], []
    done = starts = found = lost = 0
    took = np.full(frames, np.nan)  # held from the start on, so that it does not grow
    before, began = False, clock()
    for image, anew, _ in scenes(video, np.random.default_rng(seed)):
        if anew:
            tracker.init(image, clip.box)
            starts, before = starts + 1, True
            continue
        asked = clock()
        now = bool(tracker.update(image).found)
        took[done] = clock() - asked
        done, found, lost, before = done + 1, found + now, lost + (before and not now), now
        if done % every == 0 or done == frames:
            at.append(done)
            held.append(memory())
            rate = done / (clock() - began)
            say(f"frame {done:,}: {held[-1]:.1f} MB, {rate:.1f} frames/s, lost {lost} times")
        if done == frames:
            break
    seconds = clock() - began
    return Soak(frames, starts, found, lost, seconds, took, np.array(at), np.array(held))


def summary(made: Soak) -> str:
    """What became of it, in a few lines."""
    return (
        f"{made.frames:,} frames in {made.seconds:,.0f} s, found in {made.found:,}, lost "
        f"{made.lost:,} times, started {made.starts:,} times\n"
        f"an update: {Latency.of(made.update)}\n"
        f"memory: {made.memory_mb[0]:.1f} MB at first, {made.settled_mb:.1f} MB after a tenth, "
        f"{made.memory_mb[-1]:.1f} MB at the end, {made.memory_mb.max():.1f} MB at most\n"
        f"after the first tenth: {made.slope_mb:+.2f} MB per 100,000 frames, "
        f"{made.growth_mb:+.2f} MB in all"
    )


def write_soak(
    made: Soak, job: Job, about: dict, clip: Clip, generated: bool, seed: int, folder: str
) -> Path:
    """Its run record; returns the path."""
    from lightvit_bench.bench.provenance import sha256_of, shown_path
    from lightvit_bench.bench.record import measured_record, write_record
    from lightvit_bench.tracking.runtimes.cache import shipped

    eager = job.kind == EAGER
    own = shipped()
    path = Path(job.path) if job.path else own
    # An exported file says which weights it was made from; eager weights are the file itself.
    source = sha256_of(path) if eager else about.get("source")
    weights = path if eager else own if own.is_file() and sha256_of(own) == source else None
    record = measured_record(
        TRACKING_SOAK,
        path.stem,
        {
            "frames": made.frames,
            "starts": made.starts,
            "found": made.found,
            "lost": made.lost,
            "seconds": made.seconds,
            "memory_mb_at_first": made.memory_mb[0],
            "memory_mb_after_a_tenth": made.settled_mb,
            "memory_mb_at_the_end": made.memory_mb[-1],
            "memory_mb_at_most": made.memory_mb.max(),
            "mb_per_100000_frames": made.slope_mb,
            "growth_mb": made.growth_mb,
            "batch": about.get("batch"),
        },
        packages=("numpy", "opencv-python", "av", "torch", "openvino", "onnxruntime"),
        origin="demo" if generated else "measured",
        dataset=clip.name,
        expected=made.frames,
        evaluated=made.frames,
        runtime=about["runtime"],
        precision=about["precision"],
        threads=job.threads,
        seed=seed,
        checkpoint=shown_path(weights) if weights else None,
        checkpoint_sha256=source,
        exported=None if eager else shown_path(path),
        exported_sha256=None if eager else sha256_of(path),
        device="cpu",
        latency=Latency.of(made.update),
    )
    return write_record(record, folder)
