"""Tools in processes forked from one that has imported torch and OpenMMLab already.

A tool that trains or tests spends five seconds on imports, which is more than most tests have it
compute. Here it gets what it would get from a shell: arguments, environment, folder, streams and
an exit code of its own, and nothing that another test has left behind. What hangs on imports is
tested elsewhere, and each tool once as a program of its own.
"""

from __future__ import annotations

import atexit
import multiprocessing.util  # its own exit function first: the last registered runs first
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

# The registry first: it makes OpenMMLab fit the versions that are installed.
IMPORTED = (
    "lightvit_bench.registry",
    "lightvit_bench.detection.registry",
    "lightvit_bench.openmmlab.run",
    "mmseg.models",
    "mmdet.models",
    "mmdet.datasets",
    "mmdet.visualization",
    "timm",
)


_started: list[Popen] = []


@atexit.register
def _end() -> None:
    """Kill what a test that failed has left: multiprocessing would wait for it."""
    for process in _started:
        if process.poll() is None:
            process.kill()


def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def _tool(command: list[str], folder: str, environment: dict[str, str], streams: list[str]) -> None:
    """Run a tool in this process, a fresh fork."""
    for number, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    searched = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:0] = [str(Path(command[0]).parent), *searched]
    sys.argv = list(command)

    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


class Popen:
    """A tool that runs: the part of subprocess.Popen that tests use, with text.

    `command` is the tool's file and its arguments; with `merged`, stderr goes where stdout does.
    """

    def __init__(self, command, cwd=".", env=None, merged=False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        names = ("out", "out") if merged else ("out", "error")
        self._streams = [os.path.join(self._folder.name, name) for name in names]
        for path in self._streams:
            open(path, "w").close()
        self.args = [str(part) for part in command]
        arguments = (self.args, str(cwd), dict(os.environ if env is None else env), self._streams)
        self._process = _context().Process(target=_tool, args=arguments)
        self._process.start()
        _started.append(self)
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str | None]:
        """What it wrote to stdout and stderr, once it has ended."""
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        out, error = (Path(path).read_text() for path in self._streams)
        return out, None if self._streams[0] == self._streams[1] else error


def run(command, cwd=".", env=None, timeout: float = 300) -> subprocess.CompletedProcess:
    """subprocess.run for a tool, its output captured as text."""
    process = Popen(command, cwd, env)
    out, error = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)
