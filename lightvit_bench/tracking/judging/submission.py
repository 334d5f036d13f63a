"""Archives for the servers that keep their test set's truth: GOT-10k and TrackingNet.

    GOT-10k      SEQ/SEQ_001.txt   x,y,w,h a line, three decimals   as its toolkit records and packs
                 SEQ/SEQ_time.txt  seconds a line, eight decimals
    TrackingNet  SEQ.txt           x,y,w,h a line                   as its metrics.py reads

Results are checked first, all of them; an archive is there whole or not at all. The same results
give the same bytes.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import boxes_text, read_boxes, read_times
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.tracking.judging.judge import result_files
from lightvit_bench.writing import whole_file

_FIRST_OFF = 1.0  # pixels: trackers that cut boxes to integers lose up to one
_DATE = (1980, 1, 1, 0, 0, 0)


def write_got10k(
    results: str | os.PathLike, sequences: Iterable[Sequence], out: str | os.PathLike
) -> int:
    """Pack `SEQ.txt` and `SEQ_time.txt` of a folder for GOT-10k's server; how many sequences.

    `sequences`: the test set's, from `data.got10k`. Repetitions are left out: one run is
    submitted, which is what the toolkit does for deterministic trackers.

    Raises:
        MissingDataError: results or times of a sequence are missing.
        BadDataError: results of other sequences are there; or a result has another length than its
            sequence, a box that is not finite, or does not begin with the given box.
    """
    results = Path(results)
    files: dict[str, str] = {}
    checked = list(_checked(results, sequences))
    for name, boxes in checked:
        path = results / f"{name}_time.txt"
        seconds = read_times(path)
        if len(seconds) != len(boxes) or not np.isfinite(seconds).all() or (seconds < 0).any():
            raise BadDataError(
                f"{path} does not hold one time for each frame.",
                there_are=f"{len(seconds)} times, {len(boxes)} frames",
            )
        rows = ("{:.3f},{:.3f},{:.3f},{:.3f}\n".format(*row) for row in boxes.tolist())
        files[f"{name}/{name}_001.txt"] = "".join(rows)
        files[f"{name}/{name}_time.txt"] = "".join(f"{value:.8f}\n" for value in seconds.tolist())
    _pack(files, out)
    return len(checked)


def write_trackingnet(
    results: str | os.PathLike, sequences: Iterable[Sequence], out: str | os.PathLike
) -> int:
    """Pack `SEQ.txt` of a folder for TrackingNet's server; how many sequences.

    `sequences`: the test set's, from `data.trackingnet`. Raises as `write_got10k` does, times
    apart.
    """
    checked = list(_checked(Path(results), sequences))
    _pack({f"{name}.txt": boxes_text(boxes, 3) for name, boxes in checked}, out)
    return len(checked)


def _checked(results: Path, sequences: Iterable[Sequence]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, boxes) of each sequence, in order of names."""
    known = {sequence.name: sequence for sequence in sequences}
    if not known:
        raise MissingDataError("there is no sequence to submit.")
    for name, file in result_files(results, sorted(known)).items():
        boxes, frames = read_boxes(file), len(known[name])
        if len(boxes) != frames:
            raise BadDataError(
                f"{file} has another length than its sequence.",
                result=f"{len(boxes)} boxes",
                sequence=f"{frames} frames",
            )
        bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
        if bad.any():
            frame = int(np.flatnonzero(bad)[0])
            raise BadDataError(
                f"{file}, line {frame + 1}, is no box that a server takes.",
                box=", ".join(f"{value:g}" for value in boxes[frame]),
                lines=f"{int(bad.sum())} like this",
            )
        given = np.asarray(known[name].annotation.boxes_xywh[0], np.float64)
        if not np.abs(boxes[0] - given).max() <= _FIRST_OFF:
            raise BadDataError(
                f"{file} does not begin with the box that the data set gives.",
                result=", ".join(f"{value:g}" for value in boxes[0]),
                given=", ".join(f"{value:g}" for value in given),
            )
        yield name, boxes


def _pack(files: dict[str, str], out: str | os.PathLike) -> None:
    with whole_file(out) as aside, zipfile.ZipFile(aside, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
