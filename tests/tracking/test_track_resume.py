"""A tracker's run that is killed, and one of two processes."""

import json
import os
import signal
import time

import pytest
import torch
from tiny_tracking import finish, small_config, start, start_ranks, write_all

from lightvit_bench.openmmlab.checkpoints import latest_checkpoint, read_run_checkpoint

pytestmark = pytest.mark.slow

WATCH = """
import hashlib, json, os, time
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

def digest(tensors):
    parts = hashlib.sha256()
    for tensor in tensors:
        parts.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return parts.hexdigest()

@HOOKS.register_module()
class Watch(Hook):
    def __init__(self, wait_at=None):
        self.wait_at, self.pairs, self.buffers = wait_at, [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.pairs += [digest([one]) for one in data_batch["search"]]
        if batch_idx == self.wait_at:
            open(runner.work_dir + "/waiting", "w").close()
            time.sleep(120)

    def before_val_epoch(self, runner):
        model = getattr(runner.model, "module", runner.model)
        self.buffers.append(digest(b for n, b in model.named_buffers() if "running" in n))

    def after_train(self, runner):
        model = getattr(runner.model, "module", runner.model)
        told = dict(pairs=self.pairs, buffers=self.buffers, weights=digest(model.parameters()),
                    lr=runner.optim_wrapper.optimizer.param_groups[0]["lr"])
        with open(f"{runner.work_dir}/rank{get_rank()}.json", "w") as file:
            json.dump(told, file)
"""
HOOKS = """
custom_imports = dict(imports=["lightvit_bench.registry", "watch_hook"])
custom_hooks = [
    dict(type="ReplayableIterations"), dict(type="KeepRate", epoch_length=2), dict(type="Watch"{}),
]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("tracking"))


@pytest.fixture
def watched(data, tmp_path):
    """Configs that watch their run; the hook's module lies in `tmp_path`."""
    (tmp_path / "watch_hook.py").write_text(WATCH)

    def make(name, base="ostrack_dmae_tiny", wait_at=None, **more):
        hooks = HOOKS.format("" if wait_at is None else f", wait_at={wait_at}")
        return small_config(tmp_path, data, base, name=name, more=hooks, **more)

    return make


def told(folder, rank=0) -> dict:
    return json.loads((folder / f"rank{rank}.json").read_text())


def test_killed_run_ends_with_the_weights_of_an_undisturbed_one(watched, tmp_path):
    """Killed in iteration 5 of 8, behind a checkpoint of 3: pairs, drop path, shares and rates."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(watched("plain.py"), whole, path=tmp_path)
    process = start(watched("slow.py", wait_at=5), killed, path=tmp_path)
    for _ in range(1200):
        if (killed / "waiting").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()[0]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert latest_checkpoint(killed).name == "iter_3.pth"

    finish(start(tmp_path / "plain.py", killed, "--resume", "auto", path=tmp_path))
    finish(undisturbed)
    ours, theirs = (
        read_run_checkpoint(folder / "iter_8.pth")["state_dict"] for folder in (killed, whole)
    )
    assert list(ours) == list(theirs)
    for name, weight in theirs.items():
        assert torch.equal(weight, ours[name]), name
    before = read_run_checkpoint(whole / "iter_6.pth")["state_dict"]
    assert any(not torch.equal(weight, theirs[name]) for name, weight in before.items())
    assert told(killed)["pairs"] == told(whole)["pairs"][3 * 4 :]
    assert len(set(told(whole)["pairs"])) == 8 * 4


def test_auto_starts_where_there_is_nothing(watched, tmp_path):
    out = finish(
        start(watched("plain.py"), tmp_path / "run", "--resume", "auto", "--cfg-options",
              "train_cfg.max_iters=1", path=tmp_path)
    )  # fmt: skip
    assert "starting from the beginning" in out and (tmp_path / "run/iter_1.pth").is_file()


@pytest.mark.parametrize(
    "base, more",
    [
        ("ostrack_dmae_tiny", {}),
        ("mast_dmae_tiny", dict(network="", model="keep_schedule=dict(begin=0, end=2),")),
    ],
)
def test_two_processes(watched, tmp_path, base, more):
    """gloo: pairs of their own, equal weights, statistics of the first in every validation."""
    config = watched("two.py", base, **more)
    for process in start_ranks(config, tmp_path / "run", 2, path=tmp_path):
        finish(process)
    first, second = told(tmp_path / "run"), told(tmp_path / "run", 1)
    # 8 pairs an epoch are one iteration of 2 * 4
    assert len(first["pairs"]) == len(second["pairs"]) == 4 * 4
    assert len({*first["pairs"], *second["pairs"]}) == 2 * 4 * 4
    assert first["weights"] == second["weights"]
    assert first["buffers"] == second["buffers"] and len(first["buffers"]) == 2
    assert len(set(first["buffers"])) == (2 if base.startswith("ostrack") else 1)
    # 2e-3 for 4 pairs, twice that for 8; a tenth of the encoder's, a tenth of that from epoch 3 on
    assert first["lr"] == second["lr"] == pytest.approx(2e-3 * 2 / 10 / 10)
    saved = read_run_checkpoint(tmp_path / "run/iter_4.pth")
    assert saved["meta"]["epoch_length"] == 1
