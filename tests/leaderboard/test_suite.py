"""Suites: files that are read strictly; cells that run once, go on after a stop, and add up."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lightvit_bench.bench.provenance import sha256_of
from lightvit_bench.bench.record import read_record, record_files, write_record
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.leaderboard.compare import compare_lines
from lightvit_bench.leaderboard.suite import run_suite
from lightvit_bench.leaderboard.suite_cells import Cell, asked_of, changes, config_files
from lightvit_bench.leaderboard.suite_child import locked
from lightvit_bench.leaderboard.suite_file import SHIPPED_FILE, SuiteRun, read_suite

# Stand-ins for the tools: each run appends a line to calls.txt; files in the folder say what fails.
COMMON = """
import json, os, sys, time
from pathlib import Path
HERE = Path(__file__).parent
ARGUMENTS = sys.argv[1:]

def after(option):
    return ARGUMENTS[ARGUMENTS.index(option) + 1]

OPTIONS = dict(one.split("=", 1) for one in ARGUMENTS[ARGUMENTS.index("--cfg-options") + 1:]) \\
    if "--cfg-options" in ARGUMENTS else {}
SEED = int(OPTIONS.get("randomness.seed", 0))

def called(tool):
    with open(HERE / "calls.txt", "a") as file:
        file.write(json.dumps([tool, ARGUMENTS]) + "\\n")

def told(what):
    return (HERE / what).exists() and SEED in json.loads((HERE / what).read_text())
"""
TRAIN = (
    COMMON
    + """
called("train")
work = Path(after("--work-dir"))
work.mkdir(parents=True, exist_ok=True)
assert after("--resume") == "auto"
start = len(list(work.glob("iter_*.pth")))
for i in range(start + 1, 3):
    (work / f"iter_{i}.pth").write_text(f"{ARGUMENTS[0]} {SEED} {i}")
    if told("train_fails"):
        print("an epoch\\n\\nTrainingError: the loss is no number any more")
        sys.exit(2)
    if told("train_hangs"):
        print("hanging", flush=True)
        (HERE / "hangs").write_text(str(os.getpid()))
        time.sleep(60)
"""
)
TEST = (
    COMMON
    + """
import hashlib
from lightvit_bench.bench.record import RunRecord, write_record
called("test")
checkpoint = Path(ARGUMENTS[1])
assert checkpoint.is_file(), checkpoint
Path(after("--out")).mkdir(exist_ok=True)
if told("test_writes_none"):
    sys.exit()
score = float(OPTIONS.get("score", 30)) + SEED
weights = b"others" if told("test_takes_other_weights") else checkpoint.read_bytes()
digest = hashlib.sha256(weights).hexdigest()
record = RunRecord(
    "segmentation", Path(ARGUMENTS[0]).stem,
    {"miou": None if told("test_has_no_score") else score, "macc": 50.0}, "demo",
    f"2026-11-22T10:00:{SEED:02}Z", dataset="made", split="val", protocol="made@single-scale",
    expected=4, evaluated=3 if told("test_is_incomplete") else 4,
    seed=SEED + told("test_mistakes_seed"), command="tools/test.py", run=os.urandom(16).hex(),
    checkpoint=checkpoint.name,
    **{} if told("test_names_no_weights") else {
        "exported_sha256" if checkpoint.suffix == ".xml" else "checkpoint_sha256": digest
    },
)
write_record(record, after("--record"))
if told("test_fails"):
    print("after its record was written")
    sys.exit(1)
"""
)
BENCH = (
    COMMON
    + """
from lightvit_bench.bench.record import RunRecord, write_record
called("bench")
record = RunRecord(
    "pairs-speed", "tracker", {"pairs_per_second": 100.0}, "measured", "2026-11-22T10:00:00Z",
    command="bench.py", seed=int(after("--seed")) if "--seed" in ARGUMENTS else None,
)
write_record(record, after("--record"))
"""
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with stand-ins for tools and two configs, one the base of the other."""
    (tmp_path / "tools").mkdir()
    for name, text in (("train", TRAIN), ("test", TEST), ("bench", BENCH)):
        (tmp_path / "tools" / f"{name}.py").write_text(text)
    (tmp_path / "base.py").write_text("lr = 1  # slow\n")
    (tmp_path / "net.py").write_text("_base_ = './base.py'\nmodel = dict(init='start.bin')\n")
    (tmp_path / "other.py").write_text("_base_ = ['./base.py']\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suite(place, *runs, **others) -> Path:
    values = {"format_version": 1, "name": "small", "seeds": [0, 1], **others}
    values["runs"] = list(runs) or [{"name": "net", "config": "net.py"}]
    (place / "suite.yml").write_text(yaml.safe_dump(values))
    return place / "suite.yml"


def run(place, path=None, **options):
    """Run a suite with the stand-ins; its outcome and the lines it told."""
    said = []
    options = {"tools": place / "tools", "out": place / "out", **options}
    return run_suite(path or place / "suite.yml", report=said.append, **options), said


def calls(place):
    """What was called since the last look: ["train 0", "test 0", ...]."""
    file = place / "tools" / "calls.txt"
    if not file.exists():
        return []
    found = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    return [f"{tool} {words[-1].rpartition('=')[2]}" for tool, words in found]


def states(outcome):
    return [one.state for one in outcome.cells]


def trouble(place, what, *seeds):
    (place / "tools" / what).write_text(json.dumps(seeds))


# ---------------------------------------------------------------------------------------- the file


def test_defaults_come_first_and_what_trains_has_all_seeds(place):
    path = suite(
        place,
        {"name": "net", "config": "net.py", "options": ["a=2"], "test_options": ["b=3"]},
        {"name": "few", "config": "net.py", "seeds": [7]},
        {"name": "given", "config": "other.py", "checkpoint": "net.py"},
        {"name": "shipped", "config": "other.py", "checkpoint": "shipped"},
        {"name": "bench", "command": "tools/bench.py --x 'a b'"},
        {"name": "seeded", "command": "tools/bench.py --seed {seed}"},
        defaults={"options": ["a=1"]},
    )
    net, few, given, shipped, bench, seeded = read_suite(path).runs
    assert (net.seeds, net.train, net.checkpoint) == ((0, 1), True, None)
    assert (net.options, net.test_options) == (("a=1", "a=2"), ("b=3",))
    assert few.seeds == (7,)
    assert (given.seeds, given.train, given.checkpoint) == ((0,), False, Path("net.py"))
    assert shipped.checkpoint == SHIPPED_FILE and SHIPPED_FILE.is_file()
    assert bench == SuiteRun("bench", (0,), command=("tools/bench.py", "--x", "a b"))
    assert seeded.seeds == (0, 1)


NET = {"name": "net", "config": "net.py"}
GIVEN = {**NET, "checkpoint": "base.py"}


@pytest.mark.parametrize(
    "change, kind, needles",
    [
        ({"format_version": 2}, BadDataError, ["newer", "format_version", "update"]),
        ({"format_version": True}, BadDataError, ["format_version"]),
        ({"name": "a/b"}, BadDataError, ["'a/b'", "name"]),
        ({"speed": 1}, BadDataError, ["unknown", "speed"]),
        ({"seeds": [0, 0]}, BadDataError, ["seeds", "[0, 0]"]),
        ({"seeds": [-1]}, BadDataError, ["seeds"]),
        ({"seeds": 3}, BadDataError, ["seeds"]),
        ({"defaults": {"config": "net.py"}}, BadDataError, ["defaults.config"]),
        ({"runs": []}, BadDataError, ["runs"]),
        ({"runs": [NET, {**NET, "name": "NET"}]}, BadDataError, ["one name", "NET"]),
        ({"runs": [{**NET, "option": ["a=1"]}]}, BadDataError, ["runs.0.option", "net"]),
        ({"runs": [{**NET, "options": ["a"]}]}, BadDataError, ["KEY=VALUE", "runs.0.options"]),
        ({"runs": [{**NET, "options": "a=1"}]}, BadDataError, ["a list", "runs.0.options"]),
        ({"runs": [{**NET, "train": "no"}]}, BadDataError, ["true or false", "'no'"]),
        ({"runs": [{**NET, "options": ["randomness.seed=1"]}]}, ConfigError, ["seed itself"]),
        ({"runs": [{**NET, "test_arguments": ["--out=x"]}]}, ConfigError, ["--out itself"]),
        ({"runs": [{**NET, "config": "nte.py"}]}, ConfigError, ["nte.py", "net", "runs.0.config"]),
        ({"runs": [{**NET, "train": False}]}, ConfigError, ["nothing to test"]),
        ({"runs": [{**GIVEN, "train": True}]}, ConfigError, ["not both", "init=FILE"]),
        ({"runs": [{**GIVEN, "seeds": [0, 1]}]}, ConfigError, ["no spread", "runs.0.seeds"]),
        ({"runs": [{**GIVEN, "train_options": ["a=1"]}]}, ConfigError, ["not trained"]),
        ({"runs": [{**NET, "command": "tools/bench.py"}]}, ConfigError, ["not both"]),
        ({"runs": [{"name": "b", "command": "rm -r x"}]}, ConfigError, ["tools/NAME.py"]),
        (
            {"runs": [{"name": "b", "command": "tools/bench.py --record x"}]},
            ConfigError,
            ["--record itself"],
        ),
        (
            {"runs": [{"name": "b", "command": "tools/bench.py", "seeds": [0, 1]}]},
            ConfigError,
            ["{seed}"],
        ),
    ],
)
def test_a_wrong_file_is_refused_by_field(place, change, kind, needles):
    path = suite(place)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(kind) as caught:
        read_suite(path)
    for needle in ["suite.yml", *needles]:
        assert needle in str(caught.value)


def test_what_is_no_suite_at_all(place):
    with pytest.raises(MissingDataError, match="there is no suite"):
        read_suite(place / "absent.yml")
    file = place / "odd.yml"
    for text, needle in (
        ("name: a\nname: b\n", "'name' stands there twice"),
        ("runs: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("- 1\n", "a mapping with"),
        ("a: [", "as YAML"),
    ):
        file.write_text(text)
        with pytest.raises(BadDataError, match=needle):
            read_suite(file)


def test_the_suites_that_come_with_this_can_be_read(repo, monkeypatch):
    monkeypatch.chdir(repo)
    found = {
        path.stem: read_suite(path) for path in sorted((repo / "leaderboard/suites").glob("*.yml"))
    }
    assert set(found) >= {"camvid_starts", "tracker_cpu"}
    assert all(suite.name == stem for stem, suite in found.items())
    starts = found["camvid_starts"].runs
    assert [run.config.stem for run in starts] == ["upernet_random_tiny", "upernet_dmae_tiny"]
    assert all(run.train and len(run.seeds) == 3 for run in starts)


def test_options_of_the_suites_are_entries_of_their_configs(repo, monkeypatch):
    from lightvit_bench.openmmlab.config import load_config

    monkeypatch.chdir(repo)
    for path in sorted((repo / "leaderboard/suites").glob("*.yml")):
        for run in read_suite(path).runs:
            if run.config is not None:
                options = [*run.options, *run.test_options, "randomness.seed=1"]
                load_config(run.config, options)


# ------------------------------------------------------------------------------------------ running


def test_what_is_done_is_not_done_again(place):
    path = suite(place, {"name": "net", "config": "net.py", "options": ["score=40"]})
    outcome, said = run(place, path)
    assert states(outcome) == ["done", "done"] and outcome.exit_code == 0
    assert calls(place) == ["train 0", "test 0", "train 1", "test 1"]
    assert [read_record(path).values["miou"] for path in outcome.record_files] == [40, 41]
    assert outcome.record_files[0].parent == place / "out/net/seed-0/records"
    text = "\n".join(outcome.lines())
    assert "40.50 +- 0.71 (2)" in text and "2 of 2 seeds" in text and "50.00 +- 0.00 (2)" in text
    assert any("[2/2] net, seed 1: training, log in" in line for line in said)

    again, _ = run(place, path)
    assert states(again) == ["done before"] * 2 and calls(place) == []
    assert again.lines() == outcome.lines()


def test_a_new_seed_or_run_adds_to_what_is_there(place):
    run(place, suite(place, seeds=[0]))
    calls(place)
    path = suite(place, NET, {"name": "other", "config": "other.py", "seeds": [3]}, seeds=[0, 1])
    outcome, _ = run(place, path, only=["net"])
    assert states(outcome) == ["done before", "done"]
    assert calls(place) == ["train 1", "test 1"]
    with pytest.raises(ConfigError, match="no run 'nte'"):
        run(place, path, only=["nte"])


def test_one_cell_that_fails_does_not_stop_the_others(place):
    path = suite(place, seeds=[0, 1, 2])
    trouble(place, "train_fails", 1)
    outcome, said = run(place, path)
    assert states(outcome) == ["done", "failed", "done"] and outcome.exit_code == 1
    text = "\n".join(outcome.lines())
    assert "2 of 3 seeds" in text and "31.00 +- 1.41 (2)" in text
    assert "FAILED  net, seed 1" in text and "training ended with 2" in text
    assert "the loss is no number any more" in text
    assert str(place / "out/net/seed-1/train.log") in text
    calls(place)

    (place / "tools/train_fails").unlink()
    outcome, said = run(place, path)
    assert states(outcome) == ["done before", "done", "done before"]
    assert calls(place) == ["train 1", "test 1"]
    assert any("training from iter_1.pth on" in line for line in said)
    assert "31.00 +- 1.00 (3)" in "\n".join(outcome.lines())


def test_a_test_that_failed_leaves_no_record_that_counts_and_training_is_kept(place):
    path = suite(place, seeds=[0])
    trouble(place, "test_fails", 0)
    outcome, _ = run(place, path)
    assert states(outcome) == ["failed"] and outcome.record_files == []
    assert "no result" in "\n".join(outcome.lines())
    with pytest.raises(MissingDataError, match="no records"):
        compare_lines(place / "out/net", place / "out")
    assert record_files(place / "out") == []
    (place / "tools/test_fails").unlink()
    calls(place)
    outcome, said = run(place, path)
    assert states(outcome) == ["done"] and calls(place) == ["test 0"]
    assert len(list((place / "out/net/seed-0/records").glob("*.json"))) == 1
    assert len(list((place / "out/net/seed-0/records.unfinished.old-1").glob("*.json"))) == 1
    assert any("set aside" in line for line in said)


@pytest.mark.parametrize(
    "what, needle",
    [
        ("test_writes_none", "no record was written"),
        ("test_mistakes_seed", "is of seed 1, not 0"),
        ("test_takes_other_weights", "of another checkpoint"),
        ("test_names_no_weights", "of another checkpoint"),
        ("test_has_no_score", "no mIoU"),
    ],
)
def test_a_test_without_a_fitting_record_failed(place, what, needle):
    trouble(place, what, 0)
    outcome, _ = run(place, suite(place, seeds=[0]))
    assert states(outcome) == ["failed"]
    assert needle in "\n".join(outcome.lines())


@pytest.mark.parametrize(
    "what", ["test_takes_other_weights", "test_names_no_weights", "test_has_no_score"]
)
def test_a_checkpoint_needs_a_record_of_its_own_with_a_score(place, what):
    path = suite(place, GIVEN)
    trouble(place, what, 0)
    outcome, _ = run(place, path)
    assert states(outcome) == ["failed"] and outcome.record_files == []
    (place / "tools" / what).unlink()
    assert states(run(place, path)[0]) == ["done"]


def test_a_command_needs_its_score_too(place):
    bench = place / "tools/bench.py"
    bench.write_text(bench.read_text().replace('"pairs_per_second": 100.0', '"waiting": 0.1'))
    outcome, _ = run(place, suite(place, {"name": "bench", "command": "tools/bench.py"}))
    assert states(outcome) == ["failed"]
    assert "values.pairs_per_second" in "\n".join(outcome.lines())


def test_checkpoints_of_other_seeds_are_tested(place):
    """What is recommended where one checkpoint is asked for with several seeds."""
    runs = []
    for seed in (1, 2):
        (place / f"seed{seed}.pth").write_text(f"weights {seed}")
        runs.append({**NET, "name": f"net-{seed}", "checkpoint": f"seed{seed}.pth"})
    trouble(place, "test_mistakes_seed", 0)  # the record is of seed 1, which trained the weights
    outcome, _ = run(place, suite(place, *runs))
    assert states(outcome) == ["done", "done"], outcome.lines()
    assert [read_record(path).seed for path in outcome.record_files] == [1, 1]


def test_an_exported_file_is_known_by_its_own_digest(place):
    (place / "net.xml").write_text("<net/>")
    outcome, _ = run(place, suite(place, {**NET, "checkpoint": "net.xml"}))
    assert states(outcome) == ["done"], outcome.lines()
    assert read_record(outcome.record_files[0]).checkpoint_sha256 is None


def test_what_would_not_count_now_does_not_count_from_before(place):
    path = suite(place, GIVEN)
    outcome, _ = run(place, path)
    (file,) = outcome.record_files
    old = read_record(file)
    file.unlink()
    kept = write_record(replace(old, checkpoint_sha256="5e" * 32), file.parent)
    state = json.loads((place / "out/net/seed-0/cell.json").read_text())
    state["records"] = [kept.name]
    (place / "out/net/seed-0/cell.json").write_text(json.dumps(state))
    calls(place)
    outcome, _ = run(place, path)
    assert states(outcome) == ["failed"] and calls(place) == []
    assert "of another checkpoint" in "\n".join(outcome.lines())
    assert states(run(place, path, anew=True)[0]) == ["done"] and calls(place) == ["test 0"]


def test_a_record_that_was_changed_by_hand_is_told_and_kept(place):
    path = suite(place)
    outcome, _ = run(place, path)
    calls(place)
    record = outcome.record_files[0]
    record.write_text(record.read_text().replace("30.0", "39.0"))
    for options in ({}, {"dry_run": True}):
        outcome, _ = run(place, path, **options)
        assert states(outcome) == ["failed", "done before"] and calls(place) == []
        text = "\n".join(outcome.lines())
        for needle in ("changed after it was written", str(record), "--anew", "31.00 (1)"):
            assert needle in text
    outcome, _ = run(place, path, anew=True, dry_run=True)
    assert states(outcome) == ["to do", "done before"] and record.exists()
    outcome, said = run(place, path, anew=True)
    assert states(outcome) == ["done", "done before"] and calls(place) == ["test 0"]
    assert "39.0" in (place / f"out/net/seed-0/records.old-1/{record.name}").read_text()
    assert any("changed" in line and "records.old-1" in line for line in said)


def test_a_record_that_was_put_into_a_finished_cell_is_told(place):
    path = suite(place)
    first, second = run(place, path)[0].record_files
    more = second.with_name(first.name)
    more.write_bytes(first.read_bytes())
    outcome, _ = run(place, path)
    assert states(outcome) == ["done before", "failed"] and str(more) in "\n".join(outcome.lines())


@pytest.mark.parametrize("count", [1, 2])
def test_two_records_of_one_run_are_not_averaged(place, count):
    """A command that draws no run of its own: of two cells, or twice in one."""
    bench = place / "tools/bench.py"
    same = f"""
from dataclasses import replace
for i in range({count}):
    one = replace(record, run=16 * "5e", values={{"pairs_per_second": 100.0 + i + record.seed}})
    write_record(one, after("--record"))
"""
    text = bench.read_text()
    assert text.endswith('write_record(record, after("--record"))\n')
    bench.write_text(text.rpartition("write_record")[0] + same)
    path = suite(place, {"name": "bench", "command": "tools/bench.py --seed {seed}"})
    outcome, _ = run(place, path)
    assert states(outcome) == [("done" if count == 1 else "failed"), "failed"]
    text = "\n".join(outcome.lines())
    assert "two records are of one run" in text and 16 * "5e" in text
    assert str(place / "out/bench/seed-1/records.unfinished") in text
    assert not (place / "out/bench/seed-1/records").exists()
    assert states(run(place, path)[0])[1] == "failed", "again"


def test_a_finished_record_of_another_cells_run_fails(place):
    path = suite(place)
    first, second = run(place, path)[0].record_files
    one = read_record(second)
    second.unlink()
    forged = write_record(replace(one, run=read_record(first).run), second.parent)
    cell = place / "out/net/seed-1/cell.json"
    cell.write_text(cell.read_text().replace(second.name, forged.name))
    calls(place)
    outcome, _ = run(place, path)
    assert states(outcome) == ["done before", "failed"] and calls(place) == []
    for needle in ("of one run", str(first), str(forged), "--anew"):
        assert needle in "\n".join(outcome.lines())
    assert states(run(place, path, anew=True)[0]) == ["done before", "done"]
    assert calls(place) == ["test 1"], "training is kept"


def test_a_record_or_checkpoint_that_is_gone_is_made_again(place):
    path = suite(place, seeds=[0])
    outcome, _ = run(place, path)
    calls(place)
    outcome.record_files[0].unlink()
    assert states(run(place, path)[0]) == ["done"] and calls(place) == ["test 0"]
    for file in (place / "out/net/seed-0/records").glob("*.json"):
        file.unlink()
    (place / "out/net/seed-0/train/iter_2.pth").unlink()
    assert states(run(place, path)[0]) == ["done"] and calls(place) == ["train 0", "test 0"]
    aside = place / "out/net/seed-0/predictions.old-1"
    assert aside.is_dir(), "a tracker's test would go on in the folder of another checkpoint"


def test_an_incomplete_run_is_shown_and_not_averaged(place):
    trouble(place, "test_is_incomplete", 1)
    outcome, _ = run(place, suite(place, seeds=[0, 1, 2]))
    text = "\n".join(outcome.lines())
    assert "31.00 +- 1.41 (2)" in text, "of seeds 0 and 2"
    assert "3 of 3 seeds, 1 run incomplete" in text
    assert "net, seed 1: incomplete, 3 of 4 evaluated, not averaged: mIoU (%) 31.00" in text
    trouble(place, "test_is_incomplete", 0)
    trouble(place, "test_fails", 1)
    outcome, _ = run(place, suite(place, seeds=[0, 1]), out=place / "another")
    first, second, *_ = outcome.lines()
    assert first == "net: 1 of 2 seeds, none of them complete"
    assert second.startswith("net, seed 0: incomplete"), "there is no mean of nothing"


def test_a_checkpoint_is_tested_as_it_is_and_a_command_gets_its_seed(place):
    path = suite(
        place,
        GIVEN,
        {"name": "bench", "command": "tools/bench.py --seed {seed}"},
    )
    outcome, _ = run(place, path)
    assert states(outcome) == ["done"] * 3
    called = (place / "tools/calls.txt").read_text()
    assert calls(place)[0] == "test 0" and '"--seed", "1"' in called
    text = "\n".join(outcome.lines())
    assert "Pairs to train trackers on\n" in text and "2 of 2 seeds  100.0 +- 0.0 (2)" in text
    (place / "base.py").write_text("lr = 2\n")
    outcome, _ = run(place, path)
    assert states(outcome) == ["refused", "done before", "done before"]


# --------------------------------------------------------------------- what was asked for otherwise


def asked(place, **fields):
    return asked_of(
        Cell(SuiteRun("net", (0,), Path("net.py"), train=True, **fields), 0, place / "c")
    )


def test_what_decides_a_result_is_what_is_asked(place):
    before = asked(place)
    assert [path.name for path in config_files(place / "net.py")] == ["net.py", "base.py"]
    (place / "base.py").write_text("# another comment\nlr = 1\n")
    assert asked(place) == before, "comments do not count"
    assert asked(place, options=("a=1",)) != before
    assert asked(place, test_arguments=("--processes", "1")) != before
    (place / "start.bin").write_text("weights")
    started = asked(place)
    assert started != before, "a file that the config starts from is there now"
    (place / "start.bin").write_text("others")
    assert asked(place) != started
    assert asked(place, options=("init=base.py",))["files"].keys() == {"base.py"}, "not start.bin"
    (place / "base.py").write_text("lr = 2\n")
    assert asked(place)["config"] != before["config"]
    (place / "base.py").unlink()
    with pytest.raises(ConfigError, match="a base of a config is not there"):
        asked(place)


@pytest.mark.parametrize(
    "key, old, new, told",
    [
        ("options", ["a=1", "b=2", "c=3"], ["a=1", "b=4", "c=3"], ["b=2 -> b=4"]),
        ("options", ["a=1"], ["a=1", "b=2"], ["none -> b=2"]),
        ("test_options", ["a=1", "b=2"], ["b=2"], ["a=1 -> none"]),
        ("options", ["a=1", "b=2"], ["b=2", "a=1"], ["in another order: b=2 a=1"]),
        ("options", ["a=1", "b=2", "c=3"], ["a=0", "b=2", "c=0"], ["a=1 -> a=0", "c=3 -> c=0"]),
        ("test_arguments", ["--x", "1", "--y", "2"], ["--x", "1", "--y", "3"], ["--y 2 -> --y 3"]),
        (
            "command",
            ["tools/bench.py", "--n", "1", "2", "--slow"],
            ["tools/bench.py", "--n", "1", "4", "--slow"],
            ["--n 1 2 -> --n 1 4"],
        ),
    ],
)
def test_of_a_list_only_what_changed_is_told(key, old, new, told):
    found = changes({key: old, "seed": 0}, {key: new, "seed": 0})
    assert found == [f"{key}: {one}" for one in told]


def test_a_cell_that_was_asked_otherwise_is_refused_and_nothing_is_lost(place):
    path = suite(place, seeds=[0])
    run(place, path)
    calls(place)
    (place / "base.py").write_text("lr = 2\n")
    dry, said = run(place, path, dry_run=True)
    assert states(dry) == ["refused"] and "config: base.py" in "\n".join(dry.lines())
    outcome, _ = run(place, path)
    assert states(outcome) == ["refused"] and outcome.exit_code == 1 and calls(place) == []
    assert "--anew" in "\n".join(outcome.lines())
    old = [file.read_bytes() for file in sorted((place / "out/net/seed-0").rglob("*.json"))]

    outcome, said = run(place, path, anew=True)
    assert states(outcome) == ["done"] and calls(place) == ["train 0", "test 0"]
    aside = place / "out/net/seed-0.old-1"
    assert [file.read_bytes() for file in sorted(aside.rglob("*.json"))] == old
    assert any("seed-0.old-1" in line for line in said)
    assert states(run(place, path, anew=True)[0]) == ["done before"]


def test_what_failed_before_it_had_anything_may_be_mended(place):
    trouble(place, "test_fails", 0)
    wrong = {**GIVEN, "test_options": ["scoer=3"]}
    trouble(place, "test_writes_none", 0)
    assert states(run(place, suite(place, wrong))[0]) == ["failed"]
    (place / "tools/test_writes_none").unlink()
    assert states(run(place, suite(place, GIVEN))[0]) == ["failed"], "run, and failed otherwise"
    assert list((place / "out/net/seed-0/records.unfinished").glob("*.json"))
    (place / "tools/test_fails").unlink()
    assert states(run(place, suite(place, wrong))[0]) == ["refused"], "there is a record to lose"
    assert states(run(place, suite(place, GIVEN))[0]) == ["done"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format_version": 1}', '{"format_version": 9}'])
def test_a_folder_that_is_no_cell_is_refused(place, text):
    path = suite(place, seeds=[0])
    folder = place / "out/net/seed-0"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(text)
    assert states(run(place, path)[0]) == ["refused"]
    (folder / "cell.json").rename(folder / "thesis.txt")
    assert states(run(place, path)[0]) == ["refused"]
    assert states(run(place, path, anew=True)[0]) == ["done"]
    assert (place / "out/net/seed-0.old-1/thesis.txt").exists()


def test_a_dry_run_writes_nothing(place):
    path = suite(place)
    outcome, said = run(place, path, dry_run=True)
    assert states(outcome) == ["to do"] * 2 and not (place / "out").exists()
    assert said[0] == "[1/2] net, seed 0: to do: from the start"
    assert "0 of 2 seeds" in "\n".join(outcome.lines())
    assert calls(place) == []


# --------------------------------------------------------------------------- stops, and two at once


def start(place):
    """A suite in a process of its own, when its training hangs; and the training's process id."""
    code = (
        "import signal; from lightvit_bench.errors import run_cli\n"
        "from lightvit_bench.leaderboard.suite import run_suite\n"
        # ignored where the tests themselves run in the background of a shell
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run_cli(lambda: run_suite('suite.yml', out='out', tools='tools'))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    hangs = place / "tools/hangs"
    until(lambda: hangs.exists() and hangs.read_text())
    return process, int(hangs.read_text())


def until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_training_too_and_it_goes_on_later(place, number, code):
    path = suite(place, seeds=[0])
    trouble(place, "train_hangs", 0)
    process, child = start(place)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code, out
    assert not alive(child)
    (place / "tools/train_hangs").unlink()
    calls(place)
    outcome, said = run(place, path)
    assert states(outcome) == ["done"] and calls(place) == ["train 0", "test 0"]
    assert any("training from iter_1.pth on" in line for line in said)


def test_a_suite_that_is_killed_stays_locked_until_its_training_has_ended(place):
    path = suite(place, seeds=[0])
    trouble(place, "train_hangs", 0)
    process, child = start(place)
    try:
        with pytest.raises(ConfigError, match="being run already") as caught:
            run(place, path)
        assert f"process {process.pid}" in str(caught.value)
        assert states(run(place, path, dry_run=True)[0]) == ["to do"], "looking is allowed"
        process.kill()
        process.communicate()
        assert alive(child)
        with pytest.raises(ConfigError, match="or a program it started"):
            run(place, path)
    finally:
        os.kill(child, signal.SIGKILL)
    until(lambda: not alive(child))
    (place / "tools/train_hangs").unlink()
    assert states(run(place, path)[0]) == ["done"]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("out", ["file", "file/below/it"])
def test_results_cannot_go_into_a_file(place, out, dry_run):
    (place / "file").write_text("")
    with pytest.raises(ConfigError, match=f"--out {out}: no results") as caught:
        run(place, suite(place), out=out, dry_run=dry_run)
    assert "this is a file" in str(caught.value) and calls(place) == []


def test_a_folder_that_takes_no_results_is_told(place):
    with pytest.raises(ConfigError, match="--out /proc: no results"):  # not even root's
        run(place, suite(place), out="/proc")


def test_a_lock_is_let_go_of(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "new"), pytest.raises(ConfigError):
            with locked(tmp_path / "new"):
                pass


@pytest.mark.slow
def test_a_segmentor_is_trained_tested_and_added_up(tiny_config, tmp_path, repo):
    """The real tools: two iterations, the test, its record, then nothing left to do."""
    options = ["train_cfg.max_iters=2", "default_hooks.checkpoint.interval=2", "log_level=ERROR"]
    path = suite(
        tmp_path, {"name": "tiny", "config": str(tiny_config), "options": options}, seeds=[3]
    )
    outcome, said = run(tmp_path, path, tools=repo / "tools")
    assert states(outcome) == ["done"], outcome.lines()
    (file,) = outcome.record_files
    record = read_record(file)
    assert (record.task, record.seed, record.complete) == ("segmentation", 3, True)
    assert record.checkpoint_sha256 == sha256_of(tmp_path / "out/tiny/seed-3/train/iter_2.pth")
    assert f"{record.values['miou']:.2f} (1)" in said[-2]
    assert record.predictions.files == record.expected == 4
    assert states(run(tmp_path, path, tools=repo / "tools")[0]) == ["done before"]
