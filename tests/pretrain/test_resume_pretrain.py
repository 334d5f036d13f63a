"""A pre-training goes on as if it had not been stopped, or says why it cannot; never anew."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from test_signals import started
from tiny_run import finish, start, write_config, write_images

from lightvit_bench.checkpoint import Parent
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.checkpoints import (
    checkpoint_to_resume,
    latest_checkpoint,
    read_run_checkpoint,
    run_checkpoints,
)
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.run import train
from lightvit_bench.pretrain.resume import describe_config, describe_rest, differences


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with a config, its images and the work dir "run" of the whole run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(write_config(folder), folder / "run"))
    return folder


@pytest.fixture
def resumable(undisturbed, tmp_path):
    """A copy of the run as it was after ten of fifteen iterations: config, work dir."""
    for path in run_checkpoints(undisturbed / "run"):
        if path.name != "iter_15.pth":
            (tmp_path / "run").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "run")
    shutil.copytree(undisturbed / "images", tmp_path / "images")
    return write_config(tmp_path, f"{tmp_path.name}.py"), tmp_path / "run"


def rewrite(path, content) -> None:
    """Replace a checkpoint, which may still be mapped into memory."""
    torch.save(content, path.with_suffix(".aside"))
    os.replace(path.with_suffix(".aside"), path)


def same(one, other) -> None:
    """Two checkpoints hold the same numbers: weights, optimizer, schedule."""
    one, other = read_run_checkpoint(one), read_run_checkpoint(other)
    assert list(one["state_dict"]) == list(other["state_dict"])
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, other["state_dict"][name]), name
    assert one["param_schedulers"] == other["param_schedulers"]
    for key, state in one["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, other["optimizer"]["state"][key][name])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_run_ends_with_the_weights_of_an_undisturbed_one(undisturbed, tmp_path, number):
    """In the middle of the second epoch; after a kill from iteration 5, told from iteration 7."""
    shutil.copytree(undisturbed / "images", tmp_path / "images")
    process, work_dir, (pid,) = started(tmp_path)
    os.kill(pid, number)
    process.communicate(timeout=60)
    saved = "iter_5.pth" if number == signal.SIGKILL else "iter_7.pth"
    assert latest_checkpoint(work_dir).name == saved

    config = write_config(tmp_path)  # the same without the waiting
    finish(start(config, work_dir, "--resume"))
    same(undisturbed / "run/iter_15.pth", work_dir / "iter_15.pth")
    with pytest.raises(AssertionError):
        same(undisturbed / "run/iter_15.pth", work_dir / saved)


@pytest.mark.slow
def test_workers_and_parts_do_not_matter(undisturbed, resumable):
    """Another number of workers, other intervals: the run is the same."""
    config, work_dir = resumable
    options = [
        "train_dataloader.num_workers=0",
        "default_hooks.logger.interval=1",
        "default_hooks.checkpoint.max_keep_ckpts=9",
        "train_dataloader.dataset.max_unreadable=0.5",
    ]
    output = finish(start(config, work_dir, "--resume", "--cfg-options", *options))
    assert "WARNING - going on with train_dataloader.num_workers: 2 -> 0" in output
    assert "going on with train_dataloader.dataset.max_unreadable: not there -> 0.5" in output
    same(undisturbed / "run/iter_15.pth", work_dir / "iter_15.pth")


@pytest.mark.slow
def test_changed_config_is_named_entry_by_entry(resumable):
    config, work_dir = resumable
    for folder in (work_dir, work_dir.parent):
        (folder / "encoder.safetensors").touch()
    options = ["optim_wrapper.optimizer.lr=0.5", "model.mask_ratio=0.5", "train_cfg.max_epochs=4"]
    output = finish(start(config, work_dir, "--resume", "--cfg-options", *options), 2)
    assert "ConfigError" in output and "Traceback" not in output
    assert "optim_wrapper.optimizer.lr: 0.01 -> 0.5" in output
    assert "model.mask_ratio: 0.75 -> 0.5" in output
    assert "train_cfg.max_epochs: 3 -> 4" in output
    assert f"the run of {work_dir / 'iter_10.pth'} had another config" in output
    assert f"--work-dir ANOTHER --cfg-options init={work_dir / 'encoder.safetensors'}" in output
    assert latest_checkpoint(work_dir).name == "iter_10.pth"


@pytest.mark.slow
def test_batch_over_all_gpus_is_compared(resumable):
    config, work_dir = resumable
    options = ["train_dataloader.batch_size=5"]
    with pytest.raises(ConfigError, match="images_per_step: 2 -> 5"):
        train(str(config), work_dir=str(work_dir), resume=True, cfg_options=options)


@pytest.mark.slow
def test_other_images_are_refused(resumable):
    config, work_dir = resumable
    (config.parent / "images/image_3.png").rename(config.parent / "images/renamed.png")
    with pytest.raises(ConfigError, match="other images(?s:.*)as many"):
        train(str(config), work_dir=str(work_dir), resume=True)
    (config.parent / "images/renamed.png").unlink()
    with pytest.raises(ConfigError, match="10 -> 9"):
        train(str(config), work_dir=str(work_dir), resume=True)


@pytest.mark.slow
def test_images_may_move(resumable, tmp_path):
    config, work_dir = resumable
    write_images(tmp_path / "elsewhere")
    options = [f"data_root={tmp_path / 'elsewhere'}"]
    runner = train(str(config), work_dir=str(work_dir), resume=True, cfg_options=options)
    assert runner.iter == 15


@pytest.mark.slow
def test_another_teacher_is_refused(resumable, monkeypatch):
    config, work_dir = resumable
    path = work_dir / "iter_10.pth"
    content = read_run_checkpoint(path)
    content["meta"]["run"]["parents"] = [{"name": "mae_base", "sha256": "a" * 64}]
    rewrite(path, content)
    from lightvit_bench.pretrain.model import Pretraining

    init = Pretraining.__init__

    def with_teacher(self, **kwargs):
        init(self, **kwargs)
        self.parents = [Parent("mae_large", "b" * 64)]

    monkeypatch.setattr(Pretraining, "__init__", with_teacher)
    with pytest.raises(ConfigError, match="another teacher(?s:.*)mae_base(?s:.*)mae_large"):
        train(str(config), work_dir=str(work_dir), resume=True)


@pytest.mark.slow
def test_checkpoint_says_what_run_it_is_of(undisturbed):
    run = read_run_checkpoint(undisturbed / "run/iter_10.pth")["meta"]["run"]
    assert json.loads(json.dumps(run)) == run
    assert run["data"]["images"] == 10 and len(run["data"]["digest"]) >= 32
    assert run["config"]["model.backbone.preset"] == "vit_test"
    assert run["config"]["randomness.seed"] == 3
    assert not any("data_root" in name or "num_workers" in name for name in run["config"])


def test_differences_are_told_both_ways():
    old, new = {"a": 1, "b": [1, 2], "gone": None}, {"a": 1.5, "b": [1, 2], "new": "x"}
    expected = ["a: 1 -> 1.5", "gone: null -> not there", 'new: not there -> "x"']
    assert differences(old, new) == expected


def test_what_cannot_change_a_result_is_not_described(tmp_path):
    config = write_config(tmp_path)
    plain = describe_config(load_config(config))
    for option in ("model.accumulate=2", "optim_wrapper.type=AmpOptimWrapper", "work_dir=x"):
        assert describe_config(load_config(config, [option])) == plain
    for option in ("model.backbone.drop_path=0.2", "randomness.seed=4"):
        assert describe_config(load_config(config, [option])) != plain
    assert describe_config(load_config(config), 2)["images_per_step"] == 4


def test_nothing_to_resume(tmp_path, capsys):
    config = write_config(tmp_path, f"{tmp_path.name}.py")
    with pytest.raises(ConfigError, match="nothing to resume(?s:.*)--resume auto"):
        train(str(config), work_dir=str(tmp_path / "run"), resume=True)
    assert checkpoint_to_resume(tmp_path, "auto") is None
    assert "starting from the beginning" in capsys.readouterr().out
    assert checkpoint_to_resume(tmp_path, False) is None


@pytest.mark.slow
def test_damaged_newest_checkpoint_is_not_passed_over(resumable):
    config, work_dir = resumable
    newest = work_dir / "iter_10.pth"
    whole = newest.read_bytes()
    newest.unlink()
    newest.write_bytes(whole[:-500])
    for mode in (True, "auto"):
        with pytest.raises(CheckpointError, match="iter_10.pth(?s:.*)next older:.*iter_5.pth"):
            train(str(config), work_dir=str(work_dir), resume=mode)
    rewrite(newest, {"state_dict": {}})
    with pytest.raises(CheckpointError, match="holds no message_hub, meta, optimizer"):
        train(str(config), work_dir=str(work_dir), resume=True)
    newest.unlink()
    assert checkpoint_to_resume(work_dir, True)[0].name == "iter_5.pth"


@pytest.mark.slow
def test_checkpoint_of_another_model_is_refused(resumable):
    """The description says the same, the weights do not."""
    config, work_dir = resumable
    path = work_dir / "iter_10.pth"
    content = read_run_checkpoint(path)
    content["state_dict"].pop(next(iter(content["state_dict"])))
    rewrite(path, content)
    with pytest.raises(CheckpointError, match="missing"):
        train(str(config), work_dir=str(work_dir), resume=True)


@pytest.mark.parametrize(
    "options, needles",
    [
        (["load_from=x.pth"], "init=FILE"),
        (["optim_wrapper.accumulative_counts=2"], "model.accumulate"),
        (["model.accumulate=3"], "divisor of train_dataloader.batch_size"),
        (["default_hooks.checkpoint.type=CheckpointHook"], "RunCheckpoint"),
        (["init=absent.safetensors"], "absent.safetensors"),
        (["skip_corrupt=True"], "max_unreadable"),
        (["teacher=absent.safetensors"], "has no model.distill"),
        (["param_scheduler.0.warmup=4"], "param_scheduler.0.warmup"),
    ],
)
def test_refused_before_anything_runs(tmp_path, options, needles):
    config = write_config(tmp_path, f"{tmp_path.name}.py")
    with pytest.raises((ConfigError, CheckpointError), match=needles):
        train(str(config), work_dir=str(tmp_path / "run"), cfg_options=options)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_absent_teacher_is_named(tmp_path):
    config = write_config(tmp_path, f"{tmp_path.name}.py")
    config.write_text(
        config.read_text()
        + "model['distill'] = dict(teacher=dict(preset='vit_test', init='random'),"
        "attention=[(3, 3)])\n"
    )
    options = ["teacher=checkpoints/absent.safetensors"]
    with pytest.raises(CheckpointError, match="teacher's(?s:.*)teacher=FILE") as error:
        train(str(config), work_dir=str(tmp_path / "run"), cfg_options=options)
    assert "init=random" not in str(error.value)


def test_a_pretraining_has_no_test(tmp_path):
    from lightvit_bench.openmmlab.run import test

    with pytest.raises(ConfigError, match="nothing to test"):
        test(str(write_config(tmp_path)), "x.pth")


def test_what_may_differ_is_told(tmp_path, resumable, capfd):
    """Another precision, and a moving average that is given up."""
    config, work_dir = resumable
    path = work_dir / "iter_10.pth"
    content = read_run_checkpoint(path)
    with_average = write_config(tmp_path, hooks=", dict(type='WeightAverage', decay=0.9)")
    content["meta"]["run"]["rest"] = describe_rest(load_config(with_average))
    rewrite(path, content)
    options = ["optim_wrapper.type=AmpOptimWrapper", "optim_wrapper.dtype=bfloat16"]
    train(str(config), work_dir=str(work_dir), resume=True, cfg_options=options)
    output = "".join(capfd.readouterr())
    lines = [line.split("going on with ")[1] for line in output.splitlines() if "going on" in line]
    assert {
        'optim_wrapper.type: "OptimWrapper" -> "AmpOptimWrapper"',
        'optim_wrapper.dtype: not there -> "bfloat16"',
        "custom_hooks.WeightAverage.decay: 0.9 -> not there",
    } <= set(lines)
    assert not any("lr" in line or "preset" in line for line in lines)


@pytest.mark.parametrize("number", [40, 3])
def test_a_start_beside_another_run_is_refused(tmp_path, number):
    """Whichever number its files have: --resume and every message go by the highest."""
    config, work_dir = write_config(tmp_path), tmp_path / "run"
    work_dir.mkdir()
    (work_dir / f"iter_{number}.pth").touch()
    with pytest.raises(ConfigError, match=rf"iter_{number}\.pth") as error:
        train(str(config), work_dir=str(work_dir))
    for way_out in ("--resume", "--work-dir ANOTHER", f"rm {work_dir}/iter_*.pth"):
        assert way_out in str(error.value)
    assert [path.name for path in work_dir.iterdir()] == [f"iter_{number}.pth"]


@HOOKS.register_module()
class FailingSave(Hook):
    """Notes the checkpoints that are there while one is made; has the second one fail."""

    def __init__(self):
        self.seen = []

    def before_save_checkpoint(self, runner, checkpoint):
        self.seen.append([path.name for path in run_checkpoints(runner.work_dir)])
        if len(self.seen) == 3:
            raise CheckpointError("this one fails")


def test_the_old_checkpoint_is_there_until_the_new_one_is(tmp_path):
    hooks = ", dict(type='FailingSave')"
    config = write_config(tmp_path, f"{tmp_path.name}.py", hooks=hooks)
    work_dir, keep = tmp_path / "run", ["default_hooks.checkpoint.max_keep_ckpts=1"]
    with pytest.raises(CheckpointError, match="this one fails"):
        train(str(config), work_dir=str(work_dir), cfg_options=keep)
    assert [path.name for path in run_checkpoints(work_dir)] == ["iter_10.pth"]
    # A run that was killed between writing and removing: its next start removes.
    (work_dir / "iter_5.pth").touch()
    plain = write_config(tmp_path, f"plain_{tmp_path.name}.py")
    train(str(plain), work_dir=str(work_dir), resume=True, cfg_options=keep)
    assert [path.name for path in run_checkpoints(work_dir)] == ["iter_15.pth"]


def test_second_start_in_a_used_folder_says_so(tmp_path, capsys):
    (tmp_path / "iter_40.pth").touch()
    assert checkpoint_to_resume(tmp_path, False) is None
    assert "iter_40.pth of an earlier run" in capsys.readouterr().out
