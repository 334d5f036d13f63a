#!/usr/bin/env python3
"""Time trackers on a CPU: each runtime and precision beside eager PyTorch and OpenCV's MIL.

  tools/bench_track.py                                        # a video that is made, all runtimes
  tools/bench_track.py --models t.xml t.onnx --video clip.mp4 --box 100,50,80,60
  tools/bench_track.py --video SEQUENCE --sequences FOLDER --record records

A folder of pictures is made into an H.264 video first. Each case is measured in a process of its
own, pinned to as many cores as it has threads. The exit code is 1 where a case failed.
"""

import sys
import time

BEGAN = time.perf_counter()  # of a case's load time: nothing of weight is imported yet


def main() -> int:
    import argparse
    import re

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def box(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != 4:
            raise argparse.ArgumentTypeError(f"{text!r} is not x,y,w,h")
        return values

    add = parser.add_argument
    add("--models", nargs="+", default=[], metavar="FILE",
        help="exported trackers, NAME.xml and NAME.onnx (the weights, exported for every runtime "
        "that is installed)")  # fmt: skip
    add("--weights", metavar="FILE",
        help="NAME.safetensors they are exported from (those that come with this)")  # fmt: skip
    add("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    add("--video", metavar="FILE|FOLDER", help="a video, or a sequence's folder (one is made)")
    add("--box", type=box, metavar="X,Y,W,H",
        help="the target in the video's first frame (the folder's groundtruth.txt)")  # fmt: skip
    add("--frames", type=int, default=300, metavar="N", help="that are timed (300)")
    add("--warm-up", type=int, default=20, metavar="N", help="frames before them (20)")
    add("--rounds", type=int, default=3, metavar="N", help="of all cases in turns (3)")
    add("--targets", type=int, nargs="*", default=[1, 2, 4, 8], metavar="N",
        help="in one frame (1 2 4 8); without a number, none")  # fmt: skip
    add("--sequences", nargs="+", default=[], metavar="FOLDER",
        help="of sequences with groundtruth.txt: boxes are compared with PyTorch's and judged, "
        "each FOLDER as a set (the video)")  # fmt: skip
    add("--record", metavar="DIR", help="write a run record for each case")
    words = sys.argv[1:]
    for at in range(len(words) - 1, 0, -1):  # argparse takes a leading minus for an option
        if words[at - 1] == "--box" and re.match(r"-[\d.]", words[at]):
            words[at - 1 : at + 1] = [f"--box={words[at]}"]
    args = parser.parse_args(words)

    from lightvit_bench.tracking.latency.bench import bench
    from lightvit_bench.tracking.latency.inputs import Request
    from lightvit_bench.tracking.latency.report import report, write_records
    from lightvit_bench.verification.keeping import check_record_folder

    given = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(args).items()}
    request = Request(**given)
    if args.record:
        check_record_folder(args.record)
    outcome = bench(request, lambda line: print(line, file=sys.stderr, flush=True))
    print(report(outcome))
    if args.record:
        print(f"{len(write_records(outcome, args.record))} records written to {args.record}")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"] and len(sys.argv) == 3:
        from lightvit_bench.tracking.latency.cases import run_case

        sys.exit(run_case(sys.argv[2], BEGAN))
    from lightvit_bench.errors import run_cli

    sys.exit(run_cli(main))
