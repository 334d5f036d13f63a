#!/usr/bin/env python3
"""Write the tracker in a training run's checkpoint as the file that tools/track.py takes.

example:
  tools/export_tracker.py configs/lasot/ostrack_dmae_tiny.py \\
      work_dirs/lasot/ostrack_dmae_tiny/iter_140400.pth checkpoints/ostrack_dmae_tiny.safetensors
"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    """Export, and say what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the run's config")
    parser.add_argument("checkpoint", help="iter_N.pth")
    parser.add_argument("out", help="file to write, NAME.safetensors")
    parser.add_argument("--half", action="store_true", help="store the weights in float16")
    parser.add_argument("--recipe", help="how it was trained; by default the config's name")
    parser.add_argument("--data", help="what it was trained on; by default the config's sets")
    parser.add_argument("--force", action="store_true", help="overwrite OUT")
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.tracking.export import export_tracker, in_brief

    manifest = export_tracker(
        args.config,
        args.checkpoint,
        args.out,
        recipe=args.recipe,
        data=args.data,
        half=args.half,
        overwrite=args.force,
        cfg_options=args.cfg_options,
    )
    print(f"{in_brief(manifest)}\nwritten     {args.out}")


if __name__ == "__main__":
    run_cli(main)
