#!/usr/bin/env python3
"""Time pre-training: loader, model, both together, beside a plain implementation of the same.

Model and plain implementation take turns, so that a machine that changes its speed changes both;
each turn's ratio is what counts. Prints medians, and the range of the ratio.
"""

import argparse
import platform
import statistics
import sys
import time

from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", help="folder or pack of images (no loader without)")
    parser.add_argument("--methods", nargs="+", choices=("mae", "dmae"), default=["mae", "dmae"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=15, help="pairs of steps that are counted")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain one out")
    parser.add_argument("--workers", type=int, default=0, help="processes of the loader")
    parser.add_argument("--threads", type=int, default=2, help="of the model, on a CPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    args = parser.parse_args()

    import cv2
    import torch

    from lightvit_bench.compat import keep_freed_memory
    from lightvit_bench.pretrain import bench

    bench.check_options(
        device=args.device,
        precision=args.precision,
        batch=args.batch,
        turns=args.turns,
        workers=args.workers,
        threads=args.threads,
    )
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    if args.device == "cpu":
        keep_freed_memory()  # as a training run does
    processor = torch.cuda.get_device_name(args.device) if args.device != "cpu" else cpu_name()
    print(
        f"{processor}; torch {torch.__version__}, Python {platform.python_version()}; "
        f"{args.threads} threads, batch {args.batch}, {args.precision}"
        f"{'' if args.no_compile else ', compiled'}"
    )
    rate = bench.matmul_rate(args.device, args.precision)
    print(f"matrix products: {rate / 1e9:,.0f} GMAC/s ({args.precision})")
    if args.data_root:
        stream = bench.image_stream(args.data_root, batch=args.batch, workers=args.workers)
        for _ in range(3 + 2 * args.workers):
            next(stream)
        seconds = [bench.seconds_of(lambda: next(stream), "cpu") for _ in range(args.turns)]
        rate_loader = args.batch * len(seconds) / sum(seconds)
        print(f"loader alone: {rate_loader:,.0f} images/s ({args.workers} workers)")
    for method in args.methods:
        run(bench, method, args, rate)


def run(bench, method: str, args, rate: float) -> None:
    """Measure one method and print its lines."""
    import torch

    model, optim_wrapper = bench.build(
        bench.CONFIGS[method],
        compiled=not args.no_compile,
        precision=args.precision,
        device=args.device,
    )
    work = bench.work_of(model, args.device)
    plain = bench.PlainStep(model)
    images = torch.randint(0, 256, (args.batch, 3, 224, 224), dtype=torch.uint8, device=args.device)
    print(
        f"{method}: {work.student / 1e9:.3f} GMAC student and {work.teacher / 1e9:.3f} teacher "
        f"forward, {work.step / 1e9:.3f} a step, for one image"
    )
    difference = bench.largest_difference(model, plain, images, optim_wrapper)
    print(f"  losses differ from plain float32 by at most {100 * difference:.2f} %")
    batch = {"inputs": images}
    steps = {"model": lambda: model.train_step(batch, optim_wrapper)}
    if not args.no_plain:
        steps["plain"] = lambda: plain(batch)
    turns = [
        {name: bench.seconds_of(step, args.device) for name, step in steps.items()}
        for _ in range(3 + args.turns)
    ][3:]
    ours = statistics.median(turn["model"] for turn in turns)
    share = work.step * args.batch / ours / rate
    print(
        f"  model alone: {args.batch / ours:,.1f} images/s, {100 * share:.0f} % of the product rate"
    )
    if not args.no_plain:
        ratios = [turn["plain"] / turn["model"] for turn in turns]
        seconds = statistics.median(turn["plain"] for turn in turns)
        print(
            f"  plain: {args.batch / seconds:,.1f} images/s; the model is "
            f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to "
            f"{max(ratios):.2f})"
        )
    if args.data_root:
        stream = bench.image_stream(args.data_root, batch=args.batch, workers=args.workers)
        for _ in range(3 + 2 * args.workers):
            model.train_step(next(stream), optim_wrapper)
        start = time.perf_counter()
        for _ in range(args.turns):
            model.train_step(next(stream), optim_wrapper)
        if args.device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        print(f"  loader and model: {args.batch * args.turns / seconds:,.1f} images/s")
    sys.stdout.flush()


def cpu_name() -> str:
    """The processor's model, as the system tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    run_cli(main)
