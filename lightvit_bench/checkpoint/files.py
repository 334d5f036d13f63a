"""Tensors from files, without ever running code that a file brings along.

A pickle is a program. torch's weights-only unpickler runs a tame part of it; we add the short
allowlist below, never fall back to ordinary unpickling, and never allow `getattr`, which makes an
allowlist meaningless. Files are told apart by their first bytes: published checkpoints are called
`.pth.tar` and are no tar archives.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO, NoReturn

import safetensors
import torch
from torch import Tensor

from lightvit_bench.checkpoint.safe_numpy import STAND_INS, NotPlain
from lightvit_bench.errors import CheckpointError

SafeGlobal = Callable | tuple[Callable, str]

ALLOWED: tuple[SafeGlobal, ...] = (
    OrderedDict,
    argparse.Namespace,  # the options of a training script: facebookresearch's DeiT and MAE files
    *STAND_INS,
)
# Each of these turns an allowlist into a program.
NEVER_ALLOWED = (getattr, setattr, eval, exec, compile, open, __import__, os.system)

LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch.save before 1.6
FOREIGN = {
    b"\x1f\x8b": "gzip-compressed data",
    b"BZh": "bzip2-compressed data",
    b"\xfd7zXZ": "xz-compressed data",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x89HDF": "an HDF5 file (Keras?)",
    b"\x93NUMPY": "a numpy array",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"GGUF": "a GGUF file",
    b"\x7fELF": "a program or library",
}


def sniff(path: str | os.PathLike) -> str:
    """Tell what a checkpoint file is: "safetensors", "torch-zip" or "torch-legacy".

    Raises:
        CheckpointError: it is missing, a folder, empty, truncated, or something else.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError("a checkpoint is a file, this is a folder.", file=str(path))
    if not path.exists():
        raise CheckpointError("there is no such checkpoint.", file=str(path))
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise CheckpointError(
            "the checkpoint cannot be read.", file=str(path), cause=str(error.strerror)
        ) from error
    if not head:
        _refuse(path, "the checkpoint is empty.", do="copy or download it again")
    if head.startswith(b"PK\x03\x04"):
        return _check_zip(path)
    if head.startswith(LEGACY_MAGIC):
        return "torch-legacy"
    if LEGACY_MAGIC.startswith(head):
        _refuse_truncated(path, "its first bytes are there, no more")
    is_pickle = head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
    called_so = path.suffix == ".safetensors" and not is_pickle and not _looks_like_text(head)
    if head[8:9] == b"{" or called_so:
        return "safetensors"  # the header is checked when it is read
    if is_pickle:
        _refuse_pickle(path, "the file is a pickle that torch.save did not write.")
    _refuse(path, "the file is not a checkpoint.", **_describe(path, head))


def read_checkpoint(path: str | os.PathLike) -> Any:
    """What a checkpoint file holds: a name -> tensor dict from safetensors, anything from torch."""
    if sniff(path) == "safetensors":
        return read_safetensors(path)[0]
    return read_torch(path)


def read_torch(path: str | os.PathLike, extra_safe: Sequence[SafeGlobal] = ()) -> Any:
    """Read a file of `torch.save`, on the CPU, memory-mapped where the format allows it.

    Args:
        extra_safe: more globals that the pickle may name, each a class or function, or a pair
            (stand-in, "module.name in the pickle").

    Raises:
        CheckpointError: the file is damaged, or its pickle names a global that is not allowed; in
            no case is anything from the file run.
        ValueError: `extra_safe` holds a function that would let a file run code.
    """
    for item in extra_safe:
        if any((item[0] if isinstance(item, tuple) else item) is bad for bad in NEVER_ALLOWED):
            raise ValueError(f"{item} would let a checkpoint run code")
    path = Path(path)
    kind = sniff(path)
    if kind == "safetensors":
        _refuse(path, "a file of torch.save was expected.", found="safetensors")
    try:
        with torch.serialization.safe_globals([*ALLOWED, *extra_safe]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns about here ends in an error below
            if kind == "torch-zip" and path.suffix != ".safetensors":  # torch goes by that suffix
                return torch.load(path, "cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything
        _refuse_torch(path, error)


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and metadata of a safetensors file."""
    with open_safetensors(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}


@contextmanager
def open_safetensors(path: str | os.PathLike) -> Iterator[Any]:
    """Open a safetensors file; its errors become a `CheckpointError`."""
    path = Path(path)
    if sniff(path) != "safetensors":
        _refuse(path, "a safetensors file was expected.", found="a file of torch.save")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except safetensors.SafetensorError as error:
        _refuse_truncated(path, str(error))


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_zip(path: Path) -> str:
    """A zip archive must be whole and have torch.save's contents."""
    if not zipfile.is_zipfile(path):
        _refuse_truncated(path, "a zip archive (torch.save) without its end")
    names = zipfile.ZipFile(path).namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        _refuse(
            path,
            "the file is a TorchScript program, not a checkpoint.",
            do="ask for the state dict: torch.save(model.state_dict(), ...)",
        )
    if not any(name.endswith("/data.pkl") for name in names):
        _refuse(
            path,
            "the file is a zip archive that torch.save did not write.",
            found=", ".join(names[:5]) or "nothing in it",
            do="if the checkpoint is inside, unpack it first",
        )
    return "torch-zip"


def _looks_like_text(head: bytes) -> bool:
    """Whether bytes are UTF-8 without control characters; the last character may be cut."""
    text = head.decode("utf-8", "ignore")
    whole = len(text.encode()) >= len(head) - 3
    return whole and all(char >= " " or char in "\t\n\r\f" for char in text)


def _describe(path: Path, head: bytes) -> dict[str, str]:
    """`found` and `do` for a file that is no checkpoint."""
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return {
            "found": "a web page: the download saved the page about the file, or an error",
            "do": "open the address in a browser and download the file itself",
        }
    if tarfile.is_tarfile(path):
        return {"found": "a tar archive", "do": "unpack it; the checkpoint may be inside"}
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            return {"found": name, "do": "give a .safetensors file or one of torch.save"}
    if _looks_like_text(head):
        line = head.decode("utf-8", "replace").strip().split("\n")[0][:60]
        return {"found": f"text: {line!r}", "do": "give the file of weights itself"}
    return {
        "found": f"unknown binary data, beginning with {head[:8].hex(' ')}",
        "do": "give a .safetensors file or one of torch.save",
    }


def _refuse(path: Path, message: str, **details: str) -> NoReturn:
    size = f"{path.stat().st_size:,} bytes"
    raise CheckpointError(message, file=str(path), size=size, **details) from None


def _refuse_truncated(path: Path, found: str) -> NoReturn:
    _refuse(
        path,
        "the checkpoint is truncated or damaged.",
        found=found,
        do="copy or download it again; the size above should be that of the original",
    )


def _refuse_torch(path: Path, error: Exception) -> NoReturn:
    """Say why torch could not read a file."""
    text = str(error)
    if isinstance(error, (UnpicklingError, NotPlain)):
        name = re.search(r"GLOBAL (\S+?)\.? ", text)
        wanted = text if isinstance(error, NotPlain) else name and name[1]
        message = "the checkpoint is not safe to load: its pickle holds more than tensors."
        _refuse_pickle(path, message, wanted)
    _refuse_truncated(path, f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"[:160])


def _refuse_pickle(path: Path, message: str, wanted: str | None = None) -> NoReturn:
    usual = ("torch.", "collections.", "_codecs.")
    names = [name for name in pickled_globals(path) if not name.startswith(usual)]
    names = [wanted] if wanted else names
    _refuse(
        path,
        message,
        wants=", ".join(names[:8]) or "pickle instructions that no file of weights needs",
        run="nothing: it was refused before anything in it was run",
        do="ask for the weights alone: torch.save(model.state_dict(), ...) or safetensors",
    )


def pickled_globals(path: str | os.PathLike) -> list[str]:
    """Names ("module.name") that a file's pickles import, by reading their code, not running it."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            return _globals_of(file)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(name) as file:
            return _globals_of(file)


def _globals_of(file: BinaryIO) -> list[str]:
    names, strings = {}, []
    while True:  # an old file of torch.save is several pickles in a row
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    names[argument.replace(" ", ".")] = None
                elif opcode.name == "STACK_GLOBAL":
                    names[".".join(strings[-2:])] = None
                elif isinstance(argument, str):
                    strings.append(argument)
        except Exception:  # the end, or what is no pickle any more
            return list(names)
