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
        "(no initial checkpoint), teacher=FILE, data_root=DIR, skip_corrupt=True",
    )


def add_resume_option(parser: argparse.ArgumentParser) -> None:
    """Add `--resume [auto]`: False, True (there must be something to resume) or "auto"."""
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        type=_resume_mode,
        metavar="auto",
        help="go on from the newest checkpoint in the work dir, which must be there; with 'auto' "
        "start from the beginning where there is none",
    )


def _resume_mode(text: str) -> str:
    if text != "auto":
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot follow, only 'auto' can (put the config before --resume)"
        )
    return text


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
