"""The fastest runtime for a tracker's weights, and the exported files that are kept for it."""

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny_export import tiny, traced_once

from lightvit_bench.errors import CheckpointError, ConfigError, MissingDataError
from lightvit_bench.openvino_core import core
from lightvit_bench.tracking.files import shipped_weights
from lightvit_bench.tracking.runtimes import cache
from lightvit_bench.tracking.runtimes.cache import exported_for, fastest_model
from lightvit_bench.tracking.tracker import Tracker

for needed in ("openvino", "onnxruntime", "onnx", "onnxscript"):
    pytest.importorskip(needed)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tiny tracker's weights, and a cache with its two exported files."""
    home = tmp_path_factory.mktemp("cache")
    shutil.copy(tiny(tmp_path_factory, "conv.safetensors"), home / "tiny.safetensors")
    with pytest.MonkeyPatch.context() as patch, traced_once("conv"):
        patch.setenv("LIGHTVIT_CACHE", str(home / "cache"))
        for runtime in ("openvino", "onnxruntime"):
            exported_for(home / "tiny.safetensors", runtime)
    return home


@pytest.fixture
def weights(home, tmp_path, monkeypatch):
    """The weights, with a copy of the cache for this test alone; exporting again is an error."""
    shutil.copytree(home / "cache", tmp_path / "cache")
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_export", again)
    return home / "tiny.safetensors"


def again(*arguments):
    raise AssertionError("exported, though it need not be")


@pytest.fixture
def exports(home, monkeypatch):
    """Instead of exporting, copy what was exported before; a list of what was."""
    made = []

    def copy(weights, runtime, out):
        made.append(runtime)
        (source,) = (home / "cache/trackers").glob(f"tiny-{runtime}-*")
        for file in source.iterdir():
            shutil.copy(file, out.parent)

    monkeypatch.setattr(cache, "_export", copy)
    return made


@pytest.fixture
def absent(monkeypatch):
    """Have modules not be installed."""

    def leave_out(*names):
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda one, *more: None if one in names else real(one)
        )

    return leave_out


def test_exported_files_are_whole_and_nothing_else_is_left(home):
    folders = sorted((home / "cache/trackers").iterdir())
    assert [folder.name.rpartition("-")[0] for folder in folders] == [
        "tiny-onnxruntime", "tiny-openvino",
    ]  # fmt: skip
    assert [file.name for file in folders[0].iterdir()] == ["tracker.onnx"]
    assert {file.name for file in folders[1].iterdir()} == {"tracker.xml", "tracker.bin"}
    assert all(os.stat(folder).st_mode & 0o777 == 0o755 for folder in folders)


def test_the_fastest_runtime_comes_first_and_gives_pytorchs_boxes(weights, monkeypatch):
    monkeypatch.setattr(cache, "own_precision", lambda: "fp32")
    models = [fastest_model(weights, threads=1)]
    models += [
        fastest_model(str(weights), runtime=one, threads=1) for one in ("onnxruntime", "torch")
    ]
    names = [model.name for model in models]
    assert [name.split()[0] for name in names] == ["OpenVINO", "ONNX", "PyTorch"]
    assert all(name.endswith(", fp32, 1 thread") for name in names)
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (3, 60, 80, 3), np.uint8)
    told = []
    for model in models:
        tracker = Tracker(model)
        tracker.init(images[0], (20, 20, 16, 16))
        told.append([tracker.update(image).score for image in images[1:]])
    np.testing.assert_allclose(told[:2], [told[2]] * 2, atol=1e-4)


def test_weights_are_computed_in_bf16_where_the_cpu_has_it(weights, monkeypatch):
    asked = []

    def load(path, **options):
        asked.append((path.name if path else None, options["precision"]))

    monkeypatch.setattr(cache, "load_model", load)
    monkeypatch.setattr(cache, "own_precision", lambda: "bf16")
    fastest_model(weights)
    fastest_model(weights, precision="fp32")
    fastest_model("some.xml")  # as the file says
    fastest_model(weights, runtime="torch")
    assert asked == [
        ("tracker.xml", "bf16"), ("tracker.xml", "fp32"), ("some.xml", None),
        ("tiny.safetensors", None),
    ]  # fmt: skip


def test_own_precision_is_openvinos():

    hint = core().get_property("CPU", "INFERENCE_PRECISION_HINT")
    assert cache.own_precision() == {"bf16": "bf16", "f32": "fp32"}[hint.get_type_name()]


def test_other_weights_and_versions_are_other_files(weights, exports, monkeypatch, tmp_path):
    first = exported_for(weights, "openvino")
    assert exports == []
    other = tmp_path / "tiny.safetensors"
    other.write_bytes(weights.read_bytes() + b"\0")
    second = exported_for(other, "openvino")
    monkeypatch.setattr(cache, "FORMAT_VERSION", 99)
    third = exported_for(weights, "openvino")
    monkeypatch.setattr(cache, "_version", lambda name: "2099.1")
    fourth = exported_for(weights, "openvino")
    assert len({first, second, third, fourth}) == 4 and exports == ["openvino"] * 3
    assert exported_for(weights, "openvino") == fourth and len(exports) == 3


@pytest.mark.parametrize("damage", ["bin", "cut", "lost", "xml", "folder"])
def test_a_damaged_file_is_made_again(weights, exports, damage):
    file = exported_for(weights, "openvino")
    tensors = file.with_suffix(".bin")
    held = tensors.read_bytes()
    if damage == "bin":
        tensors.write_bytes(held[:-9] + b"\1" + held[-8:])
    elif damage == "cut":
        tensors.write_bytes(held[: len(held) // 2])
    elif damage == "lost":
        tensors.unlink()
    elif damage == "xml":
        file.write_text(file.read_text()[:5000])
    else:
        file.unlink()
    assert fastest_model(weights, runtime="openvino", threads=1).name.startswith("OpenVINO")
    assert exports == ["openvino"] and tensors.read_bytes() == held
    assert fastest_model(weights, runtime="openvino", threads=1) and len(exports) == 1


def test_of_two_that_export_at_once_the_first_stays(weights, exports, monkeypatch, tmp_path):
    shutil.rmtree(tmp_path / "cache")
    copy = cache._export

    def meanwhile(weights, runtime, out):
        copy(weights, runtime, out)
        if len(exports) == 1:  # another process begins and ends while this one exports
            (exported_for(weights, runtime).parent / "first").touch()

    monkeypatch.setattr(cache, "_export", meanwhile)
    file = exported_for(weights, "openvino")
    assert exports == ["openvino"] * 2 and (file.parent / "first").exists()
    assert [path.name for path in file.parent.parent.iterdir()] == [file.parent.name]


def test_an_export_that_ends_early_leaves_nothing(weights, monkeypatch, tmp_path):
    shutil.rmtree(tmp_path / "cache")

    def stopped(weights, runtime, out):
        out.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_export", stopped)
    with pytest.raises(KeyboardInterrupt):
        exported_for(weights, "openvino")
    assert list((tmp_path / "cache/trackers").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told_in_a_line(
    weights, exports, monkeypatch, tmp_path, caplog
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "file"))
    ends = []
    monkeypatch.setattr(cache.atexit, "register", lambda *call, **more: ends.append((call, more)))
    assert fastest_model(weights, runtime="openvino", threads=1).name.startswith("OpenVINO")
    (line,) = caplog.messages
    assert "is not kept" in line and "LIGHTVIT_CACHE=DIR" in line and "\n" not in line
    ((remove, folder), options), = ends  # fmt: skip
    assert (folder / "tracker.xml").is_file()
    remove(folder, **options)
    assert not folder.exists()


def test_the_cache_lies_where_the_installers_does(monkeypatch, repo, tmp_path):
    spec = importlib.util.spec_from_file_location("installer", repo / "tools/install.py")
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)
    monkeypatch.delenv("LIGHTVIT_CACHE", raising=False)
    for name, value in (("HOME", tmp_path), ("XDG_CACHE_HOME", "x"), ("LIGHTVIT_CACHE", "~/y")):
        monkeypatch.setenv(name, str(value))
        assert str(cache.cache_folder().parent) == os.path.dirname(installer.wheel_cache())


def test_the_shipped_weights_are_those_of_pytorch():
    assert cache.shipped() == shipped_weights()


# ------------------------------------------------------------------------------ what is missing


def test_without_what_exports_pytorch_computes_and_a_line_names_the_extra(weights, absent, caplog):
    absent("onnx", "onnxscript")
    assert fastest_model(weights).name.startswith("PyTorch")
    (line,) = caplog.messages
    assert "onnx and onnxscript" in line and "'lightvit_bench[export]'" in line
    with pytest.raises(MissingDataError, match=r"\[export\]"):
        fastest_model(weights, runtime="openvino")


def test_a_runtime_that_is_asked_for_and_missing_names_its_extra(weights, absent):
    absent("openvino", "onnxruntime")
    for runtime, extra in (("openvino", "openvino"), ("onnxruntime", "onnx")):
        for file in (None, weights, "some" + {"openvino": ".xml"}.get(runtime, ".onnx")):
            with pytest.raises(MissingDataError, match=rf"lightvit_bench\[{extra}\]"):
                fastest_model(file, runtime=runtime)
    assert fastest_model(weights).name.startswith("PyTorch")


def test_without_openvino_it_is_onnx_runtime(weights, absent):
    absent("openvino")
    assert fastest_model(weights, threads=1).name.startswith("ONNX Runtime")


def test_without_pytorch_weights_are_refused_and_exported_files_are_not(weights, absent):
    file = exported_for(weights, "onnxruntime")
    absent("torch")
    for path, name in ((None, "the package's own weights"), (weights, "tiny.safetensors")):
        for runtime in (None, "openvino"):
            with pytest.raises(MissingDataError, match="without PyTorch") as error:
                fastest_model(path, runtime=runtime)
            assert name in str(error.value) and "NAME.xml" in str(error.value)
    assert fastest_model(file, threads=1).name.startswith("ONNX Runtime")


def test_an_export_that_is_refused_leaves_it_to_the_next(weights, monkeypatch, tmp_path, caplog):
    shutil.rmtree(tmp_path / "cache")

    def refused(weights, runtime, out):
        raise cache.NotExported("the boxes differ.", because="so")

    monkeypatch.setattr(cache, "_export", refused)
    assert fastest_model(weights).name.startswith("PyTorch")
    assert [line.partition(" is ")[0] for line in caplog.messages] == ["OpenVINO", "ONNX Runtime"]
    assert "the boxes differ (--runtime openvino says more)" in caplog.messages[0]
    with pytest.raises(CheckpointError, match="the boxes differ"):
        fastest_model(weights, runtime="openvino")


def test_what_fails_in_the_exporter_is_no_export(home, tmp_path, monkeypatch, caplog):
    from lightvit_bench.tracking.exporting import write

    def fails(*arguments, **more):
        raise RuntimeError("an operator\nis not known")

    monkeypatch.setattr(write, "export_model", fails)
    caplog.set_level(logging.INFO)
    with pytest.raises(cache.NotExported, match="RuntimeError: an operator is not known"):
        cache._export(home / "tiny.safetensors", "openvino", tmp_path / "tracker.xml")
    assert caplog.messages[0].startswith("exporting the tracker for OpenVINO, once")
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError) as error:
        cache._export(tmp_path / "bad.safetensors", "openvino", tmp_path / "tracker.xml")
    assert not isinstance(error.value, cache.NotExported), "PyTorch would not load it either"


def test_what_is_no_file_or_runtime(home):
    with pytest.raises(CheckpointError, match=r"no such file[\s\S]*gone.safetensors"):
        fastest_model("gone.safetensors", runtime="openvino")
    with pytest.raises(ConfigError, match="no runtime 'openvno'"):
        fastest_model(home / "tiny.safetensors", runtime="openvno")
    with pytest.raises(CheckpointError, match="no tracker's file"):
        fastest_model(home / "tiny.pth")


def test_a_kept_file_is_used_without_importing_pytorch(weights, tmp_path):
    program = (
        "import json, sys; from lightvit_bench.tracking.runtimes.cache import fastest_model; "
        "before = 'openvino' in sys.modules; "
        f"name = fastest_model({str(weights)!r}, threads=1).name; "
        "print(json.dumps([name, before, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, before, torch_there = json.loads(done.stdout)
    assert name.startswith("OpenVINO") and not before and not torch_there
