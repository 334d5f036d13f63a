"""The benchmark of trackers: processes and their reports, figures of rounds, what fails.

No time is asserted: times are made up, or only counted.
"""

import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.provenance import sha256_of
from lightvit_bench.bench.record import read_record, read_records
from lightvit_bench.bench.soak_table import tracking_soak
from lightvit_bench.bench.tables import tracking_cpu
from lightvit_bench.bench.track_runs import TrackRun
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.files import save_tracker
from lightvit_bench.tracking.latency import bench as bench_latency
from lightvit_bench.tracking.latency import cases as bench_cases
from lightvit_bench.tracking.latency import soak as bench_soak
from lightvit_bench.tracking.latency.bench import bench, cores_for, report_of, run_child
from lightvit_bench.tracking.latency.cases import EAGER, EXPORTED, MIL, Clip, Job
from lightvit_bench.tracking.latency.figures import (
    box_figures,
    edges_apart,
    over_rounds,
    values_of,
)
from lightvit_bench.tracking.latency.inputs import (
    Entry,
    Request,
    check_request,
    clip_set,
    entries_of,
    prepare,
)
from lightvit_bench.tracking.latency.report import report, table, write_records
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker

BOX = (20.0, 16.0, 24.0, 20.0)
FRAMES = 7  # of the sequence: six updates
SPEC = NetworkSpec(
    preset="vit_test", template_size=32, search_size=64, head_channels=16, eliminate=(1,)
)


def boxes_of(count=FRAMES):
    return [(BOX[0] + i, BOX[1], *BOX[2:]) for i in range(count)]


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """A folder of seven pictures of 96 x 72 with truth, called `walk`."""
    folder = tmp_path_factory.mktemp("set") / "walk"
    (folder / "img").mkdir(parents=True)
    rng = np.random.default_rng(1)
    ground = cv2.resize(rng.integers(0, 200, (5, 6, 3), np.uint8), (96, 72))
    for i, (x, y, w, h) in enumerate(boxes_of()):
        image = ground.copy()
        image[int(y) : int(y + h), int(x) : int(x + w)] = (20, 220, 60)
        cv2.imwrite(str(folder / "img" / f"{i + 1:08d}.jpg"), image)
    lines = [",".join(f"{v:g}" for v in box) + "\n" for box in boxes_of()]
    (folder / "groundtruth.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_tracker(path, OneStreamTracker(SPEC).eval(), recipe="test")
    return path


@pytest.fixture(scope="module")
def exported(weights, sequence, tmp_path_factory):
    """The tiny tracker as an OpenVINO file."""
    for name in ("openvino", "onnx", "onnxscript"):
        pytest.importorskip(name)
    from lightvit_bench.data.frame_folder import open_folder
    from lightvit_bench.tracking.exporting.crops import collect_crops
    from lightvit_bench.tracking.exporting.write import export_model
    from lightvit_bench.tracking.files import load_tracker_model

    path = tmp_path_factory.mktemp("exported") / "tiny.xml"
    crops = collect_crops(load_tracker_model(weights), open_folder(sequence))
    export_model(weights, path, crops)
    return path


@pytest.fixture(scope="module")
def clip(sequence):
    return Clip("walk", str(sequence), BOX, 72, 96)


def eager(weights, clip, what="times", **changes):
    fields = dict(threads=1, clips=(clip,), frames=9, warm_up=2)
    return Job(what, EAGER, str(weights), **{**fields, **changes})


class Echo:
    """A tracker that notes what it is asked."""

    def __init__(self):
        self.calls = []

    def init(self, image, box):
        self.calls.append("init")

    def update(self, image):
        self.calls.append("update")


# ---------------------------------------------------------------------------------------- a process


def test_a_job_survives_json(clip):
    job = Job("boxes", MIL, None, 2, (clip, replace(clip, name="other")), source="ab", out="x.npz")
    assert Job.from_json(job.to_json()) == job


def test_a_video_that_ends_is_played_again(clip):
    """Nine updates of six a play, two not counted; the first frame of each play is a start."""
    tracker, times = Echo(), iter(range(1000))
    job = Job("times", MIL, None, 1, (clip,), frames=9, warm_up=2)
    made = bench_cases.stream(
        job,
        lambda image: tracker.init(image, BOX),
        tracker.update,
        lambda: tracker.calls.append("after"),
        clock=lambda: next(times),
    )
    updates = ["update", "after"]
    assert tracker.calls == ["init", *updates * 6, "init", *updates * 5]
    assert made == {"track": [1] * 9, "end_to_end": [2] * 9}


def test_reading_counts_in_end_to_end_alone(clip):
    """A clock of 1, 2, 4, ...: between asking and having the frame, and that and the update."""
    now = [1.0]

    def clock():
        now[0] *= 2
        return now[0]

    job = Job("times", MIL, None, 1, (clip,), frames=2, warm_up=0)
    made = bench_cases.stream(job, lambda image: None, lambda image: None, clock=clock)
    assert made["track"] == [8 - 4, 64 - 32]
    assert made["end_to_end"] == [8 - 2, 64 - 16]


def test_a_video_of_one_frame_is_refused(tmp_path, clip):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((72, 96, 3), np.uint8))
    job = Job("times", MIL, None, 1, (replace(clip, path=str(tmp_path)),))
    with pytest.raises(BadDataError, match="one frame"):
        bench_cases.stream(job, lambda image: None, lambda image: None)


def test_a_process_reports_times_of_every_quantity(weights, clip):
    made = run_child(eager(weights, clip), cores_for(1))
    assert "failed" not in made, made
    assert {name: len(values) for name, values in made["times"].items()} == dict.fromkeys(
        ("network", "network_in_track", "track", "end_to_end"), 9
    )
    times = made["times"]
    for inner, track, whole in zip(
        times["network_in_track"], times["track"], times["end_to_end"], strict=True
    ):
        assert 0 < inner < track < whole
    assert made["load_seconds"] > 0 and made["peak_memory_mb"] > 10
    assert made["cores"] == 1
    assert "torch" in made["heavy"] and "mmengine" not in made["heavy"]
    assert made["about"]["runtime"] == "eager" and made["about"]["precision"] == "fp32"
    assert made["about"]["variant"] == "eliminate at 1, keep 0.7; conv head"


def test_a_process_writes_boxes_of_every_clip(weights, clip, tmp_path):
    from lightvit_bench.tracking.tracker import Tracker

    out = tmp_path / "boxes.npz"
    job = eager(weights, clip, "boxes", clips=(clip, clip), out=str(out))
    assert run_child(job, None)["frames"] == 2 * FRAMES
    tracker = Tracker.from_file(weights)
    frames = clip_set(clip.path)
    from lightvit_bench.data.frame_folder import open_folder

    (video,) = open_folder(clip.path)
    tracker.init(video.frames[0], BOX)
    wanted = [BOX, *(tracker.update(video.frames[i]).box for i in range(1, FRAMES))]
    assert frames.clips[0].box == BOX
    with np.load(out) as arrays:
        assert sorted(arrays.files) == ["0", "1"]
        for name in arrays.files:
            np.testing.assert_allclose(arrays[name], wanted, atol=1e-3)


def test_an_exported_tracker_is_measured_without_torch(exported, weights, clip, tmp_path):
    job = Job("times", EXPORTED, str(exported), 1, (clip,), frames=5, warm_up=1)
    made = run_child(replace(job, source=sha256_of(weights)), None)
    assert made["heavy"] == [] and len(made["times"]["network"]) == 5
    assert made["about"]["runtime"] == "openvino" and made["about"]["precision"] == "fp32"
    assert made["about"]["name"].endswith("fp32, 1 thread")
    several = run_child(replace(job, what="targets", targets=3), None)
    assert several["heavy"] == [] and len(several["boxes"]) == 3
    assert set(several["times"]) == {"track", "end_to_end"} and len(several["times"]["track"]) == 5
    other = run_child(replace(job, source="0" * 64), None)
    assert other["failed"].startswith("ConfigError") and "other weights" in other["failed"]


def test_mil_has_no_network_and_imports_nothing_heavy(clip):
    made = run_child(Job("times", MIL, None, 1, (clip,), frames=3, warm_up=0), None)
    assert set(made["times"]) == {"track", "end_to_end"}
    assert made["heavy"] == []


def test_loading_counts_from_the_start_of_the_program(clip):
    import time

    job = Job("times", MIL, None, 1, (clip,), frames=2, warm_up=0)
    threads = cv2.getNumThreads()
    try:
        made = bench_cases.work(job, time.perf_counter() - 100)
    finally:
        cv2.setNumThreads(threads)
    assert 100 <= made["load_seconds"] < 200


def test_the_network_is_timed_around_its_answer_alone():
    """A clock that only the network moves: 5 s within an update, 3 s when asked again."""
    now, asked = [0.0], []

    class Model:
        def find(self, *arguments):
            now[0] += 3 if asked else 5
            asked.append(arguments)
            return "answer"

    model = Model()
    watch = bench_cases._Watch(model, clock=lambda: now[0])
    assert model.find("template", "region") == "answer"
    now[0] += 100  # the rest of an update
    watch.again()
    assert (watch.inside, watch.alone) == ([5], [3])
    assert asked == [("template", "region")] * 2


def test_what_libraries_print_is_no_report(clip, tmp_path):
    """Only the report is on stdout, whatever is printed there by whom."""
    program = (
        "import os, sys, time; from lightvit_bench.tracking.latency import cases as b\n"
        "def work(job, began):\n"
        "    print('hello'); os.write(1, b'from C\\n'); return {'what': job.what}\n"
        "b.work = work; sys.exit(b.run_case(sys.argv[1], time.perf_counter()))"
    )
    job = Job("times", MIL, None, 1, (clip,))
    done = subprocess.run(
        [sys.executable, "-c", program, job.to_json()], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == {"what": "times"} and done.returncode == 0
    assert "hello" in done.stderr and "from C" in done.stderr


def test_a_process_that_fails_says_why(clip, tmp_path):
    job = Job("times", EXPORTED, str(tmp_path / "none.onnx"), 1, (clip,))
    made = run_child(job, None)
    assert set(made) == {"failed"}
    assert made["failed"].startswith("CheckpointError") and "none.onnx" in made["failed"]


def test_a_process_that_dies_is_told_of():
    assert report_of('{"a": 1}\n', "", 0) == {"a": 1}
    killed = report_of("", "first\nout of memory\n", -9)["failed"]
    assert "signal 9" in killed and "out of memory" in killed and "first" not in killed
    assert "with 3" in report_of("no json", "", 3)["failed"]
    assert "failed" in report_of("[1]", "", 0)


def test_boxes_of_several_targets_lie_in_the_frame():
    clip = Clip("c", "", (0, 0, 40, 30), height=72, width=96)
    for count in (1, 2, 3, 4, 8):
        made = bench_cases.spread_boxes(count, clip)
        assert len(set(made)) == len(made) == count
        for x, y, w, h in made:
            assert (w, h) == (40, 30) and 0 <= x <= 96 - 40 and 0 <= y <= 72 - 30
    ((x, y, w, h),) = bench_cases.spread_boxes(1, replace(clip, box=(0, 0, 500, 10)))
    assert (x, y, w, h) == (0, 31, 96, 10)


# ----------------------------------------------------------------------------------------- figures


def test_of_several_rounds_each_figure_is_the_median():
    one = over_rounds([[0.010, 0.011, 0.012], [0.020, 0.021, 0.090], [0.013, 0.014, 0.015]])
    assert one.median == pytest.approx(14)
    assert one.mean == pytest.approx(14)
    assert (one.least, one.most) == pytest.approx((10, 90))
    assert one.count == 3
    each = [Latency.of(np.array(x)) for x in ([0.01, 0.011, 0.012], [0.013, 0.014, 0.015])]
    assert one.p95 == pytest.approx(each[1].p95) and one.p99 == pytest.approx(each[1].p99)


def test_boxes_are_compared_by_their_edges():
    ours = np.array([[10, 10, 20, 20], [10, 10, 20, 20.0]])
    theirs = np.array([[10, 10, 20, 20], [9, 10, 19, 20.5]])  # right edge: 2 px apart
    np.testing.assert_allclose(edges_apart(ours, theirs), [0, 2])
    with pytest.raises(BadDataError, match="2 boxes"):
        edges_apart(ours, theirs[:1])


def fake(job, cores, offset=0.0, heavy=()):
    """A report as a process would give it: ms by kind, threads and what."""
    about = {
        EAGER: {"runtime": "eager", "precision": "fp32", "name": "P", "variant": "all; conv head"},
        EXPORTED: {"runtime": "onnxruntime", "precision": "fp32", "name": "O"},
        MIL: {"runtime": MIL, "precision": None, "name": "M"},
    }[job.kind]
    base = {EAGER: 0.030, EXPORTED: 0.010, MIL: 0.060}[job.kind] / job.threads
    if job.what == "boxes":
        made = {}
        for number, _ in enumerate(job.clips):
            rows = np.array(boxes_of())
            rows[1:, 0] += {EAGER: 0, EXPORTED: 0.5, MIL: 30}[job.kind]
            made[str(number)] = rows
        np.savez(job.out, **made)
        return {"about": about, "heavy": list(heavy), "frames": FRAMES}
    quantities = {"track": base, "end_to_end": base + 0.005}
    if job.kind != MIL and job.what == "times":
        quantities |= {"network": 0.8 * base, "network_in_track": 0.9 * base}
    times = {name: [value] * job.frames for name, value in quantities.items()}
    return {
        "about": about,
        "heavy": list(heavy),
        "cores": 1,
        "times": times,
        "load_seconds": 0.5,
        "peak_memory_mb": 200.0,
    }


def three(request, work, say):
    return [Entry("eager", EAGER), Entry("t.onnx", EXPORTED, "t.onnx"), Entry("MIL", MIL)]


@pytest.fixture
def asked(sequence, weights):
    return Request(
        weights=str(weights), video=str(sequence), frames=40, rounds=3, targets=(1, 4),
        sequences=(str(sequence),),
    )  # fmt: skip


def test_cases_take_turns(asked):
    """Boxes of all, then the rounds; within a round every case once, then several targets."""
    order = []

    def run(job, cores):
        order.append((job.what, job.kind, job.threads, job.targets, job.frames))
        assert len(cores) <= job.threads
        return fake(job, cores)

    outcome = bench(asked, lambda line: None, run, three)
    one = [(kind, threads) for threads in (1, 2) for kind in (EAGER, EXPORTED, MIL)]
    assert [(kind, threads) for _, kind, threads, _, _ in order[:6]] == one
    assert {what for what, *_ in order[:6]} == {"boxes"}
    for turn in range(3):
        part = order[6 + 8 * turn : 14 + 8 * turn]
        assert [(kind, threads) for _, kind, threads, _, _ in part[:6]] == one
        assert {what for what, *_ in part[:6]} == {"times"}
        several = [("targets", EXPORTED, 2, 1, 40), ("targets", EXPORTED, 2, 4, 30)]
        assert part[6:] == several
    assert len(order) == 6 + 3 * 8
    assert [len(case.rounds) for case in outcome.cases] == [3] * 6


def test_figures_of_a_case(asked):
    steps = iter([1.0, 4.0, 2.0])

    def run(job, cores):
        made = fake(job, cores)
        if job.kind == EXPORTED and job.what == "times":
            by = next(steps)
            made["times"] = {k: [by * v for v in values] for k, values in made["times"].items()}
            made["load_seconds"] *= by
        return made

    outcome = bench(replace(asked, threads=(1,)), lambda line: None, run, three)
    values = values_of(outcome.cases[1], outcome)
    assert values["network_ms"]["median"] == pytest.approx(16)
    assert values["track_ms"]["median"] == pytest.approx(20)
    assert values["frames_per_second"] == pytest.approx(1000 / 30)
    assert values["load_seconds"] == pytest.approx(1.0)
    assert values["track_to_network"] == pytest.approx(1.25)
    assert values["times_as_fast_as"] == pytest.approx({"eager": 1.5, "opencv-mil": 3.0})
    assert values["rounds"]["track_ms"] == pytest.approx({"least": 10, "most": 40})
    assert values["rounds"]["count"] == 3
    assert values["boxes_max_difference_px"] == pytest.approx(0.5)
    assert values["boxes_mean_difference_px"] == pytest.approx(0.5)
    assert values["auc"]["walk"] > 90
    mil = values_of(outcome.cases[2], outcome)
    assert mil["network_ms"] is None and mil["track_to_network"] is None
    assert mil["boxes_max_difference_px"] is None and mil["auc"]["walk"] < 20
    assert box_figures(outcome.cases[0], outcome)["walk"]["max_px"] == 0


def test_frames_a_second_count_slow_frames(asked):
    """30 ms a frame and one of 300: the mean of 40 counts, not the median."""

    def run(job, cores):
        made = fake(job, cores)
        if job.what == "times":
            made["times"]["end_to_end"] = [0.03] * 39 + [0.3]
        return made

    outcome = bench(replace(asked, threads=(1,)), lambda line: None, run, three)
    values = values_of(outcome.cases[1], outcome)
    rate = 40 / (39 * 0.03 + 0.3)
    assert values["frames_per_second"] == pytest.approx(rate)
    assert values["rounds"]["frames_per_second"] == pytest.approx({"least": rate, "most": rate})
    assert values["end_to_end_ms"]["median"] == pytest.approx(30)


def test_boxes_are_compared_at_the_same_number_of_threads(asked):
    """PyTorch's at 2 threads are 100 px to the right, and so are the exported tracker's."""

    def run(job, cores):
        made = fake(job, cores)
        if job.what == "boxes" and job.threads == 2:
            with np.load(job.out) as arrays:
                moved = {name: arrays[name] + [100, 0, 0, 0] for name in arrays.files}
            np.savez(job.out, **moved)
        return made

    outcome = bench(asked, lambda line: None, run, three)
    for case in outcome.cases:
        if case.entry.kind == EXPORTED:
            assert box_figures(case, outcome)["walk"]["max_px"] == pytest.approx(0.5)


def test_records_say_all_and_make_the_documents_table(asked, tmp_path):
    outcome = bench(asked, lambda line: None, fake, three)
    argv = ["tools/bench_track.py", "--record", "records"]
    written = write_records(outcome, str(tmp_path), argv)
    records = read_records(tmp_path)
    assert len(records) == len(written) == 6 + 2  # 1 and 4 targets, at 2 threads
    runs = [TrackRun.of(record) for record in records]
    assert sorted(run.targets for run in runs if run.targets) == [1, 4]
    ours = [r for r in records if r.variant]
    assert {r.model for r in ours} == {"tiny"} and {r.variant for r in ours} == {"all; conv head"}
    assert len({r.checkpoint_sha256 for r in ours}) == 1 and ours[0].checkpoint_sha256
    assert {r.origin for r in records} == {"measured"} and {r.dataset for r in records} == {"walk"}
    assert all(record.complete and record.machine for record in records)
    text = tracking_cpu(records)
    assert "ONNX Runtime, fp32" in text and "| 3.0 |" in text and "4 targets" in text


def test_the_table_for_people(asked):
    text = report(bench(asked, lambda line: None, fake, three))
    lines = [line for line in text.splitlines() if line.startswith("t.onnx (fp32)")]
    assert lines[0].split()[2:] == [
        "1", *"8.00 (8.00, 8.00) 10.00 (10.00, 10.00) 15.00 (15.00, 15.00)".split(),
        "66.7", "0.50", "200", "1.25", "3.00", "6.00",
    ]  # fmt: skip
    assert "FAILED" not in text and "walk, 96 x 72" in text


def test_tables_are_in_line():
    assert table(["a", "b"], [["long", "1"], ["x"]]) == "a     b\n-------\nlong  1\nx"


# ----------------------------------------------------------------------------------------- failing


def test_what_fails_is_told_of_and_the_others_go_on(asked, tmp_path):
    def run(job, cores):
        if job.kind == EXPORTED and job.threads == 2:
            return {"failed": "CheckpointError: damaged"}
        return fake(job, cores)

    said = []
    outcome = bench(replace(asked, record=str(tmp_path)), said.append, run, three)
    assert [(case.entry.label, case.threads) for case in outcome.failures] == [("t.onnx", 2)]
    text = report(outcome)
    assert "FAILED  t.onnx, 2 threads: CheckpointError: damaged" in text
    assert "t.onnx, 2 threads: failed: CheckpointError: damaged" in said
    assert sum("t.onnx, 2 threads" in line for line in said) == 2  # it is not tried again
    assert len(write_records(outcome, str(tmp_path), ["tools/x.py"])) == 5


def test_an_exported_tracker_that_imports_torch_is_a_failure(asked):
    def run(job, cores):
        return fake(job, cores, heavy=["torch"] if job.kind != MIL else [])

    outcome = bench(asked, lambda line: None, run, three)
    assert [case.entry.kind for case in outcome.failures] == [EXPORTED] * 2
    assert "imported torch" in outcome.failures[0].failed


def late(what, number):
    """A process for `bench` in which that job of the exported tracker fails at its n-th time."""
    seen = []

    def run(job, cores):
        if job.kind == EXPORTED and job.threads == 2 and job.what == what:
            seen.append(job)
            if len(seen) == number:
                return {"failed": "killed"}
        return fake(job, cores)

    return run


def test_a_case_that_fails_late_is_marked_and_its_record_incomplete(asked, tmp_path):
    outcome = bench(asked, lambda line: None, late("times", 3), three)
    (case,) = outcome.failures
    assert len(case.rounds) == 2
    (row,) = [one for one in report(outcome).splitlines() if ", failed after 2 rounds" in one]
    assert row.startswith("t.onnx (fp32), failed after 2 rounds") and " 4.00 (4.00, 4.00) " in row
    write_records(outcome, str(tmp_path), ["tools/x.py"])
    found = [TrackRun.of(one) for one in read_records(tmp_path)]
    counts = {(run.record.expected, run.record.evaluated) for run in found if not run.targets}
    assert counts == {(120, 120), (120, 80)}
    several = {run.targets: run.record for run in found if run.targets}
    assert [(r.expected, r.evaluated) for _, r in sorted(several.items())] == [(120, 80), (90, 60)]
    text = tracking_cpu(one.record for one in found)
    assert text.endswith("Left out: 3 runs of fewer frames than expected.")


def test_a_reference_that_fails_late_is_none(asked):
    def run(job, cores):
        done.append(job.what == "times" and job.kind == EAGER)
        return {"failed": "killed"} if sum(done) == 3 else fake(job, cores)

    done = []
    outcome = bench(replace(asked, threads=(1,)), lambda line: None, run, three)
    assert values_of(outcome.cases[1], outcome)["times_as_fast_as"]["eager"] is None


def test_several_targets_that_fail_leave_the_other_rounds(asked, tmp_path):
    """At the second time: with 4 targets in the first round."""
    said = []
    outcome = bench(asked, said.append, late("targets", 2), three)
    (case,) = outcome.failures
    assert case.failed is None and len(case.rounds) == 3
    assert list(case.targets) == [1] and len(case.targets[1]) == 3
    assert "t.onnx, 2 threads, 4 targets: failed: killed" in said
    text = report(outcome)
    assert "FAILED  t.onnx, 2 threads, 4 targets: killed" in text
    (row,) = [line for line in text.splitlines() if line.endswith("failed")]
    assert row.split()[:-1] == ["t.onnx", "(fp32)", "2", "100.0"]
    assert len(write_records(outcome, str(tmp_path), ["tools/x.py"])) == 6 + 1


def test_an_export_that_fails_is_a_row(asked):
    def entries(request, work, say):
        return [*three(request, work, say)[:1], Entry("int8", EXPORTED, "x", "no package")]

    outcome = bench(asked, lambda line: None, fake, entries)
    assert [case.failed for case in outcome.failures] == ["no package"] * 2
    assert "FAILED  int8, 1 thread: no package" in report(outcome)


def test_records_of_twins_are_refused(asked, tmp_path):
    def entries(request, work, say):
        names = {"first": "x/a.onnx", "second": "y/a.onnx", "third": "x/b.onnx"}
        for name in names.values():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        return [Entry(label, EXPORTED, str(tmp_path / name)) for label, name in names.items()]

    assert not bench(asked, lambda line: None, fake, entries).failures
    outcome = bench(replace(asked, record=str(tmp_path)), lambda line: None, fake, entries)
    assert [(case.entry.label, case.threads) for case in outcome.failures] == [
        ("second", 1),
        ("second", 2),
    ]
    assert "of first, 1 thread, which" in outcome.failures[0].failed
    assert len(outcome.cases[2].rounds) == 3, "the others are measured"
    write_records(outcome, str(tmp_path / "records"), ["tools/x.py"])
    exported = {r.exported: r.exported_sha256 for r in read_records(tmp_path / "records")}
    assert set(exported) == {"a.onnx", "b.onnx"}, "files of other names are no twins"
    assert exported == {name: sha256_of(tmp_path / "x" / name) for name in exported}, (
        "the file's own, not that of its weights"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": (0,)}, "--threads 0"),
        ({"threads": (2, 2)}, "twice"),
        ({"frames": 0}, "--frames 0"),
        ({"rounds": 0}, "--rounds 0"),
        ({"warm_up": -1}, "--warm-up -1"),
        ({"targets": (1, 0)}, "--targets 0"),
        ({"models": ("a.safetensors",)}, "a.safetensors"),
        ({"video": None, "box": BOX}, "--box"),
    ],
)
def test_options_that_make_no_sense(asked, changes, words):
    with pytest.raises(ConfigError, match=words):
        check_request(replace(asked, **changes))


# -------------------------------------------------------------------------------------------- data


def test_a_folder_becomes_a_video_and_a_set(asked, sequence, tmp_path):
    clip, sets, generated = prepare(replace(asked, sequences=()), tmp_path)
    assert clip.path.endswith("video.mp4") and not generated
    assert (clip.name, clip.box, clip.width, clip.height) == ("walk", BOX, 96, 72)
    assert [one.name for one in sets] == ["walk"]
    assert [c.name for c in sets[0].clips] == ["walk"] and list(sets[0].truth) == ["walk"]
    # a video file has no truth, and needs a box
    clip, sets, _ = prepare(Request(video=clip.path, box=(1, 2, 30, 40)), tmp_path)
    assert sets[0].clips == (clip,) and not sets[0].truth
    with pytest.raises(ConfigError, match="where the target is"):
        prepare(Request(video=clip.path), tmp_path)
    with pytest.raises(ConfigError, match="one name"):
        prepare(replace(asked, sequences=(str(sequence),) * 2), tmp_path)


def test_without_data_a_video_is_made(tmp_path, monkeypatch):
    from lightvit_bench.tracking.latency import inputs as bench_inputs

    demo = {"sequences": 2, "frames": 3, "seed": 0, "size": (96, 64)}
    monkeypatch.setattr(bench_inputs, "DEMO", demo)
    clip, sets, generated = prepare(Request(), tmp_path)
    assert generated and (clip.width, clip.height) == (96, 64)
    assert [len(one.clips) for one in sets] == [2] and len(sets[0].truth) == 2


def test_files_given_are_between_pytorch_and_mil(tmp_path):
    request = Request(models=("x/a.xml", "y/a.xml"))
    found = entries_of(request, tmp_path, print)
    assert [one.kind for one in found] == [EAGER, EXPORTED, EXPORTED, MIL]
    assert [one.label for one in found[1:3]] == ["x/a.xml", "y/a.xml"]


def test_cores_are_those_that_may_be_used():
    import os

    allowed = os.sched_getaffinity(0)
    assert set(cores_for(1)) <= allowed and len(cores_for(1)) == 1
    assert set(cores_for(1000)) == allowed
    with bench_latency._pinned(cores_for(1)):
        assert os.sched_getaffinity(0) == set(cores_for(1))
    assert os.sched_getaffinity(0) == allowed


# ------------------------------------------------------------------------------------------- tools


def test_the_tool_end_to_end(repo, sequence, weights, tmp_path):
    """Eager PyTorch and MIL succeed, a file that is none fails: told of, and 1 at the end."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    command = [
        sys.executable, str(repo / "tools/bench_track.py"), "--weights", str(weights),
        "--models", str(broken), "--video", str(sequence), "--threads", "1", "--frames", "4",
        "--warm-up", "1", "--rounds", "1", "--record", str(tmp_path / "records"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "FAILED  broken.onnx, 1 thread: CheckpointError" in done.stdout
    records = read_records(tmp_path / "records")
    assert {record.runtime for record in records} == {"eager", MIL}
    (one,) = [record for record in records if record.runtime == "eager"]
    assert one.values["network_ms"]["count"] == 4 and one.values["cores"] == 1
    assert str(tmp_path) not in (tmp_path / "records" / one.file_name).read_text()


# -------------------------------------------------------------------------------------------- soak


def pictures(count=50):
    def frames():
        for i in range(count):
            image = np.full((8, 8, 3), 100, np.uint8)
            image[0, 0] = (i, 0, 50)
            yield image

    return frames


def test_scenes_come_and_go():
    rng, seen, anew = np.random.default_rng(0), {}, []
    stream = bench_soak.scenes(pictures(), rng)
    for number in range(3000):
        image, new, kind = next(stream)
        seen.setdefault(kind, image)
        assert image.shape == (8, 8, 3) and image.dtype == np.uint8
        if new:
            anew.append(number)
            assert number % 50 == 0 and kind == "as it is"
    assert set(seen) == set(bench_soak.KINDS)
    assert anew[0] == 0 and 5 < len(anew) < 40  # of 60 beginnings
    assert not seen["black"].any() and seen["noise"].std() > 50
    assert seen["another scene"][7, 0, 0] == 50
    with pytest.raises(BadDataError, match="one frame"):
        list(bench_soak.scenes(pictures(1), rng))


class Told:
    found = True


class Steady(Echo):
    def update(self, image):
        self.calls.append("update")
        return Told


@pytest.mark.parametrize(("leak", "grown"), [(0.0, 0.0), (0.01, 9.0)])
def test_a_leak_shows_in_the_slope(clip, leak, grown):
    """0.01 MB a frame is 1,000 MB in 100,000; the first tenth does not count."""
    tracker, said = Steady(), []

    def memory():
        done = tracker.calls.count("update")
        return 200.0 + leak * done + (0 if done >= 100 else done)

    now = iter(range(100_000))
    made = bench_soak.soak(
        tracker, clip, 1000, say=said.append, memory=memory, clock=lambda: next(now)
    )
    assert made.update.tolist() == [1] * 1000
    assert made.settled_mb == pytest.approx(200 + 100 * leak)
    assert tracker.calls.count("update") == made.frames == made.found == 1000
    assert made.starts == tracker.calls.count("init") > 1
    assert made.slope_mb == pytest.approx(1e5 * leak, abs=1e-6)
    assert made.growth_mb == pytest.approx(grown, abs=1e-6)
    assert len(said) == len(made.at) == 200


def test_the_soak_tool(repo, sequence, weights, tmp_path):
    command = [
        sys.executable, str(repo / "tools/soak_track.py"), "--model", str(weights), "--video",
        str(sequence), "--frames", "120", "--threads", "1", "--record", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(
        [*command, "--most", "-1000"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1, done.stderr  # it grew by more than that
    assert "MB per 100,000 frames" in done.stdout
    record = read_records(tmp_path)[0]
    assert record.task == "tracking-soak" and record.values["frames"] == 120
    assert record.checkpoint_sha256 == sha256_of(weights) and record.exported is None
    assert record.latency.count == 120 and "peak_memory_mb" not in record.values
    assert "PyTorch" in tracking_soak([record])
    done = subprocess.run([*command, "--most", "1e6"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shipped_source", [True, False])
def test_a_soak_record_names_file_and_weights(clip, tmp_path, monkeypatch, shipped_source):
    """Of an exported file its own digest, and of its weights what it says."""
    from lightvit_bench.tracking.runtimes import cache

    own, file = tmp_path / "tracker_tiny.safetensors", tmp_path / "mine.xml"
    own.write_text("weights")
    file.write_text("network")
    monkeypatch.setattr(cache, "shipped", lambda: own)
    made = bench_soak.Soak(
        120, 1, 120, 0, 6.0, np.full(120, 0.05), np.array([60, 120]), np.array([200.0, 201.0])
    )

    def written(job, about):
        path = bench_soak.write_soak(made, job, about, clip, False, 0, tmp_path / "records")
        return read_record(path)

    source = sha256_of(own) if shipped_source else "ab" * 32
    about = {"runtime": "openvino", "precision": "bf16", "source": source, "batch": 1}
    one = written(Job("soak", EXPORTED, str(file), 2, (clip,)), about)
    assert (one.exported, one.exported_sha256) == (".../mine.xml", sha256_of(file))
    assert one.checkpoint_sha256 == source
    assert one.checkpoint == (".../tracker_tiny.safetensors" if shipped_source else None)
    about = {"runtime": EAGER, "precision": "fp32"}
    one = written(Job("soak", EAGER, None, 2, (clip,)), about)
    assert (one.checkpoint, one.checkpoint_sha256) == (
        ".../tracker_tiny.safetensors",
        sha256_of(own),
    )
    assert one.exported is None and one.exported_sha256 is None


def test_without_models_every_runtime_and_precision_is_exported(tmp_path, monkeypatch):
    """With the runtimes' own answers, and exporting itself left out."""
    from lightvit_bench.openvino_core import has_bfloat16
    from lightvit_bench.tracking.exporting import crops, write
    from lightvit_bench.tracking.latency.inputs import export_all
    from lightvit_bench.tracking.runtimes.load import installed

    asked = []
    monkeypatch.setattr(crops, "made_crops", lambda model: ["a crop"])
    monkeypatch.setattr(write, "export_model", lambda w, path, c, **how: asked.append((path, how)))
    entries = export_all(None, tmp_path, lambda line: None)
    precisions = {
        "openvino": ["fp32", *["bf16"] * has_bfloat16(), "int8"],
        "onnxruntime": ["fp32", "int8"],
    }
    wanted = [f"{r}_{p}" for r in precisions if r in installed() for p in precisions[r]]
    assert [path.stem for path, _ in asked] == wanted
    assert [how["precision"] for _, how in asked] == [name.split("_")[1] for name in wanted]
    assert len(entries) == len(wanted) and not any(one.failed for one in entries)
