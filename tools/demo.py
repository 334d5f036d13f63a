#!/usr/bin/env python3
"""Pre-train, train, test and track on generated data, in a few minutes on a CPU: make demo"""

import argparse
import os
from pathlib import Path

from lightvit_bench.errors import run_cli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"), metavar="DIR")
    args = parser.parse_args()
    out = args.out.resolve()
    os.chdir(Path(__file__).resolve().parents[1])  # configs are named from the project's folder
    out = Path(os.path.relpath(out))

    from lightvit_bench.demo import run_demo

    run_demo(out)


if __name__ == "__main__":
    run_cli(main)
