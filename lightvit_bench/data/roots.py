"""Where data sets and caches lie on this machine, and how a small file gets there whole.

Configs name data as `data/<set>/...`, relative to where the tool is started. Whoever keeps data
elsewhere sets `LIGHTVIT_DATA` once and writes no path into configs; whoever wants caches elsewhere
sets `LIGHTVIT_CACHE`.
"""

from __future__ import annotations

import os
from pathlib import Path

from lightvit_bench.writing import whole_file


def resolve_root(path: str | Path) -> Path:
    """The place a config's data path stands for.

    With `LIGHTVIT_DATA=/big/disk`, the relative path `data/ade/x` becomes `/big/disk/ade/x`.
    Absolute paths, relative paths that do not start with `data/`, and every path while the variable
    is unset or empty come back as they are. Nothing is looked up on disk.
    """
    path = Path(path)
    instead = os.environ.get("LIGHTVIT_DATA", "").strip()
    if not instead or path.parts[:1] != ("data",):
        return path
    return Path(instead).expanduser().joinpath(*path.parts[1:])


def cache_root() -> Path:
    """`$LIGHTVIT_CACHE`, else `lightvit_bench` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    own = os.environ.get("LIGHTVIT_CACHE", "").strip()
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(shared) if shared else Path("~/.cache")).expanduser() / "lightvit_bench"


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all; the folder is made. Raises OSError."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
