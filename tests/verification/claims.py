"""Records with fields changed by hand, their digests fitting again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lightvit_bench.bench.record import read_record, write_record


def claimed(path: Path, **changes) -> Path:
    """A record like that of a file but for some fields, in a folder of its own beside it."""
    folder = path.parent / f"claimed-{len(list(path.parent.iterdir()))}"
    return write_record(dataclasses.replace(read_record(path), **changes), folder)


def with_options(path: Path, what: str, **changes) -> Path:
    """A record with options of its predictions or truth changed; None takes one out."""
    stored = getattr(read_record(path), what)
    options = {**stored.options, **changes}
    options = {key: value for key, value in options.items() if value is not None}
    return claimed(path, **{what: dataclasses.replace(stored, options=options)})
