"""Records of a detector's speed and memory: one run of one case, and their table.

A case is inference or a training step of a config's model, in a precision, with its encoder run one
way. Every key of `KEYS` is in the record's `values`, null where it does not apply:

- `training`, `checkpointing` (of activations), `relative_positions`: 0 or 1; `window`: tokens a
  side, null where all blocks attend globally; of an encoder that knows no such ways all are null.
  `encoder_options` says whether it does.
- `image_px`: side of the square images; `batch`.
- `model_ms`, `encoder_ms`: {"median", "least", "most"} over rounds, each round the median of its
  steps. Of a training step `model_ms` is forward, backward and optimizer, `encoder_ms` forward and
  backward of the encoder alone.
- `times_as_fast_as_global`: {"model", "encoder"}, the medians over rounds of what the same case
  without windows took, divided by what this one took in the same round.
- `model_tensors_mb`, `encoder_tensors_mb`: the most that a step's tensors hold at once beyond
  weights, optimizer states and input, which were there before it; gradients count. `process_mb`:
  {"median", "least", "most"} of the most that the process held until the model's last timed step
  (on a GPU: its tensors, weights included).
- `objects_found`: in the images of a step of inference. `mask_regions`: that its mask head got.
- `rounds`, `steps` (timed in a round).

MB are 10^6 bytes. There may be other keys.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightvit_bench.bench import checks
from lightvit_bench.bench.markdown import (
    NONE,
    cell,
    conditions,
    ms,
    plural,
    prose,
    table,
)
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.bench.tables import NOTHING
from lightvit_bench.errors import BadDataError

DETECTION_SPEED = "detection-speed"
FLAGS = ("training", "checkpointing", "relative_positions", "encoder_options")
SPREADS = ("model_ms", "encoder_ms", "process_mb")
SIZES = ("image_px", "batch", "rounds", "steps")
TENSORS = ("model_tensors_mb", "encoder_tensors_mb")
RATIOS = "times_as_fast_as_global"
COUNTS = ("objects_found", "mask_regions")
KEYS = (*FLAGS, "window", *SIZES, *SPREADS, *TENSORS, *COUNTS, RATIOS)
ABOUT = (
    "Milliseconds a step of random weights on noise (of inference, 300 boxes of an image are given "
    "the scores of objects, so that there is something to sort out): each round, a process of its "
    "own, has its median, a figure is the median over the rounds (in brackets the least and the "
    "most of one). "
    "*Model* is all of a detector, its input's normalisation and its boxes and masks included; of "
    "a training step forward, backward and optimizer. *Encoder* is the encoder alone, forward, and "
    "backward where it is trained; the ratio says how many times as fast it is as the same without "
    "windows, in the same rounds. *Tensors* is the most (MB of 10^6 bytes) that a step's tensors "
    "hold at once beyond weights and the optimizer's states, in the model and in the encoder "
    "alone; *process* the most that the process held. Of several runs the last."
)


class Spread(NamedTuple):
    """A figure of several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class DetectionRun:
    """One record of a detector's speed, its values by type."""

    record: RunRecord
    training: bool
    checkpointing: bool | None
    relative_positions: bool | None
    encoder_options: bool
    window: int | None
    image_px: int
    batch: int
    rounds: int
    steps: int
    model_ms: Spread
    encoder_ms: Spread
    process_mb: Spread | None
    model_tensors_mb: float
    encoder_tensors_mb: float
    objects_found: int | None
    mask_regions: int | None
    ratio: float | None  # of the encoder, to the same without windows

    @classmethod
    def of(cls, record: RunRecord) -> DetectionRun:
        """The run of a record.

        Raises:
            BadDataError: a key of `KEYS` is missing, or is something else than it should be.
        """
        try:
            return cls(record=record, **_values(record.values))
        except BadDataError as error:
            raise BadDataError(error.message, record=record.file_name, **error.details) from None

    @property
    def place(self) -> tuple:
        """Where and on what it ran: what tables are kept apart by."""
        one = self.record
        machine = one.machine.hardware if one.machine else ""
        return (one.origin != "measured", machine, one.device or "", one.dataset or "")

    @property
    def table(self) -> tuple:
        """The runs that share a table: of a model, in one job."""
        return (self.record.model, self.training, self.image_px, self.batch)

    @property
    def row(self) -> tuple:
        """What a row is of, in the order of rows: the slowest kind of attention first."""
        return (
            self.record.precision != "fp32",
            self.record.precision or "",
            self.window is not None,
            self.window or 0,
            not self.relative_positions,
            bool(self.checkpointing),
            self.record.threads or 0,
        )


def detection_speed(records: Iterable[RunRecord]) -> str:
    """The block `detection-cpu` of docs/benchmarks.md, in Markdown.

    The last run of each case; machines, devices and data apart. A run that did not come to its end
    is counted and not shown.

    Raises:
        BadDataError: a record's values are not those of a detector's speed.
    """
    found = [r for r in records if r.task == DETECTION_SPEED and r.origin != "published"]
    places: dict[tuple, dict[tuple, DetectionRun]] = {}
    for record in sorted(found, key=lambda one: (one.date, one.file_name)):
        if record.complete:
            run = DetectionRun.of(record)
            places.setdefault(run.place, {})[(run.table, run.row)] = run
    parts = [_place(places[place]) for place in sorted(places)]
    parts = [prose(ABOUT), *parts] if parts else [NOTHING]
    if left := sum(not one.complete for one in found):
        parts.append(f"Left out: {left} {plural(left, 'run')} of fewer steps than expected.")
    return "\n\n".join(parts)


def _place(runs: Mapping[tuple, DetectionRun]) -> str:
    """The tables of one machine and device, and what they were measured with."""
    parts, tables = [], {}
    for key in sorted(runs):
        tables.setdefault(key[0], []).append(runs[key])
    for (model, training, px, batch), rows in sorted(tables.items()):
        told = [cell(model), "a training step" if training else "inference"]
        told.append(f"{batch} {plural(batch, 'image')} of {px} x {px} px")
        told += _counted("objects found", [run.objects_found for run in rows])
        told += _counted("regions for the mask head", [run.mask_regions for run in rows])
        parts.append(prose(f"{', '.join(told)}:"))
        parts.append(_table(rows, training))
    shown = list(runs.values())
    rounds = sorted({(run.rounds, run.steps) for run in shown})
    told = [f"{count} {plural(count, 'round')} of {steps}" for count, steps in rounds]
    about = f"Timed steps: {', '.join(told)}."
    return "\n\n".join([*parts, conditions([run.record for run in shown], about)])


def _counted(what: str, counts: Sequence[int | None]) -> list[str]:
    """How many there were in the runs of a table; nothing where nobody counted."""
    known = sorted(count for count in counts if count is not None)
    if not known:
        return []
    return [f"{' to '.join(dict.fromkeys(map(str, (known[0], known[-1]))))} {what}"]


def _table(runs: Sequence[DetectionRun], training: bool) -> str:
    several = len({run.record.threads for run in runs}) > 1
    head = ["attention", "relative positions", "precision"]
    head += ["checkpointing"] * training + ["threads"] * several
    head += ["model ms", "encoder ms", "encoder, ratio to global"]
    head += ["tensors MB, model", "tensors MB, encoder", "process MB"]
    rows = []
    for run in runs:
        flags = [_yes(run.relative_positions), cell(run.record.precision or NONE)]
        flags += [_yes(run.checkpointing)] * training
        flags += [str(run.record.threads or NONE)] * several
        figures = [_spread(run.model_ms, ms), _spread(run.encoder_ms, ms)]
        figures.append(NONE if run.ratio is None else f"{run.ratio:.3g}")
        figures += [f"{run.model_tensors_mb:,.0f}", f"{run.encoder_tensors_mb:,.0f}"]
        figures.append(_spread(run.process_mb, lambda value: f"{value:,.0f}"))
        rows.append([_attention(run), *flags, *figures])
    return table(head, rows)


def _attention(run: DetectionRun) -> str:
    if not run.encoder_options:
        return "the encoder's own"
    return "global" if run.window is None else f"windows of {run.window}"


def _yes(flag: bool | None) -> str:
    return NONE if flag is None else "yes" if flag else "no"


def _spread(found: Spread | None, show) -> str:
    if found is None:
        return NONE
    middle, least, most = map(show, found)
    return middle if least == most else f"{middle} ({least} to {most})"


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    if missing := [f"values.{key}" for key in KEYS if key not in given]:
        raise BadDataError(
            "a record of a detector's speed lacks values (null where one does not apply).",
            field=missing,
        )
    found: dict[str, Any] = {}
    for key in FLAGS:
        name, value = f"values.{key}", given[key]
        optional = key in ("checkpointing", "relative_positions")
        if value not in ((0, 1, None) if optional else (0, 1)):
            raise checks.wrong(name, "0 or 1", value)
        found[key] = None if value is None else bool(value)
    for key in SIZES:
        found[key] = checks.whole(f"values.{key}", given[key], 1)
    for key in COUNTS:
        name, value = f"values.{key}", given[key]
        found[key] = None if value is None else checks.whole(name, value)
    window = given["window"]
    found["window"] = None if window is None else checks.whole("values.window", window, 1)
    for key in TENSORS:
        found[key] = checks.number(f"values.{key}", given[key], 0)
    for key in SPREADS:
        absent = key == "process_mb" and given[key] is None
        found[key] = None if absent else _read_spread(f"values.{key}", given[key])
    ratios = given[RATIOS]
    if ratios is not None and not isinstance(ratios, Mapping):
        raise checks.wrong(f"values.{RATIOS}", "an object with model and encoder", ratios)
    ratio = None if ratios is None else ratios.get("encoder")
    name = f"values.{RATIOS}.encoder"
    found["ratio"] = None if ratios is None else checks.number(name, ratio, 0)
    return found


def _read_spread(name: str, value: Any) -> Spread:
    if not isinstance(value, Mapping) or set(value) != set(Spread._fields):
        raise checks.wrong(name, "an object with median, least and most", value)
    found = Spread(*(checks.number(f"{name}.{key}", value[key], 0) for key in Spread._fields))
    if not found.least <= found.median <= found.most:
        raise checks.wrong(f"{name}.median", "from least to most", found.median)
    return found
