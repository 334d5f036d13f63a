"""The only file that knows about quirks of versions; each workaround says what it is for."""

from __future__ import annotations

import ctypes
import importlib.util
import warnings
from contextlib import redirect_stdout
from functools import lru_cache
from io import StringIO
from pathlib import Path

# Schemas of the operators that torchvision 0.28 looks up while it is imported.
TORCHVISION_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries = []  # a torch Library undoes its definitions when it is collected


@lru_cache(maxsize=None)
def prepare() -> None:
    """Apply what must happen before timm, torchvision or mmengine's Runner is imported."""
    declare_torchvision_operators()


def declare_torchvision_operators() -> list[str]:
    """Declare torchvision's compiled operators where its library cannot be loaded.

    PyPI's torchvision is a CUDA build. Beside a CPU-only torch its library does not load, and
    `import torchvision`, hence `import timm` and mmengine's environment report, raises "operator
    torchvision::nms does not exist". Declared without an implementation the imports succeed, and a
    call raises; nothing here calls them (mmcv.ops has its own). Returns the names declared.
    """
    import torch

    _load_torchvision_library()
    missing = [name for name in TORCHVISION_OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(name + TORCHVISION_OPERATORS[name])
        _libraries.append(library)
    return missing


def _load_torchvision_library() -> None:
    """Load torchvision's compiled operators without importing it; no matter if they do not load."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(library)
        except (OSError, RuntimeError):
            pass  # the CUDA build beside a CPU torch: the case this is for


def import_mmseg() -> None:
    """Import mmseg's data sets without notices that say nothing to a user of ours.

    onedl-mmsegmentation 1.4.2 prints "Could not import OneDL" (a cloud client, not needed) twice
    on standard output at every import; meant as a debug message, it has no logger to filter it.
    It warns of its own `reduce_zero_label`, which its own recipe for ADE20K sets in the pipeline,
    and of `avg_non_ignore`, whose default is every published result's.
    """
    for message in ("`reduce_zero_label` will be deprecated", "Default ``avg_non_ignore``"):
        warnings.filterwarnings("ignore", message=message)
    with redirect_stdout(StringIO()):
        import mmseg.datasets  # noqa: F401


def import_mmdet() -> None:
    """Import mmdet's data sets without onedl-mmdetection 3.5.1's notice that OneDL is absent."""
    with redirect_stdout(StringIO()):
        import mmdet.datasets  # noqa: F401


def cpu_computes_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX).

    PyTorch 2.13 has no public question for it: `is_bf16_supported` is about GPUs.
    """
    import torch

    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, ask, lambda: False)() for ask in asks)


def keep_freed_memory() -> bool:
    """Let glibc keep what a training step frees, for the next one; False with another C library.

    By default it gives blocks of some MB back to the system at once, and every step pays for having
    all its pages cleared anew: about a tenth of a ViT-Tiny's step on a CPU. Memory in use peaks as
    before; it is just not handed back in between.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    # The largest that glibc takes for its threshold; larger blocks (32 MB and up) are still mapped.
    chosen = {m_mmap_threshold: 32 << 20, m_trim_threshold: 2**31 - 1, m_top_pad: 256 << 20}
    return all(mallopt(option, value) == 1 for option, value in chosen.items())
