"""Running a tracker over a data set: in several processes, to be gone on with after any end.

    run_set(sequences, start, "results/ours", identity, processes=4)

Results are complete when it returns: it raises where a sequence failed, and nothing that was done
is lost then. Judging them is `judged`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from time import monotonic
from typing import TextIO

from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, UserError, printable
from lightvit_bench.tracking.running.folder import (
    SCORES,
    claimed,
    finished,
    first_box,
    remove_results,
)
from lightvit_bench.tracking.running.workers import Job, run_workers
from lightvit_bench.tracking.watching.follow import AnyTracker, Interrupts

_NAMED = 20  # of many failures, how many an error shows


def run_set(
    sequences: SequenceOf[Sequence],
    start: Callable[[], AnyTracker],
    out: Path,
    identity: Mapping,
    *,
    notes: Mapping | None = None,
    prepare: Callable[[], object] = lambda: None,
    processes: int = 1,
    realtime: float | None = None,
    stream: TextIO | None = None,
) -> None:
    """Track every sequence that `out` has no whole result of, the longest first.

    Args:
        start: gives the tracker; pickled, and called once in each process.
        identity: what results in one folder must have in common (`folder.identity_of`).
        notes: goes to `run.json` beside it.
        prepare: called before any `start`, once the folder is known to be this run's.
        realtime: frames a second of a stream whose clock drops frames; None for offline.
        stream: where progress goes, stderr by default.

    Raises:
        BadDataError: a sequence cannot begin, before anything is tracked; or sequences failed,
            which are named, after all others are done.
        ConfigError: the folder is another run's.
        SystemExit: Ctrl-C or SIGTERM; the same call goes on from there.
    """
    stream = stream or sys.stderr
    check_sequences(sequences)
    with claimed(out, identity, notes or {}, processes), Interrupts() as stop:
        missing = [one for one in sequences if not finished(out, one)]
        if missing:
            (out / SCORES).unlink(missing_ok=True)  # of results that are no longer all there
        torn = [one.name for one in missing if remove_results(out, one)]
        progress = SetProgress(sequences, missing, stream)
        if torn:
            progress.say(f"{len(torn)} not whole, tracked again: {_some(torn, 5)}")
        if len(missing) < len(sequences):
            progress.say(f"{len(sequences) - len(missing)} of {len(sequences)} were done before")
        failures = {}
        if missing:
            longest_first = sorted(missing, key=len, reverse=True)
            prepare()
            job = Job(start, out, realtime)
            try:
                failures = run_workers(longest_first, job, processes, progress, stop)
            finally:
                progress.close()
        if stop.signal:
            done = sum(finished(out, one) for one in sequences)
            progress.say(
                f"stopped: {done} of {len(sequences)} sequences are done; "
                "the same command goes on from there"
            )
            raise SystemExit(128 + stop.signal)
        undone = [one.name for one in sequences if not finished(out, one)]
    for name in undone:
        failures.setdefault(name, "its result is not whole")
    if failures:
        raise _failed(failures, len(sequences), out)


def check_sequences(sequences: SequenceOf[Sequence]) -> None:
    """BadDataError, for all of them at once, where a sequence cannot be begun or written."""
    if not sequences:
        raise BadDataError("there is no sequence to track.")
    names = {sequence.name for sequence in sequences}
    clash = sorted(name for name in names if f"{name}_time" in names)
    if len(names) < len(sequences) or clash:
        raise BadDataError(
            "result files of two sequences would have one name.",
            sequences=[f"{name} and {name}_time" for name in map(printable, clash[:5])]
            or "two are called alike",
        )
    errors = []
    for sequence in sequences:
        try:
            first_box(sequence)
        except UserError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BadDataError(
            f"{len(errors)} of {len(sequences)} sequences cannot be begun.",
            because=[line for error in errors[:_NAMED] for line in str(error).splitlines()],
        )


def _failed(failures: Mapping[str, str], expected: int, out: Path) -> BadDataError:
    lines = []
    for name, why in list(failures.items())[:_NAMED]:
        first, *more = why.splitlines()
        lines += [f"{printable(name)}: {first}", *(f"  {line}" for line in more)]
    if len(failures) > _NAMED:
        lines.append(f"and {len(failures) - _NAMED} more")
    return BadDataError(
        f"{len(failures)} of {expected} sequences failed: nothing is judged over fewer.",
        failed=lines,
        kept=f"the other {expected - len(failures)}, in {out}",
        do="mend the cause and start the same command again: it runs those that failed alone",
    )


class SetProgress:
    """Tells how far a run is: one line that is renewed on a terminal, a line at times elsewhere."""

    def __init__(
        self,
        sequences: SequenceOf[Sequence],
        missing: SequenceOf[Sequence],
        stream: TextIO,
        clock: Callable[[], float] = monotonic,
    ):
        self._stream, self._clock, self._live = stream, clock, stream.isatty()
        self._expected, self._left = len(sequences), sum(map(len, missing))
        self._done, self._failures, self._frames = len(sequences) - len(missing), 0, 0
        self._every = 0.2 if self._live else 30.0  # seconds
        self._began = clock()
        self._next, self._shown, self._told = self._began + self._every, False, None

    def frames(self, count: int) -> None:
        """So many more were tracked."""
        self._frames += count
        self._show()

    def done(self, name: str) -> None:
        self._done += 1
        self._show(every_time=not self._live)

    def failed(self, name: str, why: str) -> None:
        self._failures += 1
        self.say(f"{printable(name)} FAILED: {why}")

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"{self._wipe()}{text}", file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last state in a line of its own."""
        if self._told != self._state():
            self._show(every_time=True)
        if self._live and self._shown:
            print(file=self._stream, flush=True)
        self._shown = False

    def line(self) -> str:
        """Sequences done, frames a second of all processes, decoding included, and time left."""
        passed = max(self._clock() - self._began, 1e-9)
        text = f"{self._done}/{self._expected} sequences"
        if self._frames:
            rate = self._frames / passed
            left = max(self._left - self._frames, 0) / rate
            text += f"  {rate:.1f} frames/s  {duration(left)} left"
        return text + (f"  {self._failures} failed" if self._failures else "")

    def _show(self, every_time: bool = False) -> None:
        if not every_time and self._clock() < self._next:
            return
        end = "" if self._live else "\n"
        print(f"{self._wipe()}{self.line()}", end=end, file=self._stream, flush=True)
        self._next, self._shown = self._clock() + self._every, True
        self._told = self._state()

    def _state(self) -> tuple[int, int, int]:
        return self._done, self._failures, self._frames

    def _wipe(self) -> str:
        return "\r\x1b[K" if self._live and self._shown else ""


def duration(seconds: float) -> str:
    """A time for a person: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _some(names: SequenceOf[str], count: int) -> str:
    shown = ", ".join(map(printable, names[:count]))
    return shown + (f" and {len(names) - count} more" if len(names) > count else "")
