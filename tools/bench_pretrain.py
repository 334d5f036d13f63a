#!/usr/bin/env python3
"""Time pre-training: loader, model, both together, beside a plain implementation of the same.

Model and plain implementation take turns, so that a machine that changes its speed changes both;
each turn's ratio is what counts. Prints medians, and the range of the ratio.
"""

import argparse
import platform

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
    parser.add_argument("--record", metavar="DIR", help="write a run record for each method")
    args = parser.parse_args()

    import cv2
    import torch

    from lightvit_bench.bench.record import write_record
    from lightvit_bench.compat import keep_freed_memory
    from lightvit_bench.pretrain import bench, speed
    from lightvit_bench.verification.keeping import check_record_folder

    same = ("data_root", "batch", "turns", "precision", "workers", "threads", "device")
    options = {name: getattr(args, name) for name in same}
    request = speed.Request(compiled=not args.no_compile, plain=not args.no_plain, **options)
    bench.check_options(**{name: options[name] for name in same[1:]})
    if args.record:
        check_record_folder(args.record)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    if args.device == "cpu":
        keep_freed_memory()  # as a training run does
    gpu = torch.cuda.get_device_name(args.device) if args.device != "cpu" else None
    print(
        f"{gpu or cpu_name()}; torch {torch.__version__}, Python {platform.python_version()}; "
        f"{args.threads} threads, batch {args.batch}, {args.precision}"
        f"{'' if args.no_compile else ', compiled'}"
    )
    rate = bench.matmul_rate(args.device, args.precision)
    print(f"matrix products: {rate / 1e9:,.0f} GMAC/s ({args.precision})")
    loader = speed.time_loader(request, print)
    for method in args.methods:
        timed = speed.time_method(method, request, rate, lambda line: print(line, flush=True))
        if args.record:
            record = speed.record_of(request, timed, device=gpu or "cpu", loader=loader)
            print(f"  record: {write_record(record, args.record)}")


def cpu_name() -> str:
    """The processor's model, as the system tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    run_cli(main)
