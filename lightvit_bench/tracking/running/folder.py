"""The folder that a run over a data set leaves: whose results they are, and which can be trusted.

SEQ.txt        x,y,w,h a frame, the first one the given box
SEQ_time.txt   seconds a frame, of the tracker alone; 0 where a clock dropped the frame
run.json       what made them; results of anything else do not get into the folder
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import lightvit_bench
from lightvit_bench.data.box_files import parse_boxes, read_times, write_text
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, ConfigError, UserError, printable

RUN, SCORES = "run.json", "scores.json"
FORMAT = 1  # raise it when files of an earlier version are not to be gone on with
_ROUNDED = 1e-4  # pixels: what four decimals leave of a box, and a little
_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.part")  # what `whole_file` writes to


def names_digest(names: Iterable[str]) -> str:
    """What tells a set of sequences from others, eight hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:8]


def identity_of(sequences: Iterable[Sequence], **made_by: object) -> dict:
    """What must be the same for results to lie in one folder; as it comes back from JSON."""
    names = [sequence.name for sequence in sequences]
    whole = {
        "format": FORMAT,
        "code": lightvit_bench.__version__,
        "sequences": len(names),
        "names": names_digest(names),
        **made_by,
    }
    return json.loads(json.dumps(whole))


def earlier_run(out: Path) -> dict | None:
    """`run.json` of a folder, None where there is none. BadDataError if it is damaged."""
    path = out / RUN
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(held["identity"], dict) or not isinstance(held["notes"], dict):
            raise TypeError("identity and notes")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise BadDataError(
            "what made the results of a folder cannot be read.",
            file=str(path),
            because=printable(str(error)),
            do="choose another folder: --out DIR",
        ) from None
    return held


@contextmanager
def claimed(out: Path, identity: Mapping, notes: Mapping, processes: int) -> Iterator[None]:
    """Hold a folder for the run of this identity, and note in `run.json` what it is.

    Args:
        notes: what may change between two starts of a run: names of files, ...
        processes: how many run side by side; all that did are noted, for they share the memory and
            its bandwidth, and hence the times.

    Raises:
        ConfigError: results of another run are in it, or a run is writing to it now.
        BadDataError: its `run.json` is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however
        except BlockingIOError:
            raise ConfigError(
                "another run is writing into this folder.",
                folder=str(out),
                do="wait for it, or choose another folder: --out DIR",
            ) from None
        held = earlier_run(out)
        _refuse_others(out, held, identity)
        for path in out.iterdir():
            if _ASIDE.fullmatch(path.name):  # of a start that was killed
                path.unlink()
        beside = {processes, *(held["notes"].get("processes", ()) if held else ())}
        whole = {"identity": identity, "notes": {**notes, "processes": sorted(beside)}}
        if held != whole:
            write_text(out / RUN, json.dumps(whole, indent=1) + "\n")
        yield


def _refuse_others(out: Path, held: Mapping | None, identity: Mapping) -> None:
    do = "choose another folder: --out DIR"
    if held is None:
        results = sorted(path.name for path in out.glob("*.txt"))
        if results:
            raise ConfigError(
                f"a folder holds files that may be results of something else: no {RUN} is there.",
                folder=str(out),
                holds=[*map(printable, results[:3]), *["..."] * (len(results) > 3)],
                do=do,
            )
        return
    before, now = _flat(held["identity"]), _flat(identity)
    differ = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differ:
        raise ConfigError(
            "a folder holds results of another run.",
            folder=str(out),
            differs=[
                printable(f"{key}: {before.get(key)} there, {now.get(key)} now") for key in differ
            ],
            do=do,
        )


def _flat(values: Mapping, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        flat.update(_flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value})
    return flat


def first_box(sequence: Sequence) -> np.ndarray:
    """(4,) the box that a sequence begins with. BadDataError where there is none."""
    boxes = sequence.annotation.boxes_xywh
    first = boxes[0] if len(boxes) else np.full(4, np.nan)
    if not (np.isfinite(first).all() and (first[2:] > 0).all()):
        raise BadDataError(
            f"{printable(sequence.name)} has no box to begin with.",
            first_row=",".join(f"{value:g}" for value in first),
            first_frame=sequence.frames.name(0),
            expected="x,y,w,h with a width and a height in the first row of the boxes",
        )
    return first


def finished(out: Path, sequence: Sequence) -> bool:
    """Whether the results of a sequence are there and whole.

    As many boxes and times as frames, all finite, the first box the given one, and the end of the
    last line.
    """
    try:
        boxes_file, times_file = out / f"{sequence.name}.txt", out / f"{sequence.name}_time.txt"
        boxes_text, times_text = boxes_file.read_bytes(), times_file.read_bytes()
        boxes = parse_boxes(boxes_text, boxes_file.name)
        seconds = read_times(times_file)
    except (OSError, UserError):
        return False
    return (
        boxes_text.endswith(b"\n")  # a last number cut short is a number
        and times_text.endswith(b"\n")
        and len(boxes) == len(seconds) == len(sequence)
        and bool(np.isfinite(boxes).all() and np.isfinite(seconds).all() and (seconds >= 0).all())
        and bool((np.abs(boxes[0] - first_box(sequence)) <= _ROUNDED).all())
    )


def remove_results(out: Path, sequence: Sequence) -> bool:
    """Take away what is there of a sequence; whether there was anything."""
    paths = [out / f"{sequence.name}.txt", out / f"{sequence.name}_time.txt"]
    there = [path for path in paths if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)
