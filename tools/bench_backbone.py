#!/usr/bin/env python3
"""Time our backbone beside mmsegmentation's MAE backbone, same architecture, same input.

The two take turns, so that a machine that changes its speed changes both; the ratio of each turn's
pair is what counts. Prints medians and the spread of the ratio.
"""

import argparse
import platform

from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15, help="pairs that are counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--rel-pos", action="store_true", help="compare with the full ADE20K recipe"
    )
    parser.add_argument("--record", metavar="DIR", help="write a run record for each case")
    args = parser.parse_args()

    import torch

    from lightvit_bench.bench.record import write_record
    from lightvit_bench.openmmlab.backbone_speed import Request, bench, line, record_of
    from lightvit_bench.verification.keeping import check_record_folder

    given = vars(args)
    folder = given.pop("record")
    request = Request(**given)
    if folder:
        check_record_folder(folder)
    print(f"ViT-Tiny (12 heads), {args.batch} x {args.shape} px, float32, {args.threads} threads")
    print(f"torch {torch.__version__}, {_cpu()}")
    for turns in bench(request):
        print(line(turns), flush=True)
        if folder:
            print(f"  record: {write_record(record_of(request, turns), folder)}")


def _cpu() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    run_cli(main)
