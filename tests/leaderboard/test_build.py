"""What the leaderboard writes: fresh in the project, made of records and published rows alone."""

import importlib.util
import json
import math
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from lightvit_bench.bench.record import RunRecord, write_record
from lightvit_bench.leaderboard import build

ROOT = Path(__file__).resolve().parents[2]
README = """# A project

<!-- begin: leaderboard (made by tools/leaderboard.py build; do not edit) -->
<!-- end: leaderboard -->

The rest.
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("lb_tool", ROOT / "tools" / "leaderboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(tool, monkeypatch, capsys):
    """Run the tool in this process: exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tools/leaderboard.py", *map(str, arguments)])
        monkeypatch.delenv("LIGHTVIT_TRACEBACK", raising=False)
        try:
            code = tool.run_cli(tool.main)
        except SystemExit as stop:
            code = stop.code
        return code, "".join(capsys.readouterr())

    return run


def record(**changes):
    fields = dict(
        task="tracking",
        model="tracker",
        values={"auc": 63.25},
        origin="measured",
        date="2026-11-22T10:15:00Z",
        dataset="bag",
        protocol="ope@toolkit",
        expected=1,
        evaluated=1,
        command="tools/test.py x",
        run="5e" * 16,
        seed=0,
    )
    return RunRecord(**{**fields, **changes})


@pytest.fixture
def project(tmp_path):
    """A project with one record and the published rows."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "README.md").write_text(README)
    shutil.copytree(ROOT / "leaderboard" / "published", root / "leaderboard" / "published")
    shutil.copytree(ROOT / "configs", root / "configs")
    write_record(record(), root / "records")
    return root


def test_what_is_generated_is_fresh(call):
    code, told = call("check")
    assert code == 0, told
    for name in ("README.md", "leaderboard/index.html", "leaderboard/leaderboard.csv"):
        assert f"{name}: up to date" in told
    assert "metafile.yml: up to date" in told


def test_a_change_anywhere_is_stale(project):
    sources = build.Sources.of(project)
    files = build.project_files(project, sources)
    written = {path for path in files if not path.name.endswith(("metafile.yml", "index.yml"))}
    assert len(written) == 4 and written <= set(build.stale(project, files))
    build.write(project, files)
    assert not build.stale(project, build.project_files(project, sources))
    assert (project / "README.md").read_text().endswith("\nThe rest.\n")

    # a new record makes README, CSV and page stale, and nothing else
    write_record(record(values={"auc": 64.0}, run="6f" * 16, model="second"), project / "records")
    changed = build.stale(project, build.project_files(project, sources))
    assert sorted(map(str, changed)) == [
        "README.md",
        "leaderboard/index.html",
        "leaderboard/leaderboard.csv",
    ]
    # so does an edit by hand
    build.write(project, build.project_files(project, sources))
    table = project / "leaderboard" / "leaderboard.csv"
    table.write_text(table.read_text().replace("63.25", "73.25"))
    assert build.stale(project, build.project_files(project, sources)) == [
        Path("leaderboard/leaderboard.csv")
    ]


def test_last_digits_of_another_python_change_nothing(project, monkeypatch):
    for seed, digit in enumerate("678"):
        values = {"auc": 60.1 + 0.3 * seed}
        changed = dict(seed=seed, run=digit * 32, model="m", checkpoint_sha256=digit * 64)
        write_record(record(values=values, **changed), project / "records")
    sources = build.Sources.of(project)
    files = build.project_files(project, sources)
    exact = statistics.stdev
    monkeypatch.setattr(statistics, "stdev", lambda x: math.nextafter(exact(x), math.inf))
    assert build.project_files(project, sources) == files


def test_the_same_records_give_the_same_files(project):
    sources = build.Sources.of(project)
    assert build.project_files(project, sources) == build.project_files(project, sources)


def test_the_page_and_table_alone_go_elsewhere(call, project, tmp_path):
    out = tmp_path / "elsewhere"
    code, told = call("build", "--records", project / "records", "--out", out)
    assert code == 0, told
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "leaderboard.csv"]
    assert "63.25" in (out / "leaderboard.csv").read_text()
    assert str(out / "index.html") in told


@pytest.mark.parametrize(
    ("spoil", "needles"),
    [
        (lambda v: v["values"].update(auc=99.9), ["changed after it was written", "measure again"]),
        (lambda v: v.update(format_version=9, new=1), ["version 9", "update lightvit_bench"]),
        (lambda v: v.update(speed=1), ["unknown fields", "speed"]),
    ],
)
def test_a_spoiled_record_is_named(call, project, spoil, needles):
    (path,) = (project / "records").iterdir()
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    code, told = call("build", "--records", project / "records", "--out", project / "out")
    assert code == 2
    for needle in [*needles, path.name]:
        assert needle in told
    assert not (project / "out").exists()


def test_two_records_of_one_run_are_named(call, project):
    second = write_record(record(values={"auc": 99.0}), project / "more")
    code, told = call(
        "build", "--records", project / "records", project / "more", "--out", project / "out"
    )
    assert code == 2 and "two records are of one run" in told and second.name in told


def test_records_of_a_suite_are_found_below_their_folder(call, project):
    write_record(
        record(run="6f" * 16, seed=1, values={"auc": 64.25}), project / "s/a/seed-1/records"
    )
    folders = (project / "records", project / "s", project / "s")
    code, told = call("build", "--records", *folders, "--out", project / "out")
    assert code == 0, told
    assert "63.75" in (project / "out" / "leaderboard.csv").read_text()


def test_records_that_a_suite_set_aside_do_not_count(call, project):
    for name in ("seed-0", "seed-0.old-1", "a.b"):
        number = f"{ord(name[-1]):02x}" * 16
        write_record(record(run=number, model=f"of {name}"), project / "s.v2" / name / "records")
    code, told = call("build", "--records", project / "s.v2", "--out", project / "out")
    assert code == 0, told
    table = (project / "out" / "leaderboard.csv").read_text()
    assert "of seed-0," in table and "of a.b," in table and "of seed-0.old-1" not in table


def test_a_folder_without_records_is_named(call, project):
    (project / "empty").mkdir()
    code, told = call("build", "--records", project / "empty", "--out", project / "out")
    assert code == 2 and "has none" in told and str(project / "empty") in told


def test_a_published_row_without_source_is_named(call, project):
    folder = project / "leaderboard" / "published"
    path = sorted(folder.glob("*.yml"))[0]
    lines = path.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.lstrip(" -").startswith("source:"))
    indent, dash = lines[at].split("source:")[0], "- " in lines[at].split("source:")[0]
    lines[at : at + 1] = [f"{indent}dataset: nothing\n"] if dash else []
    path.write_text("".join(lines))
    code, told = call(
        "build", "--records", project / "records", "--published", folder, "--out", project / "out"
    )
    assert code == 2 and "source" in told and path.name in told


def test_a_place_that_cannot_be_written_is_named(call, project, tmp_path):
    (tmp_path / "file").write_text("kept")
    code, told = call("build", "--records", project / "records", "--out", tmp_path / "file")
    assert code == 2 and "--out DIR" in told and str(tmp_path / "file") in told
    assert (tmp_path / "file").read_text() == "kept"


def test_missing_folders_are_named(call, tmp_path):
    code, told = call("build", "--records", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 2 and "no such folder of records" in told and str(tmp_path / "none") in told
    code, told = call("build", "--published", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 2 and str(tmp_path / "none") in told


def test_it_starts_without_torch_and_mm():
    told = subprocess.run(
        [sys.executable, "-c", "import sys; import lightvit_bench.leaderboard.build\n"
         "print(sorted({m.split('.')[0] for m in sys.modules} "
         "& {'torch', 'timm', 'mmengine', 'mmdet', 'mmseg', 'cv2', 'scipy'}))"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip
    assert told.strip() == "[]"
