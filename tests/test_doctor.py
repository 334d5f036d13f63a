"""Each check of the doctor, on a healthy machine and on a broken one."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lightvit_bench import doctor

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def installed(monkeypatch):
    """Replace what is installed: a dict of distribution -> version, empty at first."""
    versions: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


def test_module_runs_and_finds_nothing_broken_here():
    done = subprocess.run(
        [sys.executable, "-m", "lightvit_bench.doctor"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    for name, _ in doctor.checks():
        assert name in done.stdout


def test_importing_the_doctor_imports_nothing_heavy():
    code = "import sys, lightvit_bench.doctor; print(*{'torch', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 9, 18), "FAIL"), ((3, 10, 0), "ok"), ((3, 12, 1), "ok"), ((3, 13, 0), "FAIL")],
)
def test_python(monkeypatch, version, status):
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert doctor.check_python().status == status


def test_package_is_compared_with_its_pin(installed):
    check = doctor.check_package("onedl-mmcv", "mmcv")
    assert (check.status, check.remedy) == ("FAIL", doctor.REINSTALL)
    installed["onedl-mmcv"] = doctor.pinned_version("onedl-mmcv")
    assert doctor.check_package("onedl-mmcv", "mmcv").status == "ok"
    installed["onedl-mmcv"] = "2.2.0"
    check = doctor.check_package("onedl-mmcv", "mmcv")
    assert check.status == "warn" and "2.2.0" in check.detail and check.remedy


def test_local_tag_of_torch_is_no_difference(installed):
    installed["torch"] = doctor.pinned_version("torch") + "+cu130"
    check = doctor.check_package("torch", "torch")
    assert check.status == "ok" and "+cu130" in check.detail


def test_pin_is_read_whole(tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text('torchvision==0.28.0\ntorch==2.13.0; python_version < "3.13"\n')
    assert doctor.pinned_version("torch", constraints) == "2.13.0"
    assert doctor.pinned_version("vision", constraints) is None
    assert doctor.pinned_version("torch", tmp_path / "absent.txt") is None


def test_every_listed_package_has_a_pin():
    assert all(doctor.pinned_version(name) for name in doctor.PACKAGES)


def test_originals_beside_the_maintained_ones_fail(installed):
    installed.update({"onedl-mmcv": "2.3.6", "onedl-mmengine": "0.10.12"})
    assert doctor.check_originals().status == "ok"
    installed["mmsegmentation"] = "1.2.2"
    check = doctor.check_originals()
    assert check.status == "FAIL" and "mmsegmentation" in check.detail and check.remedy


@pytest.mark.parametrize(
    ("flavours", "status"),
    [
        (["opencv-python"], "ok"),
        (["opencv-python-headless"], "warn"),
        (["opencv-python", "opencv-python-headless"], "FAIL"),
        ([], "FAIL"),
    ],
)
def test_opencv_flavours(installed, flavours, status):
    installed.update(dict.fromkeys(flavours, "4.12.0.88"))
    check = doctor.check_opencv()
    assert check.status == status
    assert bool(check.remedy) == (status != "ok")


def test_operators_load_here_and_their_absence_is_a_failure(monkeypatch):
    assert doctor.check_mmcv_operators().status == "ok"
    import mmcv

    monkeypatch.delattr(mmcv, "_ext", raising=False)
    monkeypatch.setitem(sys.modules, "mmcv._ext", None)  # what an import of a missing module finds
    check = doctor.check_mmcv_operators()
    assert check.status == "FAIL" and "_ext" in check.detail and check.remedy == doctor.REINSTALL


def fake_cuda(monkeypatch, compiled_with: str) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Test GPU")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    operators = types.SimpleNamespace(get_compiling_cuda_version=lambda: compiled_with)
    monkeypatch.setitem(sys.modules, "mmcv.ops", operators)


@pytest.mark.parametrize(("compiled_with", "status"), [("not available", "warn"), ("13.0", "ok")])
def test_operators_without_cuda_beside_a_cuda_device(monkeypatch, compiled_with, status):
    fake_cuda(monkeypatch, compiled_with)
    check = doctor.check_mmcv_cuda()
    assert check.status == status
    assert ("nvcc of CUDA 13" in check.remedy) == (status == "warn")


def test_device_names_the_gpu_and_the_threads(monkeypatch):
    fake_cuda(monkeypatch, "13.0")
    detail = doctor.check_device().detail
    assert "Test GPU" in detail and "CPU threads" in detail


@pytest.mark.parametrize(
    ("distribution", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")]
)
def test_runtimes_name_the_extra_that_brings_them(installed, distribution, extra):
    check = doctor.check_runtime(distribution)
    assert check.status == "warn" and f"'lightvit_bench[{extra}]'" in check.remedy
    installed[distribution] = doctor.pinned_version(distribution) or "1.0"
    check = doctor.check_runtime(distribution)
    assert (check.status, check.detail) == ("ok", installed[distribution]) and not check.remedy


def test_runtimes_and_extras_are_those_that_load(monkeypatch):
    from lightvit_bench.tracking.runtimes.load import RUNTIMES

    told = {one.module: (one.title, one.extra) for name, one in RUNTIMES.items() if name != "torch"}
    assert told == {one: values[:2] for one, values in doctor.RUNTIMES.items()}


def test_export_packages_that_are_missing_are_named(installed):
    installed.update(onnx="1.2", onnxscript="0.7")
    check = doctor.check_exporting()
    assert check.status == "warn" and "'lightvit_bench[export]'" in check.remedy
    assert check.detail == "not installed: nncf"
    installed["nncf"] = "3.4"
    assert doctor.check_exporting() == doctor.Check(
        "export packages", "ok", "onnx 1.2, onnxscript 0.7, nncf 3.4"
    )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_int8 avx512_vnni\nflags : x\n",
         "bf16: avx512_bf16; int8: amx_int8, avx512_vnni"),
        ("model : x\nflags : fpu avx2 avx_vnni\n", "no instructions for bf16; int8: avx_vnni"),
        ("Features\t: fp asimddp bf16\n", "bf16: bf16; int8: asimddp"),
        ("model : x\n", "unknown: the system does not tell what the CPU has"),
    ],
)  # fmt: skip
def test_precisions_are_those_that_the_cpu_has(tmp_path, monkeypatch, flags, told):
    (tmp_path / "cpuinfo").write_text(flags)
    assert doctor.cpu_flags(tmp_path / "absent") == set()
    found = doctor.cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(doctor, "cpu_flags", lambda: found)
    assert doctor.check_cpu_precisions().detail == told


def make_split(root: Path, split: str, images: int, masks: int) -> None:
    for kind, suffix, count in (("images", ".jpg", images), ("annotations", ".png", masks)):
        folder = root / kind / split
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (folder / f"{i}{suffix}").touch()


def camvid() -> doctor.Check:
    return dict(doctor.checks())["CamVid"]()


def test_dataset_absent_incomplete_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTVIT_DATA", str(tmp_path))
    check = camvid()
    assert check.status == "warn" and str(tmp_path / "camvid") in check.detail
    assert "LIGHTVIT_DATA" in check.remedy
    make_split(tmp_path / "camvid", "train", 3, 3)
    check = camvid()
    assert check.status == "warn" and "val has 0 images" in check.detail
    make_split(tmp_path / "camvid", "val", 2, 1)
    assert "val has 2 images and 1 masks" in camvid().detail
    make_split(tmp_path / "camvid", "val", 2, 2)
    make_split(tmp_path / "camvid", "test", 1, 1)
    check = camvid()
    assert check.status == "ok" and "3 train, 2 val, 1 test" in check.detail


def test_ade20k_is_looked_for_under_data_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("LIGHTVIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data" / "ade" / "ADEChallengeData2016"
    make_split(root, "training", 2, 2)
    make_split(root, "validation", 1, 1)
    assert dict(doctor.checks())["ADE20K"]().status == "ok"


def test_checkpoints_are_listed(tmp_path):
    assert doctor.check_checkpoints(tmp_path).status == "warn"
    (tmp_path / "dmae_tiny.safetensors").touch()
    check = doctor.check_checkpoints(tmp_path)
    assert check.status == "ok" and "dmae_tiny" in check.detail


@pytest.mark.parametrize("error", [ImportError("libGL.so.1"), RuntimeError("nms"), SystemExit(3)])
def test_a_check_that_raises_is_a_failure_and_not_the_end(error):
    def check():
        raise error

    result = doctor.run_check("a name", check)
    assert result.name == "a name" and result.status == "FAIL"
    assert type(error).__name__ in result.detail and result.remedy


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("FAIL", 1)])
def test_exit_code_is_1_only_for_failures(monkeypatch, capsys, status, code):
    result = doctor.Check("something", status, "some detail", "some remedy")
    monkeypatch.setattr(doctor, "checks", lambda: iter([("something", lambda: result)]))
    assert doctor.main() == code
    out = capsys.readouterr().out
    assert all(text in out for text in (status, "some detail", "-> some remedy"))


def test_coco_is_told_by_its_layout(demo_coco, tmp_path):
    assert doctor.check_coco(str(tmp_path / "no")).status == "warn"
    found = doctor.check_coco(str(demo_coco))
    assert found.status == "ok" and "10 train, 4 val" in found.detail
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017.zip").touch()
    lacks = doctor.check_coco(str(tmp_path))
    assert lacks.status == "warn" and "no images in train2017" in lacks.detail
    (tmp_path / "train2017/000000000009.jpg").touch()
    assert "instances_train2017.json" in doctor.check_coco(str(tmp_path)).detail
