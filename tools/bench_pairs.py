#!/usr/bin/env python3
"""Time the pairs that a tracker is trained on: how many a second, and whether training waits.

  tools/bench_pairs.py configs/lasot/ostrack_dmae_tiny.py --workers 1 2 4
  tools/bench_pairs.py configs/stills/ostrack_tiny.py --workers 1 --steps 20 \\
      --cfg-options data_root=DIR

--steps 20 also takes so many training steps with each number of workers.
"""

import argparse

from lightvit_bench.cli import add_config_options
from lightvit_bench.errors import ConfigError, run_cli


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--pairs", type=int, default=1000, help="that are timed")
    parser.add_argument("--steps", type=int, default=0, help="of training that are timed")
    parser.add_argument("--threads", type=int, help="of the trainer, on a CPU")
    parser.add_argument(
        "--rounds", type=int, default=1, help="of the loader alone; the median is shown (1)"
    )
    parser.add_argument("--record", metavar="DIR", help="write a run record for each N")
    add_config_options(parser)
    args = parser.parse_args()
    for name, least in (("pairs", 1), ("steps", 0), ("threads", 1), ("rounds", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} {value}.", expected=f"{least} or more")
    if min(args.workers) < 0:
        raise ConfigError(f"--workers {min(args.workers)}.", expected="0 or more")

    import statistics

    import cv2
    import torch

    from lightvit_bench.bench.record import write_record
    from lightvit_bench.compat import keep_freed_memory
    from lightvit_bench.tracking.training import bench_pairs
    from lightvit_bench.tracking.training.pairs_record import record_of
    from lightvit_bench.verification.keeping import check_record_folder

    if args.record:
        check_record_folder(args.record)
    if args.threads:
        torch.set_num_threads(args.threads)
    cv2.setNumThreads(0)
    if not torch.cuda.is_available():
        keep_freed_memory()  # as a training run does
    cfg, pairs = bench_pairs.open_pairs(args.config, args.cfg_options)
    for workers in args.workers:
        rates = [
            bench_pairs.loader_rate(cfg, pairs, workers, args.pairs) for _ in range(args.rounds)
        ]
        middle = statistics.median(rate.pairs_per_second for rate in rates)
        each = middle / max(workers, 1)
        print(
            f"{workers} workers: {middle:,.0f} pairs/s, {each:,.0f} each; "
            f"a trainer of 1,000 pairs/s needs {1000 / each:,.1f}",
            flush=True,
        )
        both = None
        if args.steps:
            both = bench_pairs.training_rate(cfg, pairs, workers, args.steps)
            print(
                f"  with training: {both.pairs_per_second:,.1f} pairs/s, "
                f"{100 * both.waiting:.1f} % of the time waiting for pairs",
                flush=True,
            )
        if args.record:
            record = record_of(cfg, args.config, rates, both, pairs=args.pairs, steps=args.steps)
            print(f"  record: {write_record(record, args.record)}", flush=True)


if __name__ == "__main__":
    run_cli(main)
