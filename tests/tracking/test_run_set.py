"""Runs over a data set: several processes, any end, and what may be trusted afterwards."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightvit_bench.data.box_files import read_boxes, read_times, write_boxes, write_times
from lightvit_bench.data.frame_folder import open_folder
from lightvit_bench.data.lasot import test_names as lasot_test_names
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.errors import BadDataError, ConfigError, UserError
from lightvit_bench.tracking.running.folder import finished, identity_of, names_digest
from lightvit_bench.tracking.running.judged import (
    check_truth,
    judge_set,
    speed_of,
    write_submission,
)
from lightvit_bench.tracking.running.report import finish
from lightvit_bench.tracking.running.sets import SetProgress, check_sequences, run_set

H, W = 24, 32
LENGTHS = {"cup-1": 5, "cup-2": 9, "hat-1": 7, "hat-2": 6}


@dataclass(frozen=True)
class Told:
    box: tuple
    score: float = 0.5
    found: bool = True


class Walker:
    """Says a box that hangs on the frame's pixels and on the box before, as a tracker's does."""

    def __init__(self, wait=0.0, at="", do=None):
        self.wait, self.at, self.do = wait, at, do

    def init(self, image, box_xywh):
        self.box = np.array(box_xywh)

    def update(self, image):
        time.sleep(self.wait)
        if self.do and self.at == str(image[0, 0].tolist()):
            return self.do()
        self.box = 0.7 * self.box + 0.1 * image[::7, ::9].reshape(-1)[:4] / 3
        return Told(tuple(self.box.tolist()))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def raise_value_error():
    raise ValueError("a bug")


def say_nan():
    return Told((float("nan"), 1.0, 2.0, 3.0))


def never_starts(code=None):
    if code is None:
        raise UserError("the weights are gone.", file="t.safetensors")
    os._exit(code)


def picture(name, index):
    """(H, W, 3) uint8: the first pixel is (number of the sequence, frame, 255)."""
    image = np.random.default_rng([len(name), index]).integers(0, 256, (H, W, 3), np.uint8)
    number = sorted(LENGTHS).index(name) if name in LENGTHS else 99
    image[0, 0] = (number, index, 255)
    return image


def write_sequence(root, name, count):
    """A sequence in LaSOT's layout, with frames that keep their pixels."""
    folder = root / name.rpartition("-")[0] / name
    (folder / "img").mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"img/{index + 1:08d}.png"), picture(name, index)[..., ::-1])
    boxes = [f"{3 + k},{4 + k},{10.25 if k == 0 else 8},9\n" for k in range(count)]
    (folder / "groundtruth.txt").write_text("".join(boxes))
    (folder / "full_occlusion.txt").write_text(",".join("0" * count))
    (folder / "out_of_view.txt").write_text(",".join("0" * count))


@pytest.fixture
def data(tmp_path):
    for name, count in LENGTHS.items():
        write_sequence(tmp_path / "data", name, count)
    return tmp_path / "data"


def run(data, out, *, tracker=Walker, made_by="a", **options):
    sequences = open_folder(data)
    options.setdefault("stream", io.StringIO())
    run_set(sequences, tracker, out, identity_of(sequences, made_by=made_by), **options)
    return options["stream"].getvalue()


def contents(out):
    """Boxes' files by name, as bytes; the times differ from run to run."""
    return {p.name: p.read_bytes() for p in out.glob("*.txt") if not p.stem.endswith("_time")}


def changed(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.txt")}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The folder of a run by one process, and its data."""
    root = tmp_path_factory.mktemp("complete")
    for name, count in LENGTHS.items():
        write_sequence(root / "data", name, count)
    run(root / "data", root / "out")
    return root


def test_every_frame_has_a_box_and_a_time(complete):
    out = complete / "out"
    assert set(contents(out)) == {f"{name}.txt" for name in LENGTHS}
    for name, count in LENGTHS.items():
        boxes, seconds = read_boxes(out / f"{name}.txt"), read_times(out / f"{name}_time.txt")
        walker = Walker()
        walker.init(None, (3, 4, 10.25, 9))
        expected = [walker.update(picture(name, k)).box for k in range(1, count)]
        np.testing.assert_allclose(boxes, [(3, 4, 10.25, 9), *expected], atol=5.1e-5)
        assert len(seconds) == count and (seconds > 0).all()
    assert (out / "cup-1.txt").read_text().startswith("3,4,10.25,9\n")


def test_the_longest_sequence_is_tracked_first(complete):
    times = changed(complete / "out")
    order = sorted(LENGTHS, key=lambda name: times[f"{name}.txt"])
    assert order == ["cup-2", "hat-1", "hat-2", "cup-1"]


def test_two_processes_give_the_results_of_one(complete, tmp_path):
    said = run(complete / "data", tmp_path, processes=2)
    assert contents(tmp_path) == contents(complete / "out")
    assert said.splitlines()[-1].startswith("4/4 sequences")
    assert json.loads((tmp_path / "run.json").read_text())["notes"]["processes"] == [2]


def copy_of(complete, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for path in (complete / "out").glob("*.*"):
        (out / path.name).write_bytes(path.read_bytes())
    return out


def cut(count):
    return lambda path: path.write_bytes(path.read_bytes()[:-count])


def replace_last(text):
    return lambda path: path.write_text("\n".join([*path.read_text().split("\n")[:-2], text, ""]))


@pytest.mark.parametrize(
    "file, spoil",
    [
        ("hat-1.txt", lambda path: path.unlink()),
        ("hat-1.txt", lambda path: path.write_text("")),
        ("hat-1.txt", cut(1)),  # the last number may be cut short as well
        ("hat-1.txt", cut(30)),
        ("hat-1.txt", lambda path: path.write_text(path.read_text() + "1,2,3,4\n")),
        ("hat-1.txt", replace_last("nan,1,2,3")),
        ("hat-1.txt", replace_last("inf,1,2,3")),
        ("hat-1.txt", replace_last("1,2,3")),
        ("hat-1.txt", lambda path: path.write_text("4" + path.read_text()[1:])),  # another box
        ("hat-1_time.txt", lambda path: path.unlink()),
        ("hat-1_time.txt", cut(1)),
        ("hat-1_time.txt", cut(11)),
        ("hat-1_time.txt", replace_last("-0.5")),
    ],
)
def test_a_result_that_is_not_whole_is_not_trusted(complete, tmp_path, file, spoil):
    out = copy_of(complete, tmp_path)
    sequence = next(one for one in open_folder(complete / "data") if one.name == "hat-1")
    assert finished(out, sequence)
    spoil(out / file)
    assert not finished(out, sequence)


def test_boxes_and_times_that_are_both_short_are_not_trusted(complete, tmp_path):
    out = copy_of(complete, tmp_path)
    sequence = next(one for one in open_folder(complete / "data") if one.name == "hat-1")
    for file in ("hat-1.txt", "hat-1_time.txt"):
        lines = (out / file).read_text().splitlines(keepends=True)
        (out / file).write_text("".join(lines[:-1]))
    assert not finished(out, sequence)


def test_what_is_torn_is_done_again_and_nothing_else(complete, tmp_path):
    out = copy_of(complete, tmp_path)
    before, whole = changed(out), contents(out)
    (out / "scores.json").write_text("{}")
    cut(1)(out / "hat-2.txt")
    (out / ".hat-2.txt.0123abcd.part").write_text("1,2")
    said = run(complete / "data", out)
    assert "hat-2" in said and "3 of 4 were done before" in said
    assert contents(out) == whole
    after = changed(out)
    assert {name for name in after if after[name] != before[name]} == {
        "hat-2.txt",
        "hat-2_time.txt",
    }
    assert not (out / ".hat-2.txt.0123abcd.part").exists()
    assert not (out / "scores.json").exists(), "scores of what was not whole"


def test_a_finished_run_starts_no_process(complete, tmp_path):
    out = copy_of(complete, tmp_path)
    before = changed(out)
    run(complete / "data", out, tracker=never_starts)
    assert changed(out) == before


def test_results_of_another_run_are_refused(complete, tmp_path):
    out = copy_of(complete, tmp_path)
    before, held = contents(out), (out / "run.json").read_bytes()
    (out / "cup-1.txt").unlink()
    with pytest.raises(ConfigError, match="another run") as error:
        run(complete / "data", out, made_by="b")
    assert "made_by: a there, b now" in str(error.value) and "--out" in str(error.value)
    del before["cup-1.txt"]
    assert contents(out) == before and (out / "run.json").read_bytes() == held

    (out / "run.json").write_text('{"identity": ')
    with pytest.raises(BadDataError, match=r"run\.json"):
        run(complete / "data", out)
    (out / "run.json").unlink()
    with pytest.raises(ConfigError, match="something else") as error:
        run(complete / "data", out)
    assert "cup-2.txt" in str(error.value)


def test_other_sequences_are_another_run(complete, tmp_path, data):
    out = copy_of(complete, tmp_path)
    (data / "cup" / "cup-1").rename(data / "cup" / "cup-7")
    with pytest.raises(ConfigError, match="names: "):
        run(data, out)


def test_a_folder_that_is_being_written_is_refused(complete, tmp_path):
    out = copy_of(complete, tmp_path)
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another run is writing"):
            run(complete / "data", out)
    run(complete / "data", out)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_unreadable_frame_costs_its_sequence_alone(complete, data, tmp_path, processes):
    out, bad = tmp_path / "out", data / "hat/hat-1/img/00000004.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:20])
    stream = io.StringIO()
    with pytest.raises(BadDataError, match="1 of 4 sequences failed") as error:
        run(data, out, processes=processes, stream=stream)
    assert "hat-1" in str(error.value) and str(bad) in str(error.value)
    assert "hat-1 FAILED" in stream.getvalue()
    done = contents(out)
    assert set(done) == {"cup-1.txt", "cup-2.txt", "hat-2.txt"}
    before = changed(out)

    bad.write_bytes(good)
    run(data, out)
    assert contents(out) == contents(complete / "out")
    assert {name: stamp for name, stamp in changed(out).items() if name in before} == before


@pytest.mark.parametrize(
    "do, why",
    [
        (die, "SIGKILL"),
        (raise_value_error, "ValueError: a bug (test_run_set.py, line"),
        (say_nan, "not finite"),
    ],
)
def test_a_tracker_that_fails_or_dies_costs_its_sequence_alone(data, complete, tmp_path, do, why):
    at = str(picture("cup-2", 3)[0, 0].tolist())  # of the one that is tracked first
    with pytest.raises(BadDataError, match="1 of 4 sequences failed") as error:
        run(data, tmp_path / "out", tracker=partial(Walker, 0.0, at, do))
    assert "cup-2: " in str(error.value) and why in str(error.value)
    whole = contents(complete / "out")
    del whole["cup-2.txt"]
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("code, why", [(None, "the weights are gone"), (3, "exit code 3")])
def test_a_tracker_that_never_starts_is_told(data, tmp_path, code, why):
    with pytest.raises(UserError, match="no process of the tracker gets ready") as error:
        run(data, tmp_path / "out", tracker=partial(never_starts, code), processes=2)
    assert why in str(error.value)


def test_results_that_cannot_be_written_end_the_run(tmp_path):
    write_sequence(tmp_path / "data", "x" * 245, 3)  # no room for the name to write aside under
    with pytest.raises(ConfigError, match="cannot be written"):
        run(tmp_path / "data", tmp_path / "out")


def test_a_sequence_without_a_first_box_is_named_before_anything_runs(data, tmp_path):
    for name, text in (("cup-1", "nan,nan,nan,nan\n"), ("hat-1", "3,4,0,9\n")):
        (data / name[:3] / name / "groundtruth.txt").write_text(text)
        for mark in ("full_occlusion", "out_of_view"):
            (data / name[:3] / name / f"{mark}.txt").unlink()
    with pytest.raises(BadDataError, match="2 of 4") as error:
        run(data, tmp_path / "out")
    assert "cup-1" in str(error.value) and "hat-1" in str(error.value)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------ killed and stopped

_SCRIPT = """
import sys
from functools import partial
sys.path.insert(0, {folder!r})
from test_run_set import Walker, identity_of, open_folder, run_set
from pathlib import Path
if __name__ == "__main__":
    sequences = open_folder({data!r})
    identity = identity_of(sequences, made_by="a")
    run_set(sequences, partial(Walker, 0.15), Path({out!r}), identity, processes=2)
"""


def start_slow_run(data, out, tmp_path):
    """A run in a session of its own; returns when a sequence is done, with one far from it."""
    write_sequence(data, "vase-1", 60)
    script = tmp_path / "run.py"
    folder = str(Path(__file__).parent)
    script.write_text(_SCRIPT.format(folder=folder, data=str(data), out=str(out)))
    process = subprocess.Popen(
        [sys.executable, script], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not list(out.glob("*_time.txt")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    while not contents(out):
        time.sleep(0.01)
    return process


def nothing_is_left_of(process):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_run_goes_on_without_redoing_anything(complete, data, tmp_path):
    out = tmp_path / "out"
    process = start_slow_run(data, out, tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert nothing_is_left_of(process)
    whole = contents(complete / "out")
    done, before = contents(out), changed(out)
    assert "vase-1.txt" not in done, "its worker lived on"
    assert done and all(whole[name] == held for name, held in done.items())

    said = run(data, out)
    assert f"{len(done)} of 5 were done before" in said
    made = contents(out)
    run(data, tmp_path / "at once")
    assert made == contents(tmp_path / "at once") and whole.items() < made.items()
    after = changed(out)
    for name in done:
        assert after[name] == before[name]
        assert after[name.replace(".txt", "_time.txt")] == before[name.replace(".txt", "_time.txt")]
    assert not list(out.glob(".*.part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(complete, data, tmp_path, number):
    out = tmp_path / "out"
    process = start_slow_run(data, out, tmp_path)
    os.killpg(process.pid, number)  # as a terminal does: to all of its processes
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert f"stopped: {len(contents(out))} of 5 sequences are done" in said
    assert "vase-1.txt" not in contents(out)
    assert nothing_is_left_of(process)
    run(data, out)
    assert contents(complete / "out").items() < contents(out).items()


# ------------------------------------------------------------------------------ by the clock


def test_a_late_tracker_drops_frames(data, tmp_path):
    run(data, tmp_path / "out", tracker=partial(Walker, 0.05), realtime=40.0)
    for name, count in LENGTHS.items():
        boxes = read_boxes(tmp_path / "out" / f"{name}.txt")
        seconds = read_times(tmp_path / "out" / f"{name}_time.txt")
        assert len(boxes) == len(seconds) == count
        seen = seconds > 0
        assert seen[0] and (seconds[1:][seen[1:]] >= 0.05).all()
        in_a_row = seen[1:-2] & seen[2:-1]  # the last frame is taken, however late
        assert not in_a_row.any(), "each takes the time of two"
    speed = speed_of(tmp_path / "out", open_folder(data))
    assert speed.frames == sum(LENGTHS.values())
    assert speed.timed + round(speed.dropped * speed.frames) == speed.frames - len(LENGTHS)
    assert speed.dropped > 0.25 and speed.median_ms >= 50


# ------------------------------------------------------------------------------ judging


@dataclass(frozen=True)
class Grey:
    """Frames without a file."""

    count: int

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return np.full((60, 80, 3), 128, np.uint8)

    def name(self, index):
        return f"frame {index}"


def truth(boxes, visible, covered):
    return Annotation(np.array(boxes, np.float64), np.array(visible), np.array(covered))


def made(name, boxes, visible=None, covered=None, dataset="lasot"):
    count = len(boxes)
    visible = [True] * count if visible is None else visible
    covered = [np.nan] * count if covered is None else covered
    return Sequence(dataset, name, Grey(count), partial(truth, boxes, visible, covered))


def results(out, sequences, boxes):
    for sequence in sequences:
        write_boxes(out / f"{sequence.name}.txt", np.array(boxes, np.float64))
        write_times(out / f"{sequence.name}_time.txt", np.arange(1, len(boxes) + 1) / 100)


TWO = [[1, 1, 10, 10], [3, 3, 10, 10]]


def test_only_all_of_a_benchmark_has_its_name(tmp_path):
    sequences = [made(name, TWO) for name in lasot_test_names()]
    results(tmp_path, sequences, TWO)
    judged = judge_set("lasot", "test", tmp_path, sequences)
    assert judged.protocol == "lasot-ope-test280@toolkit"
    assert judged.scores["P"] == 100 and judged.details["expected"] == 280

    assert judge_set("folder", "all", tmp_path, sequences).protocol.startswith("sequences280-")
    (tmp_path / f"{sequences[-1].name}.txt").unlink()
    with pytest.raises(UserError, match="1 missing"):
        judge_set("lasot", "test", tmp_path, sequences)
    (tmp_path / f"{sequences[-1].name}_time.txt").unlink()
    fewer = judge_set("lasot", "test", tmp_path, sequences[:-1])
    assert fewer.protocol.startswith("lasot-subset279-")


def test_got10k_is_judged_by_its_own_rules(tmp_path):
    truth = [[1, 1, 10, 10], [3, 3, 10, 10], [3, 3, 10, 10], [0, 0, 0, 0]]
    found = [[1, 1, 10, 10], [3, 3, 10, 10], [3, 3, 10, 6], [40, 40, 9, 9]]
    one = made("GOT-10k_Val_000001", truth, covered=[1, 1, 0.5, 0], dataset="got10k")
    results(tmp_path, [one], found)
    judged = judge_set("got10k", "val", tmp_path, [one])
    assert judged.scores == pytest.approx({"AO": 80.0, "SR50": 100.0, "SR75": 50.0})
    assert judged.protocol.startswith("got10k-val-subset1-")

    every = [made(f"GOT-10k_Val_{k:06d}", truth, covered=[1, 1, 1, 0]) for k in range(1, 181)]
    results(tmp_path, every, found)
    assert judge_set("got10k", "val", tmp_path, every).protocol == "got10k-val@toolkit"


@pytest.mark.parametrize("name", ["got10k", "trackingnet"])
def test_a_server_judges_what_it_keeps(tmp_path, name):
    boxes = [TWO[0], [np.nan] * 4]
    one = made("GOT-10k_Test_000001", boxes, dataset=name)
    results(tmp_path, [one], TWO)
    judged = judge_set(name, "test", tmp_path, [one])
    assert judged.protocol is None and not judged.scores and "server" in judged.word
    assert write_submission(name, "test", tmp_path, [one], tmp_path / "submission.zip")
    assert (tmp_path / "submission.zip").stat().st_size > 100
    assert not write_submission("lasot", "test", tmp_path, [one], tmp_path / "other.zip")


def test_sequences_of_which_only_the_first_box_is_known(tmp_path):
    known, unknown = made("a", TWO), made("b", [TWO[0], [np.nan] * 4])
    results(tmp_path, [unknown], TWO)
    judged = judge_set("folder", "all", tmp_path, [unknown])
    assert judged.protocol is None and "first frames alone" in judged.word
    results(tmp_path, [known], TWO)
    with pytest.raises(BadDataError, match="1 of 2") as error:
        judge_set("folder", "all", tmp_path, [known, unknown])
    assert "test_set.sequences" in str(error.value)


def test_names_that_would_share_a_file_are_refused():
    with pytest.raises(BadDataError, match="one name") as error:
        check_sequences([made("car", TWO), made("car_time", TWO)])
    assert "car_time" in str(error.value)
    with pytest.raises(BadDataError, match="no sequence"):
        check_sequences([])


def test_progress_says_what_is_left():
    now = [0.0]
    sequences = [made("a", TWO * 50), made("b", TWO * 100), made("c", TWO)]
    progress = SetProgress(sequences, sequences[:2], io.StringIO(), lambda: now[0])
    now[0] = 2.0
    progress.frames(50)
    assert progress.line() == "1/3 sequences  25.0 frames/s  10 s left"
    progress.done("a")
    progress.failed("b", "it is broken")
    assert progress.line() == "2/3 sequences  25.0 frames/s  10 s left  1 failed"


# ------------------------------------------------------------------------------ by which rule


@pytest.mark.parametrize("left, rule", [(1, "toolkit"), (0, "positive-size")])
def test_the_rule_that_judged_a_folder_is_in_its_protocol(tmp_path, left, rule, capsys):
    """Boxes that begin at 0 are judged by another rule than LaSOT's; the id and a line say so."""
    boxes = [[left, 1, 10, 10], [3, 3, 10, 10]]
    one = made("mine", boxes, dataset="folder")
    results(tmp_path, [one], boxes)
    judged = judge_set("folder", "all", tmp_path, [one])
    assert judged.protocol == f"sequences1-{names_digest(['mine'])}@{rule}"
    assert bool(judged.remark) == (rule == "positive-size")
    finish("folder", "all", tmp_path, [one])
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["protocol"] == judged.protocol and record["remark"] == judged.remark
    assert ("@positive-size" in capsys.readouterr().out) == (rule == "positive-size")


def test_truth_that_cannot_be_judged_is_told_before_the_run():
    gap = [TWO[0], [np.nan] * 4, TWO[1]]
    bad, good = made("gap", gap, dataset="folder"), made("whole", TWO, dataset="folder")
    with pytest.raises(BadDataError, match="gap: the truth is unknown in 1 of 3") as error:
        check_truth("folder", "all", [good, bad])
    assert "test_set.sequences" in str(error.value) and "--valid" not in str(error.value)
    hidden = made("hidden", gap, visible=[True, False, True], dataset="folder")
    alone = made("alone", [TWO[0], [np.nan] * 4], dataset="folder")
    check_truth("folder", "all", [good, hidden])
    check_truth("folder", "all", [alone])
    check_truth("got10k", "test", [alone])  # a server judges
    with pytest.raises(BadDataError, match="1 of 2"):
        check_truth("folder", "all", [good, alone])
