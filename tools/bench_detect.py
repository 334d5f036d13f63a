#!/usr/bin/env python3
"""Time a detector and tell its memory: tools/bench_detect.py configs/coco/mask_rcnn_random_tiny.py

Inference of one image and a training step of the whole model, and of its encoder alone: windows
and global attention, with and without relative positions, with and without activation
checkpointing, in float32 and bfloat16. Images are noise and weights random: no data set is needed.
Each case is measured in a process of its own. The exit code is 1 where a case failed.
"""

import sys


def main() -> int:
    import argparse

    from lightvit_bench.cli import add_config_options

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def choose(option: str, *names: str, told: str) -> None:
        parser.add_argument(option, nargs="+", choices=names, default=names, help=told)

    add = parser.add_argument
    add("config", help="of a detector")
    choose("--task", "inference", "training", told="what is timed (both)")
    choose("--precision", "fp32", "bf16", told="float32, bfloat16 autocast (both)")
    choose("--attention", "global", "windows", told="in all blocks; as the config says (both)")
    choose("--rel-pos", "no", "yes", told="relative positions as the config has them (both)")
    choose("--checkpointing", "no", "yes", told="of activations, in training (both)")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=2, metavar="N", help="of the CPU (2)")
    add("--size", type=int, default=640, metavar="PX", help="side of the square images (640)")
    add("--batch", type=int, default=2, metavar="N", help="images of a training step (2)")
    add("--rounds", type=int, default=3, metavar="N", help="of all cases in turns (3)")
    add("--steps", type=int, default=3, metavar="N", help="that are timed in a round (3)")
    add("--warm-up", type=int, default=1, metavar="N", help="steps before them (1)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and images (0)")
    add("--record", metavar="DIR", help="write a run record for each case")
    add_config_options(parser)
    args = parser.parse_args()

    from lightvit_bench.bench.detection_runs import detection_speed
    from lightvit_bench.bench.record import write_record
    from lightvit_bench.detection.speed import Request, bench, records_of
    from lightvit_bench.verification.keeping import check_record_folder

    given = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(args).items()}
    folder = given.pop("record")
    request = Request(**given)
    if folder:
        check_record_folder(folder)
    outcome = bench(request, lambda line: print(line, file=sys.stderr, flush=True))
    records = records_of(outcome)
    print(detection_speed(records))
    for line in (*outcome.remarks, *(f"FAILED  {line}" for line in outcome.failures)):
        print(f"\n{line}")
    if folder:
        print(f"\n{len([write_record(one, folder) for one in records])} records written: {folder}")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"] and len(sys.argv) == 3:
        from lightvit_bench.detection.speed_case import run_case

        sys.exit(run_case(sys.argv[2]))
    from lightvit_bench.errors import run_cli

    sys.exit(run_cli(main))
