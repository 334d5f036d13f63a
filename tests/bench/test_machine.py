"""What is told of a machine and of a process's memory."""

import dataclasses
import subprocess
import sys

import pytest

from lightvit_bench.bench import machine
from lightvit_bench.bench.machine import (
    Machine,
    current_memory_mb,
    describe_machine,
    peak_memory_mb,
    versions,
)
from lightvit_bench.errors import BadDataError

CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R)  Xeon(R)   Processor
stepping\t: 8
flags\t\t: fpu avx avx2 avx512fp avx512_vnni amx_int8 amx_tile

processor\t: 1
cpu family\t: 7
model name\t: Another
flags\t\t: amx_bf16
"""


@pytest.fixture
def cpuinfo(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    return path


def test_a_cpu_is_told_by_name_generation_and_flags(cpuinfo):
    found = describe_machine(cpuinfo)
    assert found.cpu == "Intel(R) Xeon(R) Processor"
    assert (found.family, found.model, found.stepping) == (6, 143, 8)
    assert found.flags == ("avx2", "avx512_vnni", "amx_int8")
    assert "family 6, model 143, stepping 8; avx2, avx512_vnni, amx_int8" in str(found)


@pytest.mark.parametrize("text", [None, "", "Processor : ARMv8\nFeatures : asimd\n"])
def test_less_is_told_where_the_system_says_less(tmp_path, text):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    found = describe_machine(path)
    assert found.cpu and found.flags == ()
    assert (found.family, found.model, found.stepping) == (None, None, None)
    assert "None" not in str(found) and "()" not in str(found)


def test_cores_are_those_that_the_process_may_use(cpuinfo, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    found = describe_machine(cpuinfo)
    assert (found.cores, found.cores_in_all) == (2, 8)
    assert "2 of 8 cores" in found.hardware


def test_the_load_is_part_of_it_and_may_be_unknown(cpuinfo, monkeypatch):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.5, 1.25, 2.0))
    assert describe_machine(cpuinfo).load == (0.5, 1.25, 2.0)

    def unknown():
        raise OSError("no load")

    monkeypatch.setattr(machine.os, "getloadavg", unknown)
    found = describe_machine(cpuinfo)
    assert found.load is None and "load" not in str(found)


def test_no_name_of_a_computer_is_told(cpuinfo, monkeypatch):
    monkeypatch.setattr(machine.platform, "node", lambda: "somebodys-laptop")
    assert "somebodys-laptop" not in str(dataclasses.asdict(describe_machine(cpuinfo)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu", ""),
        ("cores", 0),
        ("flags", "avx2"),
        ("flags", [1]),
        ("load", [1, 2]),
        ("model", 1.5),
    ],
)
def test_fields_are_checked(cpuinfo, field, value):
    with pytest.raises(BadDataError) as error:
        dataclasses.replace(describe_machine(cpuinfo), **{field: value})
    assert error.value.details["field"] == [field]


def test_versions_are_read_without_importing():
    program = (
        "import sys; from lightvit_bench.bench.machine import versions; "
        "print(versions('torch', 'no-such-package')['no-such-package'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["None", "False"], done.stderr
    import numpy

    assert versions("numpy") == {"numpy": numpy.__version__}


def test_memory_is_read_from_the_status_file(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmPeak:\t 9000000 kB\nVmHWM:\t  250000 kB\nVmRSS:\t  125000 kB\n")
    assert peak_memory_mb(status) == pytest.approx(256)
    assert current_memory_mb(status) == pytest.approx(128)


def test_without_the_status_file_the_peak_is_the_systems(tmp_path):
    pytest.importorskip("resource")
    assert 1 < peak_memory_mb(tmp_path / "none") < 1e6
    assert current_memory_mb(tmp_path / "none") is None


@pytest.mark.skipif(current_memory_mb() is None, reason="no VmRSS in /proc/self/status")
def test_a_childs_peak_is_its_own():
    """ru_maxrss of a child starts at its parent's; here the parent holds 200 MB more."""
    ballast = b"x" * 200_000_000
    program = "from lightvit_bench.bench.machine import peak_memory_mb; print(peak_memory_mb())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(done.stdout) < 150, done.stderr
    assert peak_memory_mb() > len(ballast) / 1e6


def test_a_machine_is_a_value(cpuinfo):
    one = describe_machine(cpuinfo)
    assert Machine(**dataclasses.asdict(one)) == one
