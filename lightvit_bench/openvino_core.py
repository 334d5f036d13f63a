"""The one `openvino.Core` of this process.

OpenVINO's CPU plugin gives the calling thread a stack for signal handlers of its own, and takes it
away with the Core. Where two Cores end in the order in which they were made, the second puts back
the first one's, which is gone: the next signal whose handler Python has (Ctrl-C, the end of a child
process) is a segmentation fault (seen with 2026.4.1). A Core that lives as long as the process
leaves nothing to put back.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino


@lru_cache(maxsize=1)
def core() -> openvino.Core:
    """The Core that everything here uses; made when it is first asked for."""
    import openvino

    return openvino.Core()


def has_bfloat16() -> bool:
    """Whether the CPU computes bfloat16 itself.

    It is then what OpenVINO takes if it is not told. The capabilities that OpenVINO lists would not
    do: they name bfloat16 on CPUs that imitate it, slower than float32.
    """
    import openvino

    return core().get_property("CPU", "INFERENCE_PRECISION_HINT") == openvino.Type.bf16
