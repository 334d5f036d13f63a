#!/usr/bin/env python3
"""Time the leaderboard's page in headless Chromium, with many made-up rows.

  tools/bench_page.py
  tools/bench_page.py --rows 10000 --rounds 7 --record records
  tools/bench_page.py --rows 2000 --keep page.html

Each time is from the event (a click, a letter typed) to the next painted frame. --record also
writes a run record, --keep the page that was timed.
"""

import argparse
import tempfile
from pathlib import Path

from lightvit_bench.errors import ConfigError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7, help="of which the median counts")
    parser.add_argument("--record", metavar="DIR", help="write a run record")
    parser.add_argument("--keep", metavar="FILE", help="keep the page")
    args = parser.parse_args()
    for name, least in (("rows", 1000), ("rounds", 1)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} {getattr(args, name)}.", expected=f"{least} or more")

    from lightvit_bench.bench.record import write_record
    from lightvit_bench.leaderboard import page_speed
    from lightvit_bench.leaderboard.boards import boards_of
    from lightvit_bench.leaderboard.browser import headless
    from lightvit_bench.leaderboard.page import page_html
    from lightvit_bench.verification.keeping import check_record_folder
    from lightvit_bench.writing import whole_file

    if args.record:
        check_record_folder(args.record)
    boards = boards_of(page_speed.made_up_rows(args.rows))
    text = page_html(boards, made=f"{args.rows:,} made-up rows, to time the page.")
    megabytes = len(text.encode()) / 1e6
    with tempfile.TemporaryDirectory() as folder, headless() as chrome:
        path = Path(args.keep or Path(folder) / "page.html")
        with whole_file(path) as aside:
            aside.write_text(text, encoding="utf-8")
        found = page_speed.measure(chrome, path, args.rounds)
        browser = f"Chromium {chrome.capabilities['browserVersion']}, headless"
    print(f"{args.rows:,} made-up rows in {len(boards)} tables, {megabytes:.1f} MB; {browser}")
    print("\n".join(page_speed.lines(found)))
    if args.record:
        record = page_speed.page_record(found, args.rows, browser, megabytes)
        print(f"record written: {write_record(record, args.record)}")


if __name__ == "__main__":
    run_cli(main)
