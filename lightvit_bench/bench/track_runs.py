"""Records of tracker latency: one run of one case.

A case is runtime x precision x threads x variant of a model. Every key of `KEYS` is in the record's
`values`, null where it does not apply: `network_ms`, `track_ms` and `end_to_end_ms` are
`Latency.as_dict()`s, `auc` is data set -> value, `targets` is null but for `MultiTracker`. There
may be other keys.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """What several runs can be of. `variant` is None of a tracker that has no network of ours."""

    model: str
    variant: str | None
    runtime: str | None
    precision: str | None
    threads: int | None
    targets: int | None


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
        return Case(one.model, one.variant, one.runtime, one.precision, one.threads, self.targets)

    @property
    def state(self) -> tuple:
        """What else has to be the same for a common median: program, weights and packages."""
        one = self.record
        return (one.commit, one.checkpoint_sha256, tuple(sorted(one.versions.items())))

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
    return found
