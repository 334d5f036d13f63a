"""Frames to an H.264 video file."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.writing import whole_file

FASTEST = 1000  # frames a second that a file may have
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers: the colours of HD video, luma from 16 to 235


class VideoWriter:
    """Frames to an H.264 mp4 (yuv420p, BT.709), for players and browsers.

    Written beside `path` and renamed at the end, also when an exception ends the `with` block: what
    was written until then is kept and plays. Without any frame no file is left.

    Args:
        fps: frames a second, positive, at most `FASTEST`.
        size: (width, height) of the frames; None takes the first frame's. An odd side is padded by
            one pixel, because H.264's colours have half the resolution.
        crf: x264's quality: 0 is lossless, 23 its default, 51 the worst.

    Raises:
        ConfigError: `fps`, `size` or `crf` out of range, or PyAV without an H.264 encoder.
        OSError: the file cannot be written; it names the file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float,
        size: tuple[int, int] | None = None,
        crf: int = 23,
    ):
        if not (math.isfinite(fps) and 0 < fps <= FASTEST):
            raise ConfigError(
                f"a video of {fps} frames a second.", expected=f"0 < fps <= {FASTEST}"
            )
        if size is not None and min(size) < 1:
            raise ConfigError(
                f"a video of {size[0]} x {size[1]} pixels.", expected="at least 1 x 1"
            )
        if not 0 <= crf <= 51:
            raise ConfigError(f"crf={crf}.", expected="0 (lossless) to 51 (worst)")
        self.path, self.frames = Path(path), 0
        self._size = None if size is None else (int(size[0]), int(size[1]))
        self._rate = _exact_rate(fps)
        self._crf, self._file = crf, ExitStack()
        self._container = self._stream = None

    def write(self, frame: np.ndarray) -> None:
        """Append a frame: (H, W, 3) uint8, RGB. `BadDataError` for another type or size."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise BadDataError(
                "A frame cannot be written to a video.",
                frame=f"{frame.dtype} of shape {frame.shape}",
                expected="uint8 of shape (height, width, 3)",
            )
        size = (frame.shape[1], frame.shape[0])
        self._size = self._size or size
        if size != self._size:
            raise BadDataError(
                f"Frame {self.frames:,} is {size[0]} x {size[1]} pixels in a video of "
                f"{self._size[0]} x {self._size[1]}.",
                video=str(self.path),
            )
        if self._file is None:
            raise ValueError("the video is closed")
        if self._container is None:
            self._begin()
        import av

        odd_w, odd_h = size[0] % 2, size[1] % 2
        if odd_w or odd_h:
            frame = np.pad(frame, ((0, odd_h), (0, odd_w), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        picture.pts, picture.time_base = self.frames, 1 / self._rate
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def _begin(self) -> None:
        import av

        aside = self._file.enter_context(whole_file(self.path))
        self._container = av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"})
        # from here on the container is closed before the file is renamed
        self._file.callback(self._end)
        options = {"crf": str(self._crf), "preset": "veryfast"}
        try:
            stream = self._container.add_stream("libx264", rate=self._rate, options=options)
        except (av.FFmpegError, ValueError) as error:
            raise ConfigError(
                "this PyAV cannot encode H.264.", because=str(error), mend="pip install av"
            ) from None
        stream.width, stream.height = (side + side % 2 for side in self._size)
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED
        self._stream = stream

    def _end(self) -> None:
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def close(self) -> None:
        """Finish the file; on a second call nothing is done."""
        file, self._file = self._file, None
        if file is None:
            return
        if self._container is not None and not self.frames:
            error = BadDataError("No frame could be written.", video=str(self.path))
            file.__exit__(BadDataError, error, None)  # takes away what is no video
            return
        file.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        # Whatever ended the block: the file is finished without it, so that it is kept.
        self.close()


def _exact_rate(fps: float) -> Fraction:
    """Frames a second as a fraction: 29.97 and 23.976 stand for 30000/1001 and 24000/1001."""
    if fps < 1:  # a frame every so many seconds
        return 1 / Fraction(1 / fps).limit_denominator(1001)
    broadcast = Fraction(1000 * round(fps * 1.001), 1001)
    near = abs(float(broadcast) - fps) < 2e-4 * fps
    return broadcast if near else Fraction(fps).limit_denominator(1001)
