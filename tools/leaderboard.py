#!/usr/bin/env python3
"""The leaderboard: run suites, build the page, compare runs, verify records.

tools/leaderboard.py run SUITE.yml     what is missing of a suite; goes on after a stop
tools/leaderboard.py build             README's table, CSV and page of leaderboard/, metafiles
tools/leaderboard.py check             ends with 1 where one of these is stale
tools/leaderboard.py compare A B       records, folders of them, keys of rows: beyond the spread?
tools/leaderboard.py verify RECORD     its score again, from the predictions that were kept
"""

import argparse
import sys
from pathlib import Path

from lightvit_bench.errors import ConfigError, run_cli

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run what is missing of a suite")
    run.add_argument("suite", help="file of a suite (leaderboard/suites/*.yml)")
    run.add_argument("--out", metavar="DIR", help="work dirs, records (work_dirs/suites/NAME)")
    run.add_argument("--only", nargs="+", metavar="RUN", default=(), help="these runs of it")
    run.add_argument("--dry-run", action="store_true", help="say what would be run")
    run.add_argument(
        "--anew", action="store_true", help="set aside what was run otherwise, and run it again"
    )
    run.set_defaults(call=run_suite)

    for name, call, told in (
        ("build", build, "write README's table, the CSV, the page and the metafiles"),
        ("check", check, "1 where one of them is stale"),
    ):
        one = commands.add_parser(name, help=told)
        add_sources(one)
        one.set_defaults(call=call)
        if name == "build":
            one.add_argument(
                "--out", metavar="DIR", help="write the page and the CSV there, and nothing else"
            )

    compare = commands.add_parser("compare", help="say which differences exceed the spread")
    compare.add_argument("a", metavar="A", help="a record, a folder of records, or a row's key")
    compare.add_argument("b", metavar="B", help="what it is compared with")
    add_sources(compare)
    compare.set_defaults(call=run_compare)

    verify = commands.add_parser("verify", help="compute a record's score again")
    verify.add_argument("record", help="file of a run record whose predictions were kept")
    verify.add_argument(
        "--predictions", metavar="PATH", help="where they are, if not where it says"
    )
    verify.add_argument("--truth", metavar="PATH", help="the annotations, likewise")
    verify.set_defaults(call=run_verify)

    args = parser.parse_args()
    return args.call(args)


def add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--records", nargs="+", metavar="DIR", help="folders of run records (records)"
    )
    parser.add_argument(
        "--published", metavar="DIR", help="of published rows (leaderboard/published)"
    )


def sources_of(args: argparse.Namespace):
    from lightvit_bench.leaderboard.build import Sources

    own = Sources.of(ROOT)
    records = tuple(map(Path, args.records)) if args.records else own.records
    return Sources(records, Path(args.published) if args.published else own.published)


def run_suite(args: argparse.Namespace) -> int:
    from lightvit_bench.leaderboard.suite import run_suite

    options = {name: getattr(args, name) for name in ("out", "only", "dry_run", "anew")}
    return run_suite(args.suite, **options).exit_code


def build(args: argparse.Namespace) -> int:
    from lightvit_bench.leaderboard import build

    if args.out:
        boards = build.boards_of(build.read_rows(sources_of(args)))
        root = Path(args.out)
        files = {Path(name): text for name, text in build.page_and_table(boards).items()}
    else:
        root, files = ROOT, build.project_files(ROOT, sources_of(args))
    try:
        changed = build.stale(root, files)
        build.write(root, {path: files[path] for path in changed})
    except OSError as error:
        raise ConfigError(
            "the leaderboard cannot be written there.",
            cause=str(error),
            set="--out DIR, a folder that you may write to",
        ) from None
    for path in files:
        print(
            f"{root / path if args.out else path}: {'written' if path in changed else 'up to date'}"
        )
    return 0


def check(args: argparse.Namespace) -> int:
    from lightvit_bench.leaderboard import build

    files = build.project_files(ROOT, sources_of(args))
    changed = build.stale(ROOT, files)
    for path in files:
        told = "stale, run tools/leaderboard.py build" if path in changed else "up to date"
        print(f"{path}: {told}")
    return 1 if changed else 0


def run_compare(args: argparse.Namespace) -> int:
    from lightvit_bench.leaderboard.build import read_rows
    from lightvit_bench.leaderboard.compare import compare_lines

    print("\n".join(compare_lines(args.a, args.b, lambda: read_rows(sources_of(args)))))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    from lightvit_bench.verification import verify_record

    found = verify_record(args.record, predictions=args.predictions, truth=args.truth)
    print("\n".join(found.lines()))
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(run_cli(main))
