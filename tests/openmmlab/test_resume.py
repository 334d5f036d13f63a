"""A run killed between two checkpoints goes on as if nothing had happened."""

import os
import signal
import time

import forked
import pytest
import torch

from lightvit_bench.openmmlab.checkpoints import latest_checkpoint, read_run_checkpoint

pytestmark = pytest.mark.slow

SLOW = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Wait(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 5:
            open(runner.work_dir + "/at_5", "w").close()
            import time
            time.sleep(120)
"""


def start(repo, config, work_dir, *arguments, path=""):
    command = [repo / "tools/train.py", config, "--work-dir", work_dir, *arguments]
    search = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": search}
    return forked.Popen(command, cwd=repo, env={**os.environ, **one_thread}, merged=True)


def finish(process) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def test_killed_run_ends_with_the_weights_of_an_undisturbed_one(repo, tiny_config, tmp_path):
    (tmp_path / "wait_hook.py").write_text(SLOW)
    slow = tmp_path / "slow.py"
    slow.write_text(
        f"_base_ = {str(tiny_config)!r}\n"
        "custom_imports = dict(imports=['lightvit_bench.registry', 'wait_hook'])\n"
        "custom_hooks = [dict(type='ReplayableIterations'), dict(type='Wait')]\n"
    )
    undisturbed = start(repo, tiny_config, tmp_path / "whole")
    killed = start(repo, slow, tmp_path / "killed", path=tmp_path)
    for _ in range(1200):
        if (tmp_path / "killed/at_5").exists() or killed.poll() is not None:
            break
        time.sleep(0.1)
    assert killed.poll() is None, killed.communicate()[0]
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert latest_checkpoint(tmp_path / "killed").name == "iter_3.pth"  # iterations 3, 4 are lost

    finish(start(repo, tiny_config, tmp_path / "killed", "--resume"))
    finish(undisturbed)
    whole, resumed = (
        read_run_checkpoint(str(tmp_path / run / "iter_8.pth")) for run in ("whole", "killed")
    )
    assert list(whole["state_dict"]) == list(resumed["state_dict"])
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, resumed["state_dict"][name]), name
    start_weights = read_run_checkpoint(str(tmp_path / "whole/iter_3.pth"))["state_dict"]
    assert any(
        not torch.equal(weight, whole["state_dict"][name]) for name, weight in start_weights.items()
    )


def test_malicious_resume_runs_nothing(repo, tiny_config, tmp_path):
    """Neither a pickle's call nor the Python file in a checkpoint's meta data."""

    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    work_dir = tmp_path / "run"
    work_dir.mkdir()
    torch.save({"meta": {"iter": 3, "epoch": 0}, "message_hub": Touch()}, work_dir / "iter_3.pth")
    process = start(repo, tiny_config, work_dir, "--resume")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "CheckpointError" in output and "Traceback" not in output
    assert not (tmp_path / "made").exists()
