"""What a user did wrong, said so that it can be mended.

Every error here states what went wrong, where we looked and which knob changes it. The command line
prints them without a traceback and exits with 2 (`LIGHTVIT_TRACEBACK=1` brings the traceback back).
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


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


def run_cli(main: Callable[[], Result]) -> Result:
    """Run a tool's `main`; what a user can mend becomes a message on stderr and exit code 2.

    That is a `UserError`, or the system's refusal of a file or folder. Of several processes of a
    distributed run the first one speaks.
    """
    try:
        return main()
    except (UserError, OSError) as error:
        known = isinstance(error, UserError) or error.filename is not None
        if os.environ.get("LIGHTVIT_TRACEBACK") or not known:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
