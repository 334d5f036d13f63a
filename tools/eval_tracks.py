#!/usr/bin/env python3
"""Judge result folders of trackers by LaSOT's rules, or pack them for a server.

tools/eval_tracks.py --annotations lasot_annotations.zip results/ours OTHER=results/theirs
A folder holds SEQ.txt, one line x,y,w,h a frame (comma, tab or space). Printed: AUC, OP50, OP75, P
at 20 px, P_norm at 0.2 in percent, best first, then AUC by attribute.

tools/eval_tracks.py --annotations data/got10k --submission got10k out.zip results/ours
"""

import argparse
import json
from pathlib import Path

from lightvit_bench.errors import BadDataError, ConfigError, run_cli

_COLUMNS = {
    "auc": "AUC",
    "op50": "OP50",
    "op75": "OP75",
    "precision": "P",
    "norm_precision": "P_norm",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="[NAME=]RESULTS_DIR",
        help="folder of SEQ.txt files; named after itself where no name is given",
    )
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="PATH",
        help="LaSOT's annotations: the toolkit's folder, a zip archive, the data set, or one's own "
        "sequences; for --submission and --format got10k the data set. A leading data/ stands for "
        "$LIGHTVIT_DATA, where that is set",
    )
    parser.add_argument("--out", metavar="DIR", help="write plots (SVG, PNG) and tables (CSV) here")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--sequences",
        metavar="FILE",
        help="judge these alone, one name a line; the protocol id says that it is a subset",
    )
    chosen.add_argument(
        "--all",
        action="store_true",
        help="judge every annotated sequence (Protocol I of LaSOT), not the test set alone, which "
        "is what is judged where all of it is annotated",
    )
    parser.add_argument("--json", metavar="FILE", help="write all scores and curves as JSON")
    parser.add_argument(
        "--valid-frames",
        action="store_true",
        help="divide by the frames where the target is visible: another protocol, higher numbers",
    )
    parser.add_argument(
        "--format",
        choices=("lasot", "got10k"),
        default="lasot",
        help="got10k: AO and SR on the validation set, --annotations is the data set's folder",
    )
    parser.add_argument(
        "--record", metavar="DIR", help="write a run record of each tracker, for the leaderboard"
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="with --record: judge what is there; the record says over how many of the sequences, "
        "and the leaderboard shows it without a rank",
    )
    parser.add_argument(
        "--submission",
        nargs=2,
        metavar=("{got10k,trackingnet}", "OUT.zip"),
        help="judge nothing, pack one folder for the server",
    )
    args = parser.parse_args()
    other = "--submission" if args.submission else f"--format {args.format}"
    if other != "--format lasot":
        for option in ("out", "sequences", "all", "json", "valid_frames", "allow_missing"):
            if getattr(args, option):
                parser.error(f"--{option.replace('_', '-')} does not go with {other}")
    if args.allow_missing and not args.record:
        parser.error("--allow-missing goes with --record, which says how many were missing")
    if args.submission and args.record:
        parser.error("--record does not go with --submission, which judges nothing")
    if args.record:
        from lightvit_bench.verification.keeping import check_record_folder

        check_record_folder(args.record)
    if args.submission:
        submit(args)
    elif args.format == "got10k":
        judge_val(args)
    else:
        judge(args)


def named(arguments: list[str]) -> dict[str, Path]:
    """Tracker -> folder. A folder that exists is one, with an equals sign in its name too."""
    from lightvit_bench.tracking.judging.judge import tracker_name

    folders: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not (equals and name) or Path(argument).is_dir():
            name, folder = tracker_name(argument), argument
        if name in folders:
            raise ConfigError(
                f"two trackers are called {name}.",
                folders=[str(folders[name]), folder],
                set="NAME=RESULTS_DIR",
            )
        folders[name] = Path(folder)
    return folders


def judge(args: argparse.Namespace) -> None:
    from lightvit_bench.data.box_files import write_text
    from lightvit_bench.data.lasot_annotations import LasotAnnotations, parse_names
    from lightvit_bench.data.roots import resolve_root
    from lightvit_bench.tracking.judging.judge import judge_folder
    from lightvit_bench.tracking.judging.plots import best_first, write_report

    folders = named(args.results)
    truth = LasotAnnotations(resolve_root(args.annotations))
    sequences = truth.known if args.all else None
    if args.sequences:
        sequences = parse_names(Path(args.sequences).read_bytes(), args.sequences)
    rule = "valid-frames" if args.valid_frames else "toolkit"
    judged = [
        judge_folder(folder, truth, sequences, rule, name, allow_missing=args.allow_missing)
        for name, folder in folders.items()
    ]
    whole = [s for s in judged if s.evaluated == s.expected]
    part = [s for s in judged if s.evaluated < s.expected]  # shown, and not ranked
    ranked = [*(best_first(whole) if whole else ()), *part]

    written = []  # first of all: whoever reads what is printed may stop reading
    if args.json:
        record = {"trackers": [s.as_dict() for s in ranked]}
        write_text(args.json, json.dumps(record, indent=1, allow_nan=False) + "\n")
        written.append(args.json)
    if args.record:
        from lightvit_bench.bench.record import write_record
        from lightvit_bench.tracking.judging.recording import judged_record

        for one in ranked:
            made = judged_record(one, folders[one.tracker], truth, rule, args.annotations)
            written.append(str(write_record(made, args.record)))
    if args.out and whole:
        written += write_report(whole, args.out)

    first = ranked[0]
    print(f"protocol   {first.protocol}")
    print(f"sequences  {first.expected} expected, {first.evaluated} evaluated\n")
    print_table(
        ["tracker", *_COLUMNS.values()],
        [[s.tracker, *(f"{getattr(s, key):.2f}" for key in _COLUMNS)] for s in ranked],
    )
    for one in part:
        print(
            f"\n{one.tracker}: INCOMPLETE, {one.evaluated} of {one.expected} sequences; not ranked"
        )
    if args.out and part:
        print("\nnot in plots and tables: what is incomplete")
    if first.per_attribute:
        print("\nAUC by attribute")
        print_table(
            ["attribute", "sequences", *(s.tracker for s in ranked)],
            [
                [key, str(held.sequences), *(auc_of(s.per_attribute.get(key)) for s in ranked)]
                for key, held in first.per_attribute.items()
            ],
        )
    if first.remark:
        print(f"\n{first.remark}")
    for one in ranked:
        if one.dropped:
            print(f"\n{one.tracker}: left out of a mean, never right: {', '.join(one.dropped)}")
    if written:
        print("\n" + "\n".join(written))


def auc_of(scores) -> str:
    """Of an attribute; nothing where an incomplete tracker has too few sequences of it."""
    return f"{scores.auc:.2f}" if scores else ""


def sequences_of(name: str, path: str, split: str):
    """All sequences of a data set's split; errors name the option here."""
    from lightvit_bench.data.set_checks import set_by
    from lightvit_bench.data.tracking_sets import open_set

    with set_by("--annotations PATH"):
        return open_set(name, path, split, expect_all=True)


def judge_val(args: argparse.Namespace) -> None:
    from lightvit_bench.metrics.got10k import PROTOCOL
    from lightvit_bench.tracking.judging.judge import judge_got10k

    sequences = sequences_of("got10k", args.annotations, "val")
    folders = named(args.results)
    found = {name: judge_got10k(folder, sequences)[0] for name, folder in folders.items()}
    written = []
    if args.record:
        from lightvit_bench.bench.record import write_record
        from lightvit_bench.tracking.judging.recording import got10k_record

        for name, scores in found.items():
            made = got10k_record(name, scores, folders[name], sequences, args.annotations)
            written.append(str(write_record(made, args.record)))
    print(f"protocol   {PROTOCOL}")
    print(f"sequences  {len(sequences)} expected, {len(sequences)} evaluated\n")
    print_table(
        ["tracker", "AO", "SR50", "SR75", "frames"],
        [
            [name, f"{s.ao:.2f}", f"{s.sr50:.2f}", f"{s.sr75:.2f}", str(s.frames)]
            for name, s in sorted(found.items(), key=lambda item: -item[1].ao)
        ],
    )
    if written:
        print("\n" + "\n".join(written))


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print text in columns, the first to the left and numbers to the right."""
    from lightvit_bench.errors import printable

    lines = [[printable(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        first, *others = zip(cells, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]))


def submit(args: argparse.Namespace) -> None:
    server, out = args.submission
    if len(args.results) != 1:
        raise BadDataError("one folder of results makes a submission.", given=args.results)
    (folder,) = named(args.results).values()
    if server == "got10k":
        from lightvit_bench.tracking.judging.submission import write_got10k as write
    elif server == "trackingnet":
        from lightvit_bench.tracking.judging.submission import write_trackingnet as write
    else:
        raise ConfigError(f"no server {server!r} is known.", known="got10k, trackingnet")
    count = write(folder, sequences_of(server, args.annotations, "test"), out)
    print(f"{out}: {count} sequences")


if __name__ == "__main__":
    run_cli(main)
