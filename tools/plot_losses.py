#!/usr/bin/env python3
"""Draw the loss curves of pre-training runs: tools/plot_losses.py curves.png WORK_DIR ..."""

import argparse
from pathlib import Path

from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="picture to write (.png, .svg, .pdf)")
    parser.add_argument(
        "work_dirs",
        nargs="+",
        help="of runs; labelled by their names, or paths where two are alike",
    )
    args = parser.parse_args()

    from lightvit_bench.pretrain.curves import plot_losses, read_scalars

    labels = [Path(folder).resolve().name for folder in args.work_dirs]
    if len(set(labels)) < len(labels):
        labels = args.work_dirs
    runs = {label: read_scalars(d) for label, d in zip(labels, args.work_dirs, strict=True)}
    plot_losses(runs, args.out)
    print(args.out)


if __name__ == "__main__":
    run_cli(main)
