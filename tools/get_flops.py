#!/usr/bin/env python3
"""Count work and parameters: tools/get_flops.py configs/ade20k/upernet_dmae_tiny.py --shape 512"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        default=[512],
        help="side, or height and width, in pixels; a tracker has its own sizes",
    )
    add_config_options(parser)
    args = parser.parse_args()
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error("--shape takes a side, or height and width")

    from lightvit_bench.openmmlab.model import model_cost

    height, width = args.shape[0], args.shape[-1]
    cost = model_cost(args.config, (height, width), args.cfg_options)
    print(f"{args.config}, {cost.input}, attention counted")
    for part, value in (("backbone", cost.backbone), ("total", cost.total)):
        print(f"  {part:8}  {value.macs / 1e9:8.2f} GMACs  {value.params / 1e6:7.3f} M parameters")


if __name__ == "__main__":
    run_cli(main)
