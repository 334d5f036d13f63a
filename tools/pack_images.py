#!/usr/bin/env python3
"""Pack a folder of images into tar shards, resized once, for pre-training.

Run again after an interruption, it keeps the whole shards and makes the rest. The format, and when
packing pays: docs/pretraining_data.md.

example:
  tools/pack_images.py /big/disk/imagenet/train data/imagenet_256
  tools/train.py CONFIG --cfg-options data_root=data/imagenet_256
"""

import argparse

from lightvit_bench.errors import run_cli


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="folder of images, in folders or not")
    parser.add_argument("out", help="folder for the shards")
    parser.add_argument("--short-side", type=int, default=256, metavar="PIXELS",
                        help="larger images are made this large (256)")  # fmt: skip
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs, 1 to 100 (90)")
    parser.add_argument("--images-per-shard", type=int, default=8192, metavar="N",
                        help="images of a tar file (8192)")  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes (one a core); 0: this one")  # fmt: skip
    parser.add_argument("--max-unreadable", type=float, default=0.01, metavar="PART",
                        help="part of the images that may be unreadable (0.01)")  # fmt: skip
    return parser.parse_args()


def main() -> None:
    """Pack, and print what became of the images."""
    args = parse()
    from lightvit_bench.pretrain.shards import pack_images

    report = pack_images(
        args.source,
        args.out,
        short_side=args.short_side,
        quality=args.quality,
        images_per_shard=args.images_per_shard,
        workers=args.workers,
        max_unreadable=args.max_unreadable,
    )
    print(f"{report}\nwritten     {args.out}")


if __name__ == "__main__":
    run_cli(main)
