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
    assert run("from lightvit_bench import compat; compat.import_mmdet()") == ""
    assert "OneDL" in run("import mmseg.datasets")  # else the workaround can go


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_asked_of_the_cpu(monkeypatch, has):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert compat.cpu_computes_bfloat16() is has


def test_torchvision_operators_are_declared_where_none_load(monkeypatch):
    """In a process of its own: nothing may have been declared there before."""
    code = """
import importlib.util, torch
from lightvit_bench import compat
compat._load_torchvision_library = lambda: None
assert compat.declare_torchvision_operators() == ["nms", "qnms"]
assert compat.declare_torchvision_operators() == []
print(torch.ops.torchvision.nms.default._schema)
"""
    assert "Tensor dets, Tensor scores, float iou_threshold" in run(code)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_kept():
    """Blocks that were freed and are taken again cost no new pages."""
    code = """
import ctypes, resource
from lightvit_bench.compat import keep_freed_memory
libc = ctypes.CDLL("libc.so.6")
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def faults_again():
    for again in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [libc.malloc(16 << 20) for _ in range(4)]
        for block in blocks:
            ctypes.memset(block, 1, 16 << 20)
        for block in blocks:
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults_again(), keep_freed_memory(), faults_again())
"""
    by_default, done, kept = run(code).split()
    assert done == "True" and int(by_default) > 1000 and int(kept) < 100
