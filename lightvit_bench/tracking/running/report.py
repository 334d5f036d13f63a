"""What a run over a data set leaves for people and programs: scores.json, a table, metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict, dataclass
from pathlib import Path

from lightvit_bench.data.box_files import write_text
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.tracking.running.folder import SCORES, earlier_run
from lightvit_bench.tracking.running.judged import (
    Judged,
    Speed,
    judge_set,
    speed_of,
    write_submission,
)

_SUBMISSION = "submission.zip"


@dataclass(frozen=True)
class Row:
    """A finished run: offline, or by the clock of a stream of `realtime` frames a second.

    settings: of the tracker, as `run.json` has them.
    """

    judged: Judged
    speed: Speed
    expected: int
    realtime: float | None = None
    settings: Mapping | None = None


def finish(
    name: str,
    split: str,
    out: Path,
    sequences: SequenceOf[Sequence],
    *,
    realtime: float | None = None,
    submit: bool = False,
) -> Row:
    """Judge a finished run's folder, and write `scores.json` into it.

    submit: pack the results of a test set whose server judges, too.
    """
    judged, speed = judge_set(name, split, out, sequences), speed_of(out, sequences)
    packed = submit and write_submission(name, split, out, sequences, out / _SUBMISSION)
    run = earlier_run(out) or {"identity": {}, "notes": {}}
    settings = run["identity"].get("settings")
    record = {
        "task": "tracking",
        "set": name,
        "split": split,
        "protocol": judged.protocol,
        "expected": len(sequences),
        "evaluated": len(sequences) if judged.protocol else 0,
        "scores": dict(judged.scores),
        "remark": judged.remark,
        "settings": settings,
        "speed": asdict(speed) | {"frames_per_second": speed.frames_per_second},
        **{key: run["identity"].get(key) for key in ("device", "threads", "realtime")},
        "processes": run["notes"].get("processes"),
        "run": run,
        "submission": _SUBMISSION if packed else None,
        "details": dict(judged.details),
    }
    write_text(out / SCORES, json.dumps(_without_nan(record), indent=1, allow_nan=False) + "\n")
    if judged.word:
        print(f"not judged: {judged.word}")
    if judged.remark:
        print(judged.remark)
    if packed:
        print(f"{out / _SUBMISSION}: to be sent to it")
        if name == "got10k":
            print("  its rule: the tracker was trained on GOT-10k's train split alone")
    return Row(judged, speed, len(sequences), realtime, settings)


def table(rows: SequenceOf[Row]) -> str:
    """The rows of one data set, one below the other."""
    first = rows[0]
    lines = []
    if first.judged.protocol:
        lines.append(f"protocol   {first.judged.protocol}")
        lines.append(f"sequences  {first.expected} expected, {first.expected} evaluated")
    if first.settings:
        lost = "held when lost" if first.settings["hold"] else "moves on whatever the score"
        lines.append(f"settings   found from {first.settings['found_above']:g}; {lost}")
    cells = [["", *first.judged.scores, "dropped", "median ms", "frames/s"]]
    for row in rows:
        by = "offline" if row.realtime is None else f"stream of {row.realtime:g} frames/s"
        dropped = "" if row.realtime is None else f"{100 * row.speed.dropped:.1f} %"
        speed = (row.speed.median_ms, row.speed.frames_per_second)
        scores = (f"{value:.2f}" for value in row.judged.scores.values())
        cells.append([by, *scores, dropped, *(f"{value:.1f}" for value in speed)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for head, *others in cells:
        parts = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([head.ljust(widths[0]), *parts]))
    return "\n".join(lines)


def metrics(rows: SequenceOf[Row]) -> dict[str, float]:
    """The scores by name, those of a stream with its rate behind: `AUC`, `AUC@30`, ...

    `dropped@30` is the share of frames that came too early, in percent; `fps` the tracker's own
    speed, one over the median of its times.
    """
    found: dict[str, float] = {}
    for row in rows:
        at = "" if row.realtime is None else f"@{row.realtime:g}"
        found |= {f"{name}{at}": value for name, value in row.judged.scores.items()}
        if at:
            found[f"dropped{at}"] = 100 * row.speed.dropped
        else:
            found["fps"] = row.speed.frames_per_second
    return found


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
