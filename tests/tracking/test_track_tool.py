"""tools/track.py as a person runs it, with a stand-in for the network: what it writes and refuses.

The stand-in looks for the first frame's patch around the last box, and is what the tool loads.
"""

import os
import runpy
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from lightvit_bench.data import video
from lightvit_bench.data.box_files import read_boxes, read_times
from lightvit_bench.data.demo_tracking_scene import DemoScene
from lightvit_bench.data.video import VideoWriter, open_source
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.watching import track_video as track_video_module
from lightvit_bench.tracking.watching.follow import Follower, Track, follow
from lightvit_bench.tracking.watching.track_video import (
    Request,
    check_request,
    stream_of,
    summary,
    track_video,
)

STAND_IN = """
import os, runpy, sys, time
from dataclasses import dataclass

import cv2
import numpy as np

from lightvit_bench.errors import BadDataError


@dataclass(frozen=True)
class Result:
    box: tuple
    score: float
    found: bool


class Tracker:
    def __init__(self, model, settings=None):
        self.model = model
        self.pause = float(os.environ.get("STAND_IN_PAUSE", 0))

    def init(self, image, box_xywh):
        self.size = image.shape
        x, y, w, h = self.box = tuple(map(round, box_xywh))
        self.patch = image[max(y, 0) : y + h, max(x, 0) : x + w].copy()

    def update(self, image):
        if image.shape != self.size:
            raise BadDataError("the frame's size is another than the first one's.")
        time.sleep(self.pause)
        x, y, w, h = self.box
        top, left = max(y - 25, 0), max(x - 25, 0)
        region = image[top : y + h + 25, left : x + w + 25]
        if min(np.subtract(region.shape[:2], self.patch.shape[:2])) < 1:
            return Result(tuple(map(float, self.box)), 0.0, False)
        score = cv2.matchTemplate(region, self.patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, (dx, dy) = cv2.minMaxLoc(score)
        if best > 0.4:
            self.box = (left + dx, top + dy, w, h)
        return Result(tuple(map(float, self.box)), max(float(best), 0.0), best > 0.4)


class Model:
    name = "Stand-in 1.0, fp32, 1 thread"


def fastest_model(path=None, **asked):
    print("model:", path, asked, flush=True)
    return Model()


if __name__ == "__main__":
    import lightvit_bench.tracking.tracker as real

    real.Tracker = Tracker
    import lightvit_bench.tracking.runtimes.cache as cache

    cache.fastest_model = fastest_model
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with clip.mp4, its frames as a folder of LaSOT's, and the truth."""
    root = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(1)
    stock = [
        ("noise", cv2.resize(rng.integers(0, 256, (30, 40, 3), np.uint8), (400, 300)))
        for _ in range(3)
    ]
    scene = DemoScene(2, "distractor", shape="star", frames=24, size=(160, 120), photographs=stock)
    (root / "star-1/img").mkdir(parents=True)
    lines = []
    with VideoWriter(root / "clip.mp4", fps=25) as writer:
        for index in range(24):
            frame = scene.frame(index)
            writer.write(frame.image)
            path = root / f"star-1/img/{index + 1:08d}.jpg"
            cv2.imwrite(str(path), frame.image[..., ::-1])
            lines.append(",".join(f"{v:.2f}" for v in frame.box_xywh))
    (root / "star-1/groundtruth.txt").write_text("\n".join(lines) + "\n")
    (root / "stand_in.py").write_text(STAND_IN)
    return root


@pytest.fixture(scope="module")
def command(repo, clip):
    """What to start, and its environment: no display, few threads."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"PYTHONPATH": str(repo)}

    def make(*arguments, **more):
        line = [sys.executable, str(clip / "stand_in.py"), str(repo / "tools/track.py")]
        return [*line, *map(str, arguments)], {**environment, **more}

    return make


@pytest.fixture(scope="module")
def track(command):
    def run(*arguments, **more):
        line, environment = command(*arguments, **more)
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)

    return run


def first_box(clip):
    return (clip / "star-1/groundtruth.txt").read_text().split()[0]


def decoded(path):
    source = open_source(path)
    try:
        return source.fps, list(source)
    finally:
        source.close()


def fails(done, *needles):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for needle in needles:
        assert needle in done.stderr, done.stderr


@pytest.mark.slow
def test_a_video_gives_boxes_times_and_a_drawn_video(track, clip, tmp_path):
    out, boxes = tmp_path / "new/out.mp4", tmp_path / "boxes.txt"
    done = track(clip / "clip.mp4", "--box", first_box(clip), "--out", out, "--save-boxes", boxes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "model: None" in done.stdout
    told = read_boxes(boxes)
    box = tuple(map(float, first_box(clip).split(",")))
    expected = follow(decoded(clip / "clip.mp4")[1], stand_in(), box).boxes
    np.testing.assert_allclose(told, expected, atol=1e-4)
    assert len(told) == 24 and np.ptp(told[:, :2], axis=0).max() > 3  # it moved
    times = read_times(tmp_path / "boxes_time.txt")
    assert times.shape == (24,) and (times > 0).all()
    fps, frames = decoded(out)
    _, plain = decoded(clip / "clip.mp4")
    assert fps == 25 and len(frames) == 24 and frames[0].shape == (120, 160, 3)
    assert (abs(frames[5].astype(int) - plain[5]) > 60).any(-1).sum() > 100  # something is drawn
    assert "24 frames" in done.stdout and "frames/s" in done.stdout and str(out) in done.stdout
    lines = done.stdout.splitlines()
    assert lines[1] == "tracker: Stand-in 1.0, fp32, 1 thread" and "dropped" not in done.stdout
    assert "\r" not in done.stderr and "frame 24/24" in done.stderr


@pytest.mark.slow
def test_a_folder_of_lasots_brings_its_box_and_csv_has_scores(track, clip, tmp_path):
    table = tmp_path / "boxes.csv"
    done = track(clip / "star-1", "--start", 3, "--end", 10, "--save-boxes", table, "--threads", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'runtime': None, 'threads': 1, 'precision': None" in done.stdout
    truth = read_boxes(clip / "star-1/groundtruth.txt")
    assert "groundtruth.txt" in done.stdout
    header, *rows = table.read_text().splitlines()
    assert header == "frame,x,y,w,h,score,found,seconds" and len(rows) == 7
    values = np.array([[float(v) for v in row.split(",")] for row in rows])
    assert values[:, 0].tolist() == list(range(3, 10))
    np.testing.assert_allclose(values[0, 1:7], [*truth[3], 1, 1])
    assert set(values[:, 6]) <= {0, 1} and ((values[:, 5] >= 0) & (values[:, 5] <= 1)).all()
    assert not (tmp_path / "boxes_time.txt").exists()


@pytest.mark.slow
def test_no_box_and_no_display_names_the_flag(track, clip):
    fails(track(clip / "clip.mp4"), "--box x,y,w,h", "no display")


@pytest.mark.slow
def test_a_display_that_is_not_there_is_an_error_and_no_crash(track, clip):
    done = track(clip / "clip.mp4", DISPLAY=":987", QT_QPA_PLATFORM="xcb")
    fails(done, "no window could be opened", "--box")
    fails(track(clip / "clip.mp4", "--headless", DISPLAY=":987"), "--box", "no display")


@pytest.mark.slow
def test_show_on_a_display_that_is_not_there_is_told_before_anything_is_tracked(
    track, clip, tmp_path
):
    out = ("--out", tmp_path / "out.mp4", "--save-boxes", tmp_path / "boxes.txt")
    box = ("--box", first_box(clip))
    done = track(clip / "clip.mp4", *box, "--show", *out, DISPLAY=":987", QT_QPA_PLATFORM="xcb")
    fails(done, "no window can be opened", "--show")
    assert "model" not in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_box_outside_the_frame_is_told_with_the_flag_and_the_size(track, clip, tmp_path):
    out = tmp_path / "out.mp4"
    done = track(clip / "clip.mp4", "--box", "500,1,20,30", "--out", out)
    fails(done, "outside the frame", "--box", "160 x 120")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_box_that_begins_left_of_the_frame_is_taken(track, clip, tmp_path):
    """argparse takes `-5,16,16,16` for an option by itself."""
    for number, box in enumerate((["--box", "-5,16,16,16"], ["--box", "-.5,16,16,16"],
                                  ["--box=-5,16,16,16"])):  # fmt: skip
        boxes = tmp_path / f"{number}.txt"
        done = track(clip / "clip.mp4", *box, "--save-boxes", boxes, "--end", 2)
        assert done.returncode == 0, done.stderr
        assert read_boxes(boxes)[0].tolist() == [-0.5 if number == 1 else -5, 16, 16, 16]
    fails(track("--box", "-5,16,16", clip / "clip.mp4"), "--box", "x,y,w,h")


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_cost_the_boxes(command, clip, tmp_path):
    """`track.py ... 2>&1 | head -1`: nobody reads what the tool tells, which is no error."""
    for number, (stdout, stderr) in enumerate(((1, 0), (0, 1), (1, 1))):
        boxes, out = tmp_path / f"{number}.txt", tmp_path / f"{number}.mp4"
        line, environment = command(
            *(clip / "clip.mp4", "--box", first_box(clip), "--save-boxes", boxes, "--out", out),
            PYTHONUNBUFFERED="1",
        )
        reader, writer = os.pipe()
        os.close(reader)
        streams = [writer if closed else subprocess.PIPE for closed in (stdout, stderr)]
        done = subprocess.run(line, env=environment, stdout=streams[0], stderr=streams[1])
        os.close(writer)
        assert done.returncode == 141 and not (done.stderr or b"").count(b"Traceback")
        if not stdout:
            assert len(read_boxes(boxes)) == len(decoded(out)[1]) == 24


@pytest.mark.slow
@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "1 2 3 4", ""])
def test_what_is_no_box_is_refused_by_the_option(track, clip, box):
    fails(track(clip / "clip.mp4", "--box", box), "--box", "x,y,w,h")


@pytest.mark.slow
def test_a_video_cut_short_keeps_what_was_tracked(track, clip, tmp_path):
    """Frame 12 of the folder is no picture: boxes and the video up to there, then the error."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for path in sorted((clip / "star-1/img").iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "00000013.jpg").write_bytes(b"not a picture")
    out, boxes = tmp_path / "out.mp4", tmp_path / "boxes.txt"
    options = ("--box", first_box(clip), "--out", out, "--save-boxes", boxes)
    fails(track(folder, *options), "00000013.jpg")
    assert read_boxes(boxes).shape == (12, 4) and len(decoded(out)[1]) == 12


@pytest.mark.slow
def test_a_frame_of_another_size_keeps_what_was_tracked(track, clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for path in sorted((clip / "star-1/img").iterdir())[:6]:
        (folder / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(folder / "00000007.jpg"), np.zeros((50, 60, 3), np.uint8))
    out, boxes = tmp_path / "out.mp4", tmp_path / "boxes.txt"
    options = ("--box", first_box(clip), "--out", out, "--save-boxes", boxes)
    fails(track(folder, *options), "size", "6 (from 0)")
    assert read_boxes(boxes).shape == (6, 4) and len(decoded(out)[1]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_keeps_what_was_tracked(command, clip, tmp_path, number, code):
    out, boxes = tmp_path / "out.mp4", tmp_path / "boxes.txt"
    line, environment = command(
        *(clip / "clip.mp4", "--box", first_box(clip), "--out", out, "--save-boxes", boxes),
        STAND_IN_PAUSE="0.4",
    )
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "model" in process.stdout.readline()  # the tracker is there; frames begin
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.mp4*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, output + errors
    count = len(read_boxes(boxes))
    assert 1 <= count < 24 and len(decoded(out)[1]) == count and "Traceback" not in errors
    assert {p.name for p in tmp_path.iterdir()} == {"out.mp4", "boxes.txt", "boxes_time.txt"}


@pytest.mark.slow
def test_realtime_drops_frames_and_tells(track, clip, tmp_path):
    """0.1 s a frame at 25 frames/s; which frames are dropped is the machine's, some are."""
    out, table = tmp_path / "out.mp4", tmp_path / "boxes.csv"
    done = track(
        *(clip / "clip.mp4", "--box", first_box(clip), "--out", out, "--save-boxes", table),
        *("--runtime", "openvino", "--precision", "fp32", "--realtime"),
        STAND_IN_PAUSE="0.1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'runtime': 'openvino', 'threads': None, 'precision': 'fp32'" in done.stdout
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    dropped = [number for number, row in enumerate(rows) if float(row[7]) == 0]
    assert len(rows) == len(decoded(out)[1]) == 24 and dropped and 0 not in dropped
    assert f"dropped {len(dropped)} that came too fast" in done.stdout
    assert f"dropped {len(dropped)}" in done.stderr
    for number in dropped:
        assert rows[number][1:7] == rows[number - 1][1:7]


@pytest.mark.slow
def test_help_is_instant(repo):
    code = "import sys; sys.argv = ['track.py', '--help']; import runpy\n"
    code += f"try: runpy.run_path({str(repo / 'tools/track.py')!r}, run_name='__main__')\n"
    code += "except SystemExit: pass\n"
    code += "print({'torch', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repo, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "set()" and "--box" in done.stdout


# ------------------------------------------------------------------------- in this process


def stand_in():
    space = {"__name__": "stand_in"}
    exec(STAND_IN, space)
    return space["Tracker"](None)


def links(folder):
    """Names of one file: linked.mp4 and boxes.txt; other_time.txt and clip.mp4, which is read."""
    for link, name in (("linked.mp4", "boxes.txt"), ("other_time.txt", "clip.mp4")):
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(folder / name)


def never():
    raise AssertionError("the tracker is loaded, though nothing can be tracked")


@pytest.mark.parametrize(
    "options, flag",
    [
        (dict(out="out.avi"), "--out"),
        (dict(out="out"), "--out"),
        (dict(start=-1), "--start"),
        (dict(start=5, end=5), "--end"),
        (dict(out="clip.mp4"), "--out"),
        (dict(save_boxes="star-1/groundtruth.txt", source="star-1"), "--save-boxes"),
        (dict(save_boxes="star-1"), "--save-boxes"),
        (dict(save_boxes="clip.mp4/boxes.txt"), "--save-boxes"),
        (dict(show=True), "--show"),
        (dict(out="x.mp4", save_boxes="x.mp4"), "--save-boxes"),
        (dict(out="x.mp4", save_boxes="star-1/../x.mp4"), "--save-boxes"),
        (dict(out="linked.mp4", save_boxes="boxes.txt"), "--save-boxes"),
        (dict(save_boxes="other.txt", out="x.mp4"), "--save-boxes"),
    ],
)
def test_what_cannot_be_met_is_refused_before_anything_is_loaded(clip, monkeypatch, options, flag):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    links(clip)
    paths = {k: clip / v for k, v in options.items() if isinstance(v, str)}
    request = {"source": clip / "clip.mp4", **options, **paths}
    request["source"] = str(request["source"])
    with pytest.raises(ConfigError) as caught:
        track_video(Request(box=(1, 2, 30, 40), **request), never)
    assert flag in str(caught.value)


def test_dropped_frames_are_drawn_and_marked(clip, tmp_path, monkeypatch):
    """Frames 2 and 3 are dropped: they come with the box and the score of frame 1."""
    drawn = []

    def live(source, tracker, box, rate, *, keep, on_frame, rows, **more):
        assert rate == 25 and keep
        images = list(source)
        follower = Follower(source, tracker, on_frame, rows)
        follower.begin(0, images[0], box)
        follower.go_on(1, images[1])
        follower.go_on(4, images[4], [(2, images[2]), (3, images[3])])

    def draw(image, box, *, found, caption):
        drawn.append((box, caption.frame, caption.score))
        return image

    monkeypatch.setattr(track_video_module, "follow_live", live)
    monkeypatch.setattr(track_video_module, "draw_result", draw)
    box = tuple(map(float, first_box(clip).split(",")))
    request = Request(str(clip / "clip.mp4"), box, tmp_path / "o.mp4", realtime=0.0)
    track, _ = track_video(request, stand_in)
    assert [frame for _, frame, _ in drawn] == [
        "frame 0", "frame 1", "frame 2   dropped", "frame 3   dropped", "frame 4",
    ]  # fmt: skip
    assert drawn[2][0] == drawn[3][0] == drawn[1][0] and drawn[3][2] == drawn[1][2]
    assert (track.seconds == 0).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("realtime, rate", [(0.0, 25), (12.5, 12.5)])
def test_a_stream_has_the_rate_asked_for_or_the_videos_own(clip, monkeypatch, realtime, rate):
    asked = []
    monkeypatch.setattr(
        track_video_module,
        "follow_live",
        lambda source, tracker, box, rate, **more: asked.append((rate, more["keep"])),
    )
    request = Request(str(clip / "clip.mp4"), (1, 2, 30, 40), realtime=realtime)
    track_video(request, stand_in)
    assert asked == [(rate, False)]


def test_a_source_without_a_rate_needs_one(clip):
    with pytest.raises(ConfigError, match=r"(?s)star-1.*--realtime FPS"):
        track_video(Request(str(clip / "star-1"), realtime=0.0), never)
    source = open_source(clip / "star-1")
    assert stream_of(source, 5.0) == (True, 5.0) and stream_of(source, None) == (False, None)


def test_a_camera_is_always_live():
    camera = object.__new__(video.CameraSource)
    assert stream_of(camera, None) == stream_of(camera, 0.0) == (True, None)
    with pytest.raises(ConfigError, match="--realtime"):
        stream_of(camera, 30.0)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--realtime", "clip.mp4"], "before --realtime"),
        (["clip.mp4", "--realtime", "0"], "more than 0"),
        (["clip.mp4", "--realtime", "nan"], "more than 0"),
        (["clip.mp4", "--precision", "int8"], "--precision"),
        (["clip.mp4", "--runtime", "tflite"], "--runtime"),
    ],
)
def test_options_that_are_none(repo, monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["track.py", *options])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(repo / "tools/track.py"))["parse"]()
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_the_summary_counts_what_was_tracked():
    track = Track(
        np.zeros((5, 4)), np.ones(5), np.array([1, 1, 0, 0, 1], bool),
        np.array([9.0, 0.5, 0.0, 0.0, 0.25]),
    )  # fmt: skip
    assert summary(track, 2.5, live=True) == (
        "5 frames, found in 3, lost in 2; dropped 2 that came too fast; tracker 375.0 ms a frame "
        "(median, 3 frames/s); end to end 2.0 frames/s"
    )
    none = Track(np.zeros((2, 4)), np.ones(2), np.ones(2, bool), np.array([9.0, 0.5]))
    assert "found in all; none dropped; tracker 500.0 ms" in summary(none, 1, live=True)
    assert "dropped" not in summary(none, 1)
    first = Track(np.zeros((1, 4)), np.ones(1), np.ones(1, bool), np.array([9.0]))
    assert summary(first, 1) == "1 frames, found in all; end to end 1.0 frames/s"


def test_outputs_are_checked_without_being_made(tmp_path):
    check_request(Request("x", out=tmp_path / "a/b/out.MP4", save_boxes=tmp_path / "c/boxes.txt"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate, drawn", [(2000, 1000), (1000, 1000), (None, 30)])
def test_a_source_faster_than_a_video_may_be_is_drawn_slower(
    clip, tmp_path, monkeypatch, capsys, rate, drawn
):
    monkeypatch.setattr(video.FileSource, "__init__", told_rate(video.FileSource.__init__, rate))
    box = tuple(map(float, first_box(clip).split(",")))
    track_video(Request(str(clip / "clip.mp4"), box, out=tmp_path / "o.mp4", end=5), stand_in)
    monkeypatch.undo()
    assert decoded(tmp_path / "o.mp4")[0] == drawn and len(decoded(tmp_path / "o.mp4")[1]) == 5
    assert ("1000 frames/s instead of 2000" in capsys.readouterr().out) is (rate == 2000)


def told_rate(real, rate):
    def told(self, path):
        real(self, path)
        self.fps = rate

    return told


@pytest.mark.parametrize(
    "box, why",
    [
        ((500, 1, 20, 30), "outside"),
        ((1, 1, 0, 3), "no size"),
        ((1, float("nan"), 3, 3), "not finite"),
        ((0, 0, 10_000, 10_000), "far larger"),
        ((1, 2, 3), "four numbers"),
    ],
)
def test_every_box_that_is_refused_names_the_option(clip, box, why):
    for source in (clip / "clip.mp4", clip / "star-1"):
        with pytest.raises(BadDataError, match=rf"(?s){why}.*--box x,y,w,h"):
            track_video(Request(str(source), box), stand_in)


@pytest.mark.parametrize("method, count", [("write", 1), ("close", 24)])
def test_a_video_that_cannot_be_written_does_not_cost_the_boxes(
    clip, tmp_path, monkeypatch, method, count
):
    def full(self, *frame):
        raise OSError(28, "No space left on device", "out.mp4")

    monkeypatch.setattr(VideoWriter, method, full)
    box = tuple(map(float, first_box(clip).split(",")))
    request = Request(str(clip / "clip.mp4"), box, tmp_path / "out.mp4", tmp_path / "boxes.txt")
    with pytest.raises(OSError, match="No space"):
        track_video(request, stand_in)
    assert len(read_boxes(tmp_path / "boxes.txt")) == count


def test_a_fault_of_the_program_keeps_the_boxes_too(clip, tmp_path):
    tracker, calls = stand_in(), []
    real = tracker.update

    def broken(image):
        calls.append(1)
        if len(calls) == 5:
            raise ZeroDivisionError("a fault")
        return real(image)

    tracker.update = broken
    box = tuple(map(float, first_box(clip).split(",")))
    request = Request(str(clip / "clip.mp4"), box, save_boxes=tmp_path / "boxes.txt")
    with pytest.raises(ZeroDivisionError):
        track_video(request, lambda: tracker)
    assert len(read_boxes(tmp_path / "boxes.txt")) == 5


def test_a_folder_with_less_truth_than_the_start_asks_for(clip):
    with pytest.raises(BadDataError, match="24 boxes"):
        track_video(Request(str(clip / "star-1"), start=99), never)
