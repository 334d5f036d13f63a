#!/usr/bin/env python3
"""Test a checkpoint: tools/test.py configs/ade20k/upernet_dmae_tiny.py CHECKPOINT"""

import argparse

from lightvit_bench.cli import add_config_options, add_launch_options, set_local_rank
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--work-dir", help="logs and metrics (work_dirs/FOLDER/CONFIG)")
    parser.add_argument("--out", metavar="DIR", help="write the predictions, as label PNGs")
    parser.add_argument(
        "--show-dir", metavar="DIR", help="write overlays: image, truth, prediction"
    )
    add_config_options(parser)
    add_launch_options(parser)
    args = parser.parse_args()
    set_local_rank(args)

    from lightvit_bench.openmmlab.run import test

    metrics = test(
        args.config,
        args.checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show_dir=args.show_dir,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
    )
    print("  ".join(f"{name} {value:.2f}" for name, value in metrics.items()))


if __name__ == "__main__":
    run_cli(main)
