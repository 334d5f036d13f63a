"""Files that are there whole or not at all. Standard library only."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a path beside the wanted one to write to. On leaving, what was written is flushed to the
    disk and renamed; on an exception it is removed, and an older file of that name stays. An
    `OSError` says which file it was about: a write to a full disk does not know.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.touch()
        mode = aside.stat().st_mode  # what the user's umask gives; safetensors writes 0600
        yield aside
        aside.chmod(mode)
        _flush(aside)
        os.replace(aside, path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Have the system put a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
