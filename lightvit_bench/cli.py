"""Options that the tools share, in OpenMMLab's spelling.

Standard library only: --help is instant.
"""

from __future__ import annotations

import argparse
import os


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options KEY=VALUE ...`."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change entries of the config: train_cfg.max_iters=100, or short: init=random "
        "(no initial checkpoint), data_root=DIR, skip_corrupt=True",
    )


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Add `--launcher`, and torchrun's `--local-rank`."""
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="how the processes of a distributed run were started",
    )
    parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)


def set_local_rank(args: argparse.Namespace) -> None:
    """mmengine reads the local rank from the environment, whichever way a launcher gives it."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank or 0))
