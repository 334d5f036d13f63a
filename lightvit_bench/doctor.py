"""What is installed, what is missing, what to do about it: `python -m lightvit_bench.doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REINSTALL = "make clean && make install"
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
# distribution -> what people call it
PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "onedl-mmengine": "mmengine",
    "onedl-mmcv": "mmcv",
    "onedl-mmdetection": "mmdet",
    "onedl-mmsegmentation": "mmseg",
    "timm": "timm",
    "numpy": "numpy",
    "opencv-python": "opencv",
}
# distribution -> what people call it, extra of setup.cfg, what it is for
RUNTIMES = {
    "openvino": ("OpenVINO", "openvino", "the fastest tracker on a CPU"),
    "onnxruntime": ("ONNX Runtime", "onnx", "trackers and encoders exported as ONNX"),
}
EXPORTING = ("onnx", "onnxscript", "nncf")
ORIGINALS = ("mmengine", "mmcv", "mmcv-full", "mmcv-lite", "mmdet", "mmsegmentation")
OPENCV_FLAVOURS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True)
class Check:
    """One line of the table; `status` is ok, warn (a part cannot be used) or FAIL (broken)."""

    name: str
    status: str
    detail: str
    remedy: str = ""


def installed_version(distribution: str) -> str | None:
    """Version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def pinned_version(distribution: str, constraints: Path = CONSTRAINTS) -> str | None:
    """Version in constraints.txt; None if not listed, or if the package came without the file."""
    if not constraints.exists():
        return None
    line = re.search(rf"^{re.escape(distribution)}==([^\s;]+)", constraints.read_text(), re.M)
    return line.group(1) if line else None


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Check("python", "ok", f"{version}, {sys.executable}")
    return Check("python", "FAIL", version, "make clean && make install PYTHON=python3.11")


def check_package(distribution: str, name: str) -> Check:
    version, pin = installed_version(distribution), pinned_version(distribution)
    label = name if name == distribution else f"{name} ({distribution})"
    if version is None:
        return Check(label, "FAIL", "not installed", REINSTALL)
    if pin is None or version.split("+")[0] == pin.split("+")[0]:
        return Check(label, "ok", version)
    detail = f"{version}, tested with {pin}"
    return Check(label, "warn", detail, f"if something fails: {REINSTALL}")


def check_originals() -> Check:
    """OpenMMLab's own distributions own the same files as the maintained ones."""
    name = "no second OpenMMLab"
    found = [dist for dist in ORIGINALS if installed_version(dist) is not None]
    if not found:
        return Check(name, "ok", "only the onedl-* distributions")
    return Check(name, "FAIL", f"also installed: {', '.join(found)}", REINSTALL)


def check_opencv() -> Check:
    """All flavours install the same `cv2` folder, and the last one wins."""
    found = [dist for dist in OPENCV_FLAVOURS if installed_version(dist) is not None]
    if found == ["opencv-python"]:
        import cv2

        return Check("opencv flavour", "ok", f"opencv-python, cv2 {cv2.__version__}")
    if len(found) == 1:
        return Check("opencv flavour", "warn", found[0], f"tested with opencv-python; {REINSTALL}")
    detail = f"one overwrites the other: {', '.join(found)}" if found else "none installed"
    return Check("opencv flavour", "FAIL", detail, REINSTALL)


def check_timm() -> Check:
    """torchvision of another build than torch breaks `import timm`; compat mends that."""
    from lightvit_bench import compat

    compat.prepare()
    import timm
    import torchvision

    detail = f"timm {timm.__version__}, torchvision {torchvision.__version__}"
    return Check("timm and torchvision import", "ok", detail)


def check_openmmlab() -> Check:
    from lightvit_bench import compat

    compat.prepare()
    import mmdet.models  # noqa: F401
    import mmseg.models  # noqa: F401

    return Check("mmdet and mmseg import", "ok", "models registered")


def check_mmcv_operators() -> Check:
    """An mmcv installed where torch was not visible has no operators and says nothing about it."""
    try:
        import torch  # noqa: F401  (its libraries have to be loaded first)
        from mmcv import _ext  # noqa: F401
    except ImportError as error:
        detail = f"mmcv._ext does not load: {error}"
        return Check("mmcv operators", "FAIL", detail, REINSTALL)
    return Check("mmcv operators", "ok", "mmcv._ext loads")


def check_device() -> Check:
    import torch

    threads = f"{torch.get_num_threads()} CPU threads"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return Check("device", "ok", f"{name} (CUDA {torch.version.cuda}), {threads}")
    build = f"a CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU"
    return Check("device", "ok", f"CPU only, {threads}; torch is {build} build")


def check_mmcv_cuda() -> Check:
    """Operators compiled for the CPU refuse CUDA tensors, first seen in a detector's NMS."""
    import torch

    if not torch.cuda.is_available():
        return Check("mmcv operators on CUDA", "ok", "no CUDA device, not needed")
    from mmcv.ops import get_compiling_cuda_version

    version = get_compiling_cuda_version()
    if version != "not available":
        return Check("mmcv operators on CUDA", "ok", f"compiled with CUDA {version}")
    major = torch.version.cuda.split(".")[0]
    remedy = f"for detection: install nvcc of CUDA {major}, then {REINSTALL}"
    return Check("mmcv operators on CUDA", "warn", "compiled for the CPU only", remedy)


def check_runtime(distribution: str) -> Check:
    """A runtime of exported trackers; none is needed, PyTorch computes them, too."""
    name, extra, purpose = RUNTIMES[distribution]
    if installed_version(distribution) is None:
        remedy = f"for {purpose}: pip install 'lightvit_bench[{extra}]'"
        return Check(name, "warn", "not installed", remedy)
    check = check_package(distribution, distribution)
    return Check(name, check.status, check.detail, check.remedy)


def check_exporting() -> Check:
    """What writes exported files, and quantises them."""
    found = {one: installed_version(one) for one in EXPORTING}
    missing = [one for one, version in found.items() if version is None]
    detail = ", ".join(f"{one} {version}" for one, version in found.items() if version)
    if not missing:
        return Check("export packages", "ok", detail)
    remedy = "for tools/export.py, and once for tools/track.py with a runtime but PyTorch: "
    remedy += "pip install 'lightvit_bench[export]'"
    return Check("export packages", "warn", f"not installed: {', '.join(missing)}", remedy)


def check_coco_eval() -> Check:
    """The quick one of two packages that compute COCO's AP; pycocotools gives the same values."""
    name = "faster-coco-eval"
    if installed_version(name) is None:
        remedy = "for quicker evaluation on COCO: pip install 'lightvit_bench[coco-fast]'"
        return Check(name, "warn", "not installed; pycocotools evaluates", remedy)
    return check_package(name, name)


def check_cpu_precisions() -> Check:
    """What of bf16 and int8 this CPU computes by itself, as the kernel tells."""
    name, flags = "CPU precisions", cpu_flags()
    if not flags:
        return Check(name, "ok", "unknown: the system does not tell what the CPU has")
    has = {
        "bf16": flags & {"avx512_bf16", "amx_bf16", "bf16"},
        "int8": flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"},
    }
    told = [
        f"{one}: {', '.join(sorted(found))}" if found else f"no instructions for {one}"
        for one, found in has.items()
    ]
    return Check(name, "ok", "; ".join(told))


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the first CPU has, in the kernel's words; empty where nothing tells."""
    try:
        line = re.search(r"^(?:flags|Features)\s*:(.*)$", path.read_text(), re.M)
    except OSError:
        return set()
    return set(line.group(1).split()) if line else set()


def check_dataset(name: str, folder: str, splits: tuple[str, ...]) -> Check:
    from lightvit_bench.data.roots import resolve_root

    root = resolve_root(folder)
    if not root.is_dir():
        remedy = "docs/datasets.md; LIGHTVIT_DATA=DIR if it is elsewhere"
        return Check(name, "warn", f"not found: {root}", remedy)
    counts = []
    for split in splits:
        images, masks = (count_files(root / kind / split) for kind in ("images", "annotations"))
        if not images or images != masks:
            detail = f"{root}: {split} has {images} images and {masks} masks"
            return Check(name, "warn", detail, "docs/datasets.md has the layout")
        counts.append(f"{images} {split}")
    return Check(name, "ok", f"{root}: {', '.join(counts)}")


def check_coco(folder: str = "data/coco") -> Check:
    """COCO's folders of images and annotation files; nothing in them is read."""
    from lightvit_bench.data.roots import resolve_root

    root, layout = resolve_root(folder), "docs/datasets.md#coco has the layout"
    if not root.is_dir():
        return Check("COCO", "warn", f"not found: {root}", f"{layout}; LIGHTVIT_DATA=DIR")
    counts = {split: count_files(root / f"{split}2017") for split in ("train", "val")}
    for split, images in counts.items():
        file = root / "annotations" / f"instances_{split}2017.json"
        if not images or not file.is_file():
            lacks = f"no images in {split}2017" if not images else f"no {file.name}"
            return Check("COCO", "warn", f"{root}: {lacks} (zips serve tracking alone)", layout)
    told = ", ".join(f"{images} {split}" for split, images in counts.items())
    return Check("COCO", "ok", f"{root}: {told}")


def count_files(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(entry.is_file() and not entry.name.startswith(".") for entry in os.scandir(folder))


def check_checkpoints(folder: Path = Path("checkpoints")) -> Check:
    found = sorted(path.stem for path in folder.glob("*.safetensors"))
    if found:
        return Check("checkpoints", "ok", f"{folder}: {', '.join(found)}")
    remedy = "tools/convert_checkpoint.py, or pre-train; configs with random weights need none"
    return Check("checkpoints", "warn", f"none in {folder}", remedy)


def checks() -> Iterator[tuple[str, Callable[[], Check]]]:
    """(name, check) in the order of the table; nothing is run or imported yet."""
    yield "python", check_python
    for distribution, name in PACKAGES.items():
        yield name, lambda dist=distribution, name=name: check_package(dist, name)
    yield "no second OpenMMLab", check_originals
    yield "opencv flavour", check_opencv
    yield "timm and torchvision import", check_timm
    yield "mmcv operators", check_mmcv_operators
    yield "mmdet and mmseg import", check_openmmlab
    yield "device", check_device
    yield "mmcv operators on CUDA", check_mmcv_cuda
    for distribution, (name, *_) in RUNTIMES.items():
        yield name, lambda dist=distribution: check_runtime(dist)
    yield "export packages", check_exporting
    yield "faster-coco-eval", check_coco_eval
    yield "CPU precisions", check_cpu_precisions
    ade = ("data/ade/ADEChallengeData2016", ("training", "validation"))
    yield "ADE20K", lambda: check_dataset("ADE20K", *ade)
    yield "CamVid", lambda: check_dataset("CamVid", "data/camvid", ("train", "val", "test"))
    yield "COCO", check_coco
    yield "checkpoints", check_checkpoints


def run_check(name: str, check: Callable[[], Check]) -> Check:
    """Run one check; whatever it raises, a broken package's exit included, is a FAIL of its own."""
    try:
        return check()
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:200]
        return Check(name, "FAIL", f"{type(error).__name__}: {text}", REINSTALL)


def table(results: list[Check]) -> str:
    width = max(len(result.name) for result in results)
    lines = []
    for result in results:
        lines.append(f"{result.status:<4}  {result.name:<{width}}  {result.detail}")
        if result.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {result.remedy}")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if a check failed, else 0."""
    results = [run_check(name, check) for name, check in checks()]
    failed = sum(result.status == "FAIL" for result in results)
    print(table(results))
    print(f"\n{failed} of {len(results)} checks failed." if failed else "\nNothing is broken.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
