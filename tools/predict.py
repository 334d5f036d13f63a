#!/usr/bin/env python3
"""Segment a picture: tools/predict.py street.jpg configs/camvid/upernet_dmae_tiny.py CHECKPOINT"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--out", default="prediction.png", help="picture to write (%(default)s)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (cuda where there is one)")
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.segmentation.predict import predict_picture

    shares = predict_picture(
        args.image,
        args.config,
        args.checkpoint,
        args.out,
        device=args.device,
        cfg_options=args.cfg_options,
    )
    for name, share in shares.items():
        print(f"{share:7.1%}  {name}")
    print(args.out)


if __name__ == "__main__":
    run_cli(main)
