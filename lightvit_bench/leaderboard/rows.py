"""A row of the leaderboard, wherever it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightvit_bench.bench.parts import Curve, ModelSize, Recipe

NOT_NAMED = "not named"  # of a device whose figures are published without it


@dataclass(frozen=True)
class Score:
    """A figure: the mean over runs, their sample standard deviation, and how many there were.

    `std` is None of a single run, and of a published figure that comes without.
    """

    mean: float
    std: float | None = None
    runs: int = 1


@dataclass(frozen=True)
class Speed:
    """How fast a model is somewhere.

    Attributes:
        value, unit: of "ms" or "frames/s".
        device: "Intel i9-9900K", "NVIDIA RTX 3090", or `NOT_NAMED`.
        kind: "cpu", "gpu" or "npu", or "unknown".
        of: what was timed: "network", "track" (crop and box decoding included), "not stated", ...
        runtime, precision, threads: None if nobody says.
        source: where a published figure is from, if not where its row is from; None of a
            measured one.
    """

    value: float
    unit: str
    device: str
    kind: str
    of: str = "not stated"
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class Row:
    """One model under one protocol.

    Attributes:
        key: the row's own, for links; letters, digits and "-._/".
        origin: "measured", "published" or "demo"; never ranked together.
        task: a key of `tasks.TASKS`.
        dataset, split, protocol: what it may be compared with; "" where it does not apply.
        model: a name for people; `variant` of it.
        scores: by the metric's key.
        place: the machine, where scores are times: they compare on one machine alone. Else "".
        expected, evaluated: None if nothing was counted.
        source, url: of a published row: paper or repository with table or file; and where.
        remarks: qualifications, shown with the row.
        environment: name -> text: machine, versions, device, runtime, precision, threads.
        curves: by name.
        seeds: of the runs, ascending; empty of a published row.
        left_out: incomplete runs of the same that do not count here; rows of their own tell more.
        records: file names of the run records.
    """

    key: str
    origin: str
    task: str
    dataset: str
    split: str
    protocol: str
    model: str
    scores: Mapping[str, Score]
    variant: str | None = None
    place: str = ""
    recipe: Recipe = Recipe()
    size: ModelSize = ModelSize()
    speeds: tuple[Speed, ...] = ()
    expected: int | None = None
    evaluated: int | None = None
    source: str | None = None
    url: str | None = None
    remarks: tuple[str, ...] = ()
    date: str | None = None
    config: str | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    command: str | None = None
    commit: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    left_out: int = 0
    records: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that was expected was evaluated; others are shown and not ranked."""
        return self.expected == self.evaluated

    @property
    def board(self) -> tuple[str, ...]:
        """What rows must share to be ranked in one column."""
        return (self.task, self.dataset, self.split, self.protocol, self.origin, self.place)
