#!/usr/bin/env python3
"""Take a few images out of a data set in COCO's format, to train and to test on the same.

tools/subset_coco.py COCO/annotations/instances_train2017.json COCO/train2017 OUT --least-area 1024

A detector that cannot learn 20 images by heart has a mistake in data or code. OUT has COCO's
layout, with the same images as train2017 and val2017; images are linked, not copied.
"""

import argparse

from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", help="a file in COCO's format")
    parser.add_argument("images_dir", help="the folder of its images")
    parser.add_argument("out", help="a folder to make")
    parser.add_argument("--images", type=int, default=20, metavar="N", help="how many (20)")
    parser.add_argument(
        "--least-area",
        type=float,
        default=0,
        metavar="PX",
        help="only images all of whose objects have this area (COCO's small ones: under 1024)",
    )
    args = parser.parse_args()

    from lightvit_bench.data.coco_subset import write_subset

    subset = write_subset(
        args.annotations, args.images_dir, args.out, images=args.images, least_area=args.least_area
    )
    print(
        f"{args.out}: {subset.images} images, {subset.objects} objects of {subset.classes} classes"
    )


if __name__ == "__main__":
    run_cli(main)
