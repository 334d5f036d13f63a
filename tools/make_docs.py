#!/usr/bin/env python3
"""Write the tables of docs/ that run records make: tools/make_docs.py, or --check in a test.

Each goes between its two markers in a document; --check writes nothing, says which are stale and
ends with 1 if one is.
"""

import argparse
import sys
from pathlib import Path

from lightvit_bench.errors import run_cli

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if one is stale")
    parser.add_argument("--records", metavar="DIR", help="of run records (records)")
    parser.add_argument("--docs", metavar="DIR", default=ROOT / "docs", help="of documents (docs)")
    args = parser.parse_args()

    from lightvit_bench.bench.blocks import block_of, has_block, replace_block
    from lightvit_bench.bench.detection_runs import DETECTION_SPEED, detection_speed
    from lightvit_bench.bench.provenance import RECORDS
    from lightvit_bench.bench.record import read_records
    from lightvit_bench.bench.soak_table import TRACKING_SOAK, tracking_soak
    from lightvit_bench.bench.tables import tracking_cpu
    from lightvit_bench.bench.track_runs import TRACKING_LATENCY
    from lightvit_bench.errors import BadDataError, MissingDataError
    from lightvit_bench.writing import whole_file

    folder = Path(args.records or ROOT / RECORDS)
    # The project's own folder comes with the first record.
    records = read_records(folder) if args.records or folder.is_dir() else []
    # document, block, the task of its records, what makes it
    made = [
        ("benchmarks.md", "tracking-cpu", TRACKING_LATENCY, tracking_cpu),
        ("benchmarks.md", "tracking-soak", TRACKING_SOAK, tracking_soak),
        ("benchmarks.md", "detection-cpu", DETECTION_SPEED, detection_speed),
    ]

    stale = False
    for document, name, task, make in made:
        path = Path(args.docs) / document
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MissingDataError("there is no such document.", looked_for=str(path)) from None
        about = f"{path.name}, {name}"
        if not has_block(text, name) and not any(record.task == task for record in records):
            print(f"{about}: no record and no place for one")
            continue
        body = make(records)
        try:
            fresh = block_of(text, name) == body
            text = replace_block(text, name, body)
        except BadDataError as error:
            raise BadDataError(error.message, file=str(path), **error.details) from None
        if fresh:
            print(f"{about}: up to date")
        elif args.check:
            stale = True
            print(f"{about}: stale, run tools/make_docs.py")
        else:
            with whole_file(path) as aside:
                aside.write_text(text, encoding="utf-8")
            print(f"{about}: written")
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    run_cli(main)
