"""A run that is told to end saves and ends, everywhere at the same iteration."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pytest
from tiny_run import finish, start, write_config

from lightvit_bench.openmmlab.checkpoints import latest_checkpoint, read_run_checkpoint
from lightvit_bench.pretrain.signals import SIGNALS, Interrupted, StopSignals, patient_worker

# Says where each rank is, waits in iteration 6 for the signal, says where it stopped.
HOOK = """
import os, time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Wait(Hook):
    def __init__(self, seconds=2.0):
        self.seconds = seconds

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 6:
            with open(f"{runner.work_dir}/at_6_rank{runner.rank}", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(self.seconds)

    def on_stop(self, runner):
        with open(f"{runner.work_dir}/stopped_rank{runner.rank}", "w") as file:
            file.write(str(runner.iter + 1))
"""


def started(tmp_path, *arguments, seconds: float = 2.0, ranks: int = 1, batch: int = 2):
    """A run that is in iteration 6 of 15 (or 18), its work dir and the process ids of its ranks."""
    (tmp_path / "wait_hook.py").write_text(HOOK)
    config = write_config(
        tmp_path,
        hooks=f", dict(type='Wait', seconds={seconds})",
        imports=", 'wait_hook'",
        batch=batch,
    )
    work_dir = tmp_path / "run"
    process = start(config, work_dir, *arguments, path=tmp_path, ranks=ranks)
    marks = [work_dir / f"at_6_rank{rank}" for rank in range(ranks)]
    for _ in range(900):
        if process.poll() is not None:
            break
        if all(mark.exists() and mark.read_text() for mark in marks):
            break
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()[0]
    return process, work_dir, [int(mark.read_text()) for mark in marks]


def alive(pid: int) -> bool:
    return (
        Path(f"/proc/{pid}").exists()
        and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_saves_and_ends(tmp_path, number):
    process, work_dir, (pid,) = started(tmp_path)
    workers = children(pid)
    assert len(workers) == 2
    for told in [*workers, pid]:  # as a batch system does, or Ctrl-C: all processes of a job
        os.kill(told, number)
    output = finish(process, 128 + number)
    assert f"{number.name}: stopped after iteration 7 of 15" in output
    assert "iter_7.pth" in output and "--resume" in output
    assert "Traceback" not in output
    assert latest_checkpoint(work_dir).name == "iter_7.pth"
    assert read_run_checkpoint(work_dir / "iter_7.pth")["meta"]["iter"] == 7
    assert not any(alive(worker) for worker in workers)


@pytest.mark.slow
def test_second_signal_kills_at_once(tmp_path):
    process, work_dir, (pid,) = started(tmp_path, seconds=120)
    for _ in range(2):
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert latest_checkpoint(work_dir).name == "iter_5.pth"  # that of the first epoch


@pytest.mark.slow
def test_ranks_stop_together(tmp_path):
    process, work_dir, pids = started(tmp_path, "--cfg-options", "train_cfg.max_epochs=9", ranks=2)
    os.kill(pids[1], signal.SIGTERM)  # one of them, not the first
    output, _ = process.communicate(timeout=120)
    stopped = {int((work_dir / f"stopped_rank{rank}").read_text()) for rank in range(2)}
    assert len(stopped) == 1, output
    done = stopped.pop()
    assert 7 < done < 18
    assert latest_checkpoint(work_dir).name == f"iter_{done}.pth"
    assert len(re.findall(rf"stopped after iteration {done} of 18", output)) == 1
    assert "exitcode  : 143" in re.sub(r" *: ", "  : ", output)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals() as stop:
        assert not stop.due(3)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.due(4) and stop.name() == "SIGUSR1"
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_exit_codes_are_the_shells():
    assert Interrupted(signal.SIGTERM).code == 143
    assert issubclass(Interrupted, SystemExit)


class Store:
    """What a group's store does, for ranks that are objects here."""

    def __init__(self):
        self.values = {}

    def compare_set(self, key, expected, value):
        if self.values.get(key, "") == expected:
            self.values[key] = value

    def check(self, keys):
        return all(key in self.values for key in keys)

    def get(self, key):
        return self.values[key].encode()


@pytest.mark.parametrize("lead", [0, 1])
def test_no_rank_can_have_passed_the_iteration(monkeypatch, lead):
    """A rank that is an iteration ahead of the one that is told stops where that one does."""
    store = Store()
    monkeypatch.setattr("lightvit_bench.pretrain.signals._default_store", lambda: store)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told, other = StopSignals("a"), StopSignals("a")
    told.distributed = other.distributed = True
    stops = {}
    for now in range(20):
        if now == 5:
            told.signum = signal.SIGTERM
        for name, rank, at in (("other", other, now + lead), ("told", told, now)):
            if name not in stops and rank.due(at):
                stops[name] = at
    assert stops == {"told": 7, "other": 7}
    assert other.signum == signal.SIGTERM
    again = StopSignals("b")  # another start with the same store
    again.distributed = True
    assert not again.due(30)


def test_worker_outlives_a_signal_for_a_while(monkeypatch):
    monkeypatch.setattr("lightvit_bench.pretrain.signals.PATIENCE", 2)

    def work():
        patient_worker(0)
        ready.set()
        time.sleep(60)

    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=work)
    worker.start()
    assert ready.wait(30)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os.kill(worker.pid, number)
    worker.join(1)
    assert worker.is_alive()
    worker.join(30)
    assert worker.exitcode == 0  # anything else would raise in the trainer
