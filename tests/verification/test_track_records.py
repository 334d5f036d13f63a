"""Records of judged trackers, by tools/eval_tracks.py and tools/test.py, and their verification."""

import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from claims import claimed, with_options

from lightvit_bench.bench.record import measured_record, read_record, read_records, write_record
from lightvit_bench.data.box_files import read_boxes, write_boxes
from lightvit_bench.data.demo_tracking import make_demo_sequences
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.verification import Check, verify_record
from lightvit_bench.verification.keeping import (
    as_ranges,
    check_record_folder,
    from_ranges,
    truth_digest,
)

NAMES = ("car-2", "car-10", "yoyo-1")


@pytest.fixture(scope="module")
def evaluate(repo):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, str(repo / "tools/eval_tracks.py"), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(repo)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def data(tmp_path):
    """Annotations of three sequences, and results that are 2 px off."""
    for i, name in enumerate(NAMES):
        rng = np.random.default_rng(i)
        truth = np.column_stack([rng.integers(20, 90, (25, 2)), rng.integers(20, 60, (25, 2))])
        write_boxes(tmp_path / f"anno/annos/{name}.txt", truth)
        file = tmp_path / "anno/absent" / f"{name}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(",".join("0" * 25))
        write_boxes(tmp_path / f"good/{name}.txt", truth + [2, 0, 0, 0])
    return tmp_path


@pytest.fixture
def recorded(data, evaluate):
    """The file of the record, and where its files are."""
    records = data / "records"
    done = evaluate("--annotations", data / "anno", data / "good", "--record", records)
    assert done.returncode == 0, done.stderr
    (path,) = records.glob("*.json")
    assert str(path) in done.stdout
    return path, dict(predictions=data / "good", truth=data / "anno")


def test_the_record_of_a_folder(recorded):
    path, places = recorded
    record = read_record(path)
    assert (record.task, record.model, record.dataset) == ("tracking", "good", "LaSOT")
    assert record.protocol.startswith("lasot-subset3-") and record.origin == "measured"
    assert (record.expected, record.evaluated, record.checkpoint) == (3, 3, None)
    assert set(record.values) == {"auc", "op50", "op75", "precision", "norm_precision"}
    success = record.curves["success"]
    assert len(success.x) == 21 and success.x[3] == 0.15 and success.y[0] == 100
    assert np.mean(success.y) == pytest.approx(record.values["auc"], abs=1e-6)
    assert record.predictions.files == record.truth.files == 3
    found = verify_record(path, **places)
    assert found.ok and {one.difference for one in found.checks} == {0.0}
    assert "auc" in "\n".join(found.lines())


def test_the_same_annotations_in_an_archive_are_the_same_truth(recorded, data):
    path, places = recorded
    with zipfile.ZipFile(data / "anno.zip", "w") as archive:
        for file in sorted((data / "anno").rglob("*.txt")):
            archive.write(file, file.relative_to(data / "anno"))
    assert verify_record(path, predictions=places["predictions"], truth=data / "anno.zip").ok


def test_changed_boxes_and_another_truth_are_noticed(recorded, data):
    path, places = recorded
    boxes = read_boxes(data / "good/car-2.txt")
    write_boxes(data / "good/car-2.txt", boxes + [9, 0, 0, 0])
    found = verify_record(path, **places)
    assert not found.ok and "a file was changed" in found.problems[0]
    auc = found.checks[0]
    assert auc.metric == "auc" and auc.recomputed < auc.recorded and not auc.ok
    write_boxes(data / "good/car-2.txt", boxes)
    assert verify_record(path, **places).ok

    annotated = read_boxes(data / "anno/annos/yoyo-1.txt")
    annotated[7, 0] += 1
    write_boxes(data / "anno/annos/yoyo-1.txt", annotated)
    (problem,) = verify_record(path, **places).problems
    assert "not those that the record was judged against" in problem

    (data / "good/car-10.txt").unlink()
    gone = verify_record(path, **places)
    assert not gone.ok and "1 predictions missing" in gone.problems[0]


def test_a_record_that_claims_more_than_its_files_give(recorded, data):
    """Files and digests are right, the figure is not."""
    path, places = recorded
    record = read_record(path)
    values = {**record.values, "auc": record.values["auc"] + 0.01}
    kept = {
        name: getattr(record, name)
        for name in ("protocol", "expected", "evaluated", "predictions", "truth")
    }
    found = verify_record(
        write_record(measured_record("tracking", "x", values, **kept), data / "more"), **places
    )
    assert not found.ok and not found.problems
    assert [one.metric for one in found.checks if not one.ok] == ["auc"]
    assert found.checks[0].difference == pytest.approx(-0.01, abs=1e-9)


def problems(path, places):
    found = verify_record(path, **places)
    assert not found.ok and found.lines()[-1] == "NOT verified"
    assert all(
        one.ok for one in found.checks
    )  # its figures are right, and not what it says of them
    return " ".join(found.problems)


def test_coverage_and_protocol_have_to_follow(recorded, data):
    path, places = recorded
    assert "3 are judged" in problems(claimed(path, expected=280, evaluated=280), places)
    assert "3 are judged" in problems(claimed(path, expected=None, evaluated=None), places)
    # of LaSOT's test set, which has other cars
    standard = dict(protocol="lasot-ope-test280@toolkit")
    assert "does not follow" in problems(claimed(path, **standard), places)
    assert "does not follow" in problems(claimed(path, protocol=None), places)
    # three of the 1,400 are a part, and may say so; not that they are all
    every = dict(protocol="lasot-ope-all1400@toolkit")
    assert verify_record(claimed(path, **every, expected=1400), **places).ok
    said = problems(claimed(path, **every), places)
    assert "lasot-ope-all1400@toolkit is of 1400, and the record says that 3" in said
    own = f"sequences3-{read_record(path).protocol.split('-')[2]}"
    assert verify_record(claimed(path, protocol=own), **places).ok  # one's own by such names
    of_test = dict(dataset="LaSOT", split="test")
    assert verify_record(claimed(path, **of_test, expected=280), **places).ok
    assert "is of 3" in problems(claimed(path, **of_test, expected=4), places)


def test_a_sequence_of_ones_own_is_never_lasots(data):
    from lightvit_bench.data.lasot_annotations import LasotAnnotations
    from lightvit_bench.tracking.judging.judge import judge_folder
    from lightvit_bench.tracking.judging.recording import judged_record

    for old in (data / "anno/annos/car-2.txt", data / "anno/absent/car-2.txt"):
        old.rename(old.with_stem("mine"))
    (data / "own").mkdir()
    (data / "good/car-2.txt").rename(data / "own/mine.txt")
    truth = LasotAnnotations(data / "anno")
    scores = judge_folder(data / "own", truth, ["mine"])
    path = write_record(
        judged_record(scores, data / "own", truth, "toolkit", data / "anno"), data / "r"
    )
    places = dict(predictions=data / "own", truth=data / "anno")
    assert verify_record(path, **places).ok
    for protocol in ("lasot-ope-test280@toolkit", "lasot-ope-all1400@toolkit"):
        standard = dict(protocol=protocol, dataset="LaSOT", split="test")
        assert "does not follow" in problems(claimed(path, **standard), places)


def test_the_rule_is_that_of_the_protocol(recorded):
    """All frames are valid: both rules give the same figures."""
    path, places = recorded
    other = with_options(path, "predictions", rule="valid-frames")
    assert "@valid-frames, and the record says lasot-subset3-" in problems(other, places)
    named = read_record(path).protocol.replace("@toolkit", "@valid-frames")
    assert "@toolkit, and the record says lasot-subset3-" in problems(
        claimed(path, protocol=named), places
    )


@pytest.mark.parametrize("rule", ["zzz", None, "got10k", "positive-size"])
def test_a_rule_has_to_be_there_and_known(recorded, rule):
    path, places = recorded
    with pytest.raises(BadDataError) as error:
        verify_record(with_options(path, "predictions", rule=rule), **places)
    assert error.value.details["field"] == ["predictions.options.rule"]


def test_a_chosen_few_of_a_folder(data, evaluate):
    (data / "two.txt").write_text("car-2\nyoyo-1\n")
    done = evaluate(
        "--annotations", data / "anno", data / "good", "--record", data / "records",
        "--sequences", data / "two.txt", "--valid-frames",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = (data / "records").glob("*.json")
    record = read_record(path)
    assert record.predictions.options == {"rule": "valid-frames", "names": "car-2/yoyo-1"}
    assert (record.expected, record.evaluated) == (2, 2)
    assert verify_record(path, predictions=data / "good", truth=data / "anno").ok


def test_missing_results_are_recorded_as_missing(data, evaluate):
    shutil.copytree(data / "good", data / "part")
    (data / "part/car-10.txt").unlink()
    base = ("--annotations", data / "anno", data / "part", data / "good")
    assert "1 missing" in evaluate(*base, "--record", data / "r").stderr
    assert "goes with --record" in evaluate(*base, "--allow-missing").stderr
    assert not list((data / "r").iterdir())

    done = evaluate(*base, "--record", data / "r", "--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "part: INCOMPLETE, 2 of 3 sequences; not ranked" in done.stdout
    rows = [line.split()[0] for line in done.stdout.splitlines() if line[:5] in ("good ", "part ")]
    assert rows == ["good", "part"]  # what is complete comes first
    whole, part = sorted(read_records(data / "r"), key=lambda one: one.model)
    assert (part.expected, part.evaluated, part.complete) == (3, 2, False) and whole.complete
    assert part.protocol == whole.protocol  # the full set's
    path = next(p for p in (data / "r").glob("*part*.json"))
    assert verify_record(path, predictions=data / "part", truth=data / "anno").ok
    for file in (data / "part").glob("*.txt"):
        file.unlink()
    assert "no result of any" in evaluate(*base, "--record", data / "r", "--allow-missing").stderr


def test_what_cannot_be_verified(recorded, data, tmp_path):
    path, places = recorded
    with pytest.raises(MissingDataError, match="(?s)outside the project.*--predictions PATH"):
        verify_record(path)
    with pytest.raises(MissingDataError, match="there are no truth there"):
        verify_record(path, predictions=places["predictions"], truth=data / "nowhere")
    time = write_record(measured_record("page-speed", "x", {"sort_ms": 1.0}), tmp_path / "time")
    with pytest.raises(BadDataError, match="no score that could be computed again"):
        verify_record(time)
    bare = write_record(measured_record("tracking", "x", {"auc": 50.0}), tmp_path / "bare")
    with pytest.raises(BadDataError, match="(?s)kept no predictions.*--out"):
        verify_record(bare)
    path.write_text(path.read_text().replace('"good"', '"best"'))
    with pytest.raises(BadDataError, match="changed after it was written"):
        verify_record(path, **places)


def test_relative_paths_are_found_from_the_current_folder(data, repo, monkeypatch):
    from lightvit_bench.data.lasot_annotations import LasotAnnotations
    from lightvit_bench.tracking.judging.judge import judge_folder
    from lightvit_bench.tracking.judging.recording import judged_record

    monkeypatch.chdir(data)
    truth = LasotAnnotations("anno")
    record = judged_record(judge_folder("good", truth), "good", truth, "toolkit", "anno")
    path = write_record(record, "records")
    assert (record.predictions.path, record.truth.path) == ("good", "anno")
    assert verify_record(path).ok
    monkeypatch.chdir(repo)
    with pytest.raises(MissingDataError, match="(?s)not there.*--predictions PATH"):
        verify_record(data / path)


CONFIG = """
model = dict(
    type="Tracking",
    data_preprocessor=dict(
        type="PairNormalizer", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(preset="vit_test", init="random"),
    network=dict(template_size=32, search_size=64, head_channels=16, eliminate=(1,)),
)
test_set = dict(name="folder", root="demo", data_root={root!r})
work_dir = {work!r}
randomness = dict(seed=3)
tracker = dict(hold=False)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Generated sequences, a config, and an untrained tracker as its file and as a checkpoint."""
    import torch

    from lightvit_bench.tracking.files import save_tracker
    from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker

    home = tmp_path_factory.mktemp("track_records")
    make_demo_sequences(home / "demo", sequences=3, frames=8, size=(96, 80))
    (home / "tiny.py").write_text(CONFIG.format(root=str(home), work=str(home / "work")))
    torch.manual_seed(0)
    spec = dict(template_size=32, search_size=64, head_channels=16, eliminate=(1,))
    network = OneStreamTracker(NetworkSpec(preset="vit_test", **spec))
    save_tracker(home / "tiny.safetensors", network, recipe="none")
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "meta": {"iter": 7, "seed": 11}}, home / "iter_7.pth")
    return home


def run_tracker(home, folder, checkpoint="tiny.safetensors", *options, **tracker_options):
    from lightvit_bench.openmmlab.run import test

    test(
        str(home / "tiny.py"),
        str(home / checkpoint),
        out=str(folder / "boxes"),
        record=str(folder / "records"),
        remarks=["of made videos"],
        cfg_options=options,
        tracker_options=dict(processes=1, threads=1, **tracker_options),
    )
    (path,) = (folder / "records").glob("*.json")
    return read_record(path), path


def test_the_record_of_a_tracker(home, tmp_path, capsys):
    record, path = run_tracker(home, tmp_path, realtime=1000.0)
    assert (record.task, record.origin, record.dataset) == (
        "tracking", "demo", "generated sequences",
    )  # fmt: skip
    assert record.protocol.startswith("sequences3-")
    assert (record.expected, record.evaluated) == (3, 3)
    # the config's seed, 3, is not known to be that of a tracker's own file
    assert (record.seed, record.threads, record.device) == (None, 1, "cpu")
    assert record.variant == "eliminate at 1, keep 0.7; conv head"
    assert record.size.parameters > record.size.backbone_parameters and record.size.macs
    assert record.recipe.pretraining is None  # of a tracker's file the config says nothing
    assert record.recipe.head == "conv head of 16 channels"
    assert record.recipe.crop == "32 template, 64 search"
    assert "moves on" in record.recipe.test_mode or "held" in record.recipe.test_mode
    assert record.values["frames_per_second"] > 0
    assert record.remarks[0] == "of made videos"
    assert set(record.values["realtime_1000"]) > {"auc", "dropped"}
    assert str(path) in capsys.readouterr().out
    places = dict(predictions=tmp_path / "boxes", truth=home / "demo")
    found = verify_record(path, **places)
    assert found.ok, found.lines()

    boxes = sorted((tmp_path / "boxes").glob("*-?.txt"))[0]
    write_boxes(boxes, read_boxes(boxes) + [5, 5, 0, 0])
    assert not verify_record(path, **places).ok


def test_a_run_of_fewer_sequences_than_the_set_has_is_incomplete(home, tmp_path):
    name = sorted(p.parent.name for p in (home / "demo").glob("*/*/img"))[0]
    record, path = run_tracker(home, tmp_path, "iter_7.pth", f"test_set.sequences={name}")
    assert (record.expected, record.evaluated, record.complete) == (3, 1, False)
    assert record.seed == 11 and record.recipe.pretraining == "none"  # the training's
    assert verify_record(path, predictions=tmp_path / "boxes", truth=home / "demo").ok


def test_what_no_record_can_be_of_is_told_before_the_run(home, tmp_path, monkeypatch):
    from lightvit_bench.tracking.running import config as run_config
    from lightvit_bench.tracking.running.recording import check_recordable

    monkeypatch.setattr(run_config, "run_set", lambda *a, **k: pytest.fail("it was run"))
    (tmp_path / "records").write_text("")
    with pytest.raises(ConfigError, match="no record can be written"):
        run_tracker(home, tmp_path)
    for name in ("got10k", "trackingnet"):
        with pytest.raises(ConfigError, match="not public, its server gives the score"):
            check_recordable(str(tmp_path / "r"), name, "test", [])


@pytest.mark.slow
def test_the_record_of_an_exported_tracker(home, tmp_path):
    from lightvit_bench.bench.provenance import sha256_of
    from lightvit_bench.tracking.exporting.crops import FrameCrop
    from lightvit_bench.tracking.exporting.write import export_model
    from lightvit_bench.tracking.files import load_tracker_model

    weights, rng = home / "tiny.safetensors", np.random.default_rng(5)
    model = load_tracker_model(weights)
    template, search = (rng.integers(0, 256, (side, side, 3), np.uint8) for side in (32, 64))
    answer = model.find(model.embed(template), search, (0.3, 0.2))
    crops = [FrameCrop(template, search, (0.3, 0.2), 100.0, answer)] * 6
    export_model(weights, home / "tiny.onnx", crops, format="onnx")
    record, path = run_tracker(home, tmp_path, "tiny.onnx")
    assert record.exported == ".../tiny.onnx" and record.checkpoint is None
    assert record.exported_sha256 == sha256_of(home / "tiny.onnx")
    assert record.checkpoint_sha256 == sha256_of(home / "tiny.safetensors")
    assert (record.runtime, record.precision) == ("onnxruntime", "fp32")
    assert verify_record(path, predictions=tmp_path / "boxes", truth=home / "demo").ok


# ------------------------------------------------------------------------------------ small parts


def test_a_check_is_relative():
    assert Check("a", 50.0, 50.0 + 4e-5).ok and not Check("a", 50.0, 50.0 + 6e-5).ok
    assert Check("a", 0.0, 0.0).ok and not Check("a", 0.0, 1e-9).ok
    assert Check("a", None, None).ok
    assert not Check("a", None, 1.0).ok and not Check("a", 1.0, None).ok


def test_ranges():
    for numbers in ([], [3], [0, 1, 2, 5, 7, 8]):
        assert from_ranges(as_ranges(numbers)) == numbers
    assert as_ranges([8, 7, 2, 1, 0, 5]) == "0-2 5 7-8"


def test_a_truths_digest_is_of_names_boxes_and_flags():
    boxes, flags = np.arange(8.0).reshape(2, 4), np.array([False, True])
    known = truth_digest({"a": (boxes, flags), "b": (boxes, flags)})
    assert known == truth_digest({"b": (boxes.astype(np.float32), flags), "a": (boxes, flags)})
    moved = boxes + [[0, 0, 0, 0], [0, 0, 0, 1]]
    for other in ((moved, flags), (boxes, ~flags)):
        assert known != truth_digest({"a": (boxes, flags), "b": other})
    assert known != truth_digest({"a": (boxes, flags), "c": (boxes, flags)})
    unknown = np.where(boxes > 6, np.nan, boxes)
    negative = np.where(boxes > 6, -np.nan, boxes)
    assert truth_digest({"a": (unknown, flags)}) == truth_digest({"a": (negative, flags)})


def test_a_folder_for_records_is_made_and_left_empty(tmp_path):
    check_record_folder(tmp_path / "new/records")
    assert list((tmp_path / "new/records").iterdir()) == []


# ----------------------------------------------------------------------------------------- GOT-10k


@pytest.fixture
def got10k(tmp_path):
    """Two sequences of GOT-10k's validation set, and results that are 3 px off."""
    import cv2

    truth = np.array([[10.0 + 2 * i, 12, 18, 22] for i in range(6)])
    for number in (1, 2):
        name = f"GOT-10k_Val_{number:06d}"
        folder = tmp_path / "got/val" / name
        folder.mkdir(parents=True)
        for i in range(6):
            cv2.imwrite(str(folder / f"{i + 1:08d}.jpg"), np.full((60, 80, 3), 90, np.uint8))
        write_boxes(folder / "groundtruth.txt", truth)
        (folder / "absence.label").write_text("0\n" * 6)
        (folder / "cover.label").write_text("8\n8\n8\n0\n8\n8\n")
        write_boxes(tmp_path / f"results/{name}.txt", truth + [3, 0, 0, 0])
    return tmp_path


def test_a_record_by_got10ks_rules(got10k):
    from lightvit_bench.data.tracking_sets import open_set
    from lightvit_bench.tracking.judging.judge import judge_got10k
    from lightvit_bench.tracking.judging.recording import got10k_record

    root, results = got10k / "got", got10k / "results"
    sequences = open_set("got10k", root, "val", say=lambda message: None)
    scores, _ = judge_got10k(results, sequences)
    path = write_record(got10k_record("x", scores, results, sequences, root), got10k / "records")
    record = read_record(path)
    assert record.task == "tracking-ao" and set(record.values) == {"ao", "sr50", "sr75"}
    assert record.protocol == "got10k-val@toolkit" and record.dataset == "GOT-10k"
    assert (record.expected, record.evaluated) == (180, 2)
    places = dict(predictions=results, truth=root)
    assert verify_record(path, **places).ok
    assert "2 are judged" in problems(claimed(path, evaluated=180), places)
    assert "is of 180" in problems(claimed(path, expected=2), places)
    assert "does not follow" in problems(claimed(path, protocol="got10k-test@toolkit"), places)
    odd = (("truth", "split", "x"), ("truth", "split", None), ("predictions", "rule", "toolkit"))
    for what, key, value in odd:
        with pytest.raises(BadDataError, match=rf"{what}\.options\.{key}"):
            verify_record(with_options(path, what, **{key: value}), **places)
    (root / "val/GOT-10k_Val_000002/cover.label").write_text("8\n" * 6)
    found = verify_record(path, predictions=results, truth=root)
    assert not found.ok and "not those that the record was judged against" in found.problems[0]


def test_a_tracker_over_got10ks_validation(home, got10k):
    options = (
        "test_set.name=got10k", "test_set.split=val", f"test_set.root={got10k / 'got'}",
        "test_set.sequences=[GOT-10k_Val_000001,GOT-10k_Val_000002]",
    )  # fmt: skip
    record, path = run_tracker(home, got10k, "tiny.safetensors", *options)
    assert (record.task, record.dataset, record.split) == ("tracking-ao", "GOT-10k", "val")
    assert (record.expected, record.evaluated, record.origin) == (180, 2, "measured")
    assert record.protocol.startswith("got10k-val-subset2-")
    assert verify_record(path, predictions=got10k / "boxes", truth=got10k / "got").ok
