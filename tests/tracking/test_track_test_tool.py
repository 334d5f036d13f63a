"""tools/test.py with the config of a tracker: from a checkpoint to scores on a data set."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial

import cv2
import forked
import numpy as np
import pytest
import torch
from tiny_export import SETTINGS, tiny

from lightvit_bench.data.demo_tracking import make_demo_sequences
from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError, MissingDataError
from lightvit_bench.openmmlab import run as openmmlab_run
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.export import export_tracker, made_with
from lightvit_bench.tracking.files import load_tracker, read_tracker_manifest, save_tracker
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.running import config as run_config

SPEC = dict(template_size=32, search_size=64, head_channels=16, eliminate=(1,))
CONFIG = """
model = dict(
    type="Tracking",
    data_preprocessor=dict(
        type="PairNormalizer", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(preset="vit_test", init="random"),
    network=dict(template_size=32, search_size=64, head_channels=16, eliminate=(1,)),
)
test_set = dict(name="lasot", root="demo", split="test", data_root={root!r})
work_dir = {work!r}
tracker = dict()
"""
# Boxes follow the highest score however low it is: an untrained tracker then moves.
FOLDER = ("test_set.name=folder", "test_set.hold=False")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Demo sequences, a config, an untrained tracker's file and the same as a run's checkpoint."""
    home = tmp_path_factory.mktemp("track_test")
    make_demo_sequences(home / "demo", sequences=3, frames=12, size=(96, 80))
    (home / "tiny.py").write_text(CONFIG.format(root=str(home), work=str(home / "work")))
    torch.manual_seed(0)
    network = OneStreamTracker(NetworkSpec(preset="vit_test", **SPEC))
    save_tracker(home / "tiny.safetensors", network, recipe="none")
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "meta": {"iter": 7}}, home / "iter_7.pth")
    return home


def tool(repo, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return forked.run([repo / "tools/test.py", *arguments], env=environment)


def first_name(home):
    return sorted(path.parent.name for path in (home / "demo").glob("*/*/img"))[0]


def boxes(out):
    return {p.name: p.read_bytes() for p in out.glob("*.txt") if not p.stem.endswith("_time")}


@pytest.fixture(scope="module")
def tested(home, repo):
    """The tool over the demo sequences, in two processes and by a clock as well."""
    out = home / "out"
    done = tool(
        repo, home / "tiny.py", home / "tiny.safetensors", "--out", out, "--processes", 2,
        "--threads", 1, "--realtime", 1000, "--cfg-options", *FOLDER,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done


@pytest.mark.slow
def test_the_tool_runs_judges_and_tells(tested):
    out, done = tested
    record = json.loads((out / "scores.json").read_text())
    assert record["protocol"].startswith("sequences3-") and record["protocol"] in done.stdout
    assert (record["expected"], record["evaluated"], record["threads"]) == (3, 3, 1)
    assert record["speed"]["frames"] == 36 and record["speed"]["timed"] == 33
    assert record["run"]["identity"]["settings"]["hold"] is False
    assert record["settings"] == asdict(Settings(0.25, hold=False))
    assert "found from 0.25; moves on whatever the score" in done.stdout
    assert record["run"]["identity"]["image_mean"] == [0.485, 0.456, 0.406]
    assert set(record["details"]["per_sequence"]) == {p.removesuffix(".txt") for p in boxes(out)}
    metrics = dict(part.split() for part in done.stdout.splitlines()[-1].split("  "))
    assert float(metrics["AUC"]) == pytest.approx(record["scores"]["AUC"], abs=0.006)

    clocked = json.loads((out / "realtime_1000/scores.json").read_text())
    assert clocked["realtime"] == {"frames_per_second": 1000.0, "patience": 1.0}
    assert set(boxes(out / "realtime_1000")) == set(boxes(out))
    dropped = 100 * clocked["speed"]["dropped"]
    assert float(metrics["dropped@1000"]) == pytest.approx(dropped, abs=0.006)
    assert "AUC@1000" in metrics and "stream of 1000 frames/s" in done.stdout


@pytest.mark.slow
def test_a_runs_checkpoint_gives_the_boxes_of_its_tracker(tested, home, repo, tmp_path):
    done = tool(
        repo, home / "tiny.py", home / "iter_7.pth", "--out", tmp_path, "--processes", 1,
        "--threads", 1, "--cfg-options", *FOLDER,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert boxes(tmp_path) == boxes(tested[0])
    assert len({held.splitlines()[5] for held in boxes(tmp_path).values()}) == 3
    assert read_tracker_manifest(tmp_path / "tracker.safetensors").settings == Settings(hold=False)


@pytest.mark.slow
def test_a_frame_that_cannot_be_read_is_exit_code_2(home, repo, tmp_path):
    make_demo_sequences(tmp_path / "demo", sequences=2, frames=6, size=(96, 80))
    bad = sorted((tmp_path / "demo").glob("*/*/img"))[1] / "00000003.jpg"
    bad.write_bytes(bad.read_bytes()[:100])
    done = tool(
        repo, home / "tiny.py", home / "tiny.safetensors", "--out", tmp_path / "out",
        "--processes", 1, "--cfg-options", *FOLDER, f"data_root={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert str(bad) in done.stderr and "1 of 2 sequences failed" in done.stderr
    assert len(boxes(tmp_path / "out")) == 1 and not (tmp_path / "out/scores.json").exists()


# ------------------------------------------------------------- what is refused before anything runs


def refused(home, kind, match, *options, checkpoint="tiny.safetensors", **more):
    with pytest.raises(kind, match=match) as error:
        openmmlab_run.test(
            str(home / "tiny.py"), str(home / checkpoint), cfg_options=options, **more
        )
    return str(error.value)


def test_fewer_sequences_than_the_benchmark_has_are_refused(home, tmp_path):
    """The config says LaSOT, and the folder holds two of its 280."""
    for name in ("car-2", "cup-1"):
        folder = tmp_path / "lasot" / name
        (folder / "img").mkdir(parents=True)
        cv2.imwrite(str(folder / "img/00000001.jpg"), np.zeros((40, 40, 3), np.uint8))
        (folder / "groundtruth.txt").write_text("1,1,9,9\n")
    options = ("test_set.root=lasot", f"data_root={tmp_path}")
    refused(home, BadDataError, "2 of the 280", *options, out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    refused(home, MissingDataError, "LaSOT test", "test_set.root=demo")


def test_named_sequences_are_opened_without_the_rest(home, tmp_path):
    cfg = load_config(home / "tiny.py", ("test_set.name=folder",))
    names = sorted(path.parent.name for path in (home / "demo").glob("*/*/img"))
    for chosen in (names[1], [names[1]]):
        section = {**cfg.test_set, "sequences": chosen}
        name, split, sequences, _ = run_config.open_test_set(section, "tiny.py")
        assert (name, split, [one.name for one in sequences]) == ("folder", "all", [names[1]])
    (tmp_path / "names").write_text("\n".join(names[:2]) + "\n")
    section["sequences"] = str(tmp_path / "names")
    assert len(run_config.open_test_set(section, "tiny.py")[2]) == 2
    section["sequences"] = [names[0], "zebra-99"]
    with pytest.raises(ConfigError, match="not there") as error:
        run_config.open_test_set(section, "tiny.py")
    assert "zebra-99" in str(error.value)


def test_lists_of_sequences_that_are_not_names(home, tmp_path):
    for given in ("0001", "0001,0002"):
        text = refused(
            home, ConfigError, "not names", *FOLDER, f"test_set.sequences={given}"
        )  # fmt: skip
        assert "one a line" in text and ".txt" in text
    text = refused(home, ConfigError, "no such list", *FOLDER, "test_set.sequences=gone.txt")
    assert "gone.txt" in text
    shutil.copytree(home / "demo", tmp_path / "demo")
    (folder,) = (tmp_path / "demo").glob(f"*/{first_name(home)}")
    folder.rename(folder.parent / "0001 b")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf0001 b\r\n\r\n")
    section = dict(name="folder", root=str(tmp_path / "demo"), sequences=str(tmp_path / "list.txt"))
    assert [one.name for one in run_config.open_test_set(section, "x.py")[2]] == ["0001 b"]
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(ConfigError, match="not text"):
        run_config.open_test_set(section, "x.py")


def test_a_set_that_is_not_there_says_what_sets_it(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIGHTVIT_DATA", raising=False)
    section = dict(name="folder", root="demo/tracking", data_root="data")
    with pytest.raises(MissingDataError) as error:
        run_config.open_test_set(section, "x.py")
    text = str(error.value)
    assert "--cfg-options test_set.root=FOLDER test_set.data_root=." in text
    assert "make demo" in text and "--data-root" not in text
    with pytest.raises(MissingDataError) as error:
        run_config.open_test_set({**section, "root": "own"}, "x.py")
    assert "test_set.root=FOLDER" in str(error.value) and "make demo" not in str(error.value)


def test_a_folder_has_all_that_its_list_names(home, tmp_path, monkeypatch):
    shutil.copytree(home / "demo", tmp_path / "demo")
    name = first_name(home)
    (folder,) = (tmp_path / "demo").glob(f"*/{name}")
    shutil.rmtree(folder)
    text = refused(home, BadDataError, "2 of the 3", *FOLDER, f"data_root={tmp_path}")
    assert name in text and "test_set.sequences" in text
    other = (tmp_path / "demo/testing_set.txt").read_text().split()[-1]
    section = dict(name="folder", root=str(tmp_path / "demo"), sequences=[other])
    assert len(run_config.open_test_set(section, "x.py")[2]) == 1
    monkeypatch.setenv("LIGHTVIT_DATA", str(tmp_path))
    refused(home, BadDataError, "2 of the 3", *FOLDER, "data_root=data")
    (tmp_path / "demo/testing_set.txt").unlink()
    del section["sequences"]
    assert len(run_config.open_test_set(section, "x.py")[2]) == 2


def test_truth_with_gaps_is_refused_before_anything_runs(home, tmp_path):
    shutil.copytree(home / "demo", tmp_path / "demo")
    (truth,) = (tmp_path / "demo").glob(f"*/{first_name(home)}/groundtruth.txt")
    lines = truth.read_text().splitlines()
    truth.write_text("\n".join([lines[0], "nan,nan,nan,nan", *lines[2:], ""]))
    out = tmp_path / "out"
    text = refused(
        home, BadDataError, "truth is unknown", *FOLDER, f"data_root={tmp_path}", out=str(out)
    )
    assert first_name(home) in text and not out.exists()


def test_a_root_of_its_own_need_not_lie_below_data_root(home, monkeypatch):
    section = dict(name="folder", root="demo", data_root="data")
    monkeypatch.chdir(home)
    assert len(run_config.open_test_set(section, "tiny.py")[2]) == 3
    section["root"] = str(home / "demo")
    assert len(run_config.open_test_set(section, "tiny.py")[2]) == 3


def test_what_test_set_does_not_know_is_refused(home):
    refused(home, ConfigError, "no 'splitt'", "test_set.splitt=test")
    refused(home, ConfigError, "not tested on 'coco'", "test_set.name=coco")
    refused(home, ConfigError, "no split 'tset'", "test_set.split=tset")
    refused(home, ConfigError, "no 'skip_corrupt'", "skip_corrupt=True")
    with pytest.raises(ConfigError, match="what to run a tracker over"):
        run_config.open_test_set({}, "tiny.py")


def test_a_tracker_of_another_network_is_refused(home):
    text = refused(
        home, CheckpointError, "another network", *FOLDER, "model.network.head=mlp"
    )  # fmt: skip
    assert "head: conv in the file, mlp here" in text
    text = refused(
        home, CheckpointError, "does not fit", *FOLDER, "model.network.head_channels=32",
        checkpoint="iter_7.pth",
    )  # fmt: skip
    assert "reshaped" in text
    refused(home, ConfigError, "no 'heads'", *FOLDER, "model.network.heads=3")


def test_elimination_is_the_configs_choice(home, capsys):
    options = (*FOLDER, "model.network.eliminate=[]")
    cfg = load_config(home / "tiny.py", options)
    tested = run_config.tracker_of(cfg, home / "tiny.safetensors", home, {})
    assert tested.spec.eliminate == () and "as the config says" in capsys.readouterr().out
    tracker = run_config.start_tracker(tested.file, tested.spec, tested.settings, "cpu", 1)
    assert tracker.model.spec == tested.spec
    assert load_tracker(home / "tiny.safetensors")[0].spec.eliminate == (1,)


def test_a_runs_settings_are_those_that_export_writes(home, tmp_path):
    """`tracker` of the config, and `test_set` on top of it."""
    cfg = load_config(home / "tiny.py", (*FOLDER, "tracker.found_above=0.4", "tracker.hold=False"))
    run_of = partial(run_config.tracker_of, cfg, home / "iter_7.pth", tmp_path)
    exported = export_tracker(
        str(home / "tiny.py"), home / "iter_7.pth", tmp_path / "t.safetensors",
        cfg_options=("tracker.found_above=0.4", "tracker.hold=False"),
    )  # fmt: skip
    assert run_of({}).settings == exported.settings == Settings(0.4, hold=False)
    assert run_of({"hold": True}).settings == Settings(0.4, hold=True)
    own = run_config.tracker_of(cfg, home / "tiny.safetensors", tmp_path, {})
    assert own.settings == Settings(), "a tracker's file has its own"
    cfg.tracker.found_over = 1
    with pytest.raises(ConfigError, match="found_over"):
        run_of({})


def test_other_pixel_statistics_are_another_run(home, tmp_path):
    """No tensor shows them: a finished folder must not pass for one of theirs."""
    options = (*FOLDER, f"test_set.sequences={first_name(home)}")
    more = dict(out=str(tmp_path / "out"), tracker_options=dict(processes=1, threads=1))
    config, checkpoint = str(home / "tiny.py"), str(home / "iter_7.pth")
    openmmlab_run.test(config, checkpoint, cfg_options=options, **more)
    options += ("model.data_preprocessor.mean=[0,0,0]",)
    text = refused(home, ConfigError, "another run", *options, checkpoint="iter_7.pth", **more)
    assert "image_mean: [0.485, 0.456, 0.406] there, [0.0, 0.0, 0.0] now" in text


def test_a_runs_network_that_no_tensor_shows_is_the_configs(home, tmp_path, capsys):
    cfg = load_config(home / "tiny.py")
    state = torch.load(home / "iter_7.pth", weights_only=True)["state_dict"]
    path = home / "iter_9.pth"
    torch.save({"state_dict": state, "meta": {"iter": 9, **made_with(cfg)}}, path)
    run_config.tracker_of(cfg, path, tmp_path, {})
    assert "does not say" not in capsys.readouterr().out
    for option, says in (
        ("model.network.keep=0.9", "network.keep: 0.7 in the run, 0.9 here"),
        ("model.network.eliminate=[]", "network.eliminate: [1] in the run, [] here"),
        ("model.network.search_factor=3.0", "network.search_factor: 4.0 in the run, 3.0 here"),
        ("model.data_preprocessor.std=[1,1,1]", "data_preprocessor.std: [58.395"),
    ):
        text = refused(
            home, CheckpointError, "another tracker", *FOLDER, option, checkpoint=path.name
        )
        assert says in text
        with pytest.raises(CheckpointError, match="another tracker"):
            export_tracker(
                str(home / "tiny.py"), path, tmp_path / "no.safetensors", cfg_options=[option]
            )
    run_config.tracker_of(cfg, home / "iter_7.pth", tmp_path, {})  # of before there was such a meta
    assert "iter_7.pth does not say" in capsys.readouterr().out


def test_checkpoints_of_another_kind_are_refused(home, tmp_path):
    refused(home, CheckpointError, "no such checkpoint", *FOLDER, checkpoint="no.pth")
    (home / "other.tar").write_bytes(b"x")
    text = refused(home, CheckpointError, "safetensors", *FOLDER, checkpoint="other.tar")
    assert "convert_checkpoint" in text
    torch.save({"model": {}}, home / "bare.pth")
    refused(home, CheckpointError, "not a training run's", *FOLDER, checkpoint="bare.pth")
    state = torch.load(home / "iter_7.pth", weights_only=True)["state_dict"]
    state.pop(next(iter(state)))
    torch.save({"state_dict": {**state, "extra": torch.zeros(1)}}, home / "misfit.pth")
    text = refused(home, CheckpointError, "does not fit", *FOLDER, checkpoint="misfit.pth")
    assert "missing" in text and "extra" in text


def test_options_that_make_no_sense_are_refused(home, tiny_config):
    refused(home, ConfigError, "show-dir", show_dir="x")
    refused(home, ConfigError, "--processes", launcher="pytorch")
    for options in (dict(processes=0), dict(threads=-1), dict(realtime=0.0), dict(device="moon")):
        flag = f"--{next(iter(options))}"
        refused(home, ConfigError, flag, *FOLDER, tracker_options=options)
    with pytest.raises(ConfigError, match="--realtime is for trackers"):
        openmmlab_run.test(str(tiny_config), "x.pth", tracker_options=dict(realtime=30.0))


# ------------------------------------------------------------------------------- exported trackers


@pytest.fixture(scope="module")
def exported(home, tmp_path_factory):
    """Another tiny tracker's weights, and what was exported of it."""
    for package in ("openvino", "onnxruntime", "onnx", "onnxscript"):
        pytest.importorskip(package)
    for name in ("conv.safetensors", "conv.xml", "conv.onnx"):
        file = tiny(tmp_path_factory, name)
        for one in file.parent.glob(f"{file.stem}.*"):
            shutil.copy(one, home)
    return home


def over_one(home, checkpoint, out, *options, **more):
    """Test a checkpoint over one sequence, in one process of one thread."""
    return openmmlab_run.test(
        str(home / "tiny.py"), str(home / checkpoint), out=str(out),
        cfg_options=(*FOLDER, f"test_set.sequences={first_name(home)}", *options),
        tracker_options=dict(processes=1, threads=1, **more),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pytorchs(exported):
    """Results of the weights that were exported."""
    over_one(exported, "conv.safetensors", exported / "conv", "model.network.keep=0.5")
    return exported / "conv"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_an_exported_tracker_gives_the_same_boxes(exported, pytorchs, tmp_path, suffix):
    metrics = over_one(exported, f"conv{suffix}", tmp_path)
    name = f"{first_name(exported)}.txt"
    boxes_of = [np.loadtxt(folder / name, delimiter=",") for folder in (pytorchs, tmp_path)]
    np.testing.assert_allclose(boxes_of[1], boxes_of[0], atol=0.05)
    assert len(boxes_of[0]) == 12 and np.ptp(boxes_of[0], axis=0).max() > 1 and "AUC" in metrics
    identity = json.loads((tmp_path / "run.json").read_text())["identity"]
    runtime = {".xml": "OpenVINO ", ".onnx": "ONNX Runtime "}[suffix]
    assert identity["runtime"].startswith(runtime) and identity["precision"] == "fp32"
    assert identity["threads"] == 1 and identity["settings"]["hold"] is False
    assert identity["network"]["search_size"] == 64
    over_one(exported, f"conv{suffix}", tmp_path)  # all done: nothing is refused


@pytest.mark.slow
def test_results_of_another_runtime_precision_or_file_are_another_run(
    exported, tmp_path, monkeypatch
):
    from lightvit_bench.tracking.runtimes.base import ExportedModel

    over_one(exported, "conv.xml", tmp_path)
    for checkpoint, told in (
        ("conv.onnx", "runtime: OpenVINO"),
        ("conv.safetensors", "precision: fp32 there, None now"),
    ):
        with pytest.raises(ConfigError, match="another run") as error:
            over_one(exported, checkpoint, tmp_path, "model.network.keep=0.5")
        assert told in str(error.value)
    shutil.copy(exported / "conv.bin", exported / "other.bin")
    (exported / "other.xml").write_text((exported / "conv.xml").read_text() + "\n")
    with pytest.raises(ConfigError, match="checkpoint: "):
        over_one(exported, "other.xml", tmp_path)
    real = ExportedModel.__init__
    monkeypatch.setattr(
        ExportedModel, "__init__", lambda self, about, threads, _: real(self, about, threads, "odd")
    )
    with pytest.raises(ConfigError, match="precision: fp32 there, odd now"):
        over_one(exported, "conv.xml", tmp_path)


def test_an_exported_tracker_has_the_crops_of_the_config(exported):
    for option, told in (
        ("search_factor=3.0", "search_factor: 4.0 in the file, 3.0 in tiny.py"),
        ("template_size=64", "template_size: 32 in the file, 64 in tiny.py"),
    ):
        for name in ("conv.xml", "conv.onnx"):
            text = refused(
                exported, CheckpointError, "another network", *FOLDER,
                f"model.network.{option}", checkpoint=name,
            )  # fmt: skip
            assert told in text and name in text


def test_an_exported_trackers_settings_are_its_own_and_test_sets(exported):
    cfg = load_config(exported / "tiny.py", (*FOLDER, "tracker.found_above=0.9"))
    of = partial(run_config.tested_of, cfg, exported / "conv.xml", exported)
    tested = of({"hold": False}, None, "cpu")
    assert tested.settings == replace(SETTINGS, hold=False)
    tracker = tested.starter(2)()
    assert tracker.settings == tested.settings and tracker.model.threads == 2
    with pytest.raises(ConfigError, match="--device cuda is not for exported"):
        of({}, None, "cuda")


def test_workers_of_exported_trackers_import_no_pytorch():
    program = "import sys; from lightvit_bench.tracking.running import exported, workers"
    done = subprocess.run(
        [sys.executable, "-c", program + "; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr


def test_precisions_are_for_exported_trackers(home, tmp_path):
    for checkpoint in ("tiny.safetensors", "iter_7.pth"):
        refused(
            home, ConfigError, "--precision bf16 is for exported", *FOLDER, checkpoint=checkpoint,
            out=str(tmp_path), tracker_options=dict(precision="bf16"),
        )  # fmt: skip
