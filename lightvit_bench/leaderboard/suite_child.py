"""Programs that a suite starts, one at a time; and the lock that keeps a second suite away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightvit_bench.errors import ConfigError, printable

PATIENCE = 20.0  # seconds a program has to end in, once told to, before it is told more firmly
_LAST = 5  # lines of a log that are shown


def run_logged(command: Sequence[str], log: Path, lock: int) -> int:
    """Run a command to its end, output appended to a log; its exit code, negative of a signal.

    The program gets the lock's descriptor: if this process is killed, the lock holds until the
    program ends, too. Any exception here (Ctrl-C) ends the program and those it started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode(errors="surrogateescape"))
        file.flush()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            pass_fds=(lock,),
            start_new_session=True,  # its workers are told with it
        )
        try:
            return child.wait()
        except BaseException:
            _end(child)
            raise


def _end(child: subprocess.Popen) -> None:
    """End a program and its workers: by what Ctrl-C sends, then more firmly."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        # A second Ctrl-C means: sooner.
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt, SystemExit):
            child.wait(PATIENCE)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # workers that outlived it


def last_lines(log: Path) -> list[str]:
    """The last lines of a log that say something."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 20_000))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return [f"the log cannot be read: {error}"]
    lines = [printable(line.rstrip()) for line in text.splitlines() if line.strip()]
    return [line if len(line) <= 300 else f"{line[:297]}..." for line in lines[-_LAST:]]


def check_folder(folder: Path) -> None:
    """`ConfigError` where a file is in the place of a folder of results, or of one above it."""
    try:
        there = next((one for one in (folder, *folder.parents) if one.exists()), None)
    except OSError as error:
        because = error.strerror or str(error)
        raise _no_folder(folder, because, error.filename or folder) from None
    if there is not None and not there.is_dir():
        raise _no_folder(folder, "this is a file", there)


def _no_folder(folder: Path, because: str, file: str | Path) -> ConfigError:
    return ConfigError(
        f"--out {folder}: no results can be written there.",
        because=because,
        file=str(file),
        set="--out to a folder that can be written to",
    )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Have a folder to oneself; yields the lock's descriptor.

    The system lets go of the lock when all processes that hold it have ended, however they did.

    Raises:
        ConfigError: another process has it; or it cannot be made, or written to.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        because = error.strerror or str(error)
        raise _no_folder(folder, because, error.filename or path) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 40, 0).decode(errors="replace").strip()
            raise ConfigError(
                "this suite is being run already.",
                folder=str(folder),
                by=f"process {printable(holder)}, or a program it started"
                if holder
                else "a process that has just begun",
                do="wait for it, or run into another folder",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def ending_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, its program with it."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup's is not
                replaced[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, earlier in replaced.items():
            signal.signal(number, earlier)
