"""Records of tracker latency: one run of one case.

A case is runtime x precision x threads x variant of a model x exported file. Every key of `KEYS`
is in the record's `values`, null where it does not apply: `network_ms`, `track_ms` and
`end_to_end_ms` are `Latency.as_dict()`s, `auc` is data set -> value, `targets` is null but for
`MultiTracker`. Of several rounds each figure is the median over the rounds, and a time's `count` is
of one round.

There may be other keys. Of these `rounds` ({"count": n, KEY: {"least": x, "most": y}}),
`times_as_fast_as` ({"eager": x}: in the same run, by track), `warm_up`, `batch` (that the file is
made for; 0: any) and `cores` are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from lightvit_bench.bench import checks
from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.errors import BadDataError

TRACKING_LATENCY = "tracking-latency"
TIMES = ("network_ms", "track_ms", "end_to_end_ms")
NUMBERS = (
    *("frames_per_second", "load_seconds", "peak_memory_mb"),
    *("boxes_max_difference_px", "boxes_mean_difference_px"),
)
KEYS = (*TIMES, *NUMBERS, "auc", "targets")


class Case(NamedTuple):
    """What several runs can be of. `variant` is None of a tracker that has no network of ours.

    exported, batch: the name of the exported file, and what it says; None where there is none.
    """

    model: str
    variant: str | None
    runtime: str | None
    precision: str | None
    threads: int | None
    targets: int | None
    exported: str | None
    batch: int | None


@dataclass(frozen=True)
class TrackRun:
    """One record of tracker latency, its values by type."""

    record: RunRecord
    network_ms: Latency | None
    track_ms: Latency | None
    end_to_end_ms: Latency | None
    frames_per_second: float | None
    load_seconds: float | None
    peak_memory_mb: float | None
    boxes_max_difference_px: float | None
    boxes_mean_difference_px: float | None
    auc: dict[str, float]
    targets: int | None
    rounds: int | None
    spreads: dict[str, tuple[float, float]]  # by key: the least and the most of a round
    times_as_fast_as_eager: float | None
    batch: int | None

    @classmethod
    def of(cls, record: RunRecord) -> TrackRun:
        """The run of a record.

        Raises:
            BadDataError: a key of `KEYS` is missing, or is something else than it should be.
        """
        try:
            return cls(record=record, **_values(record))
        except BadDataError as error:
            raise BadDataError(error.message, record=record.file_name, **error.details) from None

    @property
    def case(self) -> Case:
        """What it is a run of."""
        one = self.record
        kind = (one.model, one.variant, one.runtime, one.precision, one.threads, self.targets)
        return Case(*kind, one.exported and PurePath(one.exported).name, self.batch)

    @property
    def state(self) -> tuple:
        """What else has to be the same for a common median.

        Program, weights, exported file, packages; frames, warm-up and cores.
        """
        one = self.record
        times = (self.track_ms, self.end_to_end_ms, self.network_ms)
        frames = next((time.count for time in times if time), None)
        how = (frames, one.values.get("warm_up"), one.values.get("cores"))
        made_of = (one.commit, one.checkpoint_sha256, one.exported_sha256)
        return (*made_of, *how, tuple(sorted(one.versions.items())))

    @property
    def place(self) -> tuple[str, ...]:
        """Where and on what it ran: what tables are kept apart by."""
        one = self.record
        machine = one.machine.hardware if one.machine else ""
        return tuple(part or "" for part in (machine, one.device, one.dataset, one.split))


def _values(record: RunRecord) -> dict[str, Any]:
    given = record.values
    if missing := [f"values.{key}" for key in KEYS if key not in given]:
        raise BadDataError(
            "a record of tracker latency lacks values (null where one does not apply).",
            field=missing,
        )
    found: dict[str, Any] = {}
    for key in (*TIMES, *NUMBERS, "targets"):
        name, value = f"values.{key}", given[key]
        if value is None:
            found[key] = None
        elif key in TIMES:
            found[key] = checks.build(Latency, value, name)
        elif key == "targets":
            found[key] = checks.whole(name, value, 1)
        else:
            found[key] = checks.number(name, value, 0)
    auc = {} if given["auc"] is None else given["auc"]
    if not isinstance(auc, dict):
        raise checks.wrong("values.auc", "a value for each data set", auc)
    found["auc"] = {
        name: checks.number(f"values.auc.{name}", value, 0) for name, value in auc.items()
    }
    batch = given.get("batch")
    found["batch"] = None if batch is None else checks.whole("values.batch", batch)
    fast = _object(given, "times_as_fast_as").get("eager")
    name = "values.times_as_fast_as.eager"
    found["times_as_fast_as_eager"] = None if fast is None else checks.number(name, fast, 0)
    rounds = dict(_object(given, "rounds"))
    count = rounds.pop("count", None)
    found["rounds"] = None if count is None else checks.whole("values.rounds.count", count, 1)
    found["spreads"] = {
        key: _ends(f"values.rounds.{key}", ends) for key, ends in rounds.items() if ends is not None
    }
    return found


def _object(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What is in `values` below a key that need not be there."""
    value = given.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise checks.wrong(f"values.{key}", "an object with named figures", value)
    return value or {}


def _ends(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, Mapping) or set(value) != {"least", "most"}:
        raise checks.wrong(name, "an object with least and most", value)
    least, most = (checks.number(f"{name}.{end}", value[end], 0) for end in ("least", "most"))
    if least > most:
        raise checks.wrong(f"{name}.most", f"{least} or more", most)
    return least, most
