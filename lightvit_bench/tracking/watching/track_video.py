"""Track one target in a video, a folder of frames or a camera: what tools/track.py does."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import read_boxes, write_boxes, write_text, write_times
from lightvit_bench.data.video import CameraSource, FrameSource, open_source
from lightvit_bench.data.video_writer import FASTEST, VideoWriter
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.tracker import check_box
from lightvit_bench.tracking.watching.draw import Caption, draw_result
from lightvit_bench.tracking.watching.follow import (
    AnyTracker,
    Interrupts,
    Progress,
    Rows,
    Step,
    Track,
    follow,
    warm_up,
)
from lightvit_bench.tracking.watching.live import follow_live

_DEFAULT_FPS = 30.0  # of the mp4, where the source has no rate of its own (a folder)
_BOX_KNOB = "--box x,y,w,h (left, top, width, height in pixels of the first frame)"
_Chooser = Callable[[np.ndarray], Box]


@dataclass(frozen=True)
class Request:
    """What a person asked for; the names are those of the options.

    realtime: frames a second of a stream that is not waited for; 0 for the source's own rate, None
    to take every frame (but of a camera).
    """

    source: str
    box: Box | None = None
    out: Path | None = None
    save_boxes: Path | None = None
    start: int = 0
    end: int | None = None
    show: bool = False
    headless: bool = False
    realtime: float | None = None


def track_video(request: Request, load: Callable[[], AnyTracker]) -> tuple[Track, int]:
    """Track, draw, save, and say so; returns the track and the signal that ended it (0: none).

    `load` gives the tracker, after everything that can be wrong with the request was looked at.

    Raises:
        ConfigError: options that cannot be met. BadDataError: frames or boxes that cannot be used.
            What was tracked before is saved first.
    """
    check_request(request)
    windows = _has_display() and not request.headless
    box = request.box or _folder_box(request) or (select_box if windows else None)
    if box is None:
        raise ConfigError(
            "there is no box to start from, and no display to draw one on.", knob=_BOX_KNOB
        )
    if request.show:
        _try_window()
    source = open_source(request.source)
    rows, error, closed_by_hand = Rows(), None, False
    with ExitStack() as always:
        always.callback(source.close)
        live, rate = stream_of(source, request.realtime)
        tracker = load()
        if name := getattr(getattr(tracker, "model", None), "name", None):
            print(f"tracker: {name}", flush=True)
        if live:
            warm_up(tracker)
        progress = Progress(_expected(source.frames, request))
        sink = ExitStack()  # what is drawn; left without an error, so that the file is a whole one
        writer = None

        def on_frame(step: Step) -> None:
            nonlocal writer, closed_by_hand
            if request.out is not None or request.show:
                mark = "   dropped" * step.dropped
                caption = Caption(step.score, step.fps, f"frame {step.index}{mark}")
                picture = draw_result(step.image, step.box, found=step.found, caption=caption)
                if request.out is not None:
                    if writer is None:
                        writer = sink.enter_context(VideoWriter(request.out, _rate(source.fps)))
                    writer.write(picture)
                closed_by_hand = request.show and _show(picture)
            progress(step)

        stop = always.enter_context(Interrupts())
        began = time.perf_counter()
        try:
            common = dict(
                start=request.start,
                end=request.end,
                on_frame=on_frame,
                rows=rows,
                stop=lambda: stop() or closed_by_hand,
            )
            if live:
                seen = request.out is not None or request.show
                follow_live(source, tracker, _checked(box), rate, keep=seen, **common)
            else:
                follow(source, tracker, _checked(box), **common)
        except (Exception, KeyboardInterrupt) as caught:  # told below, when all is saved
            error = caught
        seconds = time.perf_counter() - began
        try:
            sink.close()
        except Exception as caught:  # a full disk must not cost the boxes
            error, writer = error or caught, None
        track = rows.track()
        files = [request.out] if writer is not None else []
        if len(track) and request.save_boxes is not None:
            files = save_boxes(request.save_boxes, track, request.start) + files
        try:
            progress.close()
            if len(track):
                print(summary(track, seconds, live), *files, sep="\n")
        except OSError as caught:  # nobody reads what is told any more
            error = error or caught
    if error is not None:
        raise error
    return track, stop.signal


def check_request(request: Request) -> None:
    """What can be refused before anything is opened. Raises ConfigError, naming the option."""
    if request.out is not None and request.out.suffix.lower() != ".mp4":
        raise ConfigError(
            f"the drawn video is an mp4, and its name ends otherwise: {request.out}",
            knob="--out NAME.mp4",
        )
    outputs = [("--out", request.out)] if request.out is not None else []
    if request.save_boxes is not None:
        outputs += [("--save-boxes", path) for path in _box_files(request.save_boxes)]
    for number, (flag, path) in enumerate(outputs):
        _check_place(flag, path, Path(request.source))
        for other, earlier in outputs[:number]:
            if path.resolve() == earlier.resolve() or _same_file(path, earlier):
                raise ConfigError(f"two outputs would be one file: {path}", knob=f"{other}, {flag}")
    if request.start < 0 or (request.end is not None and request.end <= request.start):
        raise ConfigError(
            "frames are numbered from 0, and there is none to track.",
            knob=f"--start {request.start}" + f" --end {request.end}" * (request.end is not None),
        )
    if request.show and not _has_display():
        raise ConfigError(
            "there is no display to show frames on (DISPLAY and WAYLAND_DISPLAY are not set).",
            knob="leave --show out; --out NAME.mp4 has the same pictures",
        )


def stream_of(source: FrameSource, asked: float | None) -> tuple[bool, float | None]:
    """Whether frames come by a clock, and how many a second; None where they come by themselves.

    Raises:
        ConfigError: nothing says how fast, or a camera is told to.
    """
    if isinstance(source, CameraSource):
        if asked:
            raise ConfigError(
                "the frames of a camera come when they come.", knob="leave --realtime out"
            )
        return True, None
    if asked is None:
        return False, None
    if not (asked or source.fps):
        raise ConfigError(
            f"nothing says how many frames a second {source.name} has.", knob="--realtime FPS"
        )
    return True, asked or source.fps


def _check_place(flag: str, path: Path, source: Path) -> None:
    """Whether a file can be written, before an hour of tracking rather than after it."""
    if any(_same_file(path, read) for read in (source, source / "groundtruth.txt")):
        raise ConfigError(f"this would overwrite what is read: {path}", knob=flag)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"a file cannot be written there: {path}", knob=flag)


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _folder_box(request: Request) -> Box | None:
    """The truth's box of the first frame to track, where the source is a folder of LaSOT's."""
    truth = Path(request.source) / "groundtruth.txt"
    if not truth.is_file():
        return None
    boxes = read_boxes(truth)
    if request.start >= len(boxes):
        raise BadDataError(
            f"{truth} has {len(boxes)} boxes, none for the first frame to track.",
            knob=f"--start {request.start}, or --box x,y,w,h",
        )
    box = tuple(boxes[request.start].tolist())
    print(f"box of frame {request.start}, from {truth}: {','.join(f'{v:g}' for v in box)}")
    return box


def _checked(box: Box | _Chooser) -> _Chooser:
    """A box, or who chooses one on the first frame, as `follow` asks; errors name the option."""

    def on_frame(image: np.ndarray) -> Box:
        chosen = box(image) if callable(box) else box
        try:
            return check_box(chosen, image)
        except BadDataError as error:
            height, width = image.shape[:2]
            error.details.setdefault("frame size", [f"{width} x {height} pixels"])
            error.details.setdefault("knob", [_BOX_KNOB])
            raise

    return on_frame


def _rate(fps: float | None) -> float:
    """Of the drawn video, for a source's."""
    if fps is not None and fps > FASTEST:
        print(f"the drawn video plays at {FASTEST} frames/s instead of {fps:g}")
        return FASTEST
    return fps or _DEFAULT_FPS


def _expected(frames: int | None, request: Request) -> int | None:
    last = min((n for n in (frames, request.end) if n is not None), default=None)
    return None if last is None else max(last - request.start, 0)


# ------------------------------------------------------------------------------------ windows


def select_box(image: np.ndarray) -> Box:
    """Have a person draw the box on a frame; ConfigError where none is, or no window opens."""
    print("draw a box around the target with the mouse; Enter takes it, C cancels", flush=True)
    box = _beside(
        _select, image, error="no window could be opened to draw a box on.", knob="--box x,y,w,h"
    )
    if box[2] <= 0 or box[3] <= 0:
        raise ConfigError("no box was drawn.", knob="draw one, or give --box x,y,w,h")
    return box


def _try_window() -> None:
    """ConfigError where no window opens, which later would cost all that was tracked."""
    knob = "leave --show out; --out NAME.mp4 has the same pictures"
    _beside(_open_and_close, error="no window can be opened to show frames in.", knob=knob)


def _beside(function: Callable, *arguments, error: str, knob: str):
    """What a function that opens a window returns. ConfigError where it opens none.

    It runs in a process of its own: Qt ends the process it is in when the display that the
    environment names cannot be reached, and no `except` sees that.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    import cv2

    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    except (BrokenProcessPool, cv2.error):  # the latter of an OpenCV without windows
        raise ConfigError(error, knob=knob) from None


def _open_and_close() -> None:
    import cv2

    cv2.namedWindow("track")
    cv2.waitKey(1)
    cv2.destroyAllWindows()


def _select(image: np.ndarray) -> Box:
    import cv2

    box = cv2.selectROI("target", image[..., ::-1].copy(), showCrosshair=False)
    cv2.destroyAllWindows()
    return tuple(map(float, box))


def _show(picture: np.ndarray) -> bool:
    """Show a frame; whether Q or Escape was pressed."""
    import cv2

    cv2.imshow("track", picture[..., ::-1])
    return cv2.waitKey(1) & 0xFF in (ord("q"), 27)


# ------------------------------------------------------------------------------------- results


def _box_files(path: Path) -> list[Path]:
    """What `save_boxes` writes."""
    if path.suffix.lower() == ".csv":
        return [path]
    return [path, path.with_name(f"{path.stem}_time.txt")]


def save_boxes(path: Path, track: Track, start: int = 0) -> list[Path]:
    """Write a track; returns the files.

    `NAME.csv` has a header, and score, found and seconds beside the box. Any other name has
    `x,y,w,h` lines alone, as result files have, and `NAME_time.txt` the seconds.
    """
    if path.suffix.lower() == ".csv":
        lines = ["frame,x,y,w,h,score,found,seconds"]
        rows = zip(track.boxes.tolist(), track.scores, track.found, track.seconds, strict=True)
        for number, (box, score, found, seconds) in enumerate(rows, start):
            numbers = ",".join(f"{value:.4f}" for value in (*box, score))
            lines.append(f"{number},{numbers},{int(found)},{seconds:.6f}")
        write_text(path, "\n".join(lines) + "\n")
    else:
        write_boxes(path, track.boxes)
        write_times(_box_files(path)[1], track.seconds)
    return _box_files(path)


def summary(track: Track, seconds: float, live: bool = False) -> str:
    """A line on what was tracked and how fast; `seconds` from the first frame to the last.

    live: frames may have been dropped; they have no time of the tracker.
    """
    text, own = f"{len(track)} frames", track.seconds[1:]
    lost = int((~track.found).sum())
    text += f", found in {len(track) - lost}, lost in {lost}" if lost else ", found in all"
    if live:
        dropped = int((own == 0).sum())
        text += f"; dropped {dropped} that came too fast" if dropped else "; none dropped"
        own = own[own > 0]
    if len(own):
        one = statistics.median(own.tolist())
        text += f"; tracker {1000 * one:.1f} ms a frame (median, {1 / max(one, 1e-9):.0f} frames/s)"
    return f"{text}; end to end {len(track) / max(seconds, 1e-9):.1f} frames/s"
