"""Each workaround works, and nothing is done where nothing is wrong."""

import subprocess
import sys

import pytest
import torch

from lightvit_bench import compat


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(torch.version.cuda is not None, reason="torch is a CUDA build")
def test_timm_imports_beside_a_cpu_torch():
    code = "from lightvit_bench import compat; print(compat.declare_torchvision_operators())"
    declared = run(f"{code}; import torchvision, timm; print(hasattr(timm, 'create_model'))")
    assert declared.splitlines()[-1] == "True"


def test_operators_that_are_there_are_left_alone():
    compat.prepare()
    assert compat.declare_torchvision_operators() == []


def test_mmseg_imports_without_a_word():
    assert run("from lightvit_bench import compat; compat.import_mmseg()") == ""
    assert "OneDL" in run("import mmseg.datasets")  # else the workaround can go
