"""The log says what was computed; a loss that is not finite ends the run and names images."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import poison_hook  # noqa: F401  (registers Poison)
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_run import start, write_config

from lightvit_bench.errors import TrainingError
from lightvit_bench.openmmlab.checkpoints import latest_checkpoint
from lightvit_bench.openmmlab.run import train
from lightvit_bench.pretrain.log import LossQueue, Step, TrainingLog


@HOOKS.register_module()
class Accountant(Hook):
    """Keeps what the log is about."""

    priority = "NORMAL"

    def __init__(self):
        self.losses, self.rates, self.index = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: loss.item() for name, loss in outputs.items()})
        self.rates.append(runner.optim_wrapper.optimizer.param_groups[0]["lr"])
        self.index.append(data_batch["index"].tolist())


@HOOKS.register_module()
class SpoiltWeight(Hook):
    """An infinite weight under a finite loss, after iteration 5."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx + 1 == 5:
            with torch.no_grad():
                next(p for p in runner.model.parameters() if p.requires_grad).fill_(float("inf"))


def run(tmp_path, hooks: str, *options):
    config = write_config(tmp_path, f"{tmp_path.name}.py", hooks=hooks)
    return train(str(config), work_dir=str(tmp_path / "run"), cfg_options=options)


def kept(runner, kind):
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def test_lines_hold_the_means_of_their_interval(tmp_path):
    runner = run(tmp_path, ", dict(type='Accountant')", "default_hooks.logger.interval=4")
    account = kept(runner, Accountant)
    (path,) = (tmp_path / "run").glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [4, 8, 12, 15]  # the last one, however short
    begin = 0
    for line in lines:
        end = line["iteration"]
        for name in ("loss", "loss_pixels"):
            losses = [losses[name] for losses in account.losses[begin:end]]
            assert line[name] == pytest.approx(sum(losses) / len(losses), rel=1e-6)
        assert line["lr"] == account.rates[end - 1]
        assert line["epoch"] == pytest.approx(end / 5)
        assert 0 <= line["waiting"] <= 1
        assert line["images_per_second"] > 0 and line["memory"] > 50
        begin = end
    (log,) = (tmp_path / "run").glob("*/*.log")
    shown = re.findall(r"epoch [\d.]+/3  iteration [\d,]+/15  loss ([\d.]+)  lr", log.read_text())
    assert [float(loss) for loss in shown] == [round(line["loss"], 4) for line in lines]


@HOOKS.register_module()
class OlderRun(Hook):
    """A checkpoint of a higher number lies in the work dir, which is of another run."""

    def before_train(self, runner):
        (Path(runner.work_dir) / "iter_99.pth").touch()


def test_names_that_are_no_text_do_not_hide_the_error(tmp_path):
    """Not UTF-8, and with a line break: escaped in the message and in the file, a line each."""
    write_config(tmp_path)
    for i, path in enumerate(sorted((tmp_path / "images").iterdir())):
        path.rename(path.parent / os.fsdecode(b"\xe9\n%d.png" % i))
    with pytest.raises(TrainingError, match="iteration 3") as error:
        run(tmp_path, ", dict(type='Poison', at=3)")
    lines = (tmp_path / "run/not_finite_3_rank0.txt").read_text().splitlines()
    assert len(lines) == 2 and all(re.fullmatch(r"\\udce9\\n\d\.png", line) for line in lines)
    assert lines[0] in str(error.value).encode().decode()


def test_a_full_disk_does_not_hide_the_error(tmp_path):
    (tmp_path / "run/not_finite_3_rank0.txt").mkdir(parents=True)  # nothing can be written there
    with pytest.raises(TrainingError, match="iteration 3(?s:.*)not written"):
        run(tmp_path, ", dict(type='Poison', at=3)")


@pytest.mark.parametrize("at, good", [(7, "iter_5.pth"), (3, "none yet")])
def test_the_last_good_checkpoint_is_of_this_run(tmp_path, at, good):
    hooks = f", dict(type='Poison', at={at}), dict(type='OlderRun')"
    with pytest.raises(TrainingError, match=rf"last good checkpoint: \S*\b{good}"):
        run(tmp_path, hooks)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_loss_that_is_not_finite_ends_the_run(tmp_path, value):
    hooks = f", dict(type='Poison', at=7, value=float('{value}')), dict(type='Accountant')"
    with pytest.raises(TrainingError) as error:
        run(tmp_path, hooks, "default_hooks.logger.interval=100")
    text = str(error.value)
    assert "iteration 7" in text and f"loss_pixels {value}" in text
    (path,) = (tmp_path / "run").glob("not_finite_7_rank0.txt")
    images = path.read_text().split()
    assert len(images) == 2 and all(image in text for image in images)
    expected = f"{0.005 * (1 + math.cos(math.pi / 10)) / 2:.4g}"  # one of ten after the warm-up
    assert re.search(rf"learning rate: +{expected}", text)
    assert "a lower learning rate" in text and "max_norm" in text
    assert "bfloat16" not in text  # this run is in float32
    assert f"last good checkpoint: {tmp_path / 'run/iter_5.pth'}" in text
    assert latest_checkpoint(tmp_path / "run").name == "iter_5.pth"


def test_the_images_named_are_those_of_the_iteration(tmp_path):
    with pytest.raises(TrainingError):
        run(tmp_path, ", dict(type='Poison', at=6)")
    whole = run(tmp_path / "whole", ", dict(type='Accountant')", f"data_root={tmp_path}/images")
    names = whole.train_dataloader.dataset.names(kept(whole, Accountant).index[5])
    assert (tmp_path / "run/not_finite_6_rank0.txt").read_text().split() == names


def test_spoilt_weights_are_not_saved(tmp_path):
    """The loss of iteration 5 was finite, its step was not; a checkpoint is due."""
    with pytest.raises(TrainingError, match="weights are not finite after iteration 5"):
        run(tmp_path, ", dict(type='SpoiltWeight')", "default_hooks.logger.interval=100")
    assert not list((tmp_path / "run").glob("iter_*.pth"))


@pytest.mark.slow
def test_one_rank_stops_all_with_its_images(tmp_path):
    config = write_config(
        tmp_path, hooks=", dict(type='Poison', at=3, rank=1)", imports=", 'poison_hook'"
    )
    process = start(config, tmp_path / "run", path=Path(__file__).parent, ranks=2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("TrainingError: the loss is not finite in iteration 3.") == 1
    (path,) = (tmp_path / "run").glob("not_finite_3_rank1.txt")
    assert str(path) in output and path.read_text().split()[0] in output
    assert latest_checkpoint(tmp_path / "run").name == "iter_2.pth"


def test_losses_of_a_gpu_wait_for_nobody():
    """Steps come out in order, and only as far as the device has got."""

    class Event:
        def __init__(self, done):
            self.done = done

        def query(self):
            return self.done

        def synchronize(self):
            self.done = True

    queue = LossQueue()
    for number in range(3):
        queue.put(Step(number, 0.1, None), {"loss": torch.tensor(float(number))})
    pending = queue._pending
    queue._pending = type(pending)((*entry[:3], Event(i < 1)) for i, entry in enumerate(pending))
    assert [step.number for step in queue.take()] == [0]
    assert [step.number for step in queue.take()] == []
    assert [step.losses["loss"] for step in queue.take(wait=True)] == [1.0, 2.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_steps_do_not_synchronise(tmp_path, precision):
    """Between two lines of the log nothing waits for the GPU; PyTorch raises where it would."""

    @HOOKS.register_module(force=True)
    class Strict(Hook):
        priority = "VERY_HIGH"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            strict = 3 <= batch_idx % 5 + 1 < 5
            torch.cuda.set_sync_debug_mode("error" if strict else "default")

    options = [
        "optim_wrapper.type=AmpOptimWrapper",
        f"optim_wrapper.dtype={precision}",
        "train_dataloader.pin_memory=True",
        "default_hooks.logger.interval=5",
    ]
    try:
        runner = run(tmp_path, ", dict(type='Strict')", *options)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert runner.iter == 15


def test_tensorboard_is_an_option(tmp_path):
    pytest.importorskip("tensorboard")
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("LocalVisBackend", "TensorboardVisBackend"))
    train(str(config), work_dir=str(tmp_path / "run"))
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


def test_the_log_is_in_place_of_mmengines(tmp_path):
    """mmengine's own would read each loss in its step."""
    runner = run(tmp_path, "", "train_cfg.max_iters=1")
    names = [type(hook).__name__ for hook in runner.hooks]
    assert "TrainingLog" in names and kept(runner, TrainingLog).interval == 2
    assert not {"RuntimeInfoHook", "IterTimerHook", "LoggerHook"} & set(names)
