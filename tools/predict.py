#!/usr/bin/env python3
"""Show what a trained model finds in a picture.

tools/predict.py street.jpg configs/camvid/upernet_dmae_tiny.py CHECKPOINT     # every pixel's class
tools/predict.py street.jpg configs/coco/mask_rcnn_dmae_tiny.py CHECKPOINT     # boxes and masks
"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--out", default="prediction.png", help="picture to write (%(default)s)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (cuda where there is one)")
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="least score of an object shown (0.3)"
    )
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.openmmlab.config import is_detection, load_config

    cfg = load_config(args.config, args.cfg_options)
    lines = _objects(args, cfg) if is_detection(cfg) else _shares(args, cfg)
    print("\n".join([*lines, args.out]))


def _objects(args: argparse.Namespace, cfg) -> list[str]:
    from lightvit_bench.detection.predict import THRESHOLD, predict_objects

    threshold = THRESHOLD if args.threshold is None else args.threshold
    objects = predict_objects(
        args.image, cfg, args.checkpoint, args.out, device=args.device, threshold=threshold
    )
    width = max((len(found.name) for found in objects), default=0)
    return [
        f"{found.score:.2f}  {found.name:<{width}}  {' '.join(f'{x:.1f}' for x in found.box)}"
        for found in objects
    ] or [f"no object with a score of {threshold:g} or more"]


def _shares(args: argparse.Namespace, cfg) -> list[str]:
    from lightvit_bench.errors import ConfigError
    from lightvit_bench.segmentation.predict import predict_picture

    if args.threshold is not None:
        raise ConfigError(
            f"--threshold is for detectors, and {args.config} is none: it has no scores."
        )
    shares = predict_picture(args.image, cfg, args.checkpoint, args.out, device=args.device)
    return [f"{share:7.1%}  {name}" for name, share in shares.items()]


if __name__ == "__main__":
    run_cli(main)
