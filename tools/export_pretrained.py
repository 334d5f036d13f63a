#!/usr/bin/env python3
"""Write the encoder of a pre-training's checkpoint as a file that every config takes.

A run does so by itself, in WORK_DIR/CONFIG.safetensors; this is for its older checkpoints:

  tools/export_pretrained.py configs/pretrain/dmae_tiny.py \\
      work_dirs/pretrain/dmae_tiny/iter_62400.pth checkpoints/dmae_tiny_200e.safetensors
"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the run's config")
    parser.add_argument("checkpoint", help="iter_N.pth")
    parser.add_argument("out", help="file to write, NAME.safetensors")
    parser.add_argument(
        "--averaged", action="store_true", help="the moving average of the weights (WeightAverage)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.pretrain.export import export_checkpoint

    manifest = export_checkpoint(
        args.config,
        args.checkpoint,
        args.out,
        averaged=args.averaged,
        overwrite=args.force,
        cfg_options=args.cfg_options,
    )
    epochs = "" if manifest.epochs is None else f", {manifest.epochs} epochs"
    print(f"{args.out}: {manifest.preset}, {manifest.heads} heads, {manifest.recipe}{epochs}")


if __name__ == "__main__":
    run_cli(main)
