"""Reading files without running what is in them; refusing what is no checkpoint; whole files."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch

from lightvit_bench.checkpoint import (
    convert_file,
    load_encoder,
    load_into,
    read_checkpoint,
    read_manifest,
    read_safetensors,
    read_torch,
    sha256,
)
from lightvit_bench.checkpoint.files import pickled_globals
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import VisionTransformer
from lightvit_bench.writing import whole_file


class Runs:
    """Unpickled by the ordinary unpickler, calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(marker):
    """Objects that would create the file `marker` when unpickled, and the name each one needs."""
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "system": (Runs(os.system, f"touch {marker}"), "system"),
        "eval": (Runs(eval, touch), "eval"),
        "exec": (Runs(exec, touch), "exec"),
        "popen": (Runs(subprocess.Popen, ["touch", str(marker)]), "Popen"),
        "getattr": (Runs(getattr, argparse.Namespace, "__init__"), "getattr"),
        "open": (Runs(open, str(marker), "w"), "open"),
    }


ATTACKS = list(attacks("x"))


@pytest.fixture(params=["zip", "legacy"])
def form(request):
    return request.param


def save(content, path, form="zip", **kwargs):
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip", **kwargs)
    return path


def test_the_attacks_are_real(tmp_path):
    """Else the tests below would show nothing."""
    for name in ATTACKS:
        if name == "getattr":
            continue  # gives the function away; the call would come next
        marker = tmp_path / name
        loaded = pickle.loads(pickle.dumps(attacks(marker)[name][0]))
        if name == "popen":
            loaded.wait()
        assert marker.exists(), name


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("nested", [False, True])
def test_malicious_pickles_run_nothing(name, nested, form, tmp_path):
    marker = tmp_path / "marker"
    attack, wanted = attacks(marker)[name]
    content = {"model": {"blocks.0": attack, "pos_embed": torch.ones(2)}} if nested else attack
    path = save(content, tmp_path / "bad.pth", form)
    with pytest.raises(CheckpointError, match="not safe to load") as error:
        read_torch(path)
    assert not marker.exists()
    assert wanted in "".join(error.value.details["wants"])
    assert "nothing" in "".join(error.value.details["run"])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_pickles_run_nothing(protocol, tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(attacks(marker)["system"][0], protocol=protocol))
    with pytest.raises(CheckpointError, match="did not write|not a checkpoint") as error:
        read_torch(path)
    assert not marker.exists()
    assert protocol == 0 or "system" in str(error.value)


def test_a_later_pickle_protocol_in_a_zip_runs_nothing(tmp_path):
    marker = tmp_path / "marker"
    attack = {"model": attacks(marker)["system"][0]}
    path = save(attack, tmp_path / "bad.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match="not safe to load") as error:
        read_torch(path)
    assert "system" in str(error.value) and not marker.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_every_way_of_loading_is_as_safe(suffix, form, tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / f"bad{suffix}"
    save({"model": {"x": attacks(marker)["system"][0]}}, path, form)
    ways = [
        lambda: load_encoder(path),
        lambda: load_encoder(path, "vit_test"),
        lambda: load_into(VisionTransformer("vit_test"), path),
        lambda: read_checkpoint(path),
        lambda: convert_file(path, tmp_path / "out.safetensors", "mae-lite-pretrain"),
    ]
    for way in ways:
        with pytest.raises(CheckpointError, match="not safe to load"):
            way()
    assert not marker.exists() and not (tmp_path / "out.safetensors").exists()


def test_no_environment_variable_brings_unpickling_back(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    path = save(attacks(marker)["system"][0], tmp_path / "bad.pth")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError):
        read_torch(path)
    assert not marker.exists()


@pytest.mark.parametrize("function", [getattr, eval, exec, os.system, __import__])
def test_dangerous_functions_cannot_be_allowed(function, tmp_path):
    path = save({}, tmp_path / "good.pth")
    for safe in (function, (function, "some.name")):
        with pytest.raises(ValueError, match="would let a checkpoint run code"):
            read_torch(path, [safe])


def test_what_training_scripts_leave_in_files(form, tmp_path):
    content = OrderedDict(
        model={"w": torch.arange(3.0)},
        args=argparse.Namespace(lr=0.1, names=["a"]),
        best=np.float64(77.5),
        step=np.int64(3),
        flag=np.bool_(True),
        history=np.arange(6, dtype=np.float32).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        big_endian=np.arange(3, dtype=">i4"),
        names=np.array(["ab", "c"]),
    )
    read = read_torch(save(content, tmp_path / "x.pth.tar", form))
    assert torch.equal(read["model"]["w"], content["model"]["w"])
    assert read["args"] == content["args"] and isinstance(read, OrderedDict)
    assert (read["best"], read["step"], bool(read["flag"])) == (77.5, 3, True)
    assert type(read["best"]) is np.float64
    for name in ("history", "fortran", "big_endian", "names"):
        assert np.array_equal(read[name], content[name]), name
        assert read[name].dtype == content[name].dtype.newbyteorder("=")
    save(read, tmp_path / "again.pth", form)
    assert not any("lightvit" in name for name in pickled_globals(tmp_path / "again.pth"))
    assert np.array_equal(read_torch(tmp_path / "again.pth")["history"], content["history"])


@pytest.mark.parametrize(
    "array",
    [np.array([object], dtype=object), np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])],
    ids=["objects", "records"],
)
def test_numpy_objects_and_records_are_refused(array, form, tmp_path):
    with pytest.raises(CheckpointError):
        read_torch(save({"x": array}, tmp_path / "x.pth", form))


class ForgedDtype:
    """Pickles as float64 whose state claims a record of objects: bytes would pass for pointers."""

    def __reduce__(self):
        fields = {"f": (np.dtype("f8"), 0)}
        return np.dtype, ("f8", False, True), (3, "<", None, ("f",), fields, 8, 8, 63)


def test_a_forged_dtype_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="records"):
        read_torch(save({"x": ForgedDtype()}, tmp_path / "x.pth"))


class History:
    """Stands for a training log's class."""

    def __init__(self, values):
        self.values = values


def test_extra_globals_are_allowed_for_one_call_only(tmp_path):
    path = save({"log": History([1, 2])}, tmp_path / "x.pth")
    assert read_torch(path, [History])["log"].values == [1, 2]
    with pytest.raises(CheckpointError, match="History"):
        read_torch(path)


def test_a_stand_in_answers_a_name(tmp_path):
    """How a resume file that names getattr is read: by a function that knows its few answers."""
    path = save({"method": Runs(getattr, History, "mean")}, tmp_path / "x.pth")
    calls = []
    content = read_torch(
        path, [History, (lambda *a: calls.append(a) or "known", "builtins.getattr")]
    )
    assert content == {"method": "known"} and calls == [(History, "mean")]


def test_a_whole_model_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"torch.nn.modules.linear.Linear"):
        read_torch(save(torch.nn.Linear(2, 2), tmp_path / "x.pth"))


# damaged and foreign files
def weights():
    return {"a": torch.arange(1000.0), "b": torch.ones(10, 10)}


def foreign_files(folder):
    """name -> (bytes, what the error must say)."""
    torch_zip, legacy = io.BytesIO(), io.BytesIO()
    save({"model": weights()}, torch_zip)
    save({"model": weights()}, legacy, "legacy")
    tensors = safetensors.torch.save(weights())
    (folder / "member").write_bytes(torch_zip.getvalue())
    tar, plain_zip, script = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add(folder / "member", "weights.pth")
    with zipfile.ZipFile(plain_zip, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with zipfile.ZipFile(script, "w") as archive:
        for name in ("data.pkl", "code/model.py", "constants.pkl"):
            archive.writestr(f"model/{name}", b"")
    zipped, old = torch_zip.getvalue(), legacy.getvalue()
    header = struct.unpack("<Q", tensors[:8])[0]
    return {
        "empty.pth": (b"", "is empty"),
        "cut-zip.pth": (zipped[: len(zipped) // 2], "truncated"),
        "cut-zip-end.pth": (zipped[:-10], "truncated"),
        "cut-legacy.pth": (old[: len(old) // 2], "truncated"),
        "cut-legacy-start.pth": (old[:8], "truncated"),
        "cut-legacy-end.pth": (old[:-4], "truncated"),
        "cut.safetensors": (tensors[:-100], "truncated"),
        "cut-header.safetensors": (tensors[: header // 2], "truncated"),
        "five-bytes.safetensors": (tensors[:5], "truncated"),
        "bad-json.safetensors": (tensors[:8] + b"{zzz" + tensors[12:], "JSON"),
        "huge-header.safetensors": (struct.pack("<Q", 10**15) + tensors[8:], "header too large"),
        "long.safetensors": (tensors + b"more", "damaged"),
        "noise.safetensors": (bytes(range(128, 256)) * 4, "damaged"),
        "page.pth": (b"<!DOCTYPE html><html>Virus scan warning</html>", "a web page"),
        "page.safetensors": (b"\n <html><body>404</body></html>", "a web page"),
        "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\n", "text: 'version"),
        "note.txt": (b"hello world, these are no weights", "text: 'hello"),
        "real.tar": (tar.getvalue(), "a tar archive"),
        "packed.pth.gz": (gzip.compress(zipped), "gzip"),
        "picture.pth": (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
        "other.bin": (b"\x00\x01\x02\x03" * 20, "unknown binary data, beginning with 00 01 02 03"),
        "plain.zip": (plain_zip.getvalue(), "zip archive that torch.save did not write"),
        "script.pt": (script.getvalue(), "TorchScript"),
    }


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    return foreign_files(folder)


FOREIGN_NAMES = """
    empty.pth cut-zip.pth cut-zip-end.pth cut-legacy.pth cut-legacy-start.pth cut-legacy-end.pth
    cut.safetensors cut-header.safetensors five-bytes.safetensors bad-json.safetensors
    huge-header.safetensors long.safetensors noise.safetensors page.pth page.safetensors
    pointer.pth note.txt real.tar packed.pth.gz picture.pth other.bin plain.zip script.pt
""".split()


def test_all_foreign_files_are_tested(foreign):
    assert set(FOREIGN_NAMES) == set(foreign)


@pytest.mark.parametrize("name", FOREIGN_NAMES)
@pytest.mark.parametrize("read", [read_checkpoint, load_encoder])
def test_foreign_files_get_one_clear_error(name, read, foreign, tmp_path):
    content, says = foreign[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read(path)
    text = str(error.value)
    assert says in text and str(path) in text and f"{len(content):,} bytes" in text
    assert "Traceback" not in text and len(text.splitlines()) <= 8


def test_a_torch_file_has_no_manifest(tmp_path):
    with pytest.raises(CheckpointError, match="no manifest"):
        read_manifest(save(weights(), tmp_path / "x.pth"))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_torch(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="this is a folder"):
        read_torch(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_unreadable_file(tmp_path):
    path = save(weights(), tmp_path / "x.pth")
    path.chmod(0)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_torch(path)


def test_files_are_told_apart_by_their_bytes(tmp_path, form):
    """`.pth.tar` is no tar archive, and a suffix proves nothing."""
    for name in ("x.pth.tar", "x.safetensors", "x"):
        assert set(read_checkpoint(save(weights(), tmp_path / name, form))) == {"a", "b"}
    safetensors.torch.save_file(weights(), tmp_path / "x.pth", {"key": "value"})
    tensors, metadata = read_safetensors(tmp_path / "x.pth")
    assert torch.equal(tensors["a"], weights()["a"]) and metadata == {"key": "value"}
    with pytest.raises(CheckpointError, match="torch.save was expected"):
        read_torch(tmp_path / "x.pth")


def test_zip_files_are_memory_mapped(tmp_path, monkeypatch):
    seen = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k) or load(*a, **k))
    read_torch(save(weights(), tmp_path / "x.pth"))
    assert seen[0]["mmap"] is True and seen[0]["weights_only"] is True


def test_sha256(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(os.urandom(3_000_000))
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


# whole files
def test_whole_file_appears_at_the_end(tmp_path):
    path = tmp_path / "new" / "x.bin"
    with whole_file(path) as aside:
        aside.write_bytes(b"content")
        assert not path.exists() and aside.parent == path.parent
    assert path.read_bytes() == b"content" and os.listdir(path.parent) == ["x.bin"]


def test_whole_file_leaves_nothing_after_a_failure(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"older")
    for failure in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(failure), whole_file(path) as aside:
            aside.write_bytes(b"half")
            raise failure
    assert path.read_bytes() == b"older" and os.listdir(tmp_path) == ["x.bin"]


def test_whole_file_has_the_permissions_of_the_users_umask(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    with whole_file(tmp_path / "x") as aside:
        safetensors.torch.save_file(weights(), aside)  # writes 0600 by itself
    assert (tmp_path / "x").stat().st_mode == plain.stat().st_mode


def test_reading_the_names_in_a_pickle_runs_nothing(tmp_path, form):
    marker = tmp_path / "marker"
    path = save([attacks(marker)["eval"][0], np.float64(1)], tmp_path / "x.pth", form)
    names = pickled_globals(path)
    assert any(name.endswith(".eval") for name in names) and "numpy.dtype" in names
    assert not marker.exists()


def test_no_code_of_the_package_unpickles_freely():
    """`pickle.load`, `weights_only=False` and the like appear nowhere in this package."""
    import lightvit_bench.checkpoint as package

    for module in list(sys.modules):
        if module.startswith(package.__name__):
            source = open(sys.modules[module].__file__).read()
            for bad in ("weights_only=False", "pickle.load", "Unpickler(", "allow_pickle"):
                assert bad not in source, f"{module}: {bad}"
