"""Folders of generated data: made once, made again when the plan changes, nobody else's touched.

What made a folder, and how, is in its `demo.json`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from lightvit_bench.errors import BadDataError


def state(root: Path) -> dict | None:
    """What `demo.json` says; None where there is none, or it cannot be read."""
    try:
        return json.loads((root / "demo.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def listing(root: Path) -> list[Path]:
    """All files below `root` but hidden ones (.gitkeep, .DS_Store)."""
    if root.exists() and not root.is_dir():
        raise BadDataError("Demo data needs a folder, and a file is in its place.", file=str(root))
    return sorted(p for p in root.rglob("*") if not p.is_dir() and not p.name.startswith("."))


def own_files(root: Path, there: list[Path], made_by: str, names: re.Pattern) -> list[Path]:
    """Files of an earlier call, to be removed: all of them, if `made_by` made the folder and every
    name below it matches `names`; BadDataError when any other file is among them."""
    told = state(root)
    ours = isinstance(told, dict) and told.get("made_by") == made_by
    found = [path.relative_to(root).as_posix() for path in there]
    foreign = [name for name in found if not (ours and names.fullmatch(name))]
    if foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise BadDataError(
            "Demo data is not written into a folder that holds something else.",
            folder=str(root),
            holds=", ".join(foreign[:5]) + more,
            mend="name another folder, or move these files away",
        )
    return there
