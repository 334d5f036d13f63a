"""Everything that the leaderboard writes, as texts: made from records and published rows alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightvit_bench.bench.blocks import replace_block
from lightvit_bench.bench.provenance import RECORDS
from lightvit_bench.bench.record import read_records, record_files
from lightvit_bench.bench.schema import record_schema
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.leaderboard.boards import Board, boards_of
from lightvit_bench.leaderboard.csv_file import csv_text
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.metafiles import metafiles
from lightvit_bench.leaderboard.page import page_html
from lightvit_bench.leaderboard.published import read_published
from lightvit_bench.leaderboard.readme import readme_block
from lightvit_bench.leaderboard.rows import Row
from lightvit_bench.writing import whole_file

FOLDER = "leaderboard"  # of the project: published rows, the CSV and the page
BLOCK = "leaderboard"  # of README.md
PAGE, CSV, SCHEMA = "index.html", "leaderboard.csv", "record.schema.json"


@dataclass(frozen=True)
class Sources:
    """Where rows are from: folders of run records, and the folder of published rows."""

    records: tuple[Path, ...]
    published: Path | None

    @classmethod
    def of(cls, root: Path) -> Sources:
        """The project's own; its folder of records comes with the first one."""
        own = root / RECORDS
        return cls((own,) if own.is_dir() else (), root / FOLDER / "published")


def read_rows(sources: Sources) -> list[Row]:
    """All rows, the measured ones first.

    Raises:
        MissingDataError: a folder is not there.
        BadDataError: a record or a published row is not as it should be, two records are of one
            run, or two rows have one key.
    """
    for folder in sources.records:
        if not record_files(folder):
            raise MissingDataError(
                "a folder of records has none.",
                looked_for=f"{folder}/*.json, and {RECORDS}/*.json in folders below it",
            )
    rows = rows_of(read_records(*sources.records), every_incomplete=True)
    if sources.published is not None:
        rows += read_published(sources.published)
    seen: dict[str, Row] = {}
    for row in rows:
        if row.key in seen:
            raise BadDataError("two rows of the leaderboard have one key.", key=row.key)
        seen[row.key] = row
    return rows


def page_and_table(boards: Sequence[Board]) -> dict[str, str]:
    """The page and the CSV, by file name."""
    return {PAGE: page_html(boards), CSV: csv_text(boards)}


def project_files(root: Path, sources: Sources) -> dict[Path, str]:
    """Every file of the project that is generated, as it should be: path below `root` -> text.

    Raises as `read_rows`; and MissingDataError or BadDataError where README.md, or its block, is
    not there.
    """
    rows = read_rows(sources)
    boards = boards_of(rows)
    found = {Path(FOLDER) / name: text for name, text in page_and_table(boards).items()}
    readme = Path("README.md")
    try:
        text = (root / readme).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingDataError("there is no README.md.", looked_for=str(root / readme)) from None
    try:
        found[readme] = replace_block(text, BLOCK, readme_block(boards))
    except BadDataError as error:
        raise BadDataError(error.message, file=str(root / readme), **error.details) from None
    found[Path(FOLDER) / SCHEMA] = json.dumps(record_schema(), indent=1) + "\n"
    return found | {Path(path): text for path, text in metafiles(rows).items()}


def stale(root: Path, files: dict[Path, str]) -> list[Path]:
    """Those that are not there, or have another text."""

    def current(path: Path) -> str | None:
        try:
            return (root / path).read_bytes().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return None

    return [path for path, text in files.items() if current(path) != text]


def write(root: Path, files: dict[Path, str]) -> None:
    """Write each file, whole or not at all; folders are made."""
    for path, text in files.items():
        with whole_file(root / path) as aside:
            aside.write_bytes(text.encode("utf-8"))
