#!/usr/bin/env python3
"""Draw what a pre-trained model makes of images: original, masked, predicted.

tools/reconstruct.py CONFIG work_dirs/.../iter_N.pth cat.jpg dog.jpg --out pictures.png
"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint", help="of a run: iter_N.pth")
    parser.add_argument("images", nargs="+", help="files; the central square of each is shown")
    parser.add_argument("--out", required=True, help="picture to write")
    parser.add_argument("--seed", type=int, default=0, help="of the masks")
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.pretrain.draw import draw_reconstructions

    draw_reconstructions(
        args.config,
        args.checkpoint,
        args.images,
        args.out,
        seed=args.seed,
        cfg_options=args.cfg_options,
    )
    print(args.out)


if __name__ == "__main__":
    run_cli(main)
