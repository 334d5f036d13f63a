#!/usr/bin/env python3
"""Track one target: tools/track.py VIDEO --box 100,50,80,60 --out out.mp4 --save-boxes boxes.txt"""

import argparse
import math
import os
import re
import sys
from pathlib import Path

from lightvit_bench.errors import run_cli


def box(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not x,y,w,h: four numbers and three commas")
    return values


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of frames a second (put the source before --realtime)"
        ) from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text}: a stream has more than 0 frames a second")
    return value


def joined(arguments: list[str]) -> list[str]:
    """`--box -5,1,9,9` as `--box=-5,1,9,9`: argparse takes a leading minus for an option."""
    made: list[str] = []
    for argument in arguments:
        if made and made[-1] == "--box" and re.match(r"-[\d.]", argument):
            made[-1] += f"={argument}"
        else:
            made.append(argument)
    return made


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a video file, a folder of frames, or a camera's number")
    parser.add_argument(
        "--box",
        type=box,
        metavar="X,Y,W,H",
        help="the target in the first frame: left, top, width, height in pixels; without it, the "
        "folder's groundtruth.txt, or the mouse where there is a display",
    )
    parser.add_argument("--out", type=Path, metavar="MP4", help="the video with the boxes drawn")
    parser.add_argument(
        "--save-boxes",
        type=Path,
        metavar="FILE",
        help="x,y,w,h a frame, and FILE_time.txt; FILE.csv has score, found and seconds as well",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="weights (.safetensors; those that come with this), or an exported tracker (.xml, "
        ".onnx)",
    )
    parser.add_argument(
        "--runtime",
        choices=("openvino", "onnxruntime", "torch"),
        help="what computes the tracker (the fastest that is installed; weights are exported for "
        "it once, into the user's cache)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="of the computation (as an exported file says; of weights, bf16 with OpenVINO on a "
        "CPU made for it); fp32 gives PyTorch's boxes",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of the tracker")
    parser.add_argument(
        "--realtime",
        nargs="?",
        type=rate,
        const=0.0,
        metavar="FPS",
        help="frames come by the clock, FPS a second (the video's own rate), and those that the "
        "tool is late for are dropped; drawing counts. With a camera it is always so",
    )
    parser.add_argument("--start", type=int, default=0, metavar="N", help="first frame, from 0")
    parser.add_argument("--end", type=int, metavar="N", help="stop before this frame")
    parser.add_argument("--show", action="store_true", help="show frames in a window (Q ends)")
    parser.add_argument("--headless", action="store_true", help="no window, even with a display")
    args = parser.parse_args(joined(sys.argv[1:]))
    if args.threads is not None and args.threads < 1:
        parser.error(f"--threads {args.threads}: at least 1")
    if args.show and args.headless:
        parser.error("--show and --headless contradict each other")
    return args


def main() -> int:
    args = parse()

    from lightvit_bench.tracking.watching.track_video import Request, track_video

    def load():
        if args.threads is not None:
            import cv2

            os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when torch is imported
            cv2.setNumThreads(args.threads)
        from lightvit_bench.tracking.runtimes.cache import fastest_model
        from lightvit_bench.tracking.tracker import Tracker

        model = fastest_model(
            args.model, runtime=args.runtime, threads=args.threads, precision=args.precision
        )
        return Tracker(model)

    request = Request(
        source=args.source,
        box=args.box,
        out=args.out,
        save_boxes=args.save_boxes,
        start=args.start,
        end=args.end,
        show=args.show,
        headless=args.headless,
        realtime=args.realtime,
    )
    try:
        _, signal = track_video(request, load)
    except KeyboardInterrupt:  # while loading, or for the second time
        return 130
    return 128 + signal if signal else 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
