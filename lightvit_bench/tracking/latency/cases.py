"""One case of tools/bench_track.py, measured in a process of its own.

The parent (`bench`) starts `tools/bench_track.py --case JSON` with a `Job` and reads a line
of JSON from its output. An exported model's process imports no torch: its memory and load time are
those of a tracker on a person's computer. The parent pins the process before Python starts.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from lightvit_bench.errors import BadDataError, ConfigError, UserError

EAGER, MIL, EXPORTED = "eager", "opencv-mil", "exported"
HEAVY = ("torch", "torchvision", "timm", "mmengine", "mmcv", "mmdet", "mmseg")


@dataclass(frozen=True)
class Clip:
    """What is tracked: a video file or a folder of frames, and the box in its first frame.

    height, width: of the frames, in pixels; 0 where nobody has looked.
    """

    name: str
    path: str
    box: tuple[float, float, float, float]
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        what: "boxes": track every clip once, from its first box, and write the boxes to `out`.
            "times": time the first clip. "targets": the same with several targets in a frame.
        kind: `EXPORTED` (`path` is its file), `EAGER` (`path` is of weights, None for those that
            come with the package) or `MIL`.
        frames, warm_up: updates that are timed, and those before them that are not.
        source: SHA-256 of the weights that an exported file has to be made from; None: any.
        out: NAME.npz.
    """

    what: str
    kind: str
    path: str | None
    threads: int
    clips: tuple[Clip, ...]
    frames: int = 300
    warm_up: int = 20
    targets: int = 1
    source: str | None = None
    out: str | None = None

    def to_json(self) -> str:
        """What `from_json` takes back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        values = json.loads(text)
        clips = tuple(Clip(**{**clip, "box": tuple(clip["box"])}) for clip in values["clips"])
        return cls(**{**values, "clips": clips})


def run_case(text: str, began: float) -> int:
    """Do a job and write its report to stdout, the only line there; the exit code.

    What libraries print goes to stderr. An error is a report, too: {"failed": "..."}.

    Args:
        began: `time.perf_counter()` before anything was imported.
    """
    report_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        report = work(Job.from_json(text), began)
    except Exception as error:
        if not isinstance(error, (UserError, ImportError)):
            traceback.print_exc()
        report = {"failed": f"{type(error).__name__}: {error}"}
    with report_to:
        report_to.write(json.dumps(report) + "\n")
    return 1 if "failed" in report else 0


def work(job: Job, began: float) -> dict[str, Any]:
    """The report of a job: "about", "heavy" (names of `HEAVY` that were imported), "cores", and

    - of "times": "load_seconds", "peak_memory_mb" and "times": seconds of each frame in "network",
      "network_in_track", "track", "end_to_end" (no network's for MIL);
    - of "targets": "times" with "track" and "end_to_end", "boxes".
    """
    tracker = open_tracker(job)
    about = about_tracker(job, tracker)
    if job.source and about.get("source") not in (None, job.source):
        raise ConfigError(
            "the tracker was exported from other weights than the others are: nothing can be "
            "compared.",
            file=job.path or "",
            knob="--weights FILE   (those that it was exported from)",
        )
    report = {"boxes": _boxes, "times": _times, "targets": _targets}[job.what](job, tracker, began)
    heavy = [name for name in HEAVY if name in sys.modules]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"about": about, "heavy": heavy, "cores": cores, **report}


def open_tracker(job: Job) -> Any:
    """The tracker of a job; OpenCV's threads are the tracker's."""
    import cv2

    cv2.setNumThreads(job.threads)
    if job.kind == MIL:
        from lightvit_bench.tracking.baselines import MilTracker

        return MilTracker()
    from lightvit_bench.tracking.tracker import Tracker

    if job.kind == EAGER:
        from lightvit_bench.tracking.files import load_tracker_model

        return Tracker(load_tracker_model(job.path, threads=job.threads))
    return Tracker.from_file(job.path, threads=job.threads)


def about_tracker(job: Job, tracker: Any) -> dict[str, Any]:
    """What computes, as tables and records call it."""
    if job.kind == MIL:
        return {"runtime": MIL, "precision": None, "name": "OpenCV's MIL"}
    model = tracker.model
    if job.kind == EAGER:
        return {
            "runtime": EAGER,
            "precision": "fp32",
            "name": f"{model.name}, eager",
            "variant": variant_of(model.spec),
        }
    of_file = {".xml": "openvino", ".onnx": "onnxruntime"}
    return {
        "runtime": of_file[os.path.splitext(job.path or "")[1]],
        "precision": model.precision,
        "name": model.name,
        "source": model.spec.source,
        "batch": model.spec.batch,
        "wants_box": model.spec.wants_box,
    }


def variant_of(spec: Any) -> str:
    """A network's kind in words: which tokens leave it, and its head."""
    if spec.prune_after:
        tokens = f"pruned once after {spec.prune_after}, keep {spec.keep:g}"
    elif spec.eliminate:
        tokens = f"eliminate at {', '.join(map(str, spec.eliminate))}, keep {spec.keep:g}"
    else:
        tokens = "all tokens"
    return f"{tokens}; {spec.head} head"


# ------------------------------------------------------------------------------------------ boxes


def _boxes(job: Job, tracker: Any, began: float) -> dict[str, Any]:
    """Boxes (N, 4) of each clip, the given one first, written as arrays "0", "1", ..."""
    import numpy as np

    from lightvit_bench.data.video import open_source

    found = {}
    for number, clip in enumerate(job.clips):
        boxes = [clip.box]
        with closing(open_source(clip.path)) as source:
            frames = iter(source)
            tracker.init(_first(frames, clip), clip.box)
            boxes += [tracker.update(image).box for image in frames]
        found[str(number)] = np.array(boxes, np.float64)
    np.savez(job.out, **found)
    return {"frames": sum(map(len, found.values()))}


def _first(frames: Iterator, clip: Clip) -> Any:
    image = next(frames, None)
    if image is None:
        raise BadDataError("there is no frame to start from.", video=clip.path)
    return image


# ------------------------------------------------------------------------------------------ times


def _times(job: Job, tracker: Any, began: float) -> dict[str, Any]:
    """Load time first, then the video; memory is the most until its end."""
    clip = job.clips[0]
    start(tracker, clip)
    load = time.perf_counter() - began
    model = getattr(tracker, "model", None)
    watch = _Watch(model) if model is not None else None

    def begin(image):
        tracker.init(image, clip.box)

    times = stream(job, begin, tracker.update, watch.again if watch else None)
    if watch:
        count = len(times["track"])
        times["network"] = watch.alone[-count:]
        times["network_in_track"] = watch.inside[-count:]

    from lightvit_bench.bench.machine import peak_memory_mb

    return {"load_seconds": load, "peak_memory_mb": peak_memory_mb(), "times": times}


def start(tracker: Any, clip: Clip) -> None:
    """From a box to the first answer, on frames that cost nothing to make.

    So that no video decoder is in the load time, which is the tracker's.
    """
    import numpy as np

    image = np.resize(np.arange(251, dtype=np.uint8), (clip.height, clip.width, 3))
    tracker.init(image, clip.box)
    tracker.update(image)


def stream(
    job: Job,
    begin: Callable[[Any], None],
    update: Callable[[Any], Any],
    after: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of `job.frames` updates after the warm-up, as a video is read and tracked.

    "track" is `update` alone, "end_to_end" that and the reading of the frame. A video that ends is
    read again from its first frame, with `begin`, which is in neither; nor is `after`, which
    follows each update.

    Raises:
        BadDataError: the video has no second frame.
    """
    from lightvit_bench.data.video import open_source

    clip, wanted = job.clips[0], job.warm_up + job.frames
    both: list[tuple[float, float]] = []
    while len(both) < wanted:
        before = len(both)
        with closing(open_source(clip.path)) as source:
            frames = iter(source)
            begin(_first(frames, clip))
            while len(both) < wanted:
                asked = clock()
                image = next(frames, None)
                if image is None:
                    break
                given = clock()
                update(image)
                ended = clock()
                both.append((ended - given, ended - asked))
                if after is not None:
                    after()
        if len(both) == before:
            raise BadDataError("a video of one frame has nothing to track.", video=clip.path)
    track, end_to_end = zip(*both[job.warm_up :], strict=True)
    return {"track": list(track), "end_to_end": list(end_to_end)}


class _Watch:
    """Notes the seconds of each `find` of a model, and asks it again about the same region.

    Attributes:
        inside: of `find` within an update, whose memory the decoder has just used.
        alone: of `find` on the region that was just cut, with nothing in between. Both in turns:
            what else the machine does is the same for both.
    """

    def __init__(self, model: Any, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self.inside: list[float] = []
        self.alone: list[float] = []
        self._find, self._asked = model.find, ()
        model.find = self._noted

    def _noted(self, *arguments: Any) -> Any:
        began = self._clock()
        answer = self._find(*arguments)
        self.inside.append(self._clock() - began)
        self._asked = arguments
        return answer

    def again(self) -> None:
        began = self._clock()
        self._find(*self._asked)
        self.alone.append(self._clock() - began)


# ---------------------------------------------------------------------------------------- targets


def _targets(job: Job, tracker: Any, began: float) -> dict[str, Any]:
    """Times of `MultiTracker` with `job.targets` boxes spread over the frame."""
    from lightvit_bench.tracking.multi import MultiTracker

    clip = job.clips[0]
    boxes = spread_boxes(job.targets, clip)
    several: list[Any] = [None]

    def begin(image):
        several[0] = MultiTracker(tracker.model)
        for box in boxes:
            several[0].add(image, box)

    times = stream(job, begin, lambda image: several[0].update(image))
    return {"times": times, "boxes": boxes}


def spread_boxes(count: int, clip: Clip) -> list[tuple[float, float, float, float]]:
    """Boxes of the size of a clip's, in rows and columns over the frame.

    They show whatever is there: how long a network takes does not hang on what it sees.
    """
    columns = 1
    while columns * columns < count:
        columns += 1
    rows = -(-count // columns)
    w, h = min(clip.box[2], clip.width), min(clip.box[3], clip.height)
    made = []
    for number in range(count):
        row, column = divmod(number, columns)
        x = (column + 0.5) * clip.width / columns - w / 2
        y = (row + 0.5) * clip.height / rows - h / 2
        made.append((min(max(x, 0.0), clip.width - w), min(max(y, 0.0), clip.height - h), w, h))
    return made
