"""Run records: they come back as they were, and nothing else is taken for one."""

import dataclasses
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

from lightvit_bench.bench import record as record_module
from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import describe_machine
from lightvit_bench.bench.parts import CURVE_POINTS, Curve, ModelSize, Recipe, StoredFiles
from lightvit_bench.bench.provenance import (
    command_line,
    git_commit,
    sha256_of,
    sha256_of_files,
    shown_path,
)
from lightvit_bench.bench.record import (
    RunRecord,
    measured_record,
    read_record,
    read_records,
    write_record,
)
from lightvit_bench.errors import BadDataError, MissingDataError

COMMIT = "3f2a" * 10


def made(**changes):
    """A record with something in every field that may be in one that was measured."""
    fields = dict(
        task="tracking-latency",
        model="tracker_tiny",
        values={
            "track_ms": Latency.of([0.01, 0.02]).as_dict(),
            "auc": {"bag": 63.25},
            "load": None,
        },
        origin="measured",
        date="2026-11-22T10:15:00Z",
        dataset="bag",
        split="all",
        protocol="speed@1",
        expected=300,
        evaluated=300,
        variant="eliminate",
        runtime="openvino",
        precision="bf16",
        threads=2,
        seed=0,
        checkpoint="weights/tracker_tiny.xml",
        checkpoint_sha256="ab" * 32,
        exported="tracker_tiny.xml",
        exported_sha256="ef" * 32,
        config="configs/stills/ostrack_tiny.py",
        config_sha256="cd" * 32,
        commit=COMMIT + "+changes",
        command="tools/bench_track.py --threads 2",
        device="cpu",
        machine=describe_machine(),
        versions={"numpy": "2.2.6", "torch": None},
        latency=Latency.of([0.1, 0.2, 0.3]),
        run="5e" * 16,
        recipe=Recipe(pretraining="D-MAE", pretraining_epochs=400, head="one-stream"),
        size=ModelSize(backbone_parameters=5_524_416, macs=2_200_000_000, input="128, 256"),
        curves={"success": Curve((0, 0.5, 1), (1, 0.7, 0), "overlap", "success")},
        predictions=StoredFiles("tracks", "work_dirs/boxes", 1, "12" * 32),
        truth=StoredFiles("lasot-annotations", "bag", 1, "34" * 32, {"rule": "toolkit"}),
        remarks=("one sequence",),
    )
    return RunRecord(**{**fields, **changes})


def faulty(**changes):
    with pytest.raises(BadDataError) as error:
        made(**changes)
    return error.value


def test_a_record_comes_back_as_it_was(tmp_path):
    for one in (
        made(),
        RunRecord("seg", "a model", {}, "demo", "2026-01-02T03:04:05Z", command="x"),
        RunRecord("seg", "m", {"mIoU": 38.9}, "published", "2026-01-02T03:04:05Z", source="p. 3"),
    ):
        assert read_record(write_record(one, tmp_path)) == one
    assert len(read_records(tmp_path)) == 3


def test_a_file_has_every_field_and_is_named_by_what_it_holds(tmp_path):
    path = write_record(made(model="a/b: c"), tmp_path / "records")
    values = json.loads(path.read_text())
    names = {field.name for field in dataclasses.fields(RunRecord)}
    assert set(values) == names | {"sha256"}
    assert values["source"] is None
    digest = values["sha256"][:8]
    assert path.name == f"tracking-latency_a_b_c_20261122T101500Z_{digest}.json"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert made(seed=1).file_name != made().file_name == made().file_name


def test_numbers_of_numpy_become_plain_ones():
    values = {"a": np.float32(0.5), "b": np.int64(3), "c": {"d": np.float64(1.5)}}
    found = made(values=values).values
    assert found == {"a": 0.5, "b": 3, "c": {"d": 1.5}}
    assert [type(found["a"]), type(found["b"]), type(found["c"]["d"])] == [float, int, float]


def test_values_are_not_shared_with_the_caller():
    values = {"auc": {"bag": 1.0}}
    one = made(values=values)
    values["auc"]["bag"] = 2.0
    assert one.values["auc"]["bag"] == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", ""),
        ("task", None),
        ("model", "two\nlines"),
        ("dataset", 3),
        ("runtime", "  "),
        ("origin", "guessed"),
        ("date", "2026-11-22"),
        ("date", "2026-13-22T10:15:00Z"),
        ("expected", -1),
        ("evaluated", 301),
        ("evaluated", None),
        ("threads", 0),
        ("threads", True),
        ("seed", 1.0),
        ("checkpoint_sha256", "AB" * 32),
        ("config_sha256", "ab"),
        ("commit", "3f2a+dirty"),
        ("command", None),
        ("source", "a paper"),
        ("machine", {"cpu": "x"}),
        ("latency", 12.0),
        ("format_version", 3),
        ("versions", ["numpy"]),
        ("values", [1]),
    ],
)
def test_fields_are_checked_for_type_and_range(field, value):
    assert faulty(**{field: value}).details["field"] == [field]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"a": float("nan")}, "values.a"),
        ({"a": {"b": float("inf")}}, "values.a.b"),
        ({"a": True}, "values.a"),
        ({"a": "12"}, "values.a"),
        ({"a": [1, 2]}, "values.a"),
        ({"a": 10**400}, "values.a"),
        ({"": 1}, "a name in values"),
        ({3: 1}, "a name in values"),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, "values.a.b.c.d"),
    ],
)
def test_figures_are_finite_numbers(values, field):
    assert faulty(values=values).details["field"] == [field]


def test_a_version_is_text():
    assert faulty(versions={"numpy": 2}).details["field"] == ["versions.numpy"]


def test_what_is_published_has_a_source():
    error = faulty(origin="published", command=None)
    assert error.details["field"] == ["source"]


def test_complete_is_what_was_expected():
    assert made().complete and made(expected=None, evaluated=None).complete
    assert not made(evaluated=299).complete


def changed(tmp_path, change):
    """The file of a record after a change of its JSON, with a digest that fits again."""
    path = write_record(made(), tmp_path)
    values = json.loads(path.read_text())
    del values["sha256"]
    change(values)
    values["sha256"] = record_module._digest(values)
    path.write_text(json.dumps(values))
    return path


def refusal(path):
    with pytest.raises(BadDataError) as error:
        read_record(path)
    assert error.value.details["file"] == [str(path)]
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "needles"),
    [
        (lambda v: v.update(speed=3), ["unknown fields", "field: speed"]),
        (lambda v: v.pop("split"), ["missing fields", "field: split"]),
        (lambda v: v["machine"].update(host="x"), ["unknown fields", "field: machine.host"]),
        (lambda v: v["machine"].update(cores="4"), ["whole number", "machine.cores"]),
        (lambda v: v["latency"].pop("p99"), ["missing fields", "latency.p99"]),
        (lambda v: v["latency"].update(p99=-1), ["finite number of 0 or more", "latency.p99"]),
        (lambda v: v.update(latency=[]), ["an object", "field: latency"]),
        (lambda v: v.update(threads="2"), ["whole number of 1 or more, not 2.", "field: threads"]),
        (lambda v: v["values"].update(auc="high"), ["finite number, not high", "values.auc"]),
        (lambda v: v.update(format_version=3), ["version 3", "newer than this program's 2"]),
        (lambda v: v.update(format_version="1"), ["whole number", "format_version"]),
        (lambda v: v.pop("format_version"), ["whole number", "format_version"]),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, change, needles):
    said = " ".join(refusal(changed(tmp_path, change)).split())
    for needle in needles:
        assert needle in said


def test_a_later_version_is_told_before_its_fields(tmp_path):
    path = changed(tmp_path, lambda v: v.update(format_version=9, new_field=1))
    assert "version 9" in refusal(path) and "unknown" not in refusal(path)


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("", "JSON"),
        ("[]", "object with named fields"),
        ("[" * 100_000, "JSON"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"values": {"a": NaN}}', "NaN is no number"),
        (b"\xff\xfe{", "JSON"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, needle):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert needle in refusal(path)


def test_a_figure_changed_by_hand_is_noticed(tmp_path):
    path = write_record(made(), tmp_path)
    text = path.read_text()
    path.write_text(text.replace("63.25", "73.25"))
    assert "changed after it was written" in refusal(path)
    path.write_text(json.dumps(json.loads(text)))  # laid out anew, the same figures
    assert read_record(path) == made()
    path.write_text(text.replace('"sha256"', '"sha"'))
    assert "unknown fields" in refusal(path)


def test_a_folder_is_read_in_the_order_of_dates(tmp_path):
    dates = ["2026-11-22T10:15:02Z", "2026-11-22T10:15:00Z", "2026-11-22T10:15:01Z"]
    for i, date in enumerate(dates):
        write_record(made(date=date, model="abc"[i], run=None), tmp_path)
    (tmp_path / "README.md").write_text("no record")
    assert [one.date for one in read_records(tmp_path)] == sorted(dates)


def test_two_files_of_one_record_are_refused(tmp_path):
    path = write_record(made(), tmp_path)
    (tmp_path / "copy.json").write_text(path.read_text())
    with pytest.raises(BadDataError, match="the same record") as error:
        read_records(tmp_path)
    assert len(error.value.details["files"]) == 2


def test_what_is_not_there_is_missing(tmp_path):
    for read in (read_record, read_records):
        with pytest.raises(MissingDataError):
            read(tmp_path / "none")


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(record_module.json, "dumps", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_record(made(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_measured_record_says_when_where_and_how(tmp_path):
    one = measured_record(
        "seg", "m", {"mIoU": 1}, packages=["numpy"], argv=["tools/test.py", "x y"], threads=2
    )
    assert one.command == "tools/test.py 'x y'"
    assert (one.versions, one.threads) == ({"numpy": np.__version__}, 2)
    assert one.machine.cores >= 1 and one.origin == "measured"
    assert read_record(write_record(one, tmp_path)) == one
    assert measured_record("seg", "m", {}, argv=["x"], commit=COMMIT).commit == COMMIT


def test_commands_name_no_folder_of_a_computer(tmp_path):
    root = tmp_path / "home me" / "project"
    argv = [
        str(root / "tools/test.py"),
        str(root / "configs/a.py"),
        "/home/me/data sets/lasot",
        "--out=/home/me/out",
        f"test_set.root={root}/data",
        "A=/home/me/a,/home/me/b:/home/me/c",
        "https://example.org/x",
        "../shared/data",
        "a b",
    ]
    said = command_line(argv, root)
    assert said == (
        "tools/test.py configs/a.py .../lasot --out=.../out test_set.root=data "
        "A=.../a,.../b:.../c https://example.org/x .../data 'a b'"
    )
    assert shown_path(root / "x/y.py", root) == "x/y.py"
    assert shown_path("/home/me/y.py", root) == ".../y.py"
    assert shown_path("x/y.py", root) == "x/y.py"
    assert shown_path(root / "../../alice/y.py", root) == ".../y.py"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("root='/home/alice/my data'", "root='.../my data'"),
        ('root="/home/alice/data"', 'root=".../data"'),
        ("init=['/home/alice/a', \"/home/alice/b\"]", "init=['.../a', \".../b\"]"),
        ("a=[/home/alice/x,/home/alice/y]", "a=[.../x,.../y]"),
        ("a=(/home/alice/x, /home/alice/y)", "a=(.../x, .../y)"),
        ("dict(init='/home/alice/z',a=1)", "dict(init='.../z',a=1)"),
        ("file:///home/alice/x", "file://.../x"),
        ("a='file:///home/alice/x'", "a='file://.../x'"),
        ("a=//home/alice/x", "a=.../x"),
        ("../../home/alice/x", ".../x"),
        ("a=['../../home/alice/x']", "a=['.../x']"),
        ("a=data/../../alice/x", "a=.../x"),
        ("a=data/../configs/x", "a=configs/x"),
        ("a='data/../configs/x'", "a='configs/x'"),
        ("~alice/x", ".../x"),
        ("a=~/alice/x", "a=.../x"),
        ("see /home/alice/x", "see .../x"),
        ("a='see ../../alice/x'", "a='see .../x'"),
        ("-I/home/alice/x", "-I.../x"),
        ("a=/home/alice (old)/x", "a=.../x"),
        ("a=/home/O'Alice/x", "a=.../x"),
        ("ROOT/data/x", "data/x"),
        ("a='ROOT/data/x'", "a='data/x'"),
        ("a=['ROOT/../alice/x']", "a=['.../x']"),
        ("a=https://example.org/b/../c", "a=https://example.org/b/../c"),
        ("a=b/c/d.py", "a=b/c/d.py"),
        ("a=1/2", "a=1/2"),
    ],
)
def test_no_form_of_a_path_names_a_persons_folder(tmp_path, monkeypatch, typed, shown):
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    said = command_line([str(root / "x.py"), typed.replace("ROOT", str(root))], root)
    assert shlex.split(said) == ["x.py", shown]


def test_a_path_that_goes_up_is_taken_from_the_current_folder(tmp_path, monkeypatch):
    root = tmp_path / "project"
    (root / "tools").mkdir(parents=True)
    monkeypatch.chdir(root / "tools")
    assert shown_path("../configs/a.py", root) == "configs/a.py"
    assert shown_path("../../alice/data", root) == ".../data"
    assert shown_path("~/data", root) == ".../data"


def git(root, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(root), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_commit_says_whether_files_differ_from_it(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    assert git_commit(root) is None
    git(root, "init", "-q")
    assert git_commit(root) is None  # no commit yet
    (root / "a.py").write_text("a = 1\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    commit = git(root, "rev-parse", "HEAD")
    assert git_commit(root) == commit
    write_record(made(), root / "records")
    assert git_commit(root) == commit
    (root / "a.py").write_text("a = 2\n")
    assert git_commit(root) == commit + "+changes"
    git(root, "checkout", "-q", "a.py")
    (root / "b.py").write_text("")
    assert git_commit(root) == commit + "+changes"
    inner = root / "inner"
    inner.mkdir()
    assert git_commit(inner) is None  # somebody else's checkout


def test_a_files_hash(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


def test_records_need_no_torch():
    program = (
        "import sys; import lightvit_bench.bench.tables, lightvit_bench.bench.blocks; "
        "print([n for n in ('torch', 'timm', 'cv2', 'mmengine') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_two_records_of_one_run_are_refused(tmp_path):
    first, second = made(), made(values={"auc": 99.0})
    for one in (first, second):
        write_record(one, tmp_path)
    with pytest.raises(BadDataError) as error:
        read_records(tmp_path)
    assert "two records are of one run" in str(error.value)
    assert first.file_name in str(error.value) and second.file_name in str(error.value)


def test_every_measurement_is_a_run_of_its_own():
    one, other = (measured_record("seg", "m", {}, argv=["x"]) for _ in range(2))
    assert len(one.run) == 32 and one.run != other.run


def test_a_record_of_version_1_comes_back_as_it_was(tmp_path):
    new = dict.fromkeys(("run", "recipe", "size", "predictions", "truth"))
    old = made(**new, curves={}, remarks=(), format_version=1)
    path = write_record(old, tmp_path)
    values = json.loads(path.read_text())
    assert not set(values) & {*new, "curves", "remarks"}
    assert read_record(path) == old and read_record(path).file_name == path.name
    assert "new in version 2" in str(faulty(format_version=1))


def test_a_long_curve_is_thinned_and_keeps_its_end():
    x = list(range(3 * CURVE_POINTS + 5))
    curve = Curve.thinned(x, [2 * value for value in x], "iteration", "loss")
    assert CURVE_POINTS // 2 < len(curve.x) <= CURVE_POINTS
    assert curve.x[-1] == x[-1] and all(b == 2 * a for a, b in zip(curve.x, curve.y, strict=True))
    assert Curve.thinned([1, 2], [3, 4], "x", "y").y == (3, 4)


def test_the_digest_of_files_is_of_names_and_contents(tmp_path):
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    a, b = tmp_path / "a", tmp_path / "b"
    digests = [sha256_of_files(files) for files in ({"a": a, "b": b}, {"a": b, "b": a}, {"a": a})]
    assert len(set(digests)) == 3
    assert sha256_of_files({"b": b, "a": a}) == digests[0]


def test_a_folder_is_no_record(tmp_path):
    folder = tmp_path / "x.json"
    folder.mkdir()
    write_record(made(), tmp_path)
    assert len(read_records(tmp_path)) == 1
    with pytest.raises(MissingDataError, match="no such record"):
        read_record(folder)
