"""Run a suite: train and test what is missing, go on after any stop, give mean and spread.

    outcome = run_suite("leaderboard/suites/camvid_starts.yml")
    print("\\n".join(outcome.lines()))

Each run with one seed is a cell with a folder of its own (`suite_cells`). A cell counts when its
test has ended well and its records are there; anything less is done again from the newest
checkpoint. A cell that was asked for otherwise (another config, option, checkpoint) is refused, and
one whose records were changed, or are of another cell's run, fails; with `anew` they are set aside
under another name, as is what holds logs alone: nothing is deleted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lightvit_bench.bench.provenance import ROOT, sha256_of
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.errors import BadDataError, ConfigError, UserError, near_matches
from lightvit_bench.leaderboard.suite_cells import (
    BEGUN,
    DONE,
    TRAINED,
    Cell,
    State,
    asked_of,
    changes,
    finished_records,
    new_records,
    newest_checkpoint,
    read_state,
    set_aside,
    write_state,
)
from lightvit_bench.leaderboard.suite_child import (
    check_folder,
    ending_signals,
    last_lines,
    locked,
    run_logged,
)
from lightvit_bench.leaderboard.suite_file import SEED, Suite, read_suite
from lightvit_bench.leaderboard.suite_table import RunResult, result_lines

OUT = Path("work_dirs/suites")
TOOLS = ROOT / "tools"
EARLIER, NOW, FAILED, REFUSED, TO_DO = "done before", "done", "failed", "refused", "to do"


@dataclass(frozen=True)
class CellResult:
    """What became of a cell.

    Attributes:
        state: `EARLIER`, `NOW`, `FAILED`, `REFUSED` or `TO_DO` (of a dry run).
        told: why, in lines, of a cell that is not done.
        records: of a cell that is.
    """

    cell: Cell
    state: str
    told: tuple[str, ...] = ()
    records: tuple[RunRecord, ...] = ()

    @property
    def is_done(self) -> bool:
        return self.state in (EARLIER, NOW)


@dataclass(frozen=True)
class SuiteOutcome:
    """A suite and what became of its cells, in order."""

    suite: Suite
    folder: Path
    cells: tuple[CellResult, ...]

    @property
    def failures(self) -> list[CellResult]:
        """Cells that failed or were refused."""
        return [one for one in self.cells if one.state in (FAILED, REFUSED)]

    @property
    def exit_code(self) -> int:
        """1 if a cell failed or was refused."""
        return 1 if self.failures else 0

    @property
    def record_files(self) -> list[Path]:
        """The records of all cells that are done."""
        return [
            one.cell.records / record.file_name
            for one in self.cells
            if one.is_done
            for record in one.records
        ]

    def lines(self) -> list[str]:
        """The result: mean and standard deviation over seeds by run, what is missing, what failed.

        Runs that do not cover their data set are shown and not averaged.
        """
        results = []
        for name in dict.fromkeys(one.cell.run.name for one in self.cells):
            own = [one for one in self.cells if one.cell.run.name == name]
            records = tuple(record for one in own if one.is_done for record in one.records)
            results.append(RunResult(name, len(own), sum(one.is_done for one in own), records))
        lines = result_lines(results)
        for one in self.failures:
            lines += ["", f"{one.state.upper()}  {one.cell.name}", *(f"  {x}" for x in one.told)]
        return lines


def _print(line: str) -> None:
    print(line, flush=True)  # hours lie between two lines


def run_suite(
    path: str | os.PathLike,
    out: str | os.PathLike | None = None,
    only: Sequence[str] = (),
    dry_run: bool = False,
    anew: bool = False,
    report: Callable[[str], None] = _print,
    tools: str | os.PathLike = TOOLS,
) -> SuiteOutcome:
    """Run what is missing of a suite; one cell that fails does not stop the others.

    Args:
        out: folder of results; work_dirs/suites/NAME by default.
        only: names of the runs that are wanted; all by default.
        dry_run: only say what there is and what would be done.
        anew: set cells aside that were asked for otherwise, and records that were changed, and run
            them again; they are refused, or fail, else.
        report: takes a line on each step, then those of the result.
        tools: folder of train.py and test.py.

    Raises:
        UserError: the suite's file is wrong; `only` names no run; `out` is no folder, or cannot be
            written to; another process runs the suite.
        KeyboardInterrupt, SystemExit: told to end, after the program that ran has ended, too.
    """
    suite = read_suite(path)
    folder = OUT / suite.name if out is None else Path(out)
    names = [run.name for run in suite.runs]
    for name in only:
        if name not in names:
            raise ConfigError(
                f"the suite has no run {name!r}.", file=str(path), near=near_matches(name, names)
            )
    cells = [
        Cell(run, seed, folder / run.name / f"seed-{seed}")
        for run in suite.runs
        if not only or run.name in only
        for seed in run.seeds
    ]
    check_folder(folder)
    job = _Job(Path(tools), anew, dry_run, -1)
    if dry_run:
        results = _each(cells, job, report)
    else:
        with locked(folder) as lock, ending_signals():
            results = _each(cells, replace(job, lock=lock), report)
    outcome = SuiteOutcome(suite, folder, results)
    for line in ("", *outcome.lines()):
        report(line)
    return outcome


@dataclass(frozen=True)
class _Job:
    tools: Path
    anew: bool
    dry_run: bool
    lock: int
    files: dict[str, Path] = field(default_factory=dict)  # of cells that are done, by the run's id


def _each(
    cells: Sequence[Cell], job: _Job, report: Callable[[str], None]
) -> tuple[CellResult, ...]:
    results = []
    for number, cell in enumerate(cells, 1):
        start = f"[{number}/{len(cells)}] {cell.name}: "
        try:
            one = _settle(cell, job, lambda line, start=start: report(start + line))
        except (UserError, OSError) as error:
            one = CellResult(cell, FAILED, tuple(str(error).splitlines()))
        shown = "" if not one.told else f": {one.told[0]}"
        report(f"{start}{one.state}{shown}")
        results.append(one)
        if one.is_done:
            job.files.update(
                (record.run, cell.records / record.file_name)
                for record in one.records
                if record.run
            )
    return tuple(results)


def _settle(cell: Cell, job: _Job, say: Callable[[str], None]) -> CellResult:
    """Do what a cell lacks."""
    asked = asked_of(cell)
    try:
        state = read_state(cell)
        differs = changes(state.asked, asked) if state else []
    except UserError as error:
        state, differs = None, str(error).splitlines()
    if differs:
        if not job.anew and not (state and _is_bare(cell, state)):
            told = ("what is there was asked for otherwise", *differs, f"folder: {cell.folder}")
            do = "do: --anew sets it aside and runs it again; or another folder, --out"
            return CellResult(cell, REFUSED, (*told, do))
        if job.dry_run:
            return CellResult(cell, TO_DO, (f"anew, asked for otherwise: {'; '.join(differs)}",))
        aside = set_aside(cell.folder, "old")
        say(f"asked for otherwise ({'; '.join(differs)}); set aside: {aside}")
        state = None
    try:
        records = finished_records(cell, state) if state else {}
        _check_runs(records, job.files)
    except UserError as error:
        told = str(error).splitlines()
        if not job.anew:
            do = "do: --anew sets this cell's records aside and makes them again"
            return CellResult(cell, FAILED, (*told, do))
        if job.dry_run:
            return CellResult(cell, TO_DO, (f"anew: {told[0]}",))
        say(f"{told[0]} Records set aside: {set_aside(cell.records, 'old')}")
        records = {}
    if records:
        return CellResult(cell, EARLIER, (), tuple(records.values()))
    if job.dry_run:
        step = "begun" if state and state.step == BEGUN else "test" if state else "from the start"
        return CellResult(cell, TO_DO, (step,))
    state = state or State(asked)
    if state.step == DONE:  # its records are gone, or set aside
        state = replace(state, step=TRAINED if state.checkpoint else BEGUN, records=())
    write_state(cell, state)
    return _run(cell, state, job, say)


def _is_bare(cell: Cell, state: State) -> bool:
    """Whether a cell has only begun: a failure has left nothing but logs."""
    written = [*cell.records.glob("*.json"), *cell.fresh.glob("*.json")]
    return state.step == BEGUN and not (newest_checkpoint(cell.work) or written)


def _check_runs(records: Mapping[Path, RunRecord], known: Mapping[str, Path]) -> None:
    """`BadDataError` where two records of a cell, or one and another cell's, are of one run."""
    files = dict(known)
    for path, record in records.items():
        if record.run is None:  # of version 1
            continue
        if record.run in files:
            both = [str(files[record.run]), str(path)]
            raise BadDataError("two records are of one run.", run=record.run, files=both)
        files[record.run] = path


def _run(cell: Cell, state: State, job: _Job, say: Callable[[str], None]) -> CellResult:
    run = cell.run
    for folder in (cell.records, cell.fresh):  # of a test that did not end: which count is unknown
        if folder.exists():
            say(f"records of a cell that is not done set aside: {set_aside(folder, 'old')}")
    if run.train and not _is_trained(cell, state):
        log = cell.folder / "train.log"
        resumes = newest_checkpoint(cell.work)
        say(f"training{f' from {resumes.name} on' if resumes else ''}, log in {log}")
        code = run_logged(_train_command(cell, job.tools), log, job.lock)
        newest = newest_checkpoint(cell.work)
        if code or newest is None:
            return _failed(cell, "training", code, log)
        state = replace(
            state, step=TRAINED, checkpoint=newest.name, checkpoint_sha256=sha256_of(newest)
        )
        write_state(cell, state)
        if cell.predictions.exists():  # another checkpoint's
            say(f"predictions set aside: {set_aside(cell.predictions, 'old')}")
    step = "test" if run.config is not None else "command"
    log = cell.folder / f"{step}.log"
    say(f"{step}, log in {log}")
    command = _test_command(cell, state, job.tools) if run.config is not None else _command(cell)
    code = run_logged(command, log, job.lock)
    if code:
        return _failed(cell, step, code, log)
    try:
        records = new_records(cell, state)
        _check_runs(records, job.files)
    except UserError as error:
        told = (*str(error).splitlines(), f"log: {log}", *last_lines(log))
        return CellResult(cell, FAILED, told)
    cell.fresh.rename(cell.records)
    write_state(cell, replace(state, step=DONE, records=tuple(path.name for path in records)))
    return CellResult(cell, NOW, (), tuple(records.values()))


def _is_trained(cell: Cell, state: State) -> bool:
    """Whether the checkpoint that training ended with is there, and the same."""
    if state.step != TRAINED or state.checkpoint is None:
        return False
    path = cell.work / Path(state.checkpoint).name
    return path.is_file() and sha256_of(path) == state.checkpoint_sha256


def _train_command(cell: Cell, tools: Path) -> list[str]:
    run = cell.run
    return [
        *(sys.executable, str(tools / "train.py"), str(run.config)),
        *("--work-dir", str(cell.work), "--resume", "auto", *run.train_arguments),
        *("--cfg-options", *run.options, *run.train_options, f"randomness.seed={cell.seed}"),
    ]


def _test_command(cell: Cell, state: State, tools: Path) -> list[str]:
    run = cell.run
    checkpoint = cell.work / state.checkpoint if run.train else run.checkpoint
    return [
        *(sys.executable, str(tools / "test.py"), str(run.config), str(checkpoint)),
        *("--work-dir", str(cell.folder / "test"), "--record", str(cell.fresh)),
        *("--out", str(cell.predictions), *run.test_arguments),
        *("--cfg-options", *run.options, *run.test_options, f"randomness.seed={cell.seed}"),
    ]


def _command(cell: Cell) -> list[str]:
    words = [word.replace(SEED, str(cell.seed)) for word in cell.run.command]
    return [sys.executable, *words, "--record", str(cell.fresh)]


def _failed(cell: Cell, step: str, code: int, log: Path) -> CellResult:
    how = f"ended with {code}" if code >= 0 else f"was ended by signal {-code}"
    if code == 0:
        how = "left no checkpoint"
    return CellResult(cell, FAILED, (f"{step} {how}", f"log: {log}", *last_lines(log)))
