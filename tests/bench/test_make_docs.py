"""Tables from records: every figure of them is a record's, and the committed ones are fresh."""

import subprocess
import sys
from dataclasses import replace

import pytest

from lightvit_bench.bench.blocks import block_of
from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import Machine
from lightvit_bench.bench.record import RunRecord, write_record
from lightvit_bench.bench.soak_table import TRACKING_SOAK, tracking_soak
from lightvit_bench.bench.tables import NOTHING, tracking_cpu
from lightvit_bench.bench.track_runs import KEYS, TRACKING_LATENCY, TrackRun
from lightvit_bench.errors import BadDataError

BEGIN = "<!-- begin: tracking-cpu (made by tools/make_docs.py; do not edit) -->\n"
END = "<!-- end: tracking-cpu -->\n"
ELIMINATE, PRUNE = "eliminate at 3, 6, 9", "prune after 1"


def machine(**changes):
    fields = dict(
        cpu="A CPU",
        family=6,
        model=143,
        stepping=8,
        flags=("avx2", "amx_bf16"),
        cores=2,
        cores_in_all=4,
        memory_mb=16_000,
        system="Linux 6.1",
        python="3.11.7",
        load=(0.5, 0.6, 0.7),
    )
    return Machine(**{**fields, **changes})


def times(ms):
    """A distribution around a median of `ms`: p95 is 1.5 and p99 twice that."""
    return Latency(300, ms, 1.1 * ms, 1.5 * ms, 2 * ms, 0.9 * ms, 3 * ms).as_dict()


def run(runtime="openvino", ms=10.0, values=None, minute=0, **changes):
    figures = dict.fromkeys(KEYS)
    figures |= {
        "network_ms": times(ms),
        "track_ms": times(ms + 1),
        "end_to_end_ms": times(ms + 3),
        "frames_per_second": 1000 / (ms + 3),
        "load_seconds": 0.456,
        "peak_memory_mb": 212.4,
    }
    fields = dict(
        task=TRACKING_LATENCY,
        model="tracker_tiny",
        values={**figures, **(values or {})},
        origin="measured",
        date=f"2026-11-22T10:{minute:02}:00Z",
        dataset="bag",
        expected=300,
        evaluated=300,
        variant=ELIMINATE,
        runtime=runtime,
        precision="fp32",
        threads=2,
        commit="1234567" + "0" * 33,
        command=f"tools/bench_track.py --runtime {runtime}",
        device="cpu",
        machine=machine(),
        versions={"openvino": "2026.4.1", "absent": None},
    )
    return RunRecord(**{**fields, **changes})


def rows(text, first):
    """The rows of the table whose head has a cell `first`, as lists of cells."""
    tables, lines = [], text.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("| network") and f" {first} |" in line:
            tables.append(i)
    (start,) = tables
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    widths = {len(cells) for cells in found}
    assert len(widths) == 1, "a row has another number of cells"
    return found[2:]


def row(text, first, runtime, threads="2"):
    (found,) = [cells for cells in rows(text, first) if cells[1:3] == [runtime, threads]]
    return found[3:]


def test_without_records_it_says_so():
    assert tracking_cpu([]) == NOTHING
    other = RunRecord("segmentation", "m", {"mIoU": 1}, "demo", "2026-01-01T00:00:00Z", command="x")
    assert tracking_cpu([other]) == NOTHING


def test_one_run_gives_its_own_figures():
    text = tracking_cpu([run(ms=10.0)])
    assert row(text, "network ms", "OpenVINO, fp32") == ["10.0", "11.0", "13.0", "77", "–", "1 run"]
    assert row(text, "network p95, p99", "OpenVINO, fp32") == [
        *("15.0, 20.0", "16.5, 22.0", "19.5, 26.0"),
        *("0.46", "212"),
    ]
    assert "largest px" not in text and "MultiTracker" not in text


def test_several_runs_give_the_median_of_medians_and_the_spread():
    text = tracking_cpu(
        [
            run(ms=ms, minute=i, values={"peak_memory_mb": 200 + i})
            for i, ms in enumerate((12, 9, 10))
        ]
    )
    assert row(text, "network ms", "OpenVINO, fp32") == [
        *("10.0 (9.00 to 12.0)", "11.0 (10.0 to 13.0)", "13.0 (12.0 to 15.0)"),
        *("77 (67 to 83)", "–", "3 runs"),
    ]
    cells = row(text, "network p95, p99", "OpenVINO, fp32")
    assert cells == ["15.0, 20.0", "16.5, 22.0", "19.5, 26.0", "0.46", "201 (200 to 202)"]
    assert "3 records" in text and text.count("    tools/bench_track.py") == 1


def test_rounds_of_a_run_show_in_the_spread():
    def rounds(count, least, most):
        ends = {"least": least, "most": most}
        told = {"count": count, "network_ms": None, "track_ms": ends, "load_seconds": ends}
        return {"rounds": {**told, "peak_memory_mb": ends, "frames_per_second": ends}}

    text = tracking_cpu([run(ms=10, values=rounds(3, 8, 30))])
    cells = ["10.0", "11.0 (8.00 to 30.0)", "13.0", "77 (8.0 to 77)", "–", "3 rounds"]
    assert row(text, "network ms", "OpenVINO, fp32") == cells
    cells = row(text, "network p95, p99", "OpenVINO, fp32")
    assert cells[3:] == ["0.46 (0.46 to 30.00)", "212 (8 to 212)"]
    two = [run(ms=10, values=rounds(3, 8, 30)), run(ms=12, values=rounds(2, 9, 40), minute=1)]
    cells = row(tracking_cpu(two), "network ms", "OpenVINO, fp32")
    assert cells[1] == "12.0 (8.00 to 40.0)" and cells[-1] == "2 runs, 5 rounds"


def test_the_ratio_is_the_one_of_the_same_run():
    """Figures of different commits are not divided: without the run's own there is a dash."""

    def fast(value):
        return {"values": {"times_as_fast_as": {"eager": value, "opencv-mil": 99}}}

    text = tracking_cpu(
        [
            run("eager", 38.6, **fast(1.0)),
            run("torch", 25),
            run("openvino", 8.0, precision="bf16", **fast(4.44)),
            run("openvino", 8.0, precision="bf16", minute=1, **fast(5.44)),
            run("onnxruntime", 98, **fast(0.401)),
            run("opencv-mil", 197, variant=None, precision=None, **fast(None)),
        ]
    )
    found = {cells[1]: cells[-2] for cells in rows(text, "network ms")}
    assert found == {
        "eager PyTorch, fp32": "1",
        "PyTorch, fp32": "–",
        "OpenVINO, bf16": "4.9 (4.4 to 5.4)",
        "ONNX Runtime, fp32": "0.40",
        "OpenCV's MIL": "–",
    }
    order = [cells[1] for cells in rows(text, "network ms")]
    assert order[0].startswith("ONNX") and order[3] == "OpenVINO, bf16", "the slowest is first"
    assert "| ratio to eager PyTorch |" in text


def test_other_exported_files_have_rows_of_their_own():
    files = [("a.xml", 1, 10), ("a.xml", 0, 11), ("b.xml", 1, 12)]
    records = [
        run(ms=ms, exported=f".../{name}", exported_sha256="ab" * 32, values={"batch": batch})
        for name, batch, ms in files
    ]
    text = tracking_cpu([*records, run("eager", 30)])
    assert {cells[1]: cells[3] for cells in rows(text, "network ms")} == {
        "OpenVINO, fp32 (a.xml, batch 1)": "10.0",
        "OpenVINO, fp32 (a.xml, any batch)": "11.0",
        "OpenVINO, fp32 (b.xml, batch 1)": "12.0",
        "eager PyTorch, fp32": "30.0",
    }
    assert "a.xml" not in tracking_cpu(records[:1])


def test_what_does_not_apply_is_a_dash():
    values = dict.fromkeys(KEYS) | {"track_ms": times(200)}
    text = tracking_cpu([run("opencv-mil", values=values, variant=None, precision=None)])
    assert row(text, "network ms", "OpenCV's MIL") == ["–", "200", "–", "–", "–", "1 run"]
    assert row(text, "network p95, p99", "OpenCV's MIL") == ["–", "300, 400", "–", "–", "–"]


def test_boxes_and_scores_have_a_table_where_there_are_any():
    values = {
        "boxes_max_difference_px": 0.0123,
        "boxes_mean_difference_px": 0.00456,
        "auc": {"demo": 60.04, "bag": 0.7123},
    }
    text = tracking_cpu([run(values=values), run("onnxruntime")])
    assert "| AUC bag | AUC demo |" in text
    assert rows(text, "largest px") == [
        [ELIMINATE, "OpenVINO, fp32", "2", "0.0123", "0.00456", "0.7123", "60.04"]
    ]


def test_several_targets_have_a_table_of_their_own():
    records = [
        run(ms=10 * n, values={"targets": n, "frames_per_second": 80 / n}) for n in (8, 1, 2)
    ]
    text = tracking_cpu([run(), *records, run("torch", values={"targets": 2}, ms=97)])
    assert "| 1 target | 2 targets | 8 targets |" in text
    assert sorted(rows(text, "8 targets")) == [
        [ELIMINATE, "OpenVINO, fp32", "2", "80", "40", "10"],
        [ELIMINATE, "PyTorch, fp32", "2", "–", "10", "–"],
    ]
    assert len(rows(text, "network ms")) == 1, "they are not among those of one target"


@pytest.mark.parametrize(
    "newer",
    [
        {"commit": "7654321" + "0" * 33},
        {"commit": "1234567" + "0" * 33 + "+changes"},
        {"checkpoint_sha256": "ab" * 32},
        {"exported_sha256": "ab" * 32},
        {"versions": {"openvino": "2027.0.0"}},
        {"values": {"warm_up": 50}},
        {"values": {"cores": 1}},
        {"values": {"track_ms": {**times(21), "count": 100}}},
    ],
)
def test_a_newer_state_replaces_earlier_runs(newer):
    old = [run(ms=10, minute=i) for i in range(3)] + [run("torch", 30)]
    text = tracking_cpu([run(ms=20, minute=30, **newer), *old])
    assert row(text, "network ms", "OpenVINO, fp32")[0] == "20.0"
    assert row(text, "network ms", "PyTorch, fp32")[0] == "30.0", "another case stays"
    assert "2 records" in text


def test_origins_and_unfinished_runs_are_not_mixed_in():
    text = tracking_cpu(
        [
            run(ms=10),
            run(ms=99, evaluated=299, minute=1),
            run(ms=98, origin="demo", minute=2),
            run(ms=97, origin="published", source="a paper", minute=3),
        ]
    )
    assert row(text, "network ms", "OpenVINO, fp32")[0] == "10.0"
    assert text.endswith("Left out: 1 run of fewer frames than expected.")


def test_machines_and_data_have_tables_of_their_own():
    for other in ({"machine": machine(cpu="B CPU")}, {"dataset": "demo"}, {"device": "a GPU"}):
        text = tracking_cpu([run(ms=10), run(ms=20, **other)])
        assert text.count("| network | runtime | threads | network ms |") == 2, other
    same = machine(load=(9.5, 1, 1))
    text = tracking_cpu([run(ms=10), run(ms=20, machine=same, minute=1)])
    assert text.count("| network | runtime | threads | network ms |") == 1
    assert "load average 5.0 (0.5 to 9.5)" in text


def test_it_says_what_it_was_measured_with():
    other = dict(date="2026-11-24T00:00:00Z", commit="89abcde" + "0" * 33 + "+changes")
    text = tracking_cpu([run(), run("torch", 30, versions={"torch": "2.13.0"}, **other)])
    for needle in (
        "Data: bag.",
        "Frames of a round, after the warm-up: 300.",
        "Machine: A CPU (family 6, model 143, stepping 8; avx2, amx\\_bf16), 2 of 4 cores, "
        "16.0 GB; Linux 6.1, Python 3.11.7; load average 0.5.",
        "Versions: openvino 2026.4.1, torch 2.13.0.",
        "Commits 89abcde with changes, 1234567; 2026-11-22 to 2026-11-24; 2 records, made by",
    ):
        assert needle in " ".join(text.split())
    assert text.splitlines()[-3:] == [
        "",
        "    tools/bench_track.py --runtime openvino",
        "    tools/bench_track.py --runtime torch",
    ]
    assert "absent" not in text


def test_text_of_a_record_stays_text():
    text = tracking_cpu([run(variant="a | b <!-- *c* _d_")])
    assert "a \\| b \\<!-- \\*c\\* \\_d\\_" in text


def test_models_are_told_apart():
    text = tracking_cpu([run(model="first"), run(model="second", ms=20)])
    assert [cells[0] for cells in rows(text, "network ms")] == [
        f"first: {ELIMINATE}",
        f"second: {ELIMINATE}",
    ]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"track_ms": 12.0}, "values.track_ms"),
        ({"track_ms": {"median": 12.0}}, "values.track_ms.count"),
        ({"track_ms": {**times(5), "p99": -1}}, "values.track_ms.p99"),
        ({"frames_per_second": {"a": 1}}, "values.frames_per_second"),
        ({"load_seconds": -1}, "values.load_seconds"),
        ({"auc": 63}, "values.auc"),
        ({"auc": {"bag": None}}, "values.auc.bag"),
        ({"targets": 0}, "values.targets"),
        ({"targets": 1.5}, "values.targets"),
        ({"batch": -1}, "values.batch"),
        ({"times_as_fast_as": {"eager": -1}}, "values.times_as_fast_as.eager"),
        ({"times_as_fast_as": 3}, "values.times_as_fast_as"),
        ({"rounds": {"count": 0}}, "values.rounds.count"),
        ({"rounds": {"track_ms": 3}}, "values.rounds.track_ms"),
        ({"rounds": {"track_ms": {"least": 3, "most": 2}}}, "values.rounds.track_ms.most"),
    ],
)
def test_values_of_another_kind_are_refused(values, field):
    record = run(values=values)
    with pytest.raises(BadDataError) as error:
        TrackRun.of(record)
    assert field in error.value.details["field"][0]
    assert error.value.details["record"] == [record.file_name]


def test_every_value_is_given_if_only_as_null():
    values = {key: value for key, value in run().values.items() if key != "load_seconds"}
    with pytest.raises(BadDataError, match="lacks values") as error:
        tracking_cpu([RunRecord(**{**vars(run()), "values": values})])
    assert error.value.details["field"] == ["values.load_seconds"]


def soaked(minute=0, values=None, **changes):
    figures = {
        "frames": 100_000,
        "memory_mb_after_a_tenth": 200.04,
        "memory_mb_at_the_end": 203.96,
        "mb_per_100000_frames": 1.234,
    }
    fields = dict(
        task=TRACKING_SOAK,
        values={**figures, **(values or {})},
        minute=minute,
        expected=100_000,
        evaluated=100_000,
        precision="bf16",
        command="tools/soak_track.py",
        latency=Latency.of([0.012, 0.013, 0.014]),
    )
    one = run(**{**fields, **changes, "values": {}})
    return replace(one, values=fields["values"])


def test_memory_over_many_frames_has_a_block():
    assert tracking_soak([run()]) == NOTHING
    text = tracking_soak([soaked(values={"frames": 5}), soaked(minute=1), run()])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[2:] == ["| OpenVINO | bf16 | 2 | 100,000 | 200.0 | 204.0 | +1.23 | 13.0 |"]
    for needle in ("Data: bag. Machine: A CPU", "Commit 1234567; 2026-11-22; 1 record, made by"):
        assert needle in " ".join(text.split())
    assert text.endswith("\n\n    tools/soak_track.py")
    text = tracking_soak([soaked(), soaked(runtime="eager"), soaked(origin="demo"), run()])
    assert text.count("| OpenVINO |") == 2 and text.count("| eager PyTorch |") == 1
    assert text.count("Data: bag.") == text.count("Data: bag, generated.") == 1
    text = tracking_soak([soaked(), soaked(evaluated=9, minute=3)])
    assert text.endswith("Left out: 1 run of fewer frames than expected.")
    with pytest.raises(BadDataError) as error:
        tracking_soak([soaked(values={"memory_mb_at_the_end": None})])
    assert "memory_mb_at_the_end" in error.value.details["field"][0]


def test_the_tool_writes_the_block_of_memory(make_docs, tmp_path):
    page = tmp_path / "docs/benchmarks.md"
    markers = [line.replace("tracking-cpu", "tracking-soak") for line in (BEGIN, END)]
    page.write_text(BEGIN + END + "\nbetween\n" + "".join(markers))
    write_record(soaked(), tmp_path / "records")
    assert make_docs("--check").returncode == 1
    assert make_docs().returncode == 0
    assert block_of(page.read_text(), "tracking-soak") == tracking_soak([soaked()])
    assert block_of(page.read_text(), "tracking-cpu") == NOTHING


@pytest.fixture
def make_docs(repo, tmp_path):
    """Run the tool on a folder of docs and one of records."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "records").mkdir()

    def call(*options):
        return subprocess.run(
            [sys.executable, str(repo / "tools/make_docs.py")]
            + ["--docs", str(tmp_path / "docs"), "--records", str(tmp_path / "records"), *options],
            capture_output=True,
            text=True,
        )

    return call


def test_the_tool_writes_checks_and_names_what_is_stale(make_docs, tmp_path):
    page, records = tmp_path / "docs/benchmarks.md", tmp_path / "records"
    page.write_text(f"# Title\n\n{BEGIN}{END}\nafter\n")
    write_record(run(ms=10), records)
    before = page.read_bytes()
    done = make_docs("--check")
    assert (done.returncode, done.stderr) == (1, "")
    assert "benchmarks.md, tracking-cpu: stale" in done.stdout
    assert page.read_bytes() == before, "--check writes nothing"

    done = make_docs()
    assert (done.returncode, done.stdout) == (
        0,
        "benchmarks.md, tracking-cpu: written\n"
        "benchmarks.md, tracking-soak: no record and no place for one\n"
        "benchmarks.md, detection-cpu: no record and no place for one\n",
    )
    text = page.read_text()
    assert block_of(text, "tracking-cpu") == tracking_cpu([run(ms=10)])
    assert text.startswith(f"# Title\n\n{BEGIN}") and text.endswith(f"{END}\nafter\n")
    assert make_docs("--check").returncode == 0

    write_record(run(ms=20, minute=1), records)
    assert make_docs("--check").returncode == 1
    assert make_docs().returncode == 0
    page.write_text(page.read_text().replace("15.0", "5.0"))  # a figure by hand
    assert make_docs("--check").returncode == 1


def test_a_document_without_the_block_fails_once_there_are_records(make_docs, tmp_path):
    page = tmp_path / "docs/benchmarks.md"
    page.write_text("# Title\n")
    done = make_docs("--check")
    assert done.returncode == 0 and "no record and no place" in done.stdout
    write_record(run(), tmp_path / "records")
    for options in ((), ("--check",)):
        done = make_docs(*options)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "begin of the block tracking-cpu is missing" in done.stderr
        assert str(page) in done.stderr
    assert page.read_text() == "# Title\n"


def test_a_block_without_records_says_so(make_docs, tmp_path):
    page = tmp_path / "docs/benchmarks.md"
    page.write_text(BEGIN + END)
    assert make_docs().returncode == 0
    assert block_of(page.read_text(), "tracking-cpu") == NOTHING


def test_the_tool_refuses_what_is_not_there_or_damaged(make_docs, tmp_path):
    done = make_docs("--records", str(tmp_path / "none"))
    assert done.returncode == 2 and "no such folder of records" in done.stderr
    done = make_docs()
    assert done.returncode == 2 and "no such document" in done.stderr
    path = write_record(run(), tmp_path / "records")
    path.write_text(path.read_text().replace("0.456", "0.123"))
    done = make_docs()
    assert done.returncode == 2 and "changed after it was written" in done.stderr


def test_committed_tables_are_what_the_committed_records_give(repo):
    """With records the block has to be there; without any, it may be missing."""
    done = subprocess.run(
        [sys.executable, str(repo / "tools/make_docs.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
