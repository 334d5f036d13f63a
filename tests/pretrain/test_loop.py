"""So many epochs, counted in iterations; the batch of the sampler is the run's."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_run import write_config

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.run import train
from lightvit_bench.pretrain.loop import EpochIterLoop
from lightvit_bench.pretrain.signals import Interrupted


@HOOKS.register_module()
class Witness(Hook):
    """Notes what the loop does."""

    def __init__(self):
        self.seen, self.epochs = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        assert len(multiprocessing.active_children()) == 2  # the loader's
        self.seen.append((batch_idx, data_batch["index"].tolist()))
        self.epochs.append(runner.epoch)


def run(tmp_path, *options):
    """The runner and its witness after training."""
    config = write_config(tmp_path, f"{tmp_path.name}.py", hooks=", dict(type='Witness')")
    runner = train(str(config), work_dir=str(tmp_path / "run"), cfg_options=options)
    return runner, next(hook for hook in runner.hooks if isinstance(hook, Witness))


def test_a_run_is_epochs_of_distinct_images(tmp_path):
    runner, witness = run(tmp_path)
    assert runner.iter == runner.max_iters == 15 and runner.max_epochs == 3
    assert runner.train_loop.epoch_length == 5
    assert [number for number, _ in witness.seen] == list(range(15))
    assert witness.epochs == [0] * 5 + [1] * 5 + [2] * 5
    epochs = [[i for _, index in witness.seen[e * 5 : e * 5 + 5] for i in index] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert runner.train_loop.waited > 0
    assert not multiprocessing.active_children()  # the workers are gone, though persistent


def test_max_iters_cuts_a_run_and_not_its_schedule(tmp_path):
    runner, witness = run(tmp_path, "train_cfg.max_iters=7")
    assert runner.iter == 7 and len(witness.seen) == 7
    assert runner.param_schedulers[0].end == 15
    assert (tmp_path / "run/iter_7.pth").is_file()  # the last one is always saved


@HOOKS.register_module()
class Told(Hook):
    """Told to end in iteration 7, in a work dir that has a checkpoint of a higher number."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx + 1 == 7:
            (Path(runner.work_dir) / "iter_99.pth").touch()
            os.kill(os.getpid(), signal.SIGTERM)


def test_stop_names_the_file_that_it_has_written(tmp_path, capfd):
    config = write_config(tmp_path, f"{tmp_path.name}.py", hooks=", dict(type='Told')")
    with pytest.raises(Interrupted):
        train(str(config), work_dir=str(tmp_path / "run"))
    assert f"Saved in {tmp_path / 'run/iter_7.pth'};" in "".join(capfd.readouterr())


@pytest.mark.parametrize("change", [dict(max_epochs=0), dict(max_epochs=1, max_iters=0.5)])
def test_no_run_at_all_is_refused(tmp_path, change):
    options = [f"train_cfg.{key}={value}" for key, value in change.items()]
    with pytest.raises(ConfigError, match=f"train_cfg.{list(change)[-1]}="):
        run(tmp_path, *options)


def test_fewer_images_than_a_batch_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="10 images are fewer than a batch of 12"):
        run(tmp_path, "train_dataloader.batch_size=12")


def test_sampler_of_another_batch_is_refused(tmp_path):
    cfg = load_config(write_config(tmp_path))
    cfg.train_dataloader.sampler.batch = 5
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)

    class Pretender:
        world_size = 1

    loader = type("Loader", (), {"__len__": lambda self: 5, **vars(loader)})()
    loader.batch_size = 4
    with pytest.raises(ConfigError, match="sampler.batch"):
        EpochIterLoop(Pretender(), loader, max_epochs=1)
