"""A tracker's file to the model that computes it, by the runtime that fits or is asked for.

Importing this imports no runtime; `load_model` imports the one it needs.
"""

from __future__ import annotations

import importlib.util
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from lightvit_bench.errors import CheckpointError, ConfigError, MissingDataError, near_matches
from lightvit_bench.tracking.answers import Model


class Runtime(NamedTuple):
    """module: to import. extra: of setup.cfg, "" for none. suffix: of the files it reads."""

    title: str
    module: str
    extra: str
    suffix: str


FLOATS = ("fp32", "bf16")  # int8 is made at export

# The fastest first.
RUNTIMES = {
    "openvino": Runtime("OpenVINO", "openvino", "openvino", ".xml"),
    "onnxruntime": Runtime("ONNX Runtime", "onnxruntime", "onnx", ".onnx"),
    "torch": Runtime("PyTorch", "torch", "", ".safetensors"),
}


def installed() -> list[str]:
    """Names of the runtimes that are installed, the fastest first."""
    return [name for name, one in RUNTIMES.items() if importlib.util.find_spec(one.module)]


def load_model(
    path: str | PathLike | None = None,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Model:
    """The model in a tracker's file.

    Args:
        path: NAME.xml (OpenVINO), NAME.onnx (ONNX Runtime), or a tracker's NAME.safetensors
            (PyTorch); None for the weights that come with the package, computed by PyTorch.
        runtime: of `RUNTIMES`; by default the one that the file is for.
        threads: CPU threads; by default the cores this process may use, at most four. PyTorch's
            are set for the whole process, and only if this is given.
        precision: "fp32" or "bf16", in place of the file's. Where it cannot be had, what is used
            instead is told in one line on the log "lightvit_bench".

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or version.
        ConfigError: there is no such runtime or precision, or it does not read such a file.
        MissingDataError: the runtime is not installed.
    """
    path = None if path is None else Path(path)
    of_file = _runtime_of(path)
    name = runtime or of_file
    if name not in RUNTIMES:
        raise ConfigError(f"there is no runtime {name!r}.", near=near_matches(name, RUNTIMES))
    if precision not in (None, *FLOATS):
        raise ConfigError(
            f"a file is not computed in {precision!r}.",
            takes=", ".join(FLOATS),
            int8="tools/export.py --precision int8",
        )
    if name != of_file:
        raise ConfigError(
            f"{RUNTIMES[name].title} does not read {path.name if path else 'tracker weights'}.",
            reads="NAME" + RUNTIMES[name].suffix,
            do=f"tools/export.py CHECKPOINT NAME{RUNTIMES[name].suffix}"
            if name != "torch"
            else "give the weights that were exported",
        )
    require(name)
    if name == "openvino":
        from lightvit_bench.tracking.runtimes.openvino_model import OpenVinoModel

        return OpenVinoModel(path, threads, precision)
    if name == "onnxruntime":
        from lightvit_bench.tracking.runtimes.onnx_model import OnnxModel

        return OnnxModel(path, threads, precision)
    from lightvit_bench.tracking.files import load_tracker_model

    return load_tracker_model(path, threads=threads, precision=precision)


def require(name: str) -> None:
    """`MissingDataError` unless a runtime is installed."""
    one = RUNTIMES[name]
    if importlib.util.find_spec(one.module) is None:
        others = [RUNTIMES[other].title for other in installed()]
        extra = f"[{one.extra}]" if one.extra else ""
        raise MissingDataError(
            f"{one.title} is not installed.",
            do=f"pip install 'lightvit_bench{extra}'   (from a checkout: pip install '.{extra}')",
            installed=", ".join(others) or "no runtime at all",
        )


def _runtime_of(path: Path | None) -> str:
    """The runtime that reads a file, by its name."""
    if path is None:
        return "torch"
    for name, one in RUNTIMES.items():
        if path.suffix == one.suffix:
            return name
    hint = {".bin": "the .xml beside it"}.get(path.suffix, "a tracker's file")
    raise CheckpointError(
        f"{path.name} is no tracker's file: its name says nothing of what it is.",
        file=str(path),
        takes="NAME.xml, NAME.onnx (tools/export.py), NAME.safetensors (tools/export_tracker.py)",
        perhaps=hint,
    )
