"""What a user did wrong, said so that it can be mended.

Every error here states what went wrong, where we looked and which knob changes it. The command line
prints them without a traceback and exits with 2 (`LIGHTVIT_TRACEBACK=1` brings the traceback back).
"""

from __future__ import annotations

import difflib
import os
import select
import sys
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")
_FIRST_SPEAKS = 3.0  # seconds that other processes leave to the first one's error
_PIPE = 128 + 13  # the exit code of what SIGPIPE ends
_INTERRUPT = 128 + 2  # of what SIGINT ends


class UserError(Exception):
    """Base of all errors a user can mend.

    `details` are shown below the message as an aligned `label: text` block, in the order given.
    """

    def __init__(self, message: str, **details: str | Iterable[str]):
        self.message = message
        self.details = {
            label: [text] if isinstance(text, str) else list(text)
            for label, text in details.items()
        }
        super().__init__(str(self))

    def __str__(self) -> str:
        width = max((len(label) for label in self.details), default=0) + 1
        lines = [self.message]
        for label, texts in self.details.items():
            for i, text in enumerate(texts):
                head = f"{label.replace('_', ' ')}:" if i == 0 else ""
                lines.append(f"  {head:<{width}} {text}")
        return "\n".join(lines)


class MissingDataError(UserError):
    """A data set, or a part of one, is not where it was looked for."""


class BadDataError(UserError):
    """Data is there and cannot be used: corrupt, of another type, out of range."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, unsafe to load, or does not fit the model."""


class ConfigError(UserError):
    """A config, preset or option does not exist or contradicts itself."""


class TrainingError(UserError):
    """Training cannot go on: a loss or a weight is no number any more."""


def near_matches(name: str, known: Iterable[str]) -> list[str]:
    """The entries of `known` most like `name`, best first; all, sorted, if none is close."""
    known = list(known)
    return difflib.get_close_matches(name, known, n=5, cutoff=0.5) or sorted(known)


def printable(text: str) -> str:
    """A name in one line that every terminal and file takes.

    Control characters and line breaks are escaped, and so are bytes that are not UTF-8, which
    Python keeps as lone surrogates.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def run_cli(main: Callable[[], Result]) -> Result:
    """Run a tool's `main`; what a user can mend becomes a message on stderr and exit code 2.

    That is a `UserError`, or the system's refusal of a file or folder. Of a distributed run the
    first process speaks at once. Another one waits a little: where all have met the same error, the
    launcher ends it in that time, and the error is told once.

    Where nobody reads our output any more (`tool | head`), it ends quietly with 141; after Ctrl-C
    with 130 and one word, as a shell's tools that SIGINT ends.
    """
    try:
        try:
            result = main()
        except SystemExit:  # argparse's, after --help
            _flush()
            raise
        _flush()
        return result
    except KeyboardInterrupt:
        _drop_unread_output()
        if os.environ.get("LIGHTVIT_TRACEBACK"):
            raise
        if os.environ.get("RANK", "0") == "0":
            print("interrupted", file=sys.stderr, flush=True)
        sys.exit(_INTERRUPT)
    except (UserError, OSError) as error:
        unread = _drop_unread_output()
        if unread and isinstance(error, BrokenPipeError):
            sys.exit(_PIPE)
        known = isinstance(error, UserError) or error.filename is not None
        if os.environ.get("LIGHTVIT_TRACEBACK") or not known:
            raise
        rank = os.environ.get("RANK", "0")
        if rank != "0":
            time.sleep(_FIRST_SPEAKS)
        speaker = "" if rank == "0" else f"rank {rank}: "
        print(f"{speaker}{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def _flush() -> None:
    """Write what is left now, while an error can still be told from others."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _drop_unread_output() -> bool:
    """Let stdout and stderr lead nowhere where their reader is gone; whether one's is.

    Python flushes them once more when it ends, and would speak of it. That the pipe is ours is
    looked up: a worker's pipe that broke is an error.
    """
    unread = False
    for stream in (sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
            poll = select.poll()
            poll.register(number, 0)  # errors come unasked
            gone = any(event & select.POLLERR for _, event in poll.poll(0))
        except (AttributeError, OSError, ValueError):  # no such stream, or one that is no file
            continue
        if gone:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            unread = True
    return unread
