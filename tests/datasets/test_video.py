"""Video files, folders and cameras as frames, and frames as video files."""

import os
import struct
import subprocess
import sys
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from tracking_files import encoded, picture, write_files

from lightvit_bench.data.video import FileSource, FolderSource, VideoWriter, open_source
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError

SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8), (96, 64))


def moving(count: int, shape=(64, 96)) -> list[np.ndarray]:
    height, width = shape
    return [np.roll(SMOOTH, 2 * i, axis=1)[:height, :width] for i in range(count)]


def write(path: Path, count: int = 30, fps: float = 25, **options) -> Path:
    with VideoWriter(path, fps, **options) as writer:
        for frame in moving(count):
            writer.write(frame)
    return path


def encode(path: Path, codec: str, count: int = 60, rate: float = 25, gop: int = 0) -> Path:
    """A file of another kind than the writer's."""
    rate = Fraction(rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.gop_size = gop or stream.codec_context.gop_size
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i, frame in enumerate(moving(count)):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format="yuv420p")
            picture.pts, picture.time_base = i, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def read(path) -> tuple[list[np.ndarray], str]:
    """All frames that come, and the error behind them."""
    frames = []
    with closing(open_source(path)) as source:
        try:
            for frame in source:
                frames.append(frame)
        except BadDataError as error:
            return frames, str(error)
    return frames, ""


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path / "deep/a.mp4", crf=10)
    source = open_source(path)
    assert (source.name, source.fps, source.frames) == ("a.mp4", 25.0, 30)
    frames = list(source)
    assert len(frames) == 30 and len(list(source)) == 30, "it starts anew"
    for ours, theirs in zip(moving(30), frames, strict=True):
        assert theirs.shape == (64, 96, 3) and theirs.dtype == np.uint8
        assert error(ours, theirs) < 4 < error(ours, theirs[..., ::-1])
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


def test_players_can_play_it(tmp_path):
    """H.264, 4:2:0, colours named, and the index in front, where a browser needs it."""
    path = write(tmp_path / "a.mp4", fps=29.97)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.colorspace) == ("h264", "yuv420p", 1)
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("fps", [1 / 7200, 0.5, 10, 23.976, 24, 30, 59.94, 240])
def test_rates_are_kept(tmp_path, fps):
    source = open_source(write(tmp_path / "a.mp4", 5, fps))
    assert source.fps == pytest.approx(fps, rel=1e-4) and len(list(source)) == 5


@pytest.mark.parametrize("shape", [(63, 96), (64, 95), (63, 95), (1, 1)])
def test_odd_sides_are_padded_by_a_pixel(tmp_path, shape):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25, size=shape[::-1], crf=5) as writer:
        for frame in moving(5, shape):
            writer.write(frame)
    frames, why = read(path)
    even = tuple(side + side % 2 for side in shape)
    assert not why and len(frames) == 5 and frames[0].shape == (*even, 3)
    assert error(frames[4][: shape[0], : shape[1]], moving(5, shape)[4]) < 5


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_what_was_written_before_an_error_is_kept(tmp_path, stop):
    path = tmp_path / "a.mp4"
    with pytest.raises(stop), VideoWriter(path, 25) as writer:
        for i, frame in enumerate(moving(30)):
            if i == 17:
                raise stop("in the middle")
            assert not path.exists(), "not before it plays"
            writer.write(frame)
    frames, why = read(path)
    assert len(frames) == 17 and not why
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_without_a_frame_nothing_is_left_and_an_older_file_stays(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert not os.listdir(tmp_path)
    write(tmp_path / "a.mp4", 7)
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 25):
        raise RuntimeError
    assert len(read(tmp_path / "a.mp4")[0]) == 7
    write(tmp_path / "a.mp4", 9)
    assert len(read(tmp_path / "a.mp4")[0]) == 9


def test_a_file_that_cannot_be_encoded_is_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(
        VideoWriter, "_end", lambda self: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        write(tmp_path / "a.mp4")
    assert not os.listdir(tmp_path)


def test_wrong_frames_and_settings(tmp_path):
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(BadDataError, match="uint8 of shape"):
            VideoWriter(tmp_path / "a.mp4", 25).write(wrong)
    with pytest.raises(BadDataError, match="Frame 3 is 80 x 64 pixels in a video of 96 x 64"):
        with VideoWriter(tmp_path / "a.mp4", 25) as writer:
            for frame in [*moving(3), moving(1, (64, 80))[0]]:
                writer.write(frame)
    assert len(read(tmp_path / "a.mp4")[0]) == 3
    for wrong in (dict(fps=0), dict(fps=float("nan")), dict(crf=52), dict(size=(0, 4))):
        with pytest.raises(ConfigError):
            VideoWriter(tmp_path / "b.mp4", **{"fps": 25, **wrong})


CUT = {"a.mp4": "libx264", "a.mkv": "libx264", "a.avi": "mpeg4", "a.webm": "libvpx"}


@pytest.mark.parametrize("name", CUT)
def test_a_video_that_ends_early_gives_what_it_has(tmp_path, name):
    """All frames up to the first that is missing, unchanged, then an error."""
    if name == "a.mp4":
        path = write(tmp_path / name, 60, crf=10)
    else:
        path = encode(tmp_path / name, CUT[name])
    whole, why = read(path)
    assert len(whole) == 60 and not why
    data, before = path.read_bytes(), 0
    for share in (0.5, 0.6, 0.7, 0.8):
        path.write_bytes(data[: int(len(data) * share)])
        frames, why = read(path)
        assert before <= len(frames) < 60
        assert f"frame {len(frames)} of" in why and "60 is damaged or missing" in why
        assert str(path) in why and f"{len(frames)} were decoded" in why
        for ours, theirs in zip(whole[: len(frames)], frames, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        before = len(frames)
    assert before > 10


SLOW = {"a.mkv": "libx264", "a.webm": "libvpx", "a.flv": "flv", "a.ts": "libx264"}


@pytest.mark.parametrize("rate", [0.25, 1, 1.5, 2])
@pytest.mark.parametrize("name", SLOW)
def test_few_frames_a_second_are_no_early_end(tmp_path, name, rate):
    """The last frame begins a whole frame's time before the declared end."""
    frames, why = read(encode(tmp_path / name, SLOW[name], 12, rate))
    assert len(frames) == 12 and not why


def test_few_frames_a_second_may_still_end_early(tmp_path):
    path = encode(tmp_path / "a.webm", "libvpx", 30, 1)
    with av.open(str(path)) as container:
        last = max(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: last - 200])
    frames, why = read(path)
    assert 20 < len(frames) < 30 and f"frame {len(frames)} of about 30" in why


def test_a_frame_that_cannot_be_decoded_is_told_whatever_pyavs_threads_are(tmp_path, monkeypatch):
    """With a thread for each frame FFmpeg goes on behind this one, and says nothing."""
    opened = FileSource._open

    def with_threads(self):
        container, stream = opened(self)
        stream.thread_type, stream.codec_context.thread_count = "FRAME", 4
        return container, stream

    path = encode(tmp_path / "a.webm", "libvpx", 40, gop=12)
    with av.open(str(path)) as container:
        keys = [p for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert [key.pts for key in keys] == [0, 480, 960, 1440]
    data = bytearray(path.read_bytes())
    data[keys[2].pos + 24 : keys[2].pos + keys[2].size] = b"\xff" * (keys[2].size - 24)
    path.write_bytes(data)
    monkeypatch.setattr(FileSource, "_open", with_threads)
    frames, why = read(path)
    assert len(frames) == 24 and "frame 24 of" in why


@pytest.mark.parametrize("place", [20, 21, 22, 23, 24, 40])
def test_frames_before_the_cut_are_delivered(tmp_path, place):
    path = write(tmp_path / "a.mp4", 60)
    whole = read(path)[0]
    with av.open(str(path)) as container:
        packets = sorted((p.pos, p.pos + p.size, p.pts) for p in container.demux(video=0) if p.size)
    start, end, _ = packets[place]
    missing = sorted(pts for _, _, pts in packets[place:])
    first = sorted(pts for _, _, pts in packets).index(missing[0])
    path.write_bytes(path.read_bytes()[: (start + end) // 2])
    frames, why = read(path)
    assert why and len(frames) == first, "every frame before the first that is missing, none after"
    for ours, theirs in zip(whole[:first], frames, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_last_frame_that_is_shown_for_long_is_no_early_end(tmp_path):
    """Of a variable rate: all ten frames are there, though the clock says 5 seconds."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        packets = []
        for i, frame in enumerate(moving(10)):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format="yuv420p")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            packets += stream.encode(picture)
        packets += stream.encode(None)
        packets[-1].duration = 5 * 25
        container.mux(packets)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base > 5 and stream.frames == 10
    frames, why = read(path)
    assert len(frames) == 10 and not why


def set_matrix(path: Path, degrees: int) -> None:
    """Write a clockwise turn into an mp4's display matrix, as telephones do."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version 0: times, ids, duration, layer, volume
    one = 1 << 16
    assert struct.unpack_from(">9i", data, at) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, cos * one, sin * one, 0, -sin * one, cos * one, 0,
                     0, 0, 1 << 30)  # fmt: skip
    path.write_bytes(data)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_as_they_are_shown(tmp_path, degrees):
    path = write(tmp_path / "a.mp4", 3, crf=5)
    set_matrix(path, degrees)
    turn = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    for ours, theirs in zip(moving(3), read(path)[0], strict=True):
        assert error(cv2.rotate(np.ascontiguousarray(ours), turn[degrees]), theirs) < 4


@pytest.mark.parametrize("content", [b"", b"hello " * 99, b"#EXTM3U\n#EXTINF:1,\nhttp://x/a.ts\n"])
def test_what_is_no_video(tmp_path, content):
    for name in ("a.mp4", "a.m3u8"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadDataError, match=name):
            open_source(tmp_path / name)


def test_a_file_without_pictures(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(BadDataError, match="no pictures"):
        open_source(tmp_path / "a.wav")


def test_a_folder_is_read_in_natural_order(tmp_path):
    files = {f"f{i}.png": encoded(picture(i), ".png") for i in range(8, 12)}
    for folder in ("plain", "lasot/img"):
        write_files(tmp_path / folder, files)
    for folder in ("plain", "lasot"):
        source = open_source(tmp_path / folder)
        assert (source.name, source.fps, source.frames) == (folder, None, 4)
        assert [int(frame[0, 0, 0]) for frame in source] == [80, 90, 100, 110]
    write_files(tmp_path / "lasot", {"cover.png": encoded(picture(99), ".png")})
    assert [int(frame[0, 0, 0]) for frame in open_source(tmp_path / "lasot")] == [80, 90, 100, 110]
    (tmp_path / "plain/f10.png").write_bytes(b"")
    frames, why = read(tmp_path / "plain")
    assert len(frames) == 2 and "f10.png" in why
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadDataError, match="no frame"):
        open_source(tmp_path / "bare")


def test_what_is_not_there(tmp_path, monkeypatch):
    for absent in (tmp_path / "absent.mp4", "rtsp://host/stream", ""):
        with pytest.raises(MissingDataError, match="no such video"):
            open_source(absent)
    with pytest.raises(MissingDataError, match="camera 93"):
        open_source(93)
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "7", {"a.png": encoded(picture(1), ".png")})
    assert isinstance(open_source("7"), FolderSource), "a folder called 7 is no camera"


class Camera:
    """Gives BGR frames, then none."""

    def __init__(self, number):
        self.left, self.open = [SMOOTH[..., ::-1]] * 3, number == 2

    def isOpened(self):
        return self.open

    def get(self, key):
        return 0.0

    def read(self):
        return (True, self.left.pop()) if self.left else (False, None)

    def release(self):
        self.open = False


def test_a_camera(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    source = open_source("2")
    assert (source.name, source.fps, source.frames) == ("camera 2", None, None)
    with pytest.raises(BadDataError, match="camera 2 gave no more frames"):
        for count, frame in enumerate(source):  # noqa: B007
            np.testing.assert_array_equal(frame, SMOOTH)
    assert count == 2
    source.close()
    assert not source._camera.open


def test_no_file_stays_open(tmp_path):
    path = write(tmp_path / "a.mp4")
    before = len(os.listdir("/proc/self/fd"))
    with closing(open_source(path)) as source:
        for _ in source:
            break
        iterator = iter(source)
        next(iterator)
    assert len(os.listdir("/proc/self/fd")) == before


def test_importing_needs_no_camera_and_no_ffmpeg():
    code = "import sys, lightvit_bench.data.video; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
