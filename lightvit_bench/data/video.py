"""Pictures from a video file, a folder of frames or a camera, and H.264 video to a file.

    with closing(open_source("clip.mp4")) as source, VideoWriter("out.mp4", source.fps) as writer:
        for frame in source:    # (H, W, 3) uint8, RGB
            writer.write(frame)

Files are decoded and encoded by FFmpeg through PyAV, cameras are read through OpenCV.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from lightvit_bench.data.frames import StoredFrames
from lightvit_bench.data.store import FolderStore
from lightvit_bench.data.video_writer import VideoWriter
from lightvit_bench.errors import BadDataError, MissingDataError, printable

__all__ = ["FrameSource", "VideoWriter", "open_source"]


class FrameSource(Protocol):
    """Where frames come from.

    Attributes:
        name: what it is called: a file's or folder's name, "camera 0".
        fps: frames a second (of variable rates the average), None where nothing says it.
        frames: how many there are, None where nothing says it (cameras, some video files).
    """

    name: str
    fps: float | None
    frames: int | None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames from the first on: (H, W, 3) uint8, RGB.

        `BadDataError` names the source and the frame that cannot be decoded; also where a file
        ends before its declared length, after every frame before that.
        """

    def close(self) -> None:
        """Let go of the file or camera."""


def open_source(source: str | int | os.PathLike) -> FrameSource:
    """A video file, a folder of frames (or one with `img/` in it), or a camera by its number.

    Raises:
        MissingDataError: there is no such file, folder or camera.
        BadDataError: the file is no video, or the folder holds no frame.
    """
    text = os.fspath(source) if not isinstance(source, int) else str(source)
    if os.path.isdir(text):
        return FolderSource(text)
    if os.path.exists(text):
        return FileSource(text)
    if re.fullmatch("[0-9]+", text):
        return CameraSource(int(text))
    raise MissingDataError(
        "there is no such video.",
        looked_for=printable(text),
        expected="a video file, a folder of frames, or the number of a camera (0)",
    )


class FolderSource:
    """The images of a folder in natural order; nothing says how fast they were taken.

    Those in its `img/` count where there are any, as for data sets: a picture beside it is a cover.
    """

    fps = None

    def __init__(self, folder: str | os.PathLike):
        root = os.path.abspath(folder)
        self.name = printable(os.path.basename(root))
        self._frames = StoredFrames(FolderStore(root), ("img", ""))
        self.frames: int | None = len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(len(self._frames)):
            yield self._frames[index]

    def close(self) -> None:
        """Nothing is open."""


class CameraSource:
    """A camera by its number, through OpenCV; read until whoever reads it stops."""

    frames = None

    def __init__(self, number: int):
        import cv2

        self.name = f"camera {number}"
        self._camera = cv2.VideoCapture(number)
        if not self._camera.isOpened():
            self._camera.release()
            raise MissingDataError(
                f"camera {number} cannot be opened.",
                looked_for=f"/dev/video{number}",
                expected="a camera that nobody else uses, or a video file or folder",
            )
        rate = self._camera.get(cv2.CAP_PROP_FPS)
        self.fps = float(rate) if math.isfinite(rate) and rate > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        import cv2

        count = 0
        while True:
            there, frame = self._camera.read()
            if not there:
                raise BadDataError(f"{self.name} gave no more frames.", after=f"{count:,} frames")
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            count += 1

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.release()


class FileSource:
    """A video file; its first video stream, turned as the file says it should be shown.

    `frames` is what the file declares, which for one cut without encoding it again may be more than
    there are to show. Each iteration reads the file from the start.
    """

    def __init__(self, path: str | os.PathLike):
        import av

        self.path = os.path.abspath(path)
        self.name = printable(os.path.basename(self.path))
        self._containers: list[av.container.InputContainer] = []
        container, stream = self._open()
        try:
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            self.frames: int | None = stream.frames or None
            self._ends = _length(container, stream)
        finally:
            self._close(container)

    def __iter__(self) -> Iterator[np.ndarray]:
        import av

        container, stream = self._open()
        # With a thread a frame, FFmpeg goes on silently behind some that cannot be decoded (VP8).
        stream.thread_type = "SLICE"
        count, until, because, last = 0, None, None, False
        # A broadcast's packets are marked when something before them was lost: it still plays.
        lossy = container.format.name == "mpegts"
        try:
            packets = container.demux(stream)
            while not last:
                try:
                    packet = next(packets, None)
                    last = packet is None or packet.size == 0  # what the decoder still holds
                    if packet is not None and packet.is_corrupt and not lossy:
                        because, last = "the file ends within it", True
                        shown = _flushed(stream)
                    else:
                        shown = [] if packet is None else packet.decode()
                except (av.FFmpegError, OSError) as error:
                    because, last = error.strerror or str(error), True
                    shown = _flushed(stream)
                if last and (because or self._early(count + len(shown), shown, until)):
                    because = because or "the file ends early"
                    shown = self._unbroken(shown, until)
                for frame in shown:
                    yield _upright(frame)
                    count, until = count + 1, frame.time
        finally:
            self._close(container)
        if because or not count:
            raise self._not_whole(count, because or "it has no frame")

    def _early(self, count: int, shown: list, until: float | None) -> bool:
        """Whether the file ends before it should, with `count` frames, `shown` the last of them.

        Too few frames alone are no sign of that: a file may declare frames that its edit list
        leaves out. Then the last one is shown until the declared end all the same.
        """
        times = [frame.time for frame in shown if frame.time is not None]
        until = max(times, default=until)
        if self._ends is None or until is None or count >= (self.frames or math.inf):
            return False
        slack = 1.5 / self.fps if self.fps else 0.5
        if self.frames is None:  # the last frame of a variable rate may be shown for long
            slack = max(0.5, slack)
        return until + slack < self._ends

    def _unbroken(self, shown: list, until: float | None) -> list:
        """Of the frames behind a damaged place, those before the first gap: numbers stay right."""
        for kept, frame in enumerate(shown):
            if None not in (self.fps, until, frame.time) and frame.time - until > 1.5 / self.fps:
                return shown[:kept]
            until = frame.time
        return shown

    def _not_whole(self, count: int, because: str) -> BadDataError:
        total = self.frames or (round(self._ends * self.fps) if self._ends and self.fps else None)
        of = "" if total is None else f" of {'' if self.frames else 'about '}{total:,}"
        return BadDataError(
            f"A video cannot be decoded to its end: frame {count:,}{of} is damaged or missing.",
            file=printable(self.path),
            frames=f"{count:,} were decoded (they count from 0)",
            because=because,
        )

    def _open(self):
        import av

        if not os.path.isfile(self.path):
            raise MissingDataError("there is no such video file.", looked_for=printable(self.path))
        try:  # playlists, which are files too, may not lead into the network
            options = {"protocol_whitelist": "file"}
            container = av.open(f"file:{self.path}", options=options)
        except (av.FFmpegError, OSError) as error:
            why = "it is empty" if not os.path.getsize(self.path) else error.strerror or str(error)
            raise self._no_video(why) from None
        if not container.streams.video:
            container.close()
            raise self._no_video("it has no pictures in it")
        self._containers.append(container)
        return container, container.streams.video[0]

    def _no_video(self, why: str) -> BadDataError:
        return BadDataError(
            "A file cannot be opened as a video.",
            file=printable(self.path),
            because=why,
            note="an mp4 that was cut short lacks its index, which lies at its end",
        )

    def _close(self, container) -> None:
        if container in self._containers:
            self._containers.remove(container)
            container.close()

    def close(self) -> None:
        """Close the file; iterations that are under way end with an error."""
        for container in list(self._containers):
            self._close(container)


def _flushed(stream) -> list:
    """The frames that the decoder still holds when a packet was damaged."""
    import av

    try:
        frames = stream.codec_context.decode(None)
    except (av.FFmpegError, OSError):
        return []
    for frame in frames:
        frame.time_base = stream.time_base
    return frames


def _length(container, stream) -> float | None:
    """When the stream ends, in seconds on the frames' clock; None where nothing says so."""
    start = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    if stream.duration and stream.time_base:
        return start + float(stream.duration * stream.time_base)
    told = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if told:  # Matroska's, per stream
        hours, minutes, seconds = map(float, told.groups())
        return start + 3600 * hours + 60 * minutes + seconds
    if container.duration and len(container.streams) == 1:
        return start + container.duration / 1e6
    return None


def _upright(frame) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, turned by its display matrix in quarter turns."""
    image = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as numpy counts them
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image
