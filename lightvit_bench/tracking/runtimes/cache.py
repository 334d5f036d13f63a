"""The fastest installed runtime for a tracker's weights, exported once into the user's cache.

    model = fastest_model()               # the weights that come with the package
    model = fastest_model("mine.safetensors", threads=2)

Importing this imports no runtime and no PyTorch; only exporting does, the first time.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files as package_files
from os import PathLike
from pathlib import Path

import lightvit_bench
from lightvit_bench.errors import CheckpointError, MissingDataError, UserError
from lightvit_bench.openvino_core import has_bfloat16
from lightvit_bench.tracking.answers import Model
from lightvit_bench.tracking.runtimes.exported import FORMAT_VERSION, notes
from lightvit_bench.tracking.runtimes.load import RUNTIMES, installed, load_model, require

_FORMATS = {"openvino": "openvino", "onnxruntime": "onnx"}  # runtime -> `export_model`'s format
_EXPORTING = ("onnx", "onnxscript")  # what exporting needs besides PyTorch
_SHIPPED = "weights/tracker_tiny.safetensors"  # `files.shipped_weights`, which imports PyTorch
_VIDEOS, _FRAMES = 3, 16  # made to compare boxes on: 24 crops, in about 1.5 s
_SEED = 11


def fastest_model(
    path: str | PathLike | None = None,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Model:
    """`load_model` by the fastest runtime that is installed, for weights too.

    An exported file is computed as it says. Weights (.safetensors, or None for those that come with
    the package) are exported once and kept in the user's cache; OpenVINO computes them in bf16 on a
    CPU made for it. Where exporting is impossible a line says why, and PyTorch computes them.

    Args:
        path, threads: as of `load_model`.
        runtime: use no other one, whatever is installed.
        precision: "fp32" for boxes as PyTorch's.

    Raises:
        MissingDataError: the runtime asked for, or what it needs to export, is not installed.
        CheckpointError, ConfigError: as `load_model`, `export_model`.
    """
    path = None if path is None else Path(path)
    weights = path is None or path.suffix == RUNTIMES["torch"].suffix
    if not weights or runtime == "torch" or (runtime and runtime not in RUNTIMES):
        return load_model(path, runtime=runtime, threads=threads, precision=precision)
    if runtime:
        require(runtime)
    require_torch(path)
    names = [runtime] if runtime else [name for name in installed() if name in _FORMATS]
    missing = [name for name in _EXPORTING if importlib.util.find_spec(name) is None]
    if names and missing:
        if runtime:
            require_exporting()
        notes.warning(
            "PyTorch computes the tracker: to export it for %s, which is faster, install %s "
            "(pip install 'lightvit_bench[export]').",
            RUNTIMES[names[0]].title, " and ".join(missing),
        )  # fmt: skip
        names = []
    for name in names:
        try:
            return _from_cache(path, name, threads, precision)
        except NotExported as error:
            if runtime:
                raise
            notes.warning(
                "%s is not used: %s (--runtime %s says more)",
                RUNTIMES[name].title, error.message.rstrip("."), name,
            )  # fmt: skip
    return load_model(path, threads=threads, precision=precision)


class NotExported(CheckpointError):
    """Weights that load cannot be exported, or their boxes come out differently."""


def exported_for(weights: Path | None, runtime: str) -> Path:
    """The exported file of some weights for a runtime: from the cache, or made now.

    It is float32, for one target. It is made anew when the weights, the format or the versions of
    this package, the runtime or PyTorch change. Where the cache cannot be written, the file is a
    temporary one, gone when the process ends, and a line says so.

    Raises:
        CheckpointError: the weights are missing or damaged. NotExported: see there.
        MissingDataError: a package that is needed is not installed.
    """
    folder = cache_folder() / _key(weights, runtime)
    file = folder / f"tracker{RUNTIMES[runtime].suffix}"
    if file.is_file():
        return file
    require(runtime)
    require_torch(weights)
    require_exporting()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part."))
    except OSError as error:
        notes.warning(
            "the exported tracker is not kept: %s cannot be written (%s); LIGHTVIT_CACHE=DIR names "
            "another cache.", folder.parent, error.strerror,
        )  # fmt: skip
        return _temporary(weights, runtime)
    try:
        _export(weights, runtime, aside / file.name)
        aside.chmod(0o755)
        try:
            aside.rename(folder)  # whole or not at all
        except OSError:
            if not file.is_file():  # else another process was first
                shutil.rmtree(folder)  # somebody took a part of it away
                aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return file


def cache_folder() -> Path:
    """Where exported trackers are kept: beside the wheels of tools/install.py."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = os.environ.get("LIGHTVIT_CACHE") or os.path.join(base, "lightvit_bench")
    return Path(os.path.abspath(os.path.expanduser(cache))) / "trackers"


def own_precision() -> str:
    """The faster precision of OpenVINO on this CPU: "bf16" where the CPU has it."""
    return "bf16" if has_bfloat16() else "fp32"


def require_torch(weights: Path | None) -> None:
    """`MissingDataError` unless PyTorch is installed, which weights need."""
    if importlib.util.find_spec("torch") is None:
        name = "the package's own weights" if weights is None else weights.name
        raise MissingDataError(
            f"without PyTorch, {name} can be neither computed nor exported.",
            do="pip install lightvit_bench   (from a checkout: make install)",
            **{"or": "give a tracker that tools/export.py made elsewhere: NAME.xml or NAME.onnx"},
        )


def require_exporting() -> None:
    """`MissingDataError` unless what writes exported files is installed."""
    missing = [name for name in _EXPORTING if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDataError(
            f"a tracker cannot be exported: {' and '.join(missing)} not installed.",
            do="pip install 'lightvit_bench[export]'   (from a checkout: pip install '.[export]')",
            **{"or": "--runtime torch"},
        )


def _from_cache(
    weights: Path | None, name: str, threads: int | None, precision: str | None
) -> Model:
    """The model of weights, by a runtime other than PyTorch. A damaged file is made again."""
    file = exported_for(weights, name)
    if precision is None and name == "openvino":
        precision = own_precision()
    try:
        return load_model(file, threads=threads, precision=precision)
    except CheckpointError:
        shutil.rmtree(file.parent, ignore_errors=True)  # another process may be at it, too
        if file.exists():
            notes.warning("%s is damaged and cannot be removed: exporting anew.", file)
            file = _temporary(weights, name)
        else:
            file = exported_for(weights, name)
        return load_model(file, threads=threads, precision=precision)


def _temporary(weights: Path | None, runtime: str) -> Path:
    """The exported file of some weights, gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="lightvit_bench."))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / f"tracker{RUNTIMES[runtime].suffix}"
    _export(weights, runtime, file)
    return file


def _key(weights: Path | None, runtime: str) -> str:
    """What tells exported files apart, for the name of a folder."""
    path = shipped() if weights is None else weights
    if not path.is_file():
        raise CheckpointError("there is no such file of weights.", looked_for=str(path))
    made_of = {
        "weights": _sha256(path),
        "format": FORMAT_VERSION,
        "versions": {name: _version(name) for name in (runtime, "torch")},
        "code": lightvit_bench.__version__,
    }
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    return f"{path.stem}-{runtime}-{digest[:16]}"


def shipped() -> Path:
    """The file of weights that comes with the package."""
    return Path(str(package_files("lightvit_bench") / _SHIPPED))


def _export(weights: Path | None, runtime: str, out: Path) -> None:
    """Write the exported file, and compare its boxes with PyTorch's on made videos."""
    notes.warning(
        "exporting the tracker for %s, once: about 15 s (--runtime torch does without)",
        RUNTIMES[runtime].title,
    )
    from lightvit_bench.data.demo_tracking import make_demo_sequences
    from lightvit_bench.data.frame_folder import open_folder
    from lightvit_bench.tracking.exporting.crops import collect_crops
    from lightvit_bench.tracking.exporting.write import export_model
    from lightvit_bench.tracking.files import load_tracker_model

    model = load_tracker_model(weights)  # what is wrong with weights is no matter of exporting
    try:
        with tempfile.TemporaryDirectory() as folder:
            make_demo_sequences(Path(folder), sequences=_VIDEOS, frames=_FRAMES, seed=_SEED)
            crops = collect_crops(model, open_folder(Path(folder)), frames=_FRAMES // 2)
        export_model(weights, out, crops, format=_FORMATS[runtime])
    except UserError as error:
        raise NotExported(error.message, **error.details) from error
    except Exception as error:  # of the exporter, which not every torch or network agrees with
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise NotExported("exporting failed.", because=told) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a build under another name, as onnxruntime has several
        return "unknown"
