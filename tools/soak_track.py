#!/usr/bin/env python3
"""Track for long and see whether memory stays flat: tools/soak_track.py --model tracker.xml

A video is read over and over (one is made without --video), with stretches of black, noise and
another scene, in which the target is lost, and with new starts. The exit code is 1 where memory
grows by more than --most MB after the first tenth of the frames.
"""

import argparse
import re
import sys

from lightvit_bench.errors import run_cli


def box(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not x,y,w,h")
    return values


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", metavar="FILE", help="NAME.xml, NAME.onnx or weights (those that come with it)")
    add("--frames", type=int, default=100_000, metavar="N", help="updates (100000)")
    add("--most", type=float, default=20.0, metavar="MB", help="that memory may grow by (20)")
    add("--threads", type=int, default=2, metavar="N", help="of the CPU (2)")
    add("--video", metavar="FILE|FOLDER", help="a video, or a sequence's folder (one is made)")
    add("--box", type=box, metavar="X,Y,W,H",
        help="the target in its first frame (of groundtruth.txt)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of stretches and starts (0)")
    add("--record", metavar="DIR", help="write a run record")
    words = sys.argv[1:]
    for at in range(len(words) - 1, 0, -1):  # argparse takes a leading minus for an option
        if words[at - 1] == "--box" and re.match(r"-[\d.]", words[at]):
            words[at - 1 : at + 1] = [f"--box={words[at]}"]
    args = parser.parse_args(words)

    import tempfile
    from pathlib import Path

    from lightvit_bench.tracking.latency import soak as bench_soak
    from lightvit_bench.tracking.latency.cases import (
        EAGER,
        EXPORTED,
        Job,
        about_tracker,
        open_tracker,
    )
    from lightvit_bench.tracking.latency.inputs import Request, check_request, prepare
    from lightvit_bench.verification.keeping import check_record_folder

    request = Request(threads=(args.threads,), video=args.video, box=args.box)
    check_request(request)
    if args.record:
        check_record_folder(args.record)
    eager = args.model is None or Path(args.model).suffix == ".safetensors"
    with tempfile.TemporaryDirectory(prefix="soak_track.") as folder:
        clip, _, generated = prepare(request, Path(folder))
        job = Job("soak", EAGER if eager else EXPORTED, args.model, args.threads, (clip,))
        tracker = open_tracker(job)
        about = about_tracker(job, tracker)
        print(f"{about['name']}; {clip.name}, {clip.width} x {clip.height}", flush=True)
        made = bench_soak.soak(
            tracker, clip, args.frames, args.seed, lambda line: print(line, flush=True)
        )
    print(bench_soak.summary(made))
    if args.record:
        print(bench_soak.write_soak(made, job, about, clip, generated, args.seed, args.record))
    return 1 if made.growth_mb > args.most else 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
