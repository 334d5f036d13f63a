"""SIGTERM, SIGUSR1 and Ctrl-C end a run after an iteration, on every rank after the same one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from datetime import timedelta

import torch
from mmengine.registry import FUNCTIONS
from torch import distributed

# SIGUSR1 is what Slurm is asked to send ahead of a job's end, SIGINT is Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
AHEAD = 4  # iterations that a host may have launched and its GPU not finished
PATIENCE = 60  # seconds that a loader's worker lives on after SIGTERM
ECHO = 5.0  # seconds in which a launcher passes on a signal that we have already


class Interrupted(SystemExit):
    """The run was told to end; the exit code is the shell's for a signal, 143 for SIGTERM."""

    def __init__(self, signum: int):
        super().__init__(128 + signum)
        self.signum = signum


class StopSignals:
    """While it is entered, signals are noted; `due` says when to stop. Handlers are put back.

    A second signal kills at once. Of a distributed run any rank may be told: it writes into the
    group's store an iteration that no rank can have passed, and all stop there. The store is a
    connection to a process, nothing waits for a GPU.

    Args:
        run: distinguishes this start of the run from others that used the same store.
    """

    def __init__(self, run: str = ""):
        self.signum: int | None = None
        self.key = f"lightvit_bench/stop/{run}"
        self.distributed = distributed.is_available() and distributed.is_initialized()
        self._known: tuple[int, int] | None = None  # iteration, signal
        self._noted = 0.0
        self._handlers: dict[int, object] = {}
        self._events: deque = deque()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if self.signum is None:
            self.signum, self._noted = number, time.monotonic()
        elif not (self.distributed and time.monotonic() - self._noted < ECHO):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def due(self, iteration: int) -> bool:
        """Whether to stop now, at the end of `iteration`; to be asked at the end of every one."""
        if not self.distributed:
            return self.signum is not None
        self._limit_lead()
        store = _default_store()
        if self._known is None and self.signum is not None:
            # Others have finished at most the iteration behind this one, and launched AHEAD more.
            lead = AHEAD if torch.cuda.is_available() else 0
            store.compare_set(self.key, "", f"{iteration + lead + 2} {self.signum}")
        if self._known is None and store.check([self.key]):
            at, number = store.get(self.key).decode().split()
            self._known = int(at), int(number)
        if self._known is None or iteration < self._known[0]:
            return False
        self.signum = self._known[1]
        return True

    def _limit_lead(self) -> None:
        """Keep the host at most AHEAD iterations in front of its GPU, and so of other ranks."""
        if torch.cuda.is_available():
            self._events.append(torch.cuda.Event())
            self._events[-1].record()
            if len(self._events) > AHEAD:
                self._events.popleft().synchronize()

    def name(self) -> str:
        """The signal's name."""
        return signal.Signals(self.signum).name


def wait_for_ranks(key: str, seconds: float = 600.0) -> None:
    """Wait until every rank is here: one that exits early makes the launcher end the others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    store, size = _default_store(), distributed.get_world_size()
    if store.add(key, 1) == size:
        store.set(f"{key}/all", "1")
    store.wait([f"{key}/all"], timedelta(seconds=seconds))


def _default_store():
    """The store through which the process group was formed; PyTorch has no public name for it."""
    return distributed.distributed_c10d._get_default_store()


@FUNCTIONS.register_module()
def patient_worker(worker_id: int, **unused) -> None:
    """Starts a loader's worker that survives what is sent to all processes of a job.

    Slurm's SIGTERM and a terminal's Ctrl-C go to the workers too. One that died of it would raise
    an error in the middle of whatever the trainer is doing. They end when the trainer says so or is
    gone, or some time after the signal: Python waits for its children at its end.
    """
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))  # 0: the trainer is not disturbed
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(PATIENCE))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
