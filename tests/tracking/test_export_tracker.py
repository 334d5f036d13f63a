"""From a run's checkpoint to a tracker's file."""

import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_tracking import run as train
from tiny_tracking import small_config, write_all

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.checkpoint import sha256
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.export import export_tracker, in_brief, made_with
from lightvit_bench.tracking.files import load_tracker
from lightvit_bench.tracking.training.prepare import MadeWith

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
custom_imports = dict(imports=["lightvit_bench.registry"])
model = dict(
    type="Tracking",
    data_preprocessor=dict(
        type="PairNormalizer", mean=[127.5, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(preset="vit_test", init="random", drop_path=0.1),
    network=dict(
        template_size=32, search_size=64, search_factor=3.0, head_channels=16,
        eliminate=(1,), keep=0.6,
    ),
)
train_dataloader = dict(dataset=dict(sets=[dict(name="lasot"), dict(name="got10k")]))
custom_hooks = [dict(type="KeepRate", epoch_length=10)]
tracker = dict(found_above=0.35)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "ostrack_none_test.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def model(config):
    torch.manual_seed(0)
    return MODELS.build(Config.fromfile(config).model).eval()


@pytest.fixture(scope="module")
def run(config, model):
    """A checkpoint as mmengine's Runner leaves it."""
    path = config.parent / "iter_37.pth"
    meta = {"epoch": 0, "iter": 37, "config": "import os; os.abort()"}
    torch.save({"meta": meta, "state_dict": model.state_dict(), "message_hub": {}}, path)
    return path


def test_a_runs_tracker(config, run, model, tmp_path):
    out = tmp_path / "tracker.safetensors"
    manifest = export_tracker(str(config), run, out)
    network, read = load_tracker(out)
    assert read == manifest
    assert network.spec == model.network.spec and network.spec.search_factor == 3.0
    own = model.network.state_dict()
    assert all(torch.equal(t, own[n]) for n, t in network.state_dict().items())
    assert manifest.image_mean == (0.5, 0.456, 0.406)
    assert manifest.image_std == (0.229, 0.224, 0.225)
    assert manifest.settings == Settings(found_above=0.35)
    assert (manifest.recipe, manifest.data) == ("ostrack_none_test", "lasot, got10k")
    assert manifest.epochs == 3  # of ten iterations
    assert manifest.parents[0].name == run.name and manifest.parents[0].sha256 == sha256(run)


def test_what_is_read_normalises_as_training_did(config, run, model, tmp_path):
    from lightvit_bench.tracking.files import load_tracker_model

    out = tmp_path / "tracker.safetensors"
    export_tracker(str(config), run, out)
    pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    batch = {"template": pixels[None, :32, :32], "search": pixels[None], "box": torch.zeros(1, 4),
             "present": torch.ones(1)}  # fmt: skip
    expected = model.data_preprocessor(batch)["search"]
    made = load_tracker_model(out)._pixels(pixels.numpy())
    assert torch.allclose(made, expected, atol=1e-4)


def test_options(config, run, tmp_path):
    out = tmp_path / "tracker.safetensors"
    manifest = export_tracker(str(config), run, out, recipe="mine", data="noise", half=True)
    assert (manifest.recipe, manifest.data) == ("mine", "noise")
    size = out.stat().st_size
    with pytest.raises(CheckpointError, match="there already"):
        export_tracker(str(config), run, out)
    options = ["tracker.hold=False", "model.network.keep=0.9"]
    manifest = export_tracker(str(config), run, out, overwrite=True, cfg_options=options)
    assert out.stat().st_size > size
    assert manifest.settings == Settings(0.35, hold=False) and manifest.spec.keep == 0.9


def test_without_what_a_config_need_not_have(run, tmp_path):
    path = tmp_path / "plain.py"
    lines = CONFIG.splitlines()
    kept = [x for x in lines if not x.startswith(("train_data", "custom_hooks", "tracker"))]
    path.write_text("\n".join(kept))
    manifest = export_tracker(str(path), run, tmp_path / "t.safetensors")
    assert (manifest.data, manifest.epochs, manifest.settings) == ("", None, Settings())
    assert "data: not said" in in_brief(manifest)


def test_sets_that_a_run_left_out_are_not_named(config, run, tmp_path):
    path = tmp_path / "left_out.py"
    path.write_text(CONFIG.replace('dict(name="got10k")', 'dict(name="got10k", ratio=0)'))
    assert export_tracker(str(path), run, tmp_path / "t.safetensors").data == "lasot"


def test_checkpoints_say_what_made_them(config, tmp_path):
    """The hook of training: plain values, which export compares."""
    cfg = Config.fromfile(config)
    checkpoint = {"meta": {}}
    MadeWith(made_with(cfg)).before_save_checkpoint(None, checkpoint)
    path = tmp_path / "iter_1.pth"
    torch.save(checkpoint, path)
    held = torch.load(path, weights_only=True)["meta"]
    assert held["network"]["eliminate"] == [1] and held["network"]["preset"] == "vit_test"
    assert held["network"]["template_factor"] == 2.0, "what a config leaves unsaid, too"
    assert held["data_preprocessor"]["mean"] == [127.5, 116.28, 103.53]


def test_a_training_says_what_made_it(tmp_path, capsys):
    """From tools/train.py's run to export: its own config passes, another is refused."""
    path = small_config(tmp_path, write_all(tmp_path / "data"))
    train(path, tmp_path / "run", "train_cfg.max_iters=2")
    (checkpoint,) = (tmp_path / "run").glob("iter_*.pth")
    out = tmp_path / "t.safetensors"
    capsys.readouterr()
    with pytest.raises(CheckpointError, match="another tracker") as error:
        export_tracker(str(path), checkpoint, out, cfg_options=["model.network.keep=0.123"])
    assert "network.keep: " in str(error.value) and "0.123 here" in str(error.value)
    export_tracker(str(path), checkpoint, out)
    assert "does not say" not in capsys.readouterr().out


def test_the_manifest_in_brief(config, run, tmp_path):
    text = in_brief(export_tracker(str(config), run, tmp_path / "a.safetensors"))
    for part in ("vit_test, 4 heads", "0.6 of the search tokens kept in blocks 1", "factor 3",
                 "0.35", "ostrack_none_test, 3 epochs", "lasot, got10k"):  # fmt: skip
        assert part in text


def test_refusals(config, run, model, tmp_path):
    out = tmp_path / "t.safetensors"

    def refused(error, says, checkpoint=run, path=config, options=()):
        with pytest.raises(error, match=says):
            export_tracker(str(path), checkpoint, out, cfg_options=options)
        assert not out.exists()

    refused(ConfigError, "found_over", options=["tracker.found_over=1"])
    refused(ConfigError, "colour", options=["model.network.colour=1"])
    refused(CheckpointError, "does not fit", options=["model.network.head=mlp"])
    refused(CheckpointError, "does not fit", options=["model.network.search_size=96"])
    refused(CheckpointError, "no such checkpoint", checkpoint=tmp_path / "none.pth")
    other = tmp_path / "encoder.py"
    other.write_text(CONFIG.replace('"Tracking"', '"Pretraining"'))
    refused(ConfigError, "not the config of a tracker", path=other)
    bare = tmp_path / "bare.pth"
    torch.save(model.state_dict(), bare)
    refused(CheckpointError, "no 'state_dict'", checkpoint=bare)
    torch.save({"state_dict": 5}, bare)
    refused(CheckpointError, "no 'state_dict'", checkpoint=bare)
    broken = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    broken["network.backbone.norm.weight"][0] = float("nan")
    torch.save({"state_dict": broken}, bare)
    refused(CheckpointError, "NaN or infinity", checkpoint=bare)


def test_the_tool_as_a_person_runs_it(config, run, tmp_path):
    tool, streams = ROOT / "tools/export_tracker.py", dict(capture_output=True, text=True)
    arguments = (tool, config, run, "new/t.safetensors", "--half", "--data", "noise")
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, timeout=120, **streams)
    assert done.returncode == 0, done.stderr
    assert "vit_test, 4 heads" in done.stdout and done.stdout.endswith("new/t.safetensors\n")
    assert load_tracker(tmp_path / "new/t.safetensors")[1].data == "noise"
    done = forked.run([tool, config, tmp_path / "none.pth", "u.safetensors"], cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("CheckpointError: ")
    assert "Traceback" not in done.stderr and not (tmp_path / "u.safetensors").exists()


def test_help_is_instant():
    tool = ROOT / "tools/export_tracker.py"
    code = f"import sys, runpy; sys.argv = ['x', '--help']; runpy.run_path({str(tool)!r}, "
    code += "run_name='__main__')"
    check = f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit:\n    pass\n"
    check += "assert not {'torch', 'mmengine', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--half" in done.stdout and os.access(tool, os.X_OK)
