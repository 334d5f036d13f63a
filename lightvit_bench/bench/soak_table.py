"""The table of docs/benchmarks.md on trackers' memory over many frames, from run records alone.

`values` of a record of `tools/soak_track.py`: `frames`, and of the process's memory in MB of 10^6
bytes `memory_mb_after_a_tenth` of the frames, `memory_mb_at_the_end`, and `mb_per_100000_frames`,
the slope of a line through the samples in between. Its `latency` is of one update. There may be
other values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightvit_bench.bench import checks
from lightvit_bench.bench.markdown import NONE, cell, conditions, ms, plural, prose, table
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.bench.tables import NOTHING, RUNTIMES
from lightvit_bench.errors import BadDataError

TRACKING_SOAK = "tracking-soak"
MEMORY = ("memory_mb_after_a_tenth", "memory_mb_at_the_end")
HEAD = (
    *("runtime", "precision", "threads", "frames", "MB after a tenth", "MB at the end"),
    *("MB per 100,000 frames", "ms a frame"),
)
ABOUT = (
    "Memory that the process holds (MB of 10^6 bytes) after the first tenth of the frames and at "
    "the end; the slope of a line through the samples in between; the median time of an update. "
    "Of several runs the last."
)


def tracking_soak(records: Iterable[RunRecord]) -> str:
    """The block `tracking-soak` of docs/benchmarks.md, in Markdown.

    The last run of each runtime, precision, file and number of threads; machines, videos and made
    videos apart. A run that did not come to its end is counted and not shown.

    Raises:
        BadDataError: a record's values are not those of a soak.
    """
    found = [r for r in records if r.task == TRACKING_SOAK and r.origin != "published"]
    places: dict[tuple, dict[tuple, RunRecord]] = {}
    for one in sorted(found, key=lambda record: (record.date, record.file_name)):
        if one.complete:
            machine = one.machine.hardware if one.machine else ""
            place = (one.origin != "measured", machine, one.device or "", one.dataset or "")
            case = (one.runtime, one.precision, one.threads, one.model, one.exported)
            places.setdefault(place, {})[case] = one
    parts = [_place(list(places[place].values())) for place in sorted(places)]
    parts = [prose(ABOUT), *parts] if parts else [NOTHING]
    if left := sum(not one.complete for one in found):
        parts.append(f"Left out: {left} {plural(left, 'run')} of fewer frames than expected.")
    return "\n\n".join(parts)


def _place(records: Sequence[RunRecord]) -> str:
    return "\n\n".join([table(HEAD, sorted(map(_row, records))), conditions(records)])


def _row(record: RunRecord) -> list[str]:
    try:
        frames = checks.whole("values.frames", record.values.get("frames"), 1)
        held = [checks.number(f"values.{key}", record.values.get(key), 0) for key in MEMORY]
        key = "mb_per_100000_frames"
        slope = checks.number(f"values.{key}", record.values.get(key))
    except BadDataError as error:
        raise BadDataError(error.message, record=record.file_name, **error.details) from None
    return [
        cell(RUNTIMES.get(record.runtime or "", record.runtime or record.model)),
        cell(record.precision or NONE),
        NONE if record.threads is None else str(record.threads),
        f"{frames:,}",
        *(f"{value:.1f}" for value in held),
        f"{slope:+.2f}",
        ms(record.latency.median) if record.latency else NONE,
    ]
