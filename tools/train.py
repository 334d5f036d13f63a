#!/usr/bin/env python3
"""Train a config: tools/train.py configs/ade20k/upernet_dmae_tiny.py"""

import argparse

from lightvit_bench.cli import (
    add_config_options,
    add_launch_options,
    add_resume_option,
    set_local_rank,
)
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--work-dir", help="logs and checkpoints (work_dirs/FOLDER/CONFIG)")
    add_resume_option(parser)
    parser.add_argument(
        "--amp", action="store_true", help="mixed precision, also where the config has none"
    )
    add_config_options(parser)
    add_launch_options(parser)
    args = parser.parse_args()
    set_local_rank(args)

    from lightvit_bench.openmmlab.run import train

    train(
        args.config,
        work_dir=args.work_dir,
        resume=args.resume,
        amp=args.amp,
        launcher=args.launcher,
        cfg_options=args.cfg_options,
    )


if __name__ == "__main__":
    run_cli(main)
