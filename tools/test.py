#!/usr/bin/env python3
"""Test a checkpoint.

tools/test.py configs/ade20k/upernet_dmae_tiny.py CHECKPOINT
tools/test.py configs/coco/mask_rcnn_dmae_tiny.py CHECKPOINT --out results.json
tools/test.py configs/lasot/ostrack_dmae_tiny.py CHECKPOINT --processes 4 --realtime 30
tools/test.py configs/lasot/ostrack_dmae_tiny.py tracker.xml    # exported: tools/export.py
A tracker runs over the test_set of its config; the same command goes on after any stop.
"""

import argparse

from lightvit_bench.cli import add_config_options, add_launch_options, set_local_rank
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--work-dir", help="logs and metrics (work_dirs/FOLDER/CONFIG)")
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="write the predictions: a folder of label PNGs; a detector's results.json in COCO's "
        "format (the file, or its folder); a tracker's boxes (WORK_DIR/SET_SPLIT_CHECKPOINT)",
    )
    parser.add_argument(
        "--show-dir", metavar="DIR", help="write overlays: image, truth, prediction"
    )
    parser.add_argument(
        "--record",
        metavar="DIR",
        help="write a run record here, for the leaderboard; with --out its score can be verified",
    )
    parser.add_argument(
        "--remark",
        action="append",
        default=[],
        metavar="TEXT",
        help="with --record: what a reader of the score must know; may be given again",
    )
    tracker = parser.add_argument_group("trackers alone")
    tracker.add_argument(
        "--processes", type=int, metavar="N", help="side by side (as many as cores, at most 8)"
    )
    tracker.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of each (cores / processes)"
    )
    tracker.add_argument(
        "--realtime",
        type=float,
        metavar="FPS",
        help="run it by the clock of such a stream as well, which drops frames it is late for",
    )
    tracker.add_argument("--device", metavar="DEVICE", help="cpu (default), cuda, cuda:1, ...")
    tracker.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="of an exported tracker's computation (as its file says)",
    )
    add_config_options(parser)
    add_launch_options(parser)
    args = parser.parse_args()
    set_local_rank(args)
    if args.remark and not args.record:
        parser.error("--remark goes with --record")

    from lightvit_bench.openmmlab.run import test

    metrics = test(
        args.config,
        args.checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show_dir=args.show_dir,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
        tracker_options={
            name: value
            for name in ("processes", "threads", "realtime", "device", "precision")
            if (value := getattr(args, name)) is not None
        },
        record=args.record,
        remarks=args.remark,
    )
    print("  ".join(f"{name} {value:.2f}" for name, value in metrics.items()))


if __name__ == "__main__":
    run_cli(main)
