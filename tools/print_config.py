#!/usr/bin/env python3
"""Print a config with all it inherits: tools/print_config.py configs/ade20k/fpn_mae_tiny.py"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.openmmlab.config import load_config

    print(load_config(args.config, args.cfg_options).pretty_text)


if __name__ == "__main__":
    run_cli(main)
