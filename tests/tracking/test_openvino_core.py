"""Trackers that come and go in one process, and the signals that Python handles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_export import tiny

pytest.importorskip("openvino")

PROGRAM = """
import gc, os, signal, sys
from lightvit_bench.tracking.runtimes.load import load_model
first, second = load_model(sys.argv[1]), load_model(sys.argv[1])
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
print("goes on")
"""


def test_a_signal_after_two_trackers_have_ended(tmp_path_factory):
    """With a Core for each, the stack that signals are handled on is one that is gone."""
    path = tiny(tmp_path_factory, "conv.xml")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["handled", "goes on"])
